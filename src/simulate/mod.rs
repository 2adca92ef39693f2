//! Simulated cameras (MEDIA).
