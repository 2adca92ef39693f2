//! The life of a camera session: idle, starting, live, closing. Pure (CAMERAS).
