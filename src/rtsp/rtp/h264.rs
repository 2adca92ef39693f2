//! H.264 packetisation (RFC 6184) (MEDIA).
