//! Sockets, limits, TLS (MEDIA).
