use std::sync::Condvar;

use super::*;
use crate::certs::trial::Trial;
use crate::format::chain::LINE_LIMIT;
use crate::format::chain::Line;
use crate::format::designation::LinkAuthority;
use crate::format::statement::HeadClaims;
use crate::journal::sim::{Scratch, Sim};
use crate::journal::store::Store;
use crate::journal::store::{Month, Stamp};

const NOW: Wall = Wall::from_seconds(1_795_996_800);

fn options(directory: &Scratch, trial: &Trial) -> Options {
    let machine = trial.machine("berre-l-etang").unwrap();
    let signer = Signer::from_pem(machine.key.expose(), &machine.certificate).unwrap();
    Options {
        state_dir: directory.0.clone(),
        owner: "berre-l-etang".to_owned(),
        signer: Arc::new(signer),
        clock: Clock::manual(NOW).0,
    }
}

/// A store whose fsync of files waits until it is let through.
struct Gated {
    sim: Sim,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Store for Gated {
    fn months(&mut self) -> std::io::Result<Vec<Month>> {
        self.sim.months()
    }
    fn len(&mut self, month: Month) -> std::io::Result<u64> {
        self.sim.len(month)
    }
    fn stamp(&mut self, month: Month) -> std::io::Result<Stamp> {
        self.sim.stamp(month)
    }
    fn read(&mut self, month: Month) -> std::io::Result<Box<dyn std::io::Read>> {
        self.sim.read(month)
    }
    fn read_at(&mut self, month: Month, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
        self.sim.read_at(month, offset, length)
    }
    fn create(&mut self, month: Month) -> std::io::Result<()> {
        self.sim.create(month)
    }
    fn write_at(&mut self, month: Month, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.sim.write_at(month, offset, bytes)
    }
    fn truncate(&mut self, month: Month, length: u64) -> std::io::Result<()> {
        self.sim.truncate(month, length)
    }
    fn sync(&mut self, month: Month) -> std::io::Result<()> {
        let (open, changed) = &*self.gate;
        drop(changed.wait_while(open.lock().unwrap(), |open| !*open));
        self.sim.sync(month)
    }
    fn sync_directory(&mut self) -> std::io::Result<()> {
        self.sim.sync_directory()
    }
    fn remove(&mut self, month: Month) -> std::io::Result<()> {
        Store::remove(&mut self.sim, month)
    }
    fn forget(&mut self, month: Month) -> std::io::Result<()> {
        self.sim.forget(month)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_journal_is_written_closed_and_opened_again() {
    let directory = Scratch::new("again");
    let trial = Trial::new(NOW).unwrap();
    let link = LinkAuthority::from_pem(trial.link_authority(), &[]).unwrap();
    runtime().block_on(async {
        let (writer, recovered) = Writer::open(options(&directory, &trial)).unwrap();
        assert_eq!(recovered.head, None);
        assert_eq!(writer.health(), Ok(()));
        let receipt = writer.append(Entry::Stopped {}).await.unwrap();
        assert_eq!((receipt.seq(), receipt.time()), (1, NOW));
        let claims: HeadClaims = link
            .verify(receipt.head(), HEAD_TYPE, "berre-l-etang", NOW)
            .unwrap();
        assert_eq!((claims.seq, claims.link), (1, receipt.link()));
        assert_eq!(Some(&claims.journal), writer.journal().as_ref());
        let receipt = writer.append(Entry::Stopped {}).await.unwrap();
        assert_eq!(writer.head().as_deref(), Some(receipt.head()));
        assert_eq!(writer.stats().entries, 2);

        let error = Writer::open(options(&directory, &trial)).unwrap_err();
        assert!(error.to_string().contains("in use by another"), "{error}");

        let other = writer.clone();
        writer.close().await;
        assert!(other.append(Entry::Stopped {}).await.is_err());
        assert!(other.health().is_err());

        let (writer, recovered) = Writer::open(options(&directory, &trial)).unwrap();
        assert_eq!(recovered.entries.len(), 2);
        assert_eq!(recovered.newest, Some(NOW));
        let again: HeadClaims = link
            .verify(&recovered.head.unwrap(), HEAD_TYPE, "berre-l-etang", NOW)
            .unwrap();
        assert_eq!((again.seq, again.link), (2, receipt.link()));
        assert_eq!(again.journal, claims.journal);
        assert_eq!(writer.append(Entry::Stopped {}).await.unwrap().seq(), 3);
        writer.close().await;
    });
}

#[test]
fn what_is_queued_while_the_disk_is_busy_shares_one_fsync() {
    let sim = Sim::default();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let parts = Parts {
        store: Box::new(Gated {
            sim: sim.clone(),
            gate: Arc::clone(&gate),
        }),
        owner: "x".to_owned(),
        clock: Clock::manual(NOW).0,
        random: Box::new(|bytes| getrandom::fill(bytes).map_err(std::io::Error::other)),
        sign: Box::new(|head| head.seq.to_string()),
    };
    let (writer, _) = Writer::start(parts, PathBuf::new(), None).unwrap();
    runtime().block_on(async {
        let mut first = Box::pin(writer.append(Entry::Stopped {}));
        // It is queued; the thread takes it, alone or with what follows.
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut rest: Vec<_> = (0..100)
            .map(|_| Box::pin(writer.append(Entry::Stopped {})))
            .collect();
        for append in &mut rest {
            assert!(futures_util::poll!(append).is_pending());
        }
        assert_eq!(writer.head(), None, "no head before the fsync");
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        assert_eq!(first.await.unwrap().seq(), 1);
        let receipts = futures_util::future::join_all(rest).await;
        for (index, receipt) in receipts.into_iter().enumerate() {
            assert_eq!(receipt.unwrap().seq(), index as u64 + 2);
        }
        assert!(sim.syncs() <= 3, "{} fsyncs", sim.syncs());
        assert_eq!(writer.head().as_deref(), Some("101"));
        writer.close().await;
    });
}

#[test]
fn entries_over_the_limit_are_cut_and_written_and_harm_nothing() {
    let directory = Scratch::new("limit");
    let trial = Trial::new(NOW).unwrap();
    runtime().block_on(async {
        let (writer, _) = Writer::open(options(&directory, &trial)).unwrap();
        let by = "x".repeat(LINE_LIMIT);
        let scope = "all".to_owned();
        writer.append(Entry::Allowed { scope, by }).await.unwrap();
        assert_eq!(writer.health(), Ok(()));
        let by = "x".repeat(LINE_LIMIT - 1000);
        let scope = "all".to_owned();
        writer.append(Entry::Allowed { scope, by }).await.unwrap();
        writer.close().await;
        let (writer, recovered) = Writer::open(options(&directory, &trial)).unwrap();
        let by = |entry: &Entry| match entry {
            Entry::Allowed { by, .. } => by.len(),
            other => panic!("{other:?}"),
        };
        let entries = recovered.entries.iter();
        let lengths: Vec<usize> = entries.map(|(_, _, entry)| by(entry)).collect();
        assert_eq!(lengths, [512, LINE_LIMIT - 1000]);
        writer.close().await;
    });
}

/// Old lines are read from the month that holds the first of them, as far as they are
/// wanted, and never from the journal before.
#[test]
fn old_lines_are_read_from_the_files_within_their_journal() {
    let directory = Scratch::new("old-lines");
    let trial = Trial::new(NOW).unwrap();
    let (clock, hand) = Clock::manual(NOW);
    runtime().block_on(async {
        let options = Options {
            clock,
            ..options(&directory, &trial)
        };
        let (writer, _) = Writer::open(options).unwrap();
        let write = async |count: usize| {
            for _ in 0..count.div_ceil(500) {
                let some = (0..500).map(|_| writer.append(Entry::Stopped {}));
                for written in futures_util::future::join_all(some).await {
                    written.unwrap();
                }
            }
        };
        write(500).await;
        // The file is gone: a new journal begins.
        let journal = directory.0.join("journal");
        std::fs::remove_file(journal.join("2026-11.jsonl")).unwrap();
        writer.append(Entry::Stopped {}).await.unwrap();
        write(2_500).await;
        hand.advance(Duration::from_secs(31 * 86_400));
        write(2_500).await;
        hand.advance(Duration::from_secs(31 * 86_400));
        write(2_500).await;
        let numbers = |after, limit| {
            let lines = writer.lines_after(after, limit).into_iter();
            let parsed = lines.map(|line| Line::parse(line.as_bytes()).unwrap().header.seq);
            parsed.collect::<Vec<u64>>()
        };
        for after in [0, 1, 400, 2_499, 2_501, 2_502, 2_503, 3_000] {
            let wanted: Vec<u64> = (after + 1..=after + 20).collect();
            assert_eq!(numbers(after, 20), wanted, "{after}");
        }
        let all = numbers(0, 50_000);
        assert_eq!(all.len() as u64, *all.last().unwrap());
        // An older file is not even opened.
        std::fs::remove_file(journal.join("2026-11.jsonl")).unwrap();
        std::fs::create_dir(journal.join("2026-11.jsonl")).unwrap();
        assert_eq!(numbers(2_600, 20), (2_601..=2_620).collect::<Vec<_>>());
        drop(writer);
    });
}

#[test]
fn lines_for_peers_come_from_memory_or_from_the_files() {
    let directory = Scratch::new("lines");
    let trial = Trial::new(NOW).unwrap();
    runtime().block_on(async {
        let (writer, _) = Writer::open(options(&directory, &trial)).unwrap();
        let appends: Vec<_> = (0..1100)
            .map(|_| writer.append(Entry::Stopped {}))
            .collect();
        futures_util::future::join_all(appends).await;
        let last = writer.lines_after(1098, 10);
        assert_eq!(last.len(), 2);
        let first = writer.lines_after(0, 10);
        assert_eq!(first.len(), 10);
        let line = Line::parse(first[0].as_bytes()).unwrap();
        assert_eq!((line.header.seq, line.body), (1, None));
        let all = writer.lines_after(0, 5000);
        assert_eq!(all.len(), 1100);
        assert_eq!(all[1098..], last);
        assert_eq!(writer.lines_after(1100, 10), Vec::<String>::new());
        writer.close().await;
    });
}

#[test]
fn a_removed_file_is_noticed_and_the_journal_begins_again() {
    let directory = Scratch::new("removed");
    let trial = Trial::new(NOW).unwrap();
    runtime().block_on(async {
        let (writer, _) = Writer::open(options(&directory, &trial)).unwrap();
        writer.append(Entry::Stopped {}).await.unwrap();
        let journal = writer.journal();
        let file = directory.0.join("journal/2026-11.jsonl");
        std::fs::remove_file(&file).unwrap();
        writer.append(Entry::Stopped {}).await.unwrap();
        assert_ne!(writer.journal(), journal);
        let told = writer.take_damage();
        assert!(
            matches!(told, Some(Entry::JournalDamaged { .. })),
            "{told:?}"
        );
        assert_eq!(writer.take_damage(), None, "told once");
        assert!(!writer.stats().intact);
        writer.close().await;
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("continues"), "{text}");
        assert!(Writer::open(options(&directory, &trial)).is_ok());
    });
}

#[test]
fn a_look_that_cant_read_says_so_and_finds_no_damage() {
    let directory = Scratch::new("unreadable");
    let trial = Trial::new(NOW).unwrap();
    runtime().block_on(async {
        let (writer, _) = Writer::open(options(&directory, &trial)).unwrap();
        writer.append(Entry::Stopped {}).await.unwrap();
        let file = directory.0.join("journal/2026-11.jsonl");
        let aside = directory.0.join("aside");
        std::fs::rename(&file, &aside).unwrap();
        std::fs::create_dir(&file).unwrap();
        let error = writer.look().unwrap_err().to_string();
        assert!(error.contains("looking at"), "{error}");
        assert_eq!(writer.take_damage(), None);
        // The next look finds all as it was.
        std::fs::remove_dir(&file).unwrap();
        std::fs::rename(&aside, &file).unwrap();
        writer.look().unwrap();
        assert_eq!(writer.take_damage(), None);
        assert!(writer.stats().intact);
        writer.close().await;
    });
}

#[test]
fn progress_tells_ends_and_changes_but_no_cosignatures() {
    let directory = Scratch::new("progress");
    let trial = Trial::new(NOW).unwrap();
    let ended = Entry::Ended {
        grant: crate::format::ids::GrantId(uuid::Uuid::from_u128(1)),
        reason: crate::reason::Reason::GrantReleased,
        at: NOW.rfc3339(),
        by: None,
    };
    let cosigned = Entry::Cosigned {
        witness: "x".to_owned(),
        vkey: "x".to_owned(),
        size: 1,
        checkpoint: "x".to_owned(),
    };
    runtime().block_on(async {
        let (writer, _) = Writer::open(options(&directory, &trial)).unwrap();
        let progress = writer.progress();
        let begun = progress.borrow().clone();
        assert_eq!((&begun.journal, begun.seq), (&None, 0));
        let mut counts = Vec::new();
        for entry in [Entry::Stopped {}, ended, cosigned] {
            writer.append(entry).await.unwrap();
            let now = progress.borrow().clone();
            assert_eq!(now.journal, writer.journal());
            counts.push((now.seq, now.changes - begun.changes, now.ends));
        }
        assert_eq!(counts, [(1, 1, 0), (2, 2, 1), (3, 2, 1)]);
        writer.close().await;
    });
}

#[test]
fn links_are_those_of_the_lines_from_memory_and_from_the_files() {
    let directory = Scratch::new("links");
    let trial = Trial::new(NOW).unwrap();
    runtime().block_on(async {
        let (writer, _) = Writer::open(options(&directory, &trial)).unwrap();
        let count = recover::RECENT_LINES as u64 + 40;
        let appends = (0..count).map(|_| writer.append(Entry::Stopped {}));
        let written = futures_util::future::join_all(appends).await;
        let mut receipts: Vec<_> = written.into_iter().map(Result::unwrap).collect();
        // Those that waited for room may have been let in in another order.
        receipts.sort_by_key(Receipt::seq);
        // The first lines are in the files alone.
        for (after, last) in [(0, 30), (20, count), (count - 5, count - 2), (count, count)] {
            let mut seen = Vec::new();
            let read = writer.links(after, last, |seq, link| {
                seen.push((seq, link));
                true
            });
            read.unwrap();
            let wanted = receipts.iter().map(|one| (one.seq(), one.link()));
            let wanted: Vec<_> = wanted
                .filter(|(seq, _)| (after + 1..=last).contains(seq))
                .collect();
            assert!(seen == wanted, "{after} to {last}: {} lines", seen.len());
        }
        let mut seen = 0;
        let read = writer.links(0, count, |_, _| {
            seen += 1;
            seen < 3
        });
        read.unwrap();
        assert_eq!(seen, 3);
        writer.close().await;
    });
}
