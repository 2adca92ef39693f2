//! The signed statements inside entries: form, signature, whether they say what
//! their entry says, and whose keys signed them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::clock::Wall;
use crate::format::decision::DECISION_TYPE;
use crate::format::designation::{self, Authority, LinkAuthority, Rules, check_request, designate};
use crate::format::ids::{RequestId, Sha256};
use crate::format::jws;
use crate::format::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, LOG_KEY_TYPE, LogKeyClaims, Operator,
    REQUEST_TYPE, RequestClaims, VIEWINGS_TYPE, ViewingsClaims,
};
use crate::format::trust::dns_names;
use crate::journal::entry::{Entry, GrantEntry};
use crate::reason::Refusal;

/// Most chains of certificates that are remembered as proven.
const CHAINS_LIMIT: usize = 4_096;
/// A chain that holds at a time is tried for so much later too: the statements that follow
/// need not prove it again.
const AHEAD: Duration = Duration::from_secs(24 * 3_600);

/// Most requests that are remembered until their other side is read: some 300 bytes each.
const REQUESTS_LIMIT: usize = 100_000;

/// Authorities that statements are proven by. Clones share what they have proven.
#[derive(Clone, Debug)]
pub struct Authorities {
    operators: Vec<Authority>,
    machines: Vec<LinkAuthority>,
    proven: Arc<Mutex<BTreeMap<Chain, Proven>>>,
    /// Requests that were proven, and whose they are: both sides hold the same ones.
    requests: Arc<Mutex<HashMap<Sha256, Operator>>>,
}

/// A chain of certificates by its hash, and the machine's name that it must prove.
type Chain = (Sha256, Option<String>);

/// A chain that an authority proves from one time to another: without revocation lists a chain
/// that holds at both holds between them.
#[derive(Clone, Debug)]
struct Proven {
    from: Wall,
    to: Wall,
    /// Whom it designates, unless it is a machine's.
    operator: Option<Operator>,
}

impl Authorities {
    /// From PEM texts of link or designation authorities, in any order: whichever
    /// proves a statement counts. Without revocation lists: a statement is judged
    /// at the time it names.
    ///
    /// # Errors
    ///
    /// A text is no PEM, or holds no authority.
    pub fn from_pem<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut authorities = Self {
            operators: Vec::new(),
            machines: Vec::new(),
            proven: Arc::default(),
            requests: Arc::default(),
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
        let hash = Sha256::of(text.as_bytes());
        let known = || self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        // The second one to ask is the other side of the same request: nobody asks a third time.
        if let Some(operator) = known().remove(&hash) {
            return Ok(operator);
        }
        let signed = jws::open::<RequestClaims>(text, REQUEST_TYPE);
        let signed = signed.map_err(|refusal| refusal.to_string())?;
        check_request(&signed.claims)?;
        let rules = Rules {
            max_designation: None,
            require_fresh_revocation: false,
        };
        let proven = self.prove(&signed.chain, None, at, |at| {
            any(&self.operators, |authority| {
                let designation = designate(&signed.chain, authority, rules, at)?;
                Ok(Some(designation.operator))
            })
        })?;
        let operator = proven.ok_or_else(|| "no authority is given".to_owned())?;
        let mut known = known();
        if known.len() < REQUESTS_LIMIT {
            known.insert(hash, operator.clone());
        }
        Ok(operator)
    }

    /// Whether one of the authorities proves that the machine of this name signed.
    ///
    /// # Errors
    /// Why none of them does.
    pub fn machine(&self, text: &str, typ: &str, name: &str, at: Wall) -> Result<(), String> {
        let signed = jws::open_envelope(text, typ).map_err(|refusal| refusal.to_string())?;
        self.prove(&signed.chain, Some(name), at, |at| {
            any(&self.machines, |authority| {
                authority.vouches(&signed.chain, name, at).map(|()| None)
            })
        })
        .map(drop)
    }

