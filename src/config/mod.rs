//! The two daemons' settings: read, checked, explained.
//!
//! `raw` mirrors the file (serde, unknown keys refused), [`settings`] is what
//! the daemons use; one pure function leads from one to the other and collects
//! every mistake with its line and its mend.

pub mod settings;
