//! UDP sockets and transport settings (LINK).
