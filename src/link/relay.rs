//! Sends one camera's groups over a link: newest first, late groups reset (LINK).
