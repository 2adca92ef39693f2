//! The core that both judges share: what a gate knows of its centres and a desk of its
//! communes, and what each of them and its own journal owe each other. Pure.
//!
//! | module | what is there |
//! |---|---|
//! | [`clock_guard`] | whether the wall clock can be believed |
//! | [`identity`] | who this machine is to a peer, and whom it believes there |
//! | [`ledger`] | entries on their way to the journal, and those that it could not take yet |
//! | [`rates`] | how much of what a peer sends is looked at, and how seldom that is written down |
//! | [`witness`] | the peers' journal heads: exchanged, kept, compared |

pub mod clock_guard;
pub mod identity;
pub mod ledger;
pub mod rates;
pub mod witness;
