//! Reads one directory and keeps what concerns the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Budget, Options, Share, Side};
use crate::clock::Wall;
use crate::format::chain::Line;
use crate::format::ids::{GrantId, RequestId, Sha256, SnapshotId};
use crate::format::jws;
use crate::format::statement::{HeadClaims, ViewingsClaims};
use crate::journal::checkpoints::Checkpoints;
use crate::journal::entry::{Entry, GrantEntry};
use crate::journal::reader;
use crate::journal::store::{Disk, Month, Store};
use crate::journal::verify::statements::{self, Depth, Signers};
use crate::journal::verify::{self, Observer, Report, Seen};
use crate::reason::Reason;

/// What all directories hold.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) sources: Vec<Source>,
    pub(super) segments: Vec<Segment>,
    pub(super) heads: Vec<Head>,
    pub(super) facts: Vec<Fact>,
}

/// A directory.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// What verifying it found; its journals are the segments from `segments` on.
    pub(super) report: Report,
    /// Its first segment among all.
    pub(super) segments: usize,
    /// How many statements the authorities prove.
    pub(super) proven: BTreeMap<Signers, u64>,
}

/// One journal in one directory.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) source: usize,
    pub(super) id: Option<Arc<str>>,
    pub(super) owner: Option<Arc<str>>,
    pub(super) side: Option<Side>,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) last_time: Wall,
    /// The time of the first line.
    pub(super) first_time: Wall,
    /// Number and link of each line of the share, in the journal's order.
    pub(super) links: Vec<(u64, Sha256)>,
    /// Numbers of lines without their body: first and last of each run.
    pub(super) left_out: Vec<(u64, u64)>,
    /// The journal that this one continues, and how far that one came.
    pub(super) continues: Option<(String, u64)>,
    /// The daemon's starts: number of the line, and the time of the line before it.
    starts: Vec<(u64, Wall)>,
}

impl Segment {
    /// Whether the body of any line between these is left out.
    pub(super) fn leaves_out(&self, from: u64, to: u64) -> bool {
        let at = self.left_out.partition_point(|(_, last)| *last < from);
        self.left_out.get(at).is_some_and(|(first, _)| *first <= to)
    }

    /// Until when the daemon that wrote this line went on writing.
    pub(super) fn run_end(&self, seq: u64) -> Wall {
        let next = self.starts.partition_point(|(start, _)| *start <= seq);
        let next = self.starts.get(next);
        next.map_or(self.last_time, |(_, before)| *before)
    }
}

/// A line of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct At {
    pub(super) segment: usize,
    pub(super) seq: u64,
}

/// A head, and where its statement is.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) iss: Arc<str>,
    pub(super) journal: Arc<str>,
    pub(super) seq: u64,
    pub(super) link: Sha256,
    pub(super) iat: i64,
    pub(super) at: At,
    month: Month,
    offset: u64,
    bytes: usize,
}

/// What an entry says of a grant.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) grant: GrantId,
    pub(super) at: At,
    pub(super) time: Wall,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Grant(Box<Granted>),
    /// A renewal that was recorded and undone.
    Voided(RequestId),
    /// The commune holds the centre's head of this journal.
    Confirmed {
        journal: Arc<str>,
        seq: u64,
    },
    Ended {
        reason: Reason,
        by: Option<Arc<str>>,
    },
    /// The centre's own record of a viewing.
    Viewing {
        what: Arc<str>,
        from: Wall,
        to: Option<Wall>,
    },
    /// A list that the centre signed, in the commune's journal, or a part of one.
    List {
        iat: i64,
        /// Number of the part, and how many there are.
        part: Option<(u32, u32)>,
        /// The journal that has its viewings; older centres don't say.
        journal: Option<Arc<str>>,
        signed: Signed,
        listed: Vec<Listed>,
    },
    Still {
        snapshot: SnapshotId,
        says: Sha256,
        /// Of its picture; versions before kept none. In a box: facts of all kinds are as
        /// large as the largest.
        sha256: Option<Box<Sha256>>,
    },
    StillRefused(SnapshotId),
}

