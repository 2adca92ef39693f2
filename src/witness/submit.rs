//! One checkpoint to one witness, and what its answer is worth (C2SP tlog-witness).

use std::time::Duration;

use crate::config::settings;
use crate::format::note::{self, Note, VerifierKey};
use crate::http::client::{self, Bounds, Client};
use crate::policy::cosigning::{Answer, Outcome};

use super::book::Submission;

/// A witness checks a proof of some hashes: one that takes longer is as good as away.
const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(15),
    head: 16 * 1024,
    body: 16 * 1024,
};
/// What the body of a 409 is.
const SIZE_TYPE: &str = "text/x.tlog.size";

/// What a witness answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// The whole note with the witness's line, where it cosigned.
    pub(super) note: Option<String>,
    /// Its time, seconds since the epoch.
    pub(super) time: i64,
    /// For people.
    pub(super) detail: String,
}

/// Sends a checkpoint and judges the answer.
pub(super) async fn submit(
    client: &Client,
    witness: &settings::Witness,
    submission: &Submission,
) -> Answered {
    let Submission {
        text,
        signature,
        old,
        proof,
        ..
    } = submission;
    let Some(proof) = proof else {
        let detail = format!("it holds {old} lines, of which some are not here any more");
        return failed(Outcome::Unprovable, detail);
    };
    let mut url = witness.url.clone();
    url.set_path(&format!(
        "{}/add-checkpoint",
        url.path().trim_end_matches('/')
    ));
    let body = note::submission(*old, proof, &format!("{text}\n{signature}"));
    match client.post(&url, "text/plain", body, BOUNDS).await {
        Ok(answer) => judge(&answer, text, signature, &witness.key),
        Err(cause) => failed(Outcome::Unreachable, cause),
    }
}

fn failed(outcome: Outcome, detail: String) -> Answered {
    Answered {
        answer: Answer::Failed(outcome),
        note: None,
        time: 0,
        detail,
    }
}

fn judge(answer: &client::Answer, text: &str, signature: &str, key: &VerifierKey) -> Answered {
    let body = std::str::from_utf8(&answer.body).unwrap_or_default();
    match answer.status {
        200 => {
            let signed = Note::with_lines(text, body).and_then(|note| key.signed(&note));
            let Some(signed) = signed else {
                let detail = "no cosignature by the key of the settings verifies".to_owned();
                return failed(Outcome::Invalid, detail);
            };
            Answered {
                answer: Answer::Cosigned,
                note: Some(format!("{text}\n{signature}{}\n", signed.line)),
                time: signed.time,
                detail: String::new(),
            }
        }
        409 => {
            let size = body.trim_end().parse::<u64>().ok();
            let Some(size) = size.filter(|_| answer.content_type == SIZE_TYPE) else {
                let detail = "409 without the size that it holds".to_owned();
                return failed(Outcome::Invalid, detail);
            };
            Answered {
                answer: Answer::Holds(size),
                note: None,
                time: 0,
                detail: format!("it holds a tree of {size} lines"),
            }
        }
        status => {
            let said: String = body.trim().chars().take(200).collect();
            let said = crate::format::text::shown(&said, 200);
            Answered {
                answer: Answer::of_status(status),
                note: None,
                time: 0,
                detail: format!("status {status}: {said}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::note::{Kind, NoteSigner};

    const TEXT: &str = "fanal/a/b\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

    fn answer(status: u16, content_type: &str, body: &str) -> client::Answer {
        client::Answer {
            status,
            content_type: content_type.to_owned(),
            body: body.to_owned().into(),
        }
    }

    fn signers() -> (NoteSigner, NoteSigner) {
        (
            NoteSigner::new("fanal/a/b", Kind::Log, [1; 32]).unwrap(),
            NoteSigner::new("example.com/w", Kind::Witness, [2; 32]).unwrap(),
        )
    }

    #[test]
    fn a_cosignature_makes_a_whole_note_and_lines_of_others_are_left_out() {
        let (log, witness) = signers();
        let signature = log.sign(TEXT, 0);
        let line = witness.sign(TEXT, 1_795_996_800);
        let other = NoteSigner::new("other", Kind::Witness, [3; 32]).unwrap();
        let body = format!("{}{line}", other.sign(TEXT, 9));
        let judged = judge(
            &answer(200, "", &body),
            TEXT,
            &signature,
            witness.verifier(),
        );
        assert_eq!(judged.answer, Answer::Cosigned);
        assert_eq!(judged.time, 1_795_996_800);
        let note = judged.note.unwrap();
        assert_eq!(note, format!("{TEXT}\n{signature}{line}"));
        let parsed = Note::parse(&note).unwrap();
        assert!(log.verifier().signed(&parsed).is_some());
        assert!(witness.verifier().signed(&parsed).is_some());
    }

    #[test]
    fn other_answers_are_no_cosignature() {
        let (log, witness) = signers();
        let signature = log.sign(TEXT, 0);
        let line = witness.sign(&TEXT.replace('7', "8"), 9);
        for (status, content_type, body, expected) in [
            (200, "", line.as_str(), Answer::Failed(Outcome::Invalid)),
            (200, "", "", Answer::Failed(Outcome::Invalid)),
            (200, "", "\u{2014} x\n", Answer::Failed(Outcome::Invalid)),
            (409, SIZE_TYPE, "12\n", Answer::Holds(12)),
            (409, "text/plain", "12\n", Answer::Failed(Outcome::Invalid)),
            (409, SIZE_TYPE, "-1\n", Answer::Failed(Outcome::Invalid)),
            (403, "", "no", Answer::Failed(Outcome::UnknownLog)),
            (301, "", "", Answer::Failed(Outcome::Invalid)),
        ] {
            let answer = answer(status, content_type, body);
            let judged = judge(&answer, TEXT, &signature, witness.verifier());
            assert_eq!(
                (judged.answer, judged.note),
                (expected, None),
                "{status} {body:?}"
            );
        }
    }

    #[test]
    fn what_a_witness_says_steers_no_terminal() {
        let (log, witness) = signers();
        let said = answer(400, "", "\u{1b}[2Jbad");
        let judged = judge(&said, TEXT, &log.sign(TEXT, 0), witness.verifier());
        assert!(!judged.detail.contains('\u{1b}'), "{:?}", judged.detail);
    }
}
