//! The signed statements inside entries: form, signature, whether they say what
//! their entry says, and whose keys signed them.

use serde::de::DeserializeOwned;

use crate::clock::Wall;
use crate::format::designation::{Authority, LinkAuthority, Rules, verify_request};
use crate::format::ids::Sha256;
use crate::format::jws;
use crate::format::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, Operator, REQUEST_TYPE, RequestClaims,
    VIEWINGS_TYPE, ViewingsClaims,
};
use crate::journal::entry::{Entry, GrantEntry};

/// Authorities that statements are proven by.
#[derive(Clone, Debug)]
pub struct Authorities {
    operators: Vec<Authority>,
    machines: Vec<LinkAuthority>,
}

impl Authorities {
    /// From PEM texts of link or designation authorities, in any order: whichever
    /// proves a statement counts. Without revocation lists: a statement is judged
    /// at the time it names.
    pub fn from_pem<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut authorities = Self {
            operators: Vec::new(),
            machines: Vec::new(),
        };
        for text in texts {
            authorities.operators.push(Authority::from_pem(text, &[])?);
            let machine = LinkAuthority::from_pem(text, &[])?;
            authorities.machines.push(machine);
        }
        Ok(authorities)
    }

    /// The operator who signed a request, if one of the authorities designated him.
    fn operator(&self, text: &str, at: Wall) -> Result<Operator, String> {
        let rules = Rules {
            max_designation: None,
            require_fresh_revocation: false,
        };
        let mut cause = "no authority is given".to_owned();
        for authority in &self.operators {
            match verify_request(text, authority, rules, at) {
                Ok(verified) => return Ok(verified.designation().operator.clone()),
                Err(refusal) => cause = refusal.to_string(),
            }
        }
        Err(cause)
    }

    fn machine(&self, text: &str, typ: &str, name: &str, at: Wall) -> Result<(), String> {
        let mut cause = "no authority is given".to_owned();
        for authority in &self.machines {
            match authority.verify::<serde_json::Value>(text, typ, name, at) {
                Ok(_) => return Ok(()),
                Err(refusal) => cause = refusal.to_string(),
            }
        }
        Err(cause)
    }
}

/// Whose statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signers {
    /// Operators: requests.
    Operators,
    /// Machines: grants, heads, lists of viewings.
    Machines,
}

/// What an entry's statements come to.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong, no matter who signed.
    pub wrong: Vec<String>,
    /// How many were proven to be of whom they name, or why one was not.
    pub proven: Vec<(Signers, Result<(), String>)>,
    /// Heads of journals, own or peers'.
    pub heads: Vec<HeadClaims>,
    /// How many statements there were.
    pub count: u64,
}

/// Checks the statements of an entry.
pub fn check(entry: &Entry, authorities: Option<&Authorities>) -> Checked {
    let mut checker = Checker {
        authorities,
        checked: Checked::default(),
    };
    match entry {
        Entry::Grant(grant) => checker.grant(grant),
        Entry::Refused {
            request,
            jti,
            operator,
            ..
        } => {
            if let Some(claims) = checker.request(request, operator) {
                checker.same("jti", &claims.jti, jti);
            }
        }
        Entry::Waiting {
            request,
            jti,
            operator,
            peer,
            cameras,
            ..
        } => {
            if let Some(claims) = checker.request(request, operator) {
                checker.same("jti", &claims.jti, jti);
                checker.same("centre", &claims.centre, peer);
                for camera in cameras.iter().filter(|id| !claims.cameras.contains(id)) {
                    let wrong = format!("camera {camera} waits and was not asked for");
                    checker.checked.wrong.push(wrong);
                }
            }
        }
        Entry::Confirmed { centre, head, .. } => checker.head(head, Some(centre.as_str())),
        Entry::PeerHead { peer, head } => checker.head(head, Some(peer)),
        Entry::PeerContradiction {
            peer, head, found, ..
        } => {
            checker.head(head, Some(peer));
            if let Some(found) = found {
                checker.head(found, Some(peer));
            }
        }
        Entry::JournalWentBack { head, .. } => checker.head(head, None),
        Entry::Viewings {
            grant, statement, ..
        } => {
            if let Some(claims) = checker.open::<ViewingsClaims>(statement, VIEWINGS_TYPE) {
                checker.same("grant", &claims.grant, grant);
                let at = Wall::from_seconds(claims.iat);
                checker.machine(statement, VIEWINGS_TYPE, claims.iss.as_str(), at);
            }
        }
        _ => {}
    }
    checker.checked
}

