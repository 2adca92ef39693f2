//! `fanal console`'s origin is the operator's: a receiver that was stolen or turned runs, keeps and
//! frames nothing there, by itself or through a browser.

mod answers;
mod browsers;
mod stranger;
