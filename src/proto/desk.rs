//! The centre's machine: what the receiver believes, checks and passes on. Pure (RECEIVER).

/// Proof that a grant is recorded at the centre: made only by the desk, from a
/// verified proof and the journal's receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    grant: super::ids::GrantId,
}

impl Permit {
    /// The grant that allows it.
    pub fn grant(&self) -> super::ids::GrantId {
        self.grant
    }

    /// A permit without a grant, for the tests of the hub.
    #[cfg(test)]
    pub(crate) fn for_test(grant: super::ids::GrantId) -> Self {
        Self { grant }
    }
}
