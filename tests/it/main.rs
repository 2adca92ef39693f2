//! Integration tests on real sockets: one binary, one module for each subject.
#![allow(missing_docs, clippy::unwrap_used)]
mod camera;
mod http;
mod scripted;
