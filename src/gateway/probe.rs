//! Tries a camera for `fanal check --cameras` (CAMERAS).
