//! What a person at the commune signs on its page (interfaces.md 10): a decision on a request that
//! waits, a cut, and its end. All three are `fanal-decision+jwt`; their claims tell them apart.

use serde::{Deserialize, Serialize};

use crate::format::ids::{CommuneId, RequestId};

/// `typ` of a decision.
pub const DECISION_TYPE: &str = "fanal-decision+jwt";

/// A person at the commune approves or refuses a request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionClaims {
    /// Random id, used once.
    pub jti: RequestId,
    /// When it was signed, seconds since the epoch.
    pub iat: i64,
    /// The commune whose gateway it is for.
    pub aud: CommuneId,
    /// The request's own id.
    pub request: RequestId,
    /// What is to be done with it.
    pub decision: Decision,
}

/// What is to be done with a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Grant it.
    Approve,
    /// Refuse it.
    Refuse,
}

/// A person at the commune cuts a scope, or lifts a cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutClaims {
    /// Random id, used once.
    pub jti: RequestId,
    /// When it was signed, seconds since the epoch.
    pub iat: i64,
    /// The commune whose gateway it is for.
    pub aud: CommuneId,
    /// `grant:ID`, `camera:ID`, `centre:ID` or `all`.
    pub scope: String,
    /// For how long the same is refused, in seconds. A cut needs it; the end of one passes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// Which of both it is. fanal's page always says so, so that neither can be taken for the
    /// other; where it is missing, the call tells (`POST cuts`, `DELETE cuts`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<CutDecision>,
}

/// What is to be done with a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutDecision {
    /// End it at once and refuse it for a time.
    Cut,
    /// Refuse it no more.
    Allow,
}

/// What every decision says of itself.
pub trait Dated {
    /// Its id.
    fn id(&self) -> RequestId;
    /// When it was signed, seconds since the epoch.
    fn signed_at(&self) -> i64;
    /// The commune that it is for.
    fn audience(&self) -> &CommuneId;
}

impl Dated for DecisionClaims {
    fn id(&self) -> RequestId {
        self.jti
    }

    fn signed_at(&self) -> i64 {
        self.iat
    }

    fn audience(&self) -> &CommuneId {
        &self.aud
    }
}

impl Dated for CutClaims {
    fn id(&self) -> RequestId {
        self.jti
    }

    fn signed_at(&self) -> i64 {
        self.iat
    }

    fn audience(&self) -> &CommuneId {
        &self.aud
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::jws::parse_claims;

    const ID: &str = "0190a1b2-0000-7000-8000-000000000001";

    #[test]
    fn the_claims_are_exactly_these() {
        let decision = format!(
            r#"{{"jti":"{ID}","iat":1,"aud":"berre","request":"{ID}","decision":"approve"}}"#
        );
        let read: DecisionClaims = parse_claims(decision.as_bytes()).unwrap();
        assert_eq!(read.decision, Decision::Approve);
        assert_eq!(serde_json::to_string(&read).unwrap(), decision);
        let cut = format!(r#"{{"jti":"{ID}","iat":1,"aud":"berre","scope":"all","block":900}}"#);
        let read: CutClaims = parse_claims(cut.as_bytes()).unwrap();
        assert_eq!((read.block, read.decision), (Some(900), None));
        assert_eq!(serde_json::to_string(&read).unwrap(), cut);
        // One is never read as the other, and nothing unknown passes.
        assert!(parse_claims::<CutClaims>(decision.as_bytes()).is_err());
        assert!(parse_claims::<DecisionClaims>(cut.as_bytes()).is_err());
        for bad in [
            cut.replace("900", "-1"),
            cut.replace("\"all\"", "7"),
            cut.replace("}", ",\"decision\":\"approve\"}"),
            cut.replace("}", ",\"more\":1}"),
        ] {
            assert!(parse_claims::<CutClaims>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
