//! Who this machine is to one of its peers, and whom it believes there.

use std::sync::Arc;

use crate::clock::Wall;
use crate::format::designation::LinkAuthority;
use crate::format::jws::{self, Signer};
use crate::format::statement::{HEAD_TYPE, HeadClaims};
use crate::reason::{Reason, Refusal};

/// What is needed to speak with one peer.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who signs the peer's certificate.
    pub authority: LinkAuthority,
    /// Signs statements to the peer.
    pub signer: Arc<Signer>,
    /// Whether `signer` is not the one that signs the journal's heads: heads for this
    /// peer are then signed again with it.
    pub own_identity: bool,
}

impl Identity {
    /// A head of the own journal as the peer can verify it.
    pub fn head(&self, head: &str) -> String {
        let signed = self
            .own_identity
            .then(|| jws::open::<HeadClaims>(head, HEAD_TYPE).ok())
            .flatten();
        signed.map_or_else(
            || head.to_owned(),
            |signed| self.signer.sign(HEAD_TYPE, &signed.claims),
        )
    }

    /// The claims of a head of the own journal that the peer holds; none where this machine
    /// did not sign it: with today's key, or with one that the link authority vouches for.
    pub fn read_own(&self, own: &str, text: &str) -> Option<HeadClaims> {
        let signed = jws::open::<HeadClaims>(text, HEAD_TYPE).ok()?;
        let at = Wall::from_seconds(signed.claims.iat);
        let is_ours = signed.chain.first() == self.signer.chain().first()
            || self
                .authority
                .verify::<HeadClaims>(text, HEAD_TYPE, own, at)
                .is_ok();
        (is_ours && signed.claims.iss == own).then_some(signed.claims)
    }

    /// Verifies a head of the peer's journal.
    ///
    /// # Errors
    /// `bad_signature`, or `protocol_error` where it is another machine's, or none.
    pub fn read_head(&self, peer: &str, text: &str, now: Wall) -> Result<HeadClaims, Refusal> {
        let claims: HeadClaims = self.authority.verify(text, HEAD_TYPE, peer, now)?;
        if claims.iss != peer {
            let detail = format!("a head of {} came from {peer}", claims.iss);
            return Err(Refusal::new(Reason::ProtocolError, detail));
        }
        Ok(claims)
    }
}
