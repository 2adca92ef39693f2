//! RTP in datagrams, to the TCP peer's address only (MEDIA).
