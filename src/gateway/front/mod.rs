//! The camera front: the one place that makes any camera plain for retina.
#![allow(dead_code)] // Until the adapter is replaced by it.

pub mod fix;

mod challenge;
mod description;
mod location;
mod message;
mod pictures;
