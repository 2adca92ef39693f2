//! One file per row of the command table (CONFIG).
