//! Simulated cameras (MEDIA).

pub mod encoder;
mod font;
pub mod scene;
