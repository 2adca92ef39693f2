//! What the bytes of a picture mean: access units, codecs, time lines, groups
//! of pictures, their form on a link; who gives and takes them. Pure.

pub mod backlog;
pub mod config;
pub mod drawn;
pub mod h264;
pub mod h265;
pub mod jfif;
pub mod jpeg;
pub mod kept;
pub mod nal;
pub mod packets;
pub mod queue;
pub mod relay;
pub mod sink;
pub mod slice;
pub mod source;
pub mod splice;
pub mod timeline;
pub mod turns;
pub mod unit;
pub mod wire;
