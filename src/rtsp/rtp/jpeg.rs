//! JPEG packetisation (RFC 2435) (MEDIA).
