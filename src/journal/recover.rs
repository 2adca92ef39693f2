//! Recovers a journal at start (JOURNAL).
