//! The commune's machine: requests in, grants and ends out. Pure (GATEWAY).

/// Proof that a recorded grant covers a camera: made only by the gate, from a
/// verified request and the journal's receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    grant: super::ids::GrantId,
}

impl Permit {
    /// The grant that allows it.
    pub fn grant(&self) -> super::ids::GrantId {
        self.grant
    }

    /// A permit without a grant, for the tests of the camera pool.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self {
            grant: super::ids::GrantId(uuid::Uuid::nil()),
        }
    }
}
