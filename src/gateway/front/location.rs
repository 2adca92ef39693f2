//! Bases, control URLs and redirects, joined as cameras mean them.
