//! Reads a journal or a copy of one (JOURNAL).
