//! Both authorities in memory: for the demo, whose certificates are thrown
//! away, and for tests. Never for a real commune: there the two authorities are
//! two people's.

use std::time::Duration;

use super::authority::{Authority, Kind, Person};
use super::{Error, Identity, Validity};
use crate::clock::Wall;

/// How long the authorities and machines of a trial are valid.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long before the start they are valid already, for clocks that differ.
const BEFORE: Duration = Duration::from_secs(3600);

/// Both authorities and their newest lists.
#[derive(Debug)]
pub struct Trial {
    link: Authority,
    designation: Authority,
    link_list: String,
    designation_list: String,
    validity: Validity,
}

impl Trial {
    /// New authorities, valid from an hour before `now` for 30 days, and their empty lists.
    pub fn new(now: Wall) -> Result<Self, Error> {
        let before = i64::try_from(BEFORE.as_micros()).unwrap_or(0);
        let validity = Validity::lasting(Wall(now.0.saturating_sub(before)), LIFE);
        let mut link = Authority::make(Kind::Link, validity)?;
        let mut designation = Authority::make(Kind::Designation, validity)?;
        Ok(Self {
            link_list: link.list(now)?,
            designation_list: designation.list(now)?,
            link,
            designation,
            validity,
        })
    }

    /// The link authority's certificate, PEM.
    pub fn link_authority(&self) -> &str {
        self.link.certificate()
    }

    /// The link authority's newest list, PEM.
    pub fn link_list(&self) -> &str {
        &self.link_list
    }

    /// The designation authority's certificate, PEM.
    pub fn designation_authority(&self) -> &str {
        self.designation.certificate()
    }

    /// The designation authority's newest list, PEM.
    pub fn designation_list(&self) -> &str {
        &self.designation_list
    }

    /// A gateway's (commune id) or receiver's (centre id) identity, as valid as the authorities.
    pub fn machine(&self, id: &str) -> Result<Identity, Error> {
        self.link.machine(id, self.validity)
    }

    /// The same with another validity.
    pub fn machine_valid(&self, id: &str, validity: Validity) -> Result<Identity, Error> {
        self.link.machine(id, validity)
    }

    /// An operator's identity.
    pub fn operator(&self, person: &Person, validity: Validity) -> Result<Identity, Error> {
        self.designation.operator(person, validity)
    }

    /// An operator of that number and unit, valid for a day from `now`.
    pub fn simple_operator(&self, number: &str, unit: &str, now: Wall) -> Result<Identity, Error> {
        let person = Person {
            number: number.to_owned(),
            name: format!("Adjudant {number}"),
            unit: unit.to_owned(),
        };
        // Certificates count whole seconds: the one that runs may be rounded up.
        let validity = Validity {
            from: Wall(now.0.saturating_sub(60_000_000)),
            until: now.plus(LIFE / 30),
        };
        self.operator(&person, validity)
    }

    /// Revokes an operator's certificate (PEM) and gives the new list.
    pub fn revoke_operator(&mut self, certificate: &str, now: Wall) -> Result<&str, Error> {
        self.designation.revoke(certificate, now)?;
        self.designation_list = self.designation.list(now)?;
        Ok(&self.designation_list)
    }

    /// Revokes a machine's certificate (PEM) and gives the new list.
    pub fn revoke_machine(&mut self, certificate: &str, now: Wall) -> Result<&str, Error> {
        self.link.revoke(certificate, now)?;
        self.link_list = self.link.list(now)?;
        Ok(&self.link_list)
    }

    /// Both authorities, for what this does not offer (a list with another `nextUpdate`).
    pub fn authorities(&mut self) -> (&mut Authority, &mut Authority) {
        (&mut self.link, &mut self.designation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::designation::{self, LinkAuthority, Rules};
    use crate::format::ids::{CentreId, RequestId};
    use crate::format::jws::Signer;
    use crate::format::statement::{HEAD_TYPE, TOKEN_TYPE, TokenClaims};
    use crate::reason::Reason;

    const NOW: Wall = Wall::from_seconds(1_763_864_381);
    const RULES: Rules = Rules {
        max_designation: None,
        require_fresh_revocation: true,
    };

    #[test]
    fn operators_of_a_trial_are_designated_until_they_are_revoked() {
        let mut trial = Trial::new(NOW).unwrap();
        let operator = trial.simple_operator("13-4567", "CORG 13", NOW).unwrap();
        let signer = Signer::from_pem(operator.key.expose(), &operator.certificate).unwrap();
        let token = TokenClaims {
            jti: RequestId(uuid::Uuid::from_u128(7)),
            iat: NOW.seconds(),
            exp: NOW.seconds() + 300,
            aud: CentreId::new("corg-13").unwrap(),
        };
        let text = signer.sign(TOKEN_TYPE, &token);
        let lists = [trial.designation_list()];
        let mut authority =
            designation::Authority::from_pem(trial.designation_authority(), &lists).unwrap();
        let verified = designation::verify_token(&text, &authority, RULES, NOW).unwrap();
        assert_eq!(verified.designation().operator.number, "13-4567");
        assert_eq!(verified.designation().operator.unit, "CORG 13");

        let list = trial.revoke_operator(&operator.certificate, NOW).unwrap();
        let taken = authority.update(list).unwrap().unwrap();
        assert_eq!(taken.number, (NOW.seconds() + 1).to_string());
        assert_eq!(authority.update(list), Ok(None));
        let refusal = designation::verify_token(&text, &authority, RULES, NOW).unwrap_err();
        assert_eq!(refusal.reason, Reason::DesignationRevoked);
    }

    #[test]
    fn machines_of_a_trial_sign_under_their_own_name_alone() {
        let trial = Trial::new(NOW).unwrap();
        let machine = trial.machine("berre-l-etang").unwrap();
        let signer = Signer::from_pem(machine.key.expose(), &machine.certificate).unwrap();
        let text = signer.sign(HEAD_TYPE, &serde_json::json!({"seq": 1}));
        let link = LinkAuthority::from_pem(trial.link_authority(), &[trial.link_list()]).unwrap();
        let open = |name| link.verify::<serde_json::Value>(&text, HEAD_TYPE, name, NOW);
        assert_eq!(open("berre-l-etang").unwrap()["seq"], 1);
        assert_eq!(open("corg-13").unwrap_err().reason, Reason::BadSignature);
        let designation = trial.designation_authority();
        let other = LinkAuthority::from_pem(designation, &[]).unwrap();
        let refusal = other
            .verify::<serde_json::Value>(&text, HEAD_TYPE, "berre-l-etang", NOW)
            .unwrap_err();
        assert_eq!(refusal.reason, Reason::BadSignature);
    }
}
