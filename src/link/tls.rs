//! TLS 1.3, mutual, pinned names, revocation (LINK).