    /// Whether one of the authorities proves this chain of certificates, a person's or a machine's.
    ///
    /// # Errors
    /// Why none of them does.
    pub fn proves(&self, chain: &[CertificateDer<'_>], at: Wall) -> Result<(), String> {
        let rules = Rules {
            max_designation: None,
            require_fresh_revocation: false,
        };
        let person = any(&self.operators, |authority| {
            designate(chain, authority, rules, at).map(|_| None)
        });
        let names = chain.first().map(dns_names).unwrap_or_default();
        let mut machines = names.iter().map(|name| {
            any(&self.machines, |authority| {
                authority.vouches(chain, name, at).map(|()| None)
            })
        });
        match machines.next() {
            Some(machine) => machine.map(drop),
            None => person.map(drop),
        }
    }

    /// Proves a chain, unless that was done for this time.
    fn prove(
        &self,
        chain: &[CertificateDer<'_>],
        name: Option<&str>,
        at: Wall,
        holds: impl Fn(Wall) -> Result<Option<Operator>, String>,
    ) -> Result<Option<Operator>, String> {
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for certificate in chain {
            hash.update(&certificate.len().to_be_bytes());
            hash.update(certificate);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.finish().as_ref());
        let key = (Sha256(digest), name.map(str::to_owned));
        let lock = || self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(proven) = lock().get(&key)
            && proven.from <= at
            && at <= proven.to
        {
            return Ok(proven.operator.clone());
        }
        let operator = holds(at)?;
        let later = at.plus(AHEAD);
        let to = if holds(later).is_ok() { later } else { at };
        let mut all = lock();
        if all.len() >= CHAINS_LIMIT {
            all.clear();
        }
        let proven = Proven {
            from: at,
            to,
            operator: operator.clone(),
        };
        all.insert(key, proven);
        Ok(operator)
    }
}

/// The first authority's word that holds; why the last one's does not.
fn any<A>(
    authorities: &[A],
    holds: impl Fn(&A) -> Result<Option<Operator>, Refusal>,
) -> Result<Option<Operator>, String> {
    let mut cause = "no authority is given".to_owned();
    for authority in authorities {
        match holds(authority) {
            Ok(operator) => return Ok(operator),
            Err(refusal) => cause = refusal.to_string(),
        }
    }
    Err(cause)
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
    /// Heads of journals, with the statement.
    pub heads: Vec<(HeadClaims, String)>,
    /// Since when the centre counted what a list of viewings says it received.
    pub counted_since: Option<i64>,
    /// How many statements there were.
    pub count: u64,
}

/// Which signatures are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All.
    Full,
    /// All but those of heads, of which only the claims are read: who compares journals
    /// verifies the few heads that something depends on.
    HeadsUnverified,
}

/// Checks the statements of an entry.
pub fn check(entry: &Entry, authorities: Option<&Authorities>, depth: Depth) -> Checked {
    let mut checker = Checker {
        authorities,
        depth,
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
        Entry::Decision {
            statement,
            jti,
            person,
            ..
        } => checker.decision(statement, jti, person),
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
        Entry::Pruned {
            journal,
            last,
            link,
            head,
            ..
        } => {
            checker.head(head, None);
            if let Some((claims, _)) = checker.checked.heads.first().cloned() {
                checker.same("journal", &claims.journal, journal);
                checker.same("last", &claims.seq, last);
                checker.same("link", &claims.link, link);
            }
        }
        Entry::Viewings {
            grant,
            statement,
            viewings,
            received,
            ..
        } => {
            let signer =
                |claims: &ViewingsClaims| (claims.iss.to_string(), Wall::from_seconds(claims.iat));
            if let Some(claims) = checker.machine(statement, VIEWINGS_TYPE, signer) {
                checker.same("grant", &claims.grant, grant);
                checker.same("viewings", &claims.viewings, viewings);
                checker.same("received", &claims.received, received);
                checker.checked.counted_since = claims.counted_since;
            }
        }
        Entry::LogKey { vkey, statement } => {
            let signer =
                |claims: &LogKeyClaims| (claims.iss.clone(), Wall::from_seconds(claims.iat));
            if let Some(claims) = checker.machine(statement, LOG_KEY_TYPE, signer) {
                checker.same("vkey", &claims.vkey, vkey);
            }
        }
        _ => {}
    }
    checker.checked
}

/// The heads in an entry whose signature is right.
pub(super) fn heads(entry: &Entry) -> Vec<HeadClaims> {
    // Heads are small; what does not open is told when its own copy is verified.
    let heads = check(entry, None, Depth::Full).heads;
    let heads = heads.into_iter().map(|(head, _)| head);
    heads.filter(|head| is_name(&head.iss)).collect()
}

/// Names in heads are ids; anything else would only spoil the report.
fn is_name(name: &str) -> bool {
    crate::format::ids::CommuneId::new(name).is_ok()
}

/// What all decisions say.
#[derive(Deserialize)]
struct Decided {
    jti: RequestId,
}

struct Checker<'a> {
    authorities: Option<&'a Authorities>,
    depth: Depth,
    checked: Checked,
}

