//! Session descriptions (RFC 8866) (MEDIA).