/// How far a machine's statement is known to be its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signed {
    /// It is not, or it says something else than its entry.
    No,
    /// By the key that it carries.
    ByItself,
    /// By a key that an authority given proves.
    ByAuthority,
}

impl Signed {
    /// From what an entry with one machine's statement comes to.
    fn of(seen: &Seen<'_>) -> Self {
        let by_machine = |(signers, proven): &(Signers, Result<(), String>)| {
            *signers == Signers::Machines && proven.is_ok()
        };
        if !seen.checked.wrong.is_empty() {
            Self::No
        } else if seen.checked.proven.iter().any(by_machine) {
            Self::ByAuthority
        } else {
            Self::ByItself
        }
    }
}

/// A viewing in a signed list, or many of them folded.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// As in [`Kind::Viewing`]; of many persons folded only its beginning, the camera.
    pub(super) what: Arc<str>,
    pub(super) anyone: bool,
    /// How many, where they are folded: from the first one's begin to the last one's end.
    pub(super) count: Option<u64>,
    pub(super) from: Option<Wall>,
    pub(super) to: Option<Wall>,
}

/// A grant's or renewal's entry.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) jti: RequestId,
    pub(super) commune: Arc<str>,
    pub(super) centre: Arc<str>,
    pub(super) renewal: bool,
    pub(super) expires: i64,
    /// The line of the other side's journal whose head was held when it was written.
    pub(super) held: Option<(Arc<str>, u64)>,
    /// What it says that both sides must say alike.
    pub(super) says: Terms,
    /// The commune's signed grant, at the centre: the head in it.
    pub(super) proof: Option<(Arc<str>, u64)>,
    /// Whether the commune signed that.
    pub(super) signed: Signed,
}

/// What both sides' entries of one request must say alike, each part as a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) grant: GrantId,
    pub(super) request: Sha256,
    pub(super) person: Sha256,
    pub(super) purpose: Sha256,
    pub(super) recipients: Sha256,
    pub(super) granted: Sha256,
    pub(super) refused: Sha256,
    pub(super) start: i64,
    pub(super) expires: i64,
}

impl Terms {
    fn of(entry: &GrantEntry) -> Self {
        Self {
            grant: entry.grant,
            request: Sha256::of(entry.request.as_bytes()),
            person: hash(&entry.operator),
            purpose: hash(&(&entry.grounds, &entry.incident)),
            recipients: hash(&entry.recipients),
            granted: hash(&entry.granted),
            refused: hash(&entry.refused),
            start: entry.start,
            expires: entry.expires,
        }
    }

    /// The first thing in which they differ.
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        let pairs = [
            (self.grant == other.grant, "the grant's id"),
            (self.request == other.request, "the operator's request"),
            (self.person == other.person, "the operator"),
            (self.purpose == other.purpose, "the grounds or the incident"),
            (self.recipients == other.recipients, "the recipients"),
            (self.granted == other.granted, "the cameras granted"),
            (self.refused == other.refused, "the cameras refused"),
            (self.start == other.start, "the start"),
            (self.expires == other.expires, "the expiry"),
        ];
        pairs.iter().find(|(same, _)| !same).map(|(_, what)| *what)
    }
}

fn hash<T: serde::Serialize>(what: &T) -> Sha256 {
    Sha256::of(&serde_json::to_vec(what).unwrap_or_default())
}

