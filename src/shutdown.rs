//! Signals and orderly shutdown (CONFIG).
