//! Accepts gateways at the receiver (LINK).
