//! The core that both judges share: what a gate knows of its centres and a desk of its
//! communes, and what each of them and its own journal owe each other. Pure.
//!
//! | module | what is there |
//! |---|---|
//! | [`clock_guard`] | whether the wall clock can be believed |
//! | [`envelope`] | a signed request, opened and verified |
//! | [`expiry`] | which of its limits ended a grant |
//! | [`identity`] | who this machine is to a peer, and whom it believes there |
//! | [`ledger`] | entries on their way to the journal, and those that it could not take yet |
//! | [`losses`] | journals that lack lines they held before |
//! | [`pace`] | what one operator may cause in a time |
//! | [`rates`] | how much of what a peer sends is looked at, and how seldom that is written down |
//! | [`witness`] | the peers' journal heads: exchanged, kept, compared |
//!
//! Beside it both use [`crate::policy::agreement`], [`crate::policy::replay`] and
//! [`crate::policy::snapshot`]. What a grant is, who is told of it and how long an end is
//! remembered differs, and stays with each judge: the gate remembers an end for a day past
//! its grant's time, by the wall clock, because lists of viewings come late; the desk
//! shows an end to people for ten minutes, by the boot clock, and holds it final for as
//! long as the gateway's proof is valid.

pub mod clock_guard;
pub mod envelope;
pub mod expiry;
pub mod identity;
pub mod ledger;
pub mod losses;
pub mod pace;
pub mod rates;
pub mod witness;
