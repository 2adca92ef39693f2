//! Session limits and paced starts per address, and the hold after a 401 (CAMERAS).
