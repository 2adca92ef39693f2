//! Integration tests on real sockets: one binary, one module for each subject.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

mod api;
mod approval;
mod authorise;
mod browser;
mod camera;
mod certs;
mod check_link;
mod cli;
mod compare;
mod config;
mod console;
mod conventions;
mod field;
mod gstreamer;
mod http;
mod journal;
mod lifecycle;
mod link;
mod malice;
mod malicious;
mod malicious_gateway;
mod metrics;
mod notices;
mod onvif;
mod operator;
mod origin;
mod outage;
mod prometheus;
mod reasons;
mod relay;
mod restored;
mod rtsp;
mod scripted;
mod simulate;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
mod tools;
mod uplink;
mod virtual_link;
mod wire;
mod workstation;
mod world;
