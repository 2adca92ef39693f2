//! The protocol, pure: requests in, answers out (MEDIA).