/// Reads all directories, as many at once as there are processors; none where they do not fit
/// into memory.
pub(super) fn gather(
    options: &Options,
    seen: &Checkpoints,
    share: Share,
    budget: &Budget,
    read: &AtomicU64,
) -> Result<Option<Gathered>, String> {
    let next = AtomicUsize::new(0);
    // What the directories leave of the machine's threads is theirs in equal parts.
    let all = verify::threads();
    let threads = all.min(options.directories.len());
    let share_of_threads = all.div_ceil(threads.max(1));
    let one_after_the_other = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(directory) = options.directories.get(index) else {
                return done;
            };
            let work = (share, share_of_threads);
            done.push((index, one(options, seen, directory, work, budget, read)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(one_after_the_other))
            .collect();
        let mut done = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(read) => done.extend(read),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    let mut all = Gathered::default();
    for (index, read) in done {
        let (mut source, part) = read?;
        source.segments = all.segments.len();
        let moved = |at: At| At {
            segment: at.segment + source.segments,
            ..at
        };
        all.segments
            .extend(part.segments.into_iter().map(|segment| Segment {
                source: index,
                ..segment
            }));
        all.heads.extend(part.heads.into_iter().map(|head| Head {
            at: moved(head.at),
            ..head
        }));
        all.facts.extend(part.facts.into_iter().map(|fact| Fact {
            at: moved(fact.at),
            ..fact
        }));
        all.sources.push(source);
    }
    Ok((!budget.is_spent()).then_some(all))
}

fn one(
    options: &Options,
    seen: &Checkpoints,
    directory: &Path,
    (share, share_of_threads): (Share, usize),
    budget: &Budget,
    read: &AtomicU64,
) -> Result<(Source, Gathered), String> {
    let mut gatherer = Gatherer {
        share,
        budget,
        read,
        names: BTreeSet::new(),
        all: Gathered::default(),
        source: Source::default(),
        watching: HashMap::new(),
        highest: BTreeMap::new(),
    };
    let report = verify::walk(
        &verify::Options {
            directory: directory.to_owned(),
            with: Vec::new(),
            authorities: options.authorities.clone(),
            witnesses: Vec::new(),
        },
        (Depth::HeadsUnverified, share_of_threads),
        seen,
        Some(&mut gatherer),
    )?;
    gatherer.all.heads.extend(gatherer.highest.into_values());
    let mut source = gatherer.source;
    source.report = report;
    Ok((source, gatherer.all))
}

struct Gatherer<'a> {
    share: Share,
    budget: &'a Budget,
    read: &'a AtomicU64,
    names: BTreeSet<Arc<str>>,
    all: Gathered,
    source: Source,
    /// Viewings without an end yet, by segment and the number of their line: their fact.
    watching: HashMap<At, usize>,
    /// The highest head of each journal, of whatever share.
    highest: BTreeMap<(Arc<str>, Arc<str>), Head>,
}

impl Observer for Gatherer<'_> {
    fn line(&mut self, seen: &Seen<'_>) {
        self.read.fetch_add(seen.place.bytes, Ordering::Relaxed);
        if self.budget.is_spent() {
            return;
        }
        self.segment(seen);
        for (signers, proven) in &seen.checked.proven {
            if proven.is_ok() {
                *self.source.proven.entry(*signers).or_default() += 1;
            }
        }
        let at = At {
            segment: seen.journal,
            seq: seen.line.header.seq,
        };
        for (claims, _) in &seen.checked.heads {
            self.head(seen, at, claims);
        }
        if let Some(entry) = seen.entry {
            self.owner(at, entry);
            self.entry(at, seen, entry);
        }
    }
}

