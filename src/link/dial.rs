//! Dials the centres from the gateway, with backoff (LINK).