impl Checker<'_> {
    fn open<T: DeserializeOwned>(&mut self, text: &str, typ: &str) -> Option<T> {
        match jws::open::<T>(text, typ) {
            Ok(signed) => Some(signed.claims),
            Err(refusal) => {
                self.checked.wrong.push(format!("its {typ}: {refusal}"));
                None
            }
        }
    }

    /// What a person at the commune signed: whose authority that is, the settings say, which a
    /// journal does not hold.
    fn decision(&mut self, text: &str, jti: &RequestId, person: &Operator) {
        self.checked.count += 1;
        let signed = match jws::open::<Decided>(text, DECISION_TYPE) {
            Ok(signed) => signed,
            Err(refusal) => {
                let wrong = format!("its {DECISION_TYPE}: {refusal}");
                return self.checked.wrong.push(wrong);
            }
        };
        self.same("jti", &signed.claims.jti, jti);
        let holder = signed.chain.first().map(designation::read);
        match holder {
            Some(Ok(holder)) => self.same("person", &holder.operator, person),
            Some(Err(cause)) => self
                .checked
                .wrong
                .push(format!("its {DECISION_TYPE}: {cause}")),
            None => {}
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, signed: &T, written: &T) {
        if signed != written {
            let wrong =
                format!("the entry says {what} {written:?}, the signed statement {signed:?}");
            self.checked.wrong.push(wrong);
        }
    }

    /// A machine's statement; `signer` says who signed it by its claims, and when. Where an
    /// authority proves it, its form and signature are right and not looked at twice.
    fn machine<T: DeserializeOwned>(
        &mut self,
        text: &str,
        typ: &str,
        signer: impl FnOnce(&T) -> (String, Wall),
    ) -> Option<T> {
        self.checked.count += 1;
        let read = self.authorities.zip(jws::read_unverified::<T>(text).ok());
        let Some((authorities, claims)) = read else {
            return self.open(text, typ);
        };
        let (name, at) = signer(&claims);
        match authorities.machine(text, typ, &name, at) {
            Ok(()) => {
                self.checked.proven.push((Signers::Machines, Ok(())));
                Some(claims)
            }
            Err(cause) => {
                let claims = self.open(text, typ)?;
                let unproven = Err(format!("its {typ} of {name}: {cause}"));
                self.checked.proven.push((Signers::Machines, unproven));
                Some(claims)
            }
        }
    }

    fn request(&mut self, text: &str, operator: &Operator) -> Option<RequestClaims> {
        self.checked.count += 1;
        let read = self
            .authorities
            .zip(jws::read_unverified::<RequestClaims>(text).ok());
        let Some((authorities, claims)) = read else {
            return self.open(text, REQUEST_TYPE);
        };
        match authorities.operator(text, Wall::from_seconds(claims.iat)) {
            Ok(signer) => {
                self.same("operator", &signer, operator);
                self.checked.proven.push((Signers::Operators, Ok(())));
                Some(claims)
            }
            Err(cause) => {
                let claims = self.open(text, REQUEST_TYPE)?;
                let unproven = Err(format!("its request: {cause}"));
                self.checked.proven.push((Signers::Operators, unproven));
                Some(claims)
            }
        }
    }

    fn head(&mut self, text: &str, owner: Option<&str>) {
        let signer = |claims: &HeadClaims| (claims.iss.clone(), Wall::from_seconds(claims.iat));
        let claims = match self.depth {
            Depth::Full => self.machine(text, HEAD_TYPE, signer),
            Depth::HeadsUnverified => {
                self.checked.count += 1;
                let read = jws::read_unverified::<HeadClaims>(text);
                read.map_err(|refusal| {
                    let wrong = format!("its {HEAD_TYPE}: {refusal}");
                    self.checked.wrong.push(wrong);
                })
                .ok()
            }
        };
        if let Some(claims) = claims {
            if let Some(owner) = owner {
                self.same("peer", &claims.iss.as_str(), &owner);
            }
            self.checked.heads.push((claims, text.to_owned()));
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
        let signer =
            |claims: &GrantClaims| (claims.iss.to_string(), Wall::from_seconds(claims.start));
        if let Some(proof) = &entry.proof
            && let Some(claims) = self.machine(proof, GRANT_TYPE, signer)
        {
            self.same("grant", &claims.grant, &entry.grant);
            self.same("commune", &claims.iss, &entry.commune);
            self.same("centre", &claims.aud, &entry.centre);
            let request = Sha256::of(entry.request.as_bytes());
            self.same("request", &claims.request, &request);
            self.same("granted", &claims.granted, &entry.granted);
            self.same("start", &claims.start, &entry.start);
            self.same("expires", &claims.expires, &entry.expires);
            self.head(&claims.head, Some(entry.commune.as_str()));
            // The receiver's entry names the head of its proof again.
            if entry.peer_head.as_ref() == Some(&claims.head) {
                return;
            }
        }
        if let Some(head) = &entry.peer_head {
            self.head(head, None);
        }
    }
}