impl Gatherer<'_> {
    /// One text for equal names.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.budget.take(64 + name.len());
        self.names.insert(Arc::clone(&new));
        new
    }

    fn segment(&mut self, seen: &Seen<'_>) {
        let header = &seen.line.header;
        while self.all.segments.len() <= seen.journal {
            self.all.segments.push(Segment {
                first: header.seq,
                first_time: header.time,
                ..Segment::default()
            });
        }
        let id = seen.id.map(|id| self.name(id));
        let segment = &mut self.all.segments[seen.journal];
        segment.id = id.or_else(|| segment.id.take());
        segment.first = segment.first.min(header.seq);
        if matches!(seen.entry, Some(Entry::Started { .. })) {
            segment.starts.push((header.seq, segment.last_time));
            self.budget.take(size_of::<(u64, Wall)>());
        }
        if header.seq >= segment.last {
            segment.last = header.seq;
            segment.last_time = header.time;
        }
        if self.share.has_line(header.seq) {
            segment.links.push((header.seq, seen.line.link));
            self.budget.take(size_of::<(u64, Sha256)>());
        }
        if seen.line.body.is_none() {
            match segment.left_out.last_mut() {
                Some((_, last)) if *last + 1 == header.seq => *last = header.seq,
                _ => {
                    segment.left_out.push((header.seq, header.seq));
                    self.budget.take(16);
                }
            }
        }
    }

    fn head(&mut self, seen: &Seen<'_>, at: At, claims: &HeadClaims) {
        let head = Head {
            iss: self.name(&claims.iss),
            journal: self.name(&claims.journal),
            seq: claims.seq,
            link: claims.link,
            iat: claims.iat,
            at,
            month: seen.month,
            offset: seen.place.offset,
            bytes: usize::try_from(seen.place.bytes).unwrap_or(usize::MAX),
        };
        if self.share.has_line(head.seq) {
            self.budget.take(size_of::<Head>());
            self.all.heads.push(head);
            return;
        }
        let key = (Arc::clone(&head.iss), Arc::clone(&head.journal));
        let highest = self.highest.get(&key);
        if highest.is_none_or(|highest| highest.seq < head.seq) {
            self.highest.insert(key, head);
        }
    }

    /// Who wrote the journal, by what only he writes.
    fn owner(&mut self, at: At, entry: &Entry) {
        let (side, owner) = match entry {
            Entry::Started { .. } => (None, reader::owner(entry)),
            Entry::Grant(grant) if grant.proof.is_some() => {
                (Some(Side::Centre), reader::owner(entry))
            }
            Entry::Grant(_) => (Some(Side::Commune), reader::owner(entry)),
            Entry::Waiting { .. }
            | Entry::Confirmed { .. }
            | Entry::Cut { .. }
            | Entry::Decision { .. }
            | Entry::Viewings { .. } => (Some(Side::Commune), None),
            Entry::ViewingStarted { .. }
            | Entry::SnapshotRefused { .. }
            | Entry::Incident { .. }
            | Entry::Mark(_) => (Some(Side::Centre), None),
            _ => return,
        };
        let owner = owner.map(|owner| self.name(owner));
        let segment = &mut self.all.segments[at.segment];
        // The first word counts: a journal does not change hands.
        segment.side = segment.side.or(side);
        segment.owner = segment.owner.take().or(owner);
    }

    fn fact(&mut self, grant: GrantId, at: At, seen: &Seen<'_>, kind: Kind) {
        let time = seen.line.header.time;
        let more = match &kind {
            Kind::Grant(_) => size_of::<Granted>(),
            Kind::List { listed, .. } => listed.len() * size_of::<Listed>(),
            _ => 0,
        };
        self.budget.take(size_of::<Fact>() + more);
        self.all.facts.push(Fact {
            grant,
            at,
            time,
            kind,
        });
    }

    fn entry(&mut self, at: At, seen: &Seen<'_>, entry: &Entry) {
        if let Entry::Continues { journal, seq, .. } = entry {
            self.all.segments[at.segment].continues = Some((journal.clone(), *seq));
            return;
        }
        let grant = crate::journal::recover::grant_of(entry);
        let Some(grant) = grant.filter(|grant| self.share.has_grant(*grant)) else {
            return;
        };
        let kind = match entry {
            Entry::Grant(granted) => Kind::Grant(Box::new(self.granted(seen, granted))),
            Entry::Refused { jti, .. } => Kind::Voided(*jti),
            Entry::Confirmed { .. } => {
                let Some((head, _)) = seen.checked.heads.first() else {
                    return;
                };
                let journal = self.name(&head.journal);
                let seq = head.seq;
                Kind::Confirmed { journal, seq }
            }
            Entry::Ended { reason, by, .. } => Kind::Ended {
                reason: *reason,
                by: by.as_ref().map(|by| self.name(by)),
            },
            Entry::ViewingStarted {
                camera, who, how, ..
            } => {
                let fact = self.all.facts.len();
                self.watching.insert(at, fact);
                self.budget.take(64);
                Kind::Viewing {
                    what: self.name(&format!("{camera} by {who} ({how})")),
                    from: seen.line.header.time,
                    to: None,
                }
            }
            Entry::ViewingEnded { start, at: end, .. } => {
                let seq = *start;
                if let Some(fact) = self.watching.remove(&At { seq, ..at })
                    && let Kind::Viewing { to, .. } = &mut self.all.facts[fact].kind
                {
                    *to = time(end);
                }
                return;
            }
            Entry::Viewings { statement, .. } => {
                let Ok(claims) = jws::read_unverified::<ViewingsClaims>(statement) else {
                    return;
                };
                let journal = claims.journal.as_ref().map(|journal| self.name(journal));
                let listed = claims.viewings.iter().map(|viewing| Listed {
                    what: if viewing.who.is_empty() {
                        self.name(&format!("{} by ", viewing.camera))
                    } else {
                        self.name(&format!(
                            "{} by {} ({})",
                            viewing.camera, viewing.who, viewing.kind
                        ))
                    },
                    anyone: viewing.who.is_empty(),
                    count: viewing.count,
                    from: time(&viewing.from),
                    to: time(&viewing.to),
                });
                Kind::List {
                    iat: claims.iat,
                    part: claims.part.zip(claims.parts),
                    journal,
                    signed: Signed::of(seen),
                    listed: listed.collect(),
                }
            }
            Entry::Snapshot {
                snapshot,
                grant,
                camera,
                captured,
                operator,
                sha256,
                ..
            } => Kind::Still {
                sha256: sha256.map(Box::new),
                snapshot: *snapshot,
                says: hash(&(grant, camera, captured, operator)),
            },
            Entry::SnapshotRefused { snapshot, .. } => Kind::StillRefused(*snapshot),
            _ => return,
        };
        self.fact(grant, at, seen, kind);
    }

    fn granted(&mut self, seen: &Seen<'_>, entry: &GrantEntry) -> Granted {
        // The head in the proof is the first of the entry's, and the same as the one held there.
        let mut heads = seen.checked.heads.iter();
        let first = heads
            .next()
            .map(|(head, _)| (self.name(&head.journal), head.seq));
        let held = heads
            .next()
            .map(|(head, _)| (self.name(&head.journal), head.seq));
        let (proof, held) = match &entry.proof {
            Some(_) => (first.clone(), held.or(first)),
            None => (None, first),
        };
        Granted {
            held,
            jti: entry.jti,
            commune: self.name(entry.commune.as_str()),
            centre: self.name(entry.centre.as_str()),
            renewal: entry.renewal,
            expires: entry.expires,
            says: Terms::of(entry),
            signed: proof.as_ref().map_or(Signed::No, |_| Signed::of(seen)),
            proof,
        }
    }
}

