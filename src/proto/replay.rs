//! A request is used once: a `jti` counts as used as soon as its signature has
//! verified. Bounded: what is older than the freshness window can't come again.

use std::collections::BTreeMap;

use super::ids::RequestId;
use crate::clock::Wall;

/// The used request ids of the last minutes.
#[derive(Clone, Debug, Default)]
pub struct Used {
    _seen: BTreeMap<RequestId, Wall>,
}

impl Used {
    /// Marks an id as used; `false` if it was used before. `iat` decides when it
    /// may be forgotten (freshness window and a margin past it).
    pub fn mark(&mut self, _id: RequestId, _iat: Wall, _now: Wall) -> bool {
        todo!("AUTH")
    }
}
