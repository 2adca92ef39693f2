use std::sync::Arc;

use super::book::Book;
use super::*;
use crate::certs::trial::Trial;
use crate::format::jws::Signer;
use crate::format::note::{Kind, NoteSigner};
use crate::journal::sim::Scratch;
use crate::journal::writer;

const NOW: Wall = Wall::from_seconds(1_795_996_800);
const OWNER: &str = "berre-l-etang";

fn signer(trial: &Trial) -> Arc<Signer> {
    let machine = trial.machine(OWNER).unwrap();
    let signer = Signer::from_pem(machine.key.expose(), &machine.certificate);
    Arc::new(signer.unwrap())
}

fn open(directory: &Scratch, signer: &Arc<Signer>) -> (Writer, writer::Recovered) {
    Writer::open(writer::Options {
        state_dir: directory.0.clone(),
        owner: OWNER.to_owned(),
        signer: Arc::clone(signer),
        clock: Clock::manual(NOW).0,
    })
    .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_key_stays_with_its_journal_and_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Scratch::new("log-key");
    let open = |journal: &str| Book::open(&directory.0, OWNER, journal, None).unwrap();
    let first = open("aa").verifier().clone();
    assert_eq!(first.name(), "fanal/berre-l-etang/aa");
    assert_eq!(open("aa").verifier(), &first);
    let path = directory.0.join("log.key");
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = open("bb").verifier().clone();
    assert_eq!(other.name(), "fanal/berre-l-etang/bb");
    std::fs::write(&path, "PRIVATE+KEY+nothing").unwrap();
    let error = Book::open(&directory.0, OWNER, "bb", None).unwrap_err();
    assert!(
        error.contains("log.key") && error.contains("remove it"),
        "{error}"
    );
}

#[test]
fn a_journal_from_before_gets_its_key_at_the_next_start_and_keeps_it() {
    let directory = Scratch::new("before");
    let trial = Trial::new(NOW).unwrap();
    let signer = signer(&trial);
    runtime().block_on(async {
        let mut keys = Vec::new();
        for start in 0..3 {
            let (writer, recovered) = open(&directory, &signer);
            writer.append(Entry::Stopped {}).await.unwrap();
            if start > 0 {
                let opening = Opening {
                    state_dir: directory.0.clone(),
                    owner: OWNER.to_owned(),
                    journal: writer.journal().unwrap(),
                    writer: writer.clone(),
                    clock: Clock::manual(NOW).0,
                    known: Known::of(&recovered.entries).log_key,
                };
                let book = open_book(opening).await.unwrap();
                keys.push(book.verifier().to_string());
            }
            writer.close().await;
        }
        assert_eq!(keys[0], keys[1]);
        let (writer, recovered) = open(&directory, &signer);
        let written: Vec<_> = recovered
            .entries
            .iter()
            .filter_map(|(_, _, entry)| match entry {
                Entry::LogKey { vkey, statement } => Some((vkey, statement)),
                _ => None,
            })
            .collect();
        assert_eq!(written.len(), 1, "{written:?}");
        let claims = crate::format::jws::open::<LogKeyClaims>(written[0].1, LOG_KEY_TYPE);
        let claims = claims.unwrap().claims;
        assert_eq!((&claims.vkey, claims.iss.as_str()), (&keys[0], OWNER));
        assert_eq!(Some(claims.journal), writer.journal());
        writer.close().await;
    });
}

#[test]
fn what_witnesses_hold_is_read_from_the_journal() {
    let witness = NoteSigner::new("w", Kind::Witness, [1; 32]).unwrap();
    let cosigned = |size| {
        let checkpoint = Checkpoint {
            origin: note::origin(OWNER, "aa"),
            size,
            root: crate::format::ids::Sha256::ZERO,
        };
        let text = checkpoint.text();
        Entry::Cosigned {
            witness: "Préfecture".to_owned(),
            vkey: witness.verifier().to_string(),
            size,
            checkpoint: format!("{text}\n{}", witness.sign(&text, 1)),
        }
    };
    let entries = [(4, NOW, cosigned(3)), (9, NOW, cosigned(8))];
    let known = Known::of(&entries);
    let (checkpoint, at) = &known.cosigned[witness.verifier()];
    assert_eq!((checkpoint.size, *at), (8, NOW));
}

/// Tree and proofs of a journal far longer than what is at hand.
#[test]
fn checkpoints_cover_the_whole_journal_and_prove_that_it_only_grew() {
    let directory = Scratch::new("checkpoints");
    let trial = Trial::new(NOW).unwrap();
    let signer = signer(&trial);
    runtime().block_on(async {
        let (writer, _) = open(&directory, &signer);
        let count = 5_000;
        let appends = (0..count).map(|_| writer.append(Entry::Stopped {}));
        futures_util::future::join_all(appends).await;
        let journal = writer.journal().unwrap();
        let mut book = Book::open(&directory.0, OWNER, &journal, None).unwrap();
        let witness = NoteSigner::new("w", Kind::Witness, [1; 32]).unwrap();
        let due = |old| Due {
            witness: witness.verifier().clone(),
            old,
        };
        let token = CancellationToken::new();
        let made = book
            .checkpoints(
                &writer,
                count,
                &[due(0), due(3), due(count), due(count + 9)],
                &token,
            )
            .unwrap();
        let lengths: Vec<_> = made
            .iter()
            .map(|one| one.proof.as_ref().map(Vec::len))
            .collect();
        assert!(lengths[1].is_some_and(|length| length > 5), "{lengths:?}");
        assert_eq!(
            (lengths[0], lengths[2], lengths[3]),
            (Some(0), Some(0), Some(0))
        );
        assert_eq!(made[0].checkpoint.size, count);
        let note = format!("{}\n{}", made[0].text, made[0].signature);
        let note = Note::parse(&note).unwrap();
        assert!(book.verifier().signed(&note).is_some());
        let error = book
            .checkpoints(&writer, count + 1, &[], &token)
            .unwrap_err();
        assert!(error.contains("line 5001"), "{error}");
        writer.close().await;
    });
}