fn time(text: &str) -> Option<Wall> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Wall(time.as_microsecond()))
}

impl Head {
    /// Its statement, read again from its line.
    ///
    /// # Errors
    /// The file can't be read any more.
    pub(super) fn statement(&self, directory: &Path) -> Result<Option<String>, String> {
        let failed = |error: std::io::Error| {
            format!(
                "{}/{}: {error}",
                directory.display(),
                self.month.file_name()
            )
        };
        let mut store = Disk::existing(directory).map_err(failed)?;
        let read = store.read_at(self.month, self.offset, self.bytes);
        let mut bytes = read.map_err(failed)?;
        bytes.pop_if(|last| *last == b'\n');
        let entry = Line::parse(&bytes)
            .ok()
            .and_then(|line| reader::entry(line.body?).ok()?);
        let Some(entry) = entry else { return Ok(None) };
        let heads = statements::check(&entry, None, Depth::HeadsUnverified).heads;
        let same = |claims: &HeadClaims| {
            *claims.iss == *self.iss
                && *claims.journal == *self.journal
                && (claims.seq, claims.link, claims.iat) == (self.seq, self.link, self.iat)
        };
        let found = heads.into_iter().find(|(claims, _)| same(claims));
        Ok(found.map(|(_, text)| text))
    }
}
