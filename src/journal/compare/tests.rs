mod pruned;
mod witnesses;

use std::time::Duration;

use super::*;
use crate::certs::Validity;
use crate::certs::authority::Person;
use crate::certs::trial::Trial;
use crate::clock::Wall;
use crate::format::chain::{End, Line};
use crate::format::ids::{CameraId, CentreId, CommuneId, Incident, ProfileWish, RequestId, Sha256};
use crate::format::jws::Signer;
use crate::format::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, Operator, REQUEST_TYPE, RequestClaims,
    VIEWINGS_TYPE, Viewing, ViewingsClaims,
};
use crate::journal::entry::{Entry, GrantEntry};
use crate::journal::log::encode;
use crate::journal::sim::Scratch;
use crate::journal::store::Month;
use crate::reason::Reason;

const START: Wall = Wall::from_seconds(1_795_996_800);
const COMMUNE: &str = "berre-l-etang";
const CENTRE: &str = "corg-13";

/// A journal that is being written.
#[derive(Clone)]
struct Book {
    owner: &'static str,
    id: String,
    lines: Vec<Vec<u8>>,
    end: End,
}

impl Book {
    fn new(owner: &'static str, id: &str) -> Self {
        let mut book = Self {
            owner,
            id: id.to_owned(),
            lines: Vec::new(),
            end: End::START,
        };
        let started = Entry::Started {
            by: owner.to_owned(),
            version: "test".to_owned(),
            settings: Sha256::ZERO,
            certificate: String::new(),
        };
        book.add(START, &started);
        book
    }

