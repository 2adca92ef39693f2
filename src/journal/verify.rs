//! Verifies a journal: chain, order, heads (JOURNAL).
