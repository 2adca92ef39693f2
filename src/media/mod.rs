//! What the bytes of a picture mean: access units, codecs, time lines, groups
//! of pictures. Pure.

pub mod backlog;
pub mod config;
pub mod h264;
pub mod h265;
pub mod jfif;
pub mod jpeg;
pub mod kept;
pub mod nal;
pub mod queue;
pub mod slice;
pub mod splice;
pub mod timeline;
pub mod turns;
pub mod unit;
