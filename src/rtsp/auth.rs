//! Digest (MD5, SHA-256) for players (MEDIA).
