//! The whole thing on one machine (assembly only).
