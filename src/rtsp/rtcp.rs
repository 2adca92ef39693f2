//! RTCP sender reports (RFC 3550 6.4) (MEDIA).
