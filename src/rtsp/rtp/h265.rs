//! H.265 packetisation (RFC 7798) (MEDIA).