struct Checker<'a> {
    authorities: Option<&'a Authorities>,
    checked: Checked,
}

impl Checker<'_> {
    fn open<T: DeserializeOwned>(&mut self, text: &str, typ: &str) -> Option<T> {
        self.checked.count += 1;
        match jws::open::<T>(text, typ) {
            Ok(signed) => Some(signed.claims),
            Err(refusal) => {
                self.checked.wrong.push(format!("its {typ}: {refusal}"));
                None
            }
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, signed: &T, written: &T) {
        if signed != written {
            let wrong =
                format!("the entry says {what} {written:?}, the signed statement {signed:?}");
            self.checked.wrong.push(wrong);
        }
    }

    fn machine(&mut self, text: &str, typ: &str, name: &str, at: Wall) {
        if let Some(authorities) = self.authorities {
            let proven = authorities.machine(text, typ, name, at);
            let proven = proven.map_err(|cause| format!("its {typ} of {name}: {cause}"));
            self.checked.proven.push((Signers::Machines, proven));
        }
    }

    fn request(&mut self, text: &str, operator: &Operator) -> Option<RequestClaims> {
        let claims: RequestClaims = self.open(text, REQUEST_TYPE)?;
        if let Some(authorities) = self.authorities {
            let proven = authorities.operator(text, Wall::from_seconds(claims.iat));
            if let Ok(signer) = &proven {
                self.same("operator", signer, operator);
            }
            let proven = proven
                .map(drop)
                .map_err(|cause| format!("its request: {cause}"));
            self.checked.proven.push((Signers::Operators, proven));
        }
        Some(claims)
    }

    fn head(&mut self, text: &str, owner: Option<&str>) {
        if let Some(claims) = self.open::<HeadClaims>(text, HEAD_TYPE) {
            if let Some(owner) = owner {
                self.same("peer", &claims.iss.as_str(), &owner);
            }
            let at = Wall::from_seconds(claims.iat);
            self.machine(text, HEAD_TYPE, &claims.iss, at);
            self.checked.heads.push(claims);
        }
    }

    fn grant(&mut self, entry: &GrantEntry) {
        if let Some(claims) = self.request(&entry.request, &entry.operator) {
            self.same("jti", &claims.jti, &entry.jti);
            self.same("commune", &claims.aud, &entry.commune);
            self.same("centre", &claims.centre, &entry.centre);
            self.same("grounds", &claims.grounds, &entry.grounds);
            self.same("incident", &claims.incident, &entry.incident);
            for camera in &entry.granted {
                if !claims.cameras.contains(camera) {
                    let wrong = format!("camera {camera} is granted and was not asked for");
                    self.checked.wrong.push(wrong);
                }
            }
        }
        if let Some(proof) = &entry.proof
            && let Some(claims) = self.open::<GrantClaims>(proof, GRANT_TYPE)
        {
            self.same("grant", &claims.grant, &entry.grant);
            self.same("commune", &claims.iss, &entry.commune);
            self.same("centre", &claims.aud, &entry.centre);
            let request = Sha256::of(entry.request.as_bytes());
            self.same("request", &claims.request, &request);
            let at = Wall::from_seconds(claims.start);
            self.machine(proof, GRANT_TYPE, claims.iss.as_str(), at);
            self.head(&claims.head, Some(entry.commune.as_str()));
        }
        if let Some(head) = &entry.peer_head {
            self.head(head, None);
        }
    }
}
