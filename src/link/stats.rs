//! What QUIC knows of a link (LINK).
