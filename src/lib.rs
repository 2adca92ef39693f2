//! fanal: an on-demand video relay between French communes and the operations
//! centres of the gendarmerie.
//!
//! The floor plan. A module uses only those that its row names, all of which are above
//! it; `tests/it/conventions.rs` reads this table and checks the tree against it.
//!
//! | floor | module | what is there | uses |
//! |---|---|---|---|
//! | ground | [`account`] | who of this machine's accounts acts, by the kernel's word | – |
//! | | [`allowance`] | a rate with a burst | – |
//! | | [`background`] | a thread of its own for work that nothing waits for | – |
//! | | [`clock`] | wall clock and boot clock, passed to who decides | – |
//! | | [`connect`] | TCP to a name with several addresses; names of this machine | – |
//! | | [`attempts`] | wrong credentials, counted by address and user | clock connect |
//! | | [`durable`] | files that are replaced whole or not at all | – |
//! | | [`digest`] | the hashes of RTSP and HTTP Digest | – |
//! | | [`text`] | texts of people and peers: checked, or cut and made fit to be shown | – |
//! | | [`reason`] | why something is refused, fails or ends: one code everywhere | text |
//! | | [`secret`] | texts that no log shows | – |
//! | | [`shutdown`] | signals, service manager | – |
//! | bytes, pure | [`media`] | what is a picture? units, groups, queues, group headers; who gives and takes them | clock reason |
//! | | [`format`](mod@format) | what is signed or exchanged? names, statements, designations, chain, control messages | clock media reason secret text |
//! | files | [`config`] | the daemons' settings: read, checked, explained | connect durable format reason secret |
//! | | [`journal`] | what was done: append-only, hash-chained, fsynced | clock durable format media reason |
//! | decisions, pure | [`policy`] | may they? gate (commune), desk (centre), agreements, uplink, life of a camera | allowance clock config format journal media reason secret |
//! | services | [`pki`] | whom to trust: certificates, keys and revocation lists of the settings, newest lists kept | clock config durable format policy secret |
//! | | [`http`] | HTTP with limits; problems as JSON; bearer tokens | attempts clock connect format pki reason |
//! | | [`places`] | addresses, found as they are typed | – |
//! | | [`tiles`] | pictures of a map | – |
//! | | [`metrics`] | what is counted; health | clock config format journal media pki policy reason |
//! | | [`notify`] | notices of what happened: the log, and one HTTPS address | clock config connect durable format journal pki reason secret |
//! | | [`copies`] | the journal's lines go to NATS JetStream | background clock config format journal metrics pki |
//! | | [`certs`] | authorities and certificates: `fanal certs`, trial sites | clock durable format secret |
//! | | [`witness`] | checkpoints of the journal go to thirds who cosign them | background clock config format http journal metrics notify policy |
//! | how they meet | [`link`] | QUIC with mutual TLS; knows who gives groups and who takes them as two traits | allowance clock config connect format media metrics pki reason |
//! | | [`records`] | what both control tasks do with their journals: entries in flight, lines read aside | format journal link notify policy |
//! | | [`rtsp`] | RTSP server: the receiver's output, the simulator's cameras | attempts clock connect digest media reason secret |
//! | | [`simulate`] | simulated cameras, with the field's faults | clock connect digest media reason rtsp secret |
//! | | [`console`] | the pages of operators and of the commune | http |
//! | who does it | [`gateway`] | the commune's daemon | account clock config connect console copies digest format http journal link media metrics notify pki policy reason records secret witness |
//! | | [`receiver`] | the centre's daemon | allowance clock config connect console copies durable format http journal link media metrics notify pki places policy reason records rtsp secret tiles witness |
//! | commands | [`demo`] | both daemons and cameras on one machine | certs clock config format gateway metrics receiver simulate |
//! | | [`commands`] | a file for each row of the command table | all above |
//! | | [`cli`] | the command line | commands |
//!
//! Floors named pure do no I/O, read no clock and draw nothing at random, but for
//! what [`format::jws`] says of signatures.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod account;
pub mod allowance;
pub mod attempts;
pub mod background;
pub mod certs;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connect;
pub mod console;
pub mod copies;
pub mod demo;
pub mod digest;
pub mod durable;
pub mod format;
pub mod gateway;
pub mod http;
pub mod journal;
pub mod link;
pub mod media;
pub mod metrics;
pub mod notify;
pub mod pki;
pub mod places;
pub mod policy;
pub mod reason;
pub mod receiver;
pub mod records;
pub mod rtsp;
pub mod secret;
pub mod shutdown;
pub mod simulate;
pub mod text;
pub mod tiles;
pub mod witness;
