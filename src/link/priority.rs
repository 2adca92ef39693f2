//! Who goes first on a link: larger numbers do. Between these two are the numbers of
//! the relays' classes ([`crate::media::relay::Class::number`]).

/// The control stream.
pub const CONTROL: i32 = 100;
/// A group that a newer one replaces: only what nothing else needs.
pub const SUPERSEDED: i32 = -10;