    fn add(&mut self, time: Wall, entry: &Entry) {
        let text = encode(entry).unwrap();
        let id = match self.end.seq {
            0 => format!(r#""journal_id":"{}","#, self.id),
            _ => String::new(),
        };
        let mut body = format!(r#"{{"v":1,{id}"salt":"{}","#, self.lines.len()).into_bytes();
        body.extend_from_slice(&text[1..]);
        self.push(time, &body);
    }

    fn push(&mut self, time: Wall, body: &[u8]) {
        let header = self.end.next(time, body);
        let mut line = header.with_body(body);
        line.push(b'\n');
        let (seq, link) = (header.seq, header.link());
        self.end = End { seq, link };
        self.lines.push(line);
    }

    /// Numbers of the lines of this kind.
    fn of_kind(&self, kind: &str) -> Vec<usize> {
        let has = |line: &Vec<u8>| {
            String::from_utf8_lossy(line).contains(&format!("\"kind\":\"{kind}\""))
        };
        (0..self.lines.len())
            .filter(|at| has(&self.lines[*at]))
            .collect()
    }

    /// Chains the lines again: what anybody can do who has them.
    fn chain(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        self.end = End::START;
        for line in lines {
            let line = Line::parse(&line[..line.len() - 1]).unwrap();
            self.push(line.header.time, line.body.unwrap());
        }
    }

    /// Replaces text in a line, which no longer fits its digest.
    fn edit(&mut self, at: usize, from: &str, to: &str) {
        let text = String::from_utf8(self.lines[at].clone()).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(text, changed, "{from}");
        self.lines[at] = changed.into_bytes();
    }

    fn leave_out(&mut self, at: usize) {
        let line = Line::parse(&self.lines[at][..self.lines[at].len() - 1]).unwrap();
        self.lines[at] = format!("{}\n", line.header.without_body()).into_bytes();
    }

    /// Writes a line to the file of its month.
    fn write(&self) -> Vec<(Month, Vec<u8>)> {
        let mut files: Vec<(Month, Vec<u8>)> = Vec::new();
        for line in &self.lines {
            let end = line.len() - usize::from(line.ends_with(b"\n"));
            let month = Line::parse(&line[..end]).map(|line| Month::of(line.header.time));
            match (files.last_mut(), month) {
                (Some((last, text)), Ok(month)) if month <= *last => text.extend_from_slice(line),
                (Some((_, text)), Err(_)) => text.extend_from_slice(line),
                (_, Ok(month)) => files.push((month, line.clone())),
                (None, Err(_)) => panic!("no line"),
            }
        }
        files
    }
}

/// Two machines, an operator, and what they wrote.
struct Pair {
    trial: Trial,
    commune: Signer,
    centre: Signer,
    operator: Signer,
    gateway: Book,
    receiver: Book,
    now: Wall,
    grants: u64,
}

fn signer(trial: &Trial, id: &str) -> Signer {
    let machine = trial.machine(id).unwrap();
    Signer::from_pem(machine.key.expose(), &machine.certificate).unwrap()
}

fn head(signer: &Signer, book: &Book, now: Wall) -> String {
    let claims = HeadClaims {
        iss: book.owner.to_owned(),
        journal: book.id.clone(),
        seq: book.end.seq,
        link: book.end.link,
        iat: now.seconds(),
    };
    signer.sign(HEAD_TYPE, &claims)
}

impl Pair {
    /// Grants of two months, the last of which both sides' heads cover.
    fn new() -> Self {
        let mut pair = Self::empty();
        for _ in 0..3 {
            pair.grant();
            pair.later(3_600);
        }
        pair.later(86_400);
        for _ in 0..3 {
            pair.grant();
            pair.later(3_600);
        }
        pair
    }

    fn empty() -> Self {
        let trial = Trial::new(START).unwrap();
        let person = Person {
            number: "13-1".to_owned(),
            name: "Adjudant 13-1".to_owned(),
            unit: "CORG 13".to_owned(),
        };
        let week = Validity::lasting(START, Duration::from_secs(7 * 86_400));
        let identity = trial.operator(&person, week).unwrap();
        Self {
            commune: signer(&trial, COMMUNE),
            centre: signer(&trial, CENTRE),
            operator: Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap(),
            trial,
            gateway: Book::new(COMMUNE, "aa"),
            receiver: Book::new(CENTRE, "bb"),
            now: START,
            grants: 0,
        }
    }

    fn later(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    fn entry(&mut self) -> GrantEntry {
        self.grants += 1;
        let number = u128::from(self.grants);
        let claims = RequestClaims {
            jti: RequestId(uuid::Uuid::from_u128(
                0x019a_0000_0000_7000_8000_0000_0000_0000 + number,
            )),
            iat: self.now.seconds(),
            aud: CommuneId::new(COMMUNE).unwrap(),
            centre: CentreId::new(CENTRE).unwrap(),
            cameras: vec![CameraId::new("quai-nord").unwrap()],
            grounds: "pursuit".to_owned(),
            incident: Incident::new("COG-13/42").unwrap(),
            duration: 600,
            profile: ProfileWish::Auto,
            present: Vec::new(),
            renews: None,
        };
        GrantEntry {
            grant: GrantId(uuid::Uuid::from_u128(number << 64 | number)),
            request: self.operator.sign(REQUEST_TYPE, &claims),
            jti: claims.jti,
            proof: None,
            commune: claims.aud,
            centre: claims.centre,
            operator: Operator {
                name: "Adjudant 13-1".to_owned(),
                number: "13-1".to_owned(),
                unit: "CORG 13".to_owned(),
            },
            grounds: claims.grounds,
            incident: claims.incident,
            recipients: vec!["CORG 13".to_owned()],
            granted: claims.cameras,
            refused: Vec::new(),
            renewal: false,
            first_start: self.now.seconds(),
            start: self.now.seconds(),
            expires: self.now.seconds() + 600,
            approved_by: None,
            agreement: "x".to_owned(),
            settings: Sha256::ZERO,
            peer_head: Some(head(&self.centre, &self.receiver, self.now)),
            receiver: None,
        }
    }

    fn proof(&self, entry: &GrantEntry) -> GrantEntry {
        let head = head(&self.commune, &self.gateway, self.now);
        let claims = GrantClaims {
            iss: entry.commune.clone(),
            aud: entry.centre.clone(),
            grant: entry.grant,
            request: Sha256::of(entry.request.as_bytes()),
            granted: entry.granted.clone(),
            refused: Vec::new(),
            start: entry.start,
            expires: entry.expires,
            head: head.clone(),
        };
        GrantEntry {
            proof: Some(self.commune.sign(GRANT_TYPE, &claims)),
            peer_head: Some(head),
            ..entry.clone()
        }
    }

    fn confirm(&mut self, grant: GrantId) {
        let head = head(&self.centre, &self.receiver, self.now);
        let centre = CentreId::new(CENTRE).unwrap();
        self.gateway.add(
            self.now,
            &Entry::Confirmed {
                grant,
                centre,
                head,
            },
        );
    }

    fn exchange(&mut self) {
        let (theirs, ours) = (
            head(&self.centre, &self.receiver, self.now),
            head(&self.commune, &self.gateway, self.now),
        );
        let (peer, head) = (CENTRE.to_owned(), theirs);
        self.gateway.add(self.now, &Entry::PeerHead { peer, head });
        let (peer, head) = (COMMUNE.to_owned(), ours);
        self.receiver.add(self.now, &Entry::PeerHead { peer, head });
    }

    fn ended(&self, grant: GrantId, reason: Reason) -> Entry {
        let at = self.now.rfc3339();
        let by = (reason == Reason::GrantReleased).then(|| "13-1".to_owned());
        Entry::Ended {
            grant,
            reason,
            at,
            by,
        }
    }

    /// Somebody watches for a minute; the list that the centre signs of it.
    fn watch(&mut self, grant: GrantId) -> ViewingsClaims {
        let (camera, who) = (CameraId::new("quai-nord").unwrap(), "13-1".to_owned());
        let from = self.now;
        self.receiver.add(
            from,
            &Entry::ViewingStarted {
                grant,
                commune: CommuneId::new(COMMUNE).unwrap(),
                camera: camera.clone(),
                who: who.clone(),
                how: "live".to_owned(),
                from: "127.0.0.1".to_owned(),
                holders: Vec::new(),
            },
        );
        let start = self.receiver.end.seq;
        self.later(60);
        let to = self.now.rfc3339();
        let (at, reason) = (to.clone(), None);
        self.receiver.add(
            self.now,
            &Entry::ViewingEnded {
                start,
                grant,
                reason,
                at,
                taken_over_by: None,
            },
        );
        self.later(30);
        ViewingsClaims {
            iss: CentreId::new(CENTRE).unwrap(),
            aud: CommuneId::new(COMMUNE).unwrap(),
            grant,
            iat: self.now.seconds(),
            part: Some(0),
            parts: Some(1),
            total: Some(1),
            viewings: vec![Viewing {
                camera,
                who,
                kind: "live".to_owned(),
                from: from.rfc3339(),
                to,
                holders: Vec::new(),
                count: None,
                seconds: None,
            }],
            received: Vec::new(),
            counted_since: None,
            journal: None,
        }
    }

    fn list(&mut self, claims: ViewingsClaims) {
        let statement = self.centre.sign(VIEWINGS_TYPE, &claims);
        let (part, parts) = (claims.part, claims.parts);
        let (grant, viewings) = (claims.grant, claims.viewings);
        let received = claims.received;
        self.gateway.add(
            self.now,
            &Entry::Viewings {
                grant,
                part,
                parts,
                statement,
                viewings,
                received,
            },
        );
    }

    /// A grant as both sides record it, from the request to the list of viewings.
    fn grant(&mut self) -> GrantId {
        let entry = self.entry();
        let grant = entry.grant;
        self.gateway
            .add(self.now, &Entry::Grant(Box::new(entry.clone())));
        let there = self.proof(&entry);
        self.receiver.add(self.now, &Entry::Grant(Box::new(there)));
        self.confirm(grant);
        let list = self.watch(grant);
        let end = self.ended(grant, Reason::GrantReleased);
        self.receiver.add(self.now, &end);
        self.gateway.add(self.now, &end);
        self.list(list);
        self.exchange();
        grant
    }

    fn book(&mut self, side: Side) -> &mut Book {
        match side {
            Side::Commune => &mut self.gateway,
            Side::Centre => &mut self.receiver,
        }
    }

    fn authorities(&self) -> Authorities {
        Authorities::from_pem([
            self.trial.link_authority(),
            self.trial.designation_authority(),
        ])
        .unwrap()
    }

    fn compare(&self) -> Report {
        self.compare_books(&[&self.gateway, &self.receiver])
    }

    fn compare_books(&self, books: &[&Book]) -> Report {
        let files: Vec<_> = books.iter().map(|book| book.write()).collect();
        self.compare_files(&files)
    }

    fn compare_files(&self, directories: &[Vec<(Month, Vec<u8>)>]) -> Report {
        let scratch = Scratch::new(&format!("compare-{}", uuid::Uuid::now_v7()));
        let mut paths = Vec::new();
        for (index, files) in directories.iter().enumerate() {
            let path = scratch.0.join(index.to_string());
            std::fs::create_dir(&path).unwrap();
            for (month, text) in files {
                std::fs::write(path.join(month.file_name()), text).unwrap();
            }
            paths.push(path);
        }
        let run = |authorities, memory| {
            let directories = paths.clone();
            let options = Options {
                directories,
                authorities,
                witnesses: Vec::new(),
                memory,
            };
            compare(&options, &AtomicU64::new(0)).unwrap()
        };
        let report = run(Some(self.authorities()), MEMORY_LIMIT);
        // Without authorities the result is the same, in any order of directories and with any memory.
        let unchecked = run(None, MEMORY_LIMIT);
        assert_eq!(
            unchecked.verdict, report.verdict,
            "{report:#?} {unchecked:#?}"
        );
        let small = run(Some(self.authorities()), 8_000 * paths.len());
        assert_eq!(small.findings, report.findings);
        assert_eq!(small.verdict, report.verdict);
        paths.reverse();
        let reversed = run_all(&paths, self.authorities());
        assert_eq!(whom(&reversed), whom(&report));
        report
    }
}

fn run_all(paths: &[PathBuf], authorities: Authorities) -> Report {
    let options = Options {
        directories: paths.to_vec(),
        authorities: Some(authorities),
        witnesses: Vec::new(),
        memory: MEMORY_LIMIT,
    };
    compare(&options, &AtomicU64::new(0)).unwrap()
}

/// The line of a finding, and whom it convicts.
type Whom = (Option<u64>, Option<String>);

/// What a report comes to.
fn whom(report: &Report) -> (Verdict, Vec<Whom>) {
    let found = report.findings.iter();
    let found = found.map(|found| (found.seq, found.convicts.clone()));
    (report.verdict, found.collect())
}

const BOTH: [Side; 2] = [Side::Commune, Side::Centre];

fn id(side: Side) -> &'static str {
    match side {
        Side::Commune => COMMUNE,
        Side::Centre => CENTRE,
    }
}

/// There is a contradiction that says this, and everything that convicts somebody convicts `side`.
#[track_caller]
fn assert_convicts(report: &Report, side: Side, says: &str, case: &str) {
    assert_eq!(
        report.verdict,
        Verdict::Contradiction,
        "{case}: {report:#?}"
    );
    let said = |found: &&Finding| found.what.contains(says);
    let found = report.findings.iter().find(said);
    let found = found.unwrap_or_else(|| panic!("{case}: {report:#?}"));
    assert_eq!(
        found.convicts.as_deref(),
        Some(id(side)),
        "{case}: {report:#?}"
    );
    let other = |found: &Finding| found.convicts.as_deref().is_some_and(|who| who != id(side));
    assert!(!report.findings.iter().any(other), "{case}: {report:#?}");
}

#[track_caller]
fn assert_convicts_nobody(report: &Report, verdict: Verdict, case: &str) {
    assert_eq!(report.verdict, verdict, "{case}: {report:#?}");
    let convicted = report
        .findings
        .iter()
        .find(|found| found.convicts.is_some());
    assert_eq!(convicted, None, "{case}");
}

#[test]
fn journals_that_agree_are_consistent() {
    let pair = Pair::new();
    let report = pair.compare();
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict, Verdict::Consistent);
    let checked = &report.checked;
    assert_eq!((checked.grants, checked.viewings), (6, 6));
    assert!(checked.machines_proven && checked.operators_proven);
    let of = |side: Side| {
        let journals = checked.journals.iter();
        journals.clone().find(|one| one.side == Some(side)).unwrap()
    };
    assert_eq!(of(Side::Commune).owner.as_deref(), Some(COMMUNE));
    assert_eq!(of(Side::Centre).id.as_deref(), Some("bb"));
    assert!(of(Side::Commune).witnessed >= of(Side::Commune).last - 2);
    assert!(pair.gateway.write().len() == 2, "two months");
}

type Change = fn(&mut Book);

/// What is done to lines that heads cover, and what is said of it.
const COVERED: &[(&str, Change, &str)] = &[
    ("the tail is cut", |b| b.lines.truncate(10), "missing"),
    (
        "an earlier copy of the whole",
        |b| b.lines.truncate(20),
        "missing",
    ),
    (
        "only the first line is left",
        |b| b.lines.truncate(1),
        "missing",
    ),
    ("a line is removed", |b| drop(b.lines.remove(6)), "removed"),
    (
        "the first line is removed",
        |b| drop(b.lines.remove(0)),
        "removed",
    ),
    (
        "lines are removed",
        |b| drop(b.lines.drain(4..9)),
        "removed",
    ),
    (
        "a line is repeated",
        |b| b.lines.insert(9, b.lines[5].clone()),
        "repeated",
    ),
    ("lines change places", |b| b.lines.swap(5, 6), "reordered"),
    (
        "a time is changed",
        |b| b.edit(5, "\"time\":\"2026", "\"time\":\"2025"),
        "changed",
    ),
    (
        "a body is changed",
        |b| b.edit(4, "\"v\":1", "\"v\":2"),
        "changed",
    ),
    (
        "a line is not readable",
        |b| b.lines[5] = b"x\n".to_vec(),
        "changed",
    ),
    (
        "a body is changed and all is chained again",
        |b| {
            b.edit(4, "\"v\":1", "\"w\":1");
            b.chain();
        },
        "contradicts the head",
    ),
    (
        "a grant is erased and all is chained again",
        |b| {
            let grant = b.of_kind("grant")[2];
            b.lines.remove(grant);
            b.chain();
        },
        "contradicts the head",
    ),
];

#[test]
fn tampering_with_what_heads_cover_convicts_the_journals_owner() {
    for side in BOTH {
        for (case, change, says) in COVERED {
            let mut pair = Pair::new();
            change(pair.book(side));
            let case = format!("{case} at {side:?}");
            assert_convicts(&pair.compare(), side, says, &case);
        }
    }
}

#[test]
fn months_that_are_missing_or_exchanged_convict_their_owner() {
    for side in BOTH {
        let mut pair = Pair::new();
        let whole = pair.book(side).write();
        let other = match side {
            Side::Commune => pair.receiver.write(),
            Side::Centre => pair.gateway.write(),
        };
        let (first, second) = (whole[0].clone(), whole[1].clone());
        let swapped = vec![(first.0, second.1.clone()), (second.0, first.1.clone())];
        for (case, files) in [
            ("no first month", vec![second]),
            ("no second month", vec![first]),
            ("swapped", swapped),
        ] {
            let report = pair.compare_files(&[files, other.clone()]);
            assert_eq!(
                report.verdict,
                Verdict::Contradiction,
                "{case}: {report:#?}"
            );
            let convicted = report
                .findings
                .iter()
                .filter_map(|found| found.convicts.as_deref());
            assert!(
                convicted.clone().all(|who| who == id(side)),
                "{case}: {report:#?}"
            );
            // Without its first line nothing says whose journal it is but the heads.
            assert!(convicted.count() > 0, "{case}: {report:#?}");
        }
    }
}

#[test]
fn what_no_head_covers_convicts_nobody() {
    for side in BOTH {
        // The last line came after the last head.
        let mut pair = Pair::new();
        pair.book(side).lines.pop();
        let report = pair.compare();
        assert_convicts_nobody(&report, Verdict::Consistent, "the last line is cut");

        let mut pair = Pair::new();
        let last = pair.book(side).lines.len() - 1;
        pair.book(side).edit(last, "\"v\":1", "\"v\":2");
        let report = pair.compare();
        assert_convicts_nobody(&report, Verdict::Contradiction, "the last body is changed");

        let mut pair = Pair::new();
        let last = pair.book(side).lines.len() - 1;
        let half = pair.book(side).lines[last].len() / 2;
        pair.book(side).lines[last].truncate(half);
        let report = pair.compare();
        assert_convicts_nobody(&report, Verdict::Consistent, "the last line is torn");
        assert!(
            report.notes.iter().any(|note| note.contains("no end")),
            "{report:#?}"
        );
    }
}

#[test]
fn copies_of_one_journal_may_be_mixed_and_must_agree() {
    let pair = Pair::new();
    let mut earlier = pair.receiver.clone();
    earlier.lines.truncate(20);
    let mut without = pair.gateway.clone();
    for at in pair.gateway.of_kind("ended") {
        without.leave_out(at);
    }
    let books = [&earlier, &pair.gateway, &pair.receiver, &without];
    let report = pair.compare_books(&books);
    assert_eq!(report.findings, []);
    let copies = report.checked.journals.iter().map(|one| one.copies);
    assert_eq!(copies.collect::<Vec<_>>(), [2, 2]);

    // A damaged copy beside a whole one says nothing of the owner.
    let mut damaged = pair.receiver.clone();
    damaged.lines.remove(7);
    let report = pair.compare_books(&[&pair.gateway, &damaged, &pair.receiver]);
    assert_convicts_nobody(&report, Verdict::Contradiction, "a damaged copy");

    // Two whole ones that differ do.
    let mut other = pair.receiver.clone();
    other.edit(9, "\"v\":1", "\"w\":1");
    other.chain();
    let report = pair.compare_books(&[&pair.gateway, &other, &pair.receiver]);
    assert_convicts(
        &report,
        Side::Centre,
        "copies of this journal",
        "two copies",
    );
}

#[test]
fn a_copy_without_other_centres_bodies_is_consistent() {
    let mut pair = Pair::new();
    let other = Entry::Unverified {
        peer: "corg-83".to_owned(),
        count: 3,
        reason: Reason::BadSignature,
    };
    for side in BOTH {
        let now = pair.now;
        pair.book(side).add(now, &other);
    }
    pair.grant();
    for side in BOTH {
        let book = pair.book(side);
        for at in book.of_kind("unverified") {
            book.leave_out(at);
        }
        // Not even the first line has to be there.
        book.leave_out(0);
    }
    let report = pair.compare();
    assert_eq!(report.findings, []);
    assert_eq!(report.checked.grants, 7);
    let ids = report.checked.journals.iter().map(|one| one.id.as_deref());
    assert_eq!(ids.collect::<Vec<_>>(), [Some("aa"), Some("bb")]);
}

#[test]
fn a_commune_that_signed_a_grant_and_did_not_record_it_is_convicted() {
    let mut pair = Pair::new();
    let entry = pair.entry();
    // Something else is where the grant must be, from the start: no head contradicts it.
    pair.gateway.add(pair.now, &Entry::Stopped {});
    let there = pair.proof(&entry);
    pair.receiver.add(pair.now, &Entry::Grant(Box::new(there)));
    pair.exchange();
    let report = pair.compare();
    assert_convicts(
        &report,
        Side::Commune,
        "signed this grant",
        "an entry is not there",
    );
    assert_eq!(report.findings[0].grant, Some(entry.grant));

    // Where the copy leaves bodies out it may be one of them.
    let stopped = pair.gateway.of_kind("stopped")[0];
    pair.gateway.leave_out(stopped);
    let report = pair.compare();
    assert_convicts_nobody(&report, Verdict::Contradiction, "a body is left out");
}

#[test]
fn a_commune_that_records_other_cameras_than_it_signed_is_convicted() {
    let mut pair = Pair::new();
    let entry = pair.entry();
    let longer = GrantEntry {
        expires: entry.expires - 60,
        ..entry.clone()
    };
    pair.gateway.add(pair.now, &Entry::Grant(Box::new(longer)));
    let there = pair.proof(&entry);
    pair.receiver.add(pair.now, &Entry::Grant(Box::new(there)));
    pair.exchange();
    let report = pair.compare();
    assert_convicts(
        &report,
        Side::Commune,
        "the expiry is not the same",
        "another expiry",
    );
}

#[test]
fn a_grant_that_only_the_commune_has_convicts_nobody() {
    let mut pair = Pair::new();
    let entry = pair.entry();
    let grant = entry.grant;
    pair.gateway.add(pair.now, &Entry::Grant(Box::new(entry)));
    let report = pair.compare();
    assert_convicts_nobody(&report, Verdict::UnwitnessedTail, "not confirmed yet");
    assert_eq!(report.findings[0].grant, Some(grant));

    let mut unconfirmed = pair.gateway.clone();
    unconfirmed.add(pair.now, &pair.ended(grant, Reason::CentreUnconfirmed));
    let report = pair.compare_books(&[&unconfirmed, &pair.receiver]);
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    assert_eq!(report.checked.unconfirmed, 1);

    // The centre gave a head, which any grant of the commune's can name.
    pair.confirm(grant);
    let report = pair.compare();
    assert_convicts_nobody(&report, Verdict::Contradiction, "said to be confirmed");
    assert!(
        report.findings[0].what.contains("as a confirmation"),
        "{report:#?}"
    );
}

#[test]
fn a_proof_that_is_anothers_is_found() {
    for is_covered in [true, false] {
        let mut pair = Pair::new();
        let entry = pair.entry();
        pair.gateway
            .add(pair.now, &Entry::Grant(Box::new(entry.clone())));
        let mut there = pair.proof(&entry);
        let other = pair.entry();
        let other = pair.proof(&other);
        there.proof = other.proof;
        pair.receiver.add(pair.now, &Entry::Grant(Box::new(there)));
        if is_covered {
            pair.exchange();
            assert_convicts(
                &pair.compare(),
                Side::Centre,
                "the signed statement",
                "covered",
            );
        } else {
            let report = pair.compare();
            assert_convicts_nobody(&report, Verdict::Contradiction, "not covered");
        }
    }
}

#[test]
fn a_proof_that_the_centre_signed_itself_does_not_convict_the_commune() {
    let mut pair = Pair::new();
    let entry = pair.entry();
    let stranger = Trial::new(START).unwrap();
    let own = std::mem::replace(&mut pair.commune, signer(&stranger, COMMUNE));
    let there = pair.proof(&entry);
    pair.commune = own;
    pair.receiver.add(pair.now, &Entry::Grant(Box::new(there)));
    pair.exchange();
    let scratch = Scratch::new("compare-forged");
    let mut directories = Vec::new();
    for (name, book) in [("a", &pair.gateway), ("b", &pair.receiver)] {
        let path = scratch.0.join(name);
        std::fs::create_dir(&path).unwrap();
        for (month, text) in book.write() {
            std::fs::write(path.join(month.file_name()), text).unwrap();
        }
        directories.push(path);
    }
    let report = run_all(&directories, pair.authorities());
    assert_convicts_nobody(&report, Verdict::Contradiction, "forged");
    assert!(report.findings[0].what.contains("statement"), "{report:#?}");
}

#[test]
fn a_list_of_viewings_must_be_what_the_centres_own_journal_says() {
    type Lie = fn(&mut ViewingsClaims);
    let lies: [(&str, Lie); 3] = [
        ("somebody else", |list| {
            list.viewings[0].who = "13-9".to_owned()
        }),
        ("until when", |list| {
            list.viewings[0].to = list.viewings[0].from.clone()
        }),
        ("nobody", |list| list.viewings.clear()),
    ];
    for (case, lie) in lies {
        let mut pair = Pair::new();
        let entry = pair.entry();
        let grant = entry.grant;
        pair.gateway
            .add(pair.now, &Entry::Grant(Box::new(entry.clone())));
        let there = pair.proof(&entry);
        pair.receiver.add(pair.now, &Entry::Grant(Box::new(there)));
        pair.confirm(grant);
        let mut list = pair.watch(grant);
        lie(&mut list);
        pair.list(list);
        pair.exchange();
        let report = pair.compare();
        let convicted = report
            .findings
            .iter()
            .any(|found| found.convicts.as_deref() == Some(CENTRE));
        assert!(convicted, "{case}: {report:#?}");
    }
    // The commune writes something else than the statement beside it.
    let mut pair = Pair::new();
    let at = *pair.gateway.of_kind("viewings").last().unwrap();
    pair.gateway
        .edit(at, "\"who\":\"13-1\"", "\"who\":\"13-7\"");
    pair.gateway.chain();
    pair.exchange();
    assert_convicts(
        &pair.compare(),
        Side::Commune,
        "the entry says viewings",
        "beside it",
    );
}

#[test]
fn ends_that_differ_or_are_missing_are_told() {
    let with_ends = |here: Option<Reason>, there: Option<Reason>, goes_on: bool| {
        let mut pair = Pair::new();
        let entry = pair.entry();
        let grant = entry.grant;
        pair.gateway
            .add(pair.now, &Entry::Grant(Box::new(entry.clone())));
        let proof = pair.proof(&entry);
        pair.receiver.add(pair.now, &Entry::Grant(Box::new(proof)));
        pair.confirm(grant);
        if let Some(reason) = here {
            let end = pair.ended(grant, reason);
            pair.gateway.add(pair.now, &end);
        }
        if let Some(reason) = there {
            let end = pair.ended(grant, reason);
            pair.receiver.add(pair.now, &end);
        }
        if goes_on {
            pair.later(7_200);
            pair.exchange();
        }
        pair.compare()
    };
    let cut = Some(Reason::GrantCut);
    let expired = Some(Reason::GrantExpired);
    let released = Some(Reason::GrantReleased);
    for (here, there, goes_on, verdict) in [
        (cut, cut, false, Verdict::Consistent),
        // A centre that the cut did not reach let it expire.
        (cut, expired, false, Verdict::Consistent),
        (expired, cut, false, Verdict::Contradiction),
        (released, expired, false, Verdict::Contradiction),
        (expired, released, false, Verdict::Consistent),
        (None, None, false, Verdict::Consistent),
        (cut, None, false, Verdict::UnwitnessedTail),
        (None, released, false, Verdict::UnwitnessedTail),
        (cut, None, true, Verdict::Contradiction),
        (None, released, true, Verdict::Contradiction),
    ] {
        let report = with_ends(here, there, goes_on);
        assert_convicts_nobody(&report, verdict, &format!("{here:?} {there:?} {goes_on}"));
    }
}

#[test]
fn several_receivers_of_one_centre_and_their_journals_mixed() {
    let mut pair = Pair::new();
    let first = std::mem::replace(&mut pair.receiver, Book::new(CENTRE, "cc"));
    pair.grant();
    let second = pair.receiver.clone();
    let report = pair.compare_books(&[&second, &pair.gateway, &first]);
    assert_eq!(report.findings, []);
    assert_eq!(report.checked.grants, 7);

    let report = pair.compare_books(&[&pair.gateway, &second]);
    assert_convicts_nobody(&report, Verdict::Contradiction, "one is not given");
    assert!(
        report.findings[0].what.starts_with("missing: this journal"),
        "{report:#?}"
    );

    // The months of two machines in one directory.
    let mut mixed = first.write();
    mixed.truncate(1);
    mixed.extend(second.write().pop());
    let report = pair.compare_files(&[pair.gateway.write(), mixed]);
    assert_convicts(
        &report,
        Side::Centre,
        "",
        "two receivers' months in one directory",
    );
}

#[test]
fn a_journal_that_goes_on_under_another_id_after_a_failure_is_followed() {
    let mut pair = Pair::new();
    let old = pair.receiver.clone();
    pair.receiver = Book {
        id: "cc".to_owned(),
        lines: Vec::new(),
        end: End::START,
        owner: old.owner,
    };
    let continues = Entry::Continues {
        journal: old.id.clone(),
        seq: old.end.seq,
        link: old.end.link,
    };
    pair.receiver.add(pair.now, &continues);
    pair.grant();
    let together = |old: &Book| {
        let mut both = old.clone();
        both.lines.extend(pair.receiver.lines.iter().cloned());
        pair.compare_books(&[&pair.gateway, &both])
    };
    let report = together(&old);
    assert_eq!(report.findings, [], "{report:#?}");
    assert_eq!(report.checked.journals.len(), 3);

    // Durable lines were lost: told, and nobody can say whether it was the disk.
    let mut short = old.clone();
    short.lines.truncate(old.lines.len() - 3);
    let report = together(&short);
    assert_convicts_nobody(&report, Verdict::Contradiction, "lost lines");
}

fn still(grant: GrantId, captured: &str, picture: Option<&[u8]>) -> Entry {
    Entry::Snapshot {
        sha256: picture.map(Sha256::of),
        snapshot: crate::format::ids::SnapshotId(uuid::Uuid::from_u128(7)),
        grant,
        commune: CommuneId::new(COMMUNE).unwrap(),
        camera: CameraId::new("quai-nord").unwrap(),
        captured: captured.to_owned(),
        operator: Operator {
            name: "Adjudant 13-1".to_owned(),
            number: "13-1".to_owned(),
            unit: "CORG 13".to_owned(),
        },
    }
}

/// A centre that is killed between its own line and the commune's answer gave nothing, and could
/// not write that down.
#[test]
fn a_still_of_a_centre_that_ended_at_that_moment_is_missing_nowhere() {
    let started = Entry::Started {
        by: CENTRE.to_owned(),
        version: "test".to_owned(),
        settings: Sha256::ZERO,
        certificate: String::new(),
    };
    for (went_on, starts, verdict) in [
        (false, true, Verdict::UnwitnessedTail),
        (false, false, Verdict::UnwitnessedTail),
        (true, true, Verdict::Contradiction),
    ] {
        let mut pair = Pair::new();
        let grant = pair.grant();
        let asked = still(grant, "2026-11-30T00:00:01.000Z", Some(b"picture"));
        pair.receiver.add(pair.now, &asked);
        if went_on {
            pair.later(120);
            pair.receiver.add(pair.now, &Entry::Stopped {});
        }
        pair.later(3_600);
        if starts {
            pair.receiver.add(pair.now, &started);
            pair.exchange();
        } else {
            pair.gateway.add(pair.now, &Entry::Stopped {});
        }
        let report = pair.compare();
        assert_convicts_nobody(&report, verdict, &format!("{went_on} {starts}"));
    }
}

#[test]
fn stills_are_with_both() {
    let mut pair = Pair::new();
    let grant = pair.grant();
    let with = |captured: &str, picture: Option<&[u8]>| still(grant, captured, picture);
    let still = |captured: &str| with(captured, Some(b"picture"));
    let now = pair.now;
    pair.receiver.add(now, &still("2026-11-30T00:00:01.000Z"));
    let report = pair.compare();
    assert_convicts_nobody(&report, Verdict::UnwitnessedTail, "not there yet");
    for (picture, verdict) in [
        (None, Verdict::Consistent),
        (Some(&b"another"[..]), Verdict::Contradiction),
    ] {
        let mut side = pair.gateway.clone();
        side.add(now, &with("2026-11-30T00:00:01.000Z", picture));
        let report = pair.compare_books(&[&side, &pair.receiver]);
        assert_eq!(report.verdict, verdict, "{picture:?}");
    }
    let mut same = pair.gateway.clone();
    same.add(now, &still("2026-11-30T00:00:01.000Z"));
    let report = pair.compare_books(&[&same, &pair.receiver]);
    assert_eq!(
        (report.verdict, report.checked.stills),
        (Verdict::Consistent, 1)
    );
    let mut other = pair.gateway.clone();
    other.add(now, &still("2026-11-30T00:00:02.000Z"));
    let report = pair.compare_books(&[&other, &pair.receiver]);
    assert_convicts_nobody(&report, Verdict::Contradiction, "another moment");
    pair.later(3_600);
    pair.exchange();
    let report = pair.compare();
    assert_convicts_nobody(&report, Verdict::Contradiction, "never there");
}
