//! The journal's hash chain: digest, link, prev, seq. Pure (JOURNAL).
