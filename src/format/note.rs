//! Signed notes, checkpoints and cosignatures, as C2SP fixes them: [`signed-note`],
//! [`tlog-checkpoint`], [`tlog-cosignature`]. Ed25519 alone.
//!
//! A checkpoint is the text of a signed note: the log's origin, how many lines it has, the root
//! of their tree ([`super::merkle`]). The log signs it; each witness adds a line of its own,
//! with a time.
//!
//! [`signed-note`]: https://c2sp.org/signed-note
//! [`tlog-checkpoint`]: https://c2sp.org/tlog-checkpoint
//! [`tlog-cosignature`]: https://c2sp.org/tlog-cosignature

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::format::ids::Sha256;

/// Largest note that is looked at, in bytes.
pub const NOTE_LIMIT: usize = 16 * 1024;
/// Most signatures of a note.
pub const SIGNATURES_LIMIT: usize = 64;
/// Longest name of a key, in bytes.
pub const NAME_LIMIT: usize = 255;
/// Begins a signature line: an em dash and a space.
const DASH: &str = "\u{2014} ";
/// Begins the text of a key that signs.
const PRIVATE: &str = "PRIVATE+KEY+";

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A note's text (Ed25519, type 1): a log's key.
    Log,
    /// A cosignature with its time (Ed25519, type 4): a witness's key.
    Witness,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }
}

/// A verifier key (`vkey`): `NAME+HASH+KEY`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    kind: Kind,
    key: [u8; 32],
}

impl VerifierKey {
    fn new(name: &str, kind: Kind, key: [u8; 32]) -> Result<Self, String> {
        if !is_name(name) {
            return Err(format!("{name:?} is no name of a key"));
        }
        let name = name.to_owned();
        Ok(Self { name, kind, key })
    }

    /// The name in its signature lines; a log's is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What tells it from other keys of the same name.
    fn id(&self) -> [u8; 4] {
        let mut bytes = format!("{}\n", self.name).into_bytes();
        bytes.push(self.kind.byte());
        bytes.extend_from_slice(&self.key);
        let [a, b, c, d, ..] = Sha256::of(&bytes).0;
        [a, b, c, d]
    }

    /// The signature of this key on a note, if it is there and right; of a witness with its
    /// time, in seconds since the epoch.
    pub fn signed<'a>(&self, note: &Note<'a>) -> Option<Signed<'a>> {
        let mut lines = note.signatures.iter();
        lines.find_map(|line| {
            let (name, bytes) = signature(line)?;
            let rest = bytes.strip_prefix(&self.id())?;
            let (time, message, signature) = match self.kind {
                _ if name != self.name => return None,
                Kind::Log => (0, note.text.as_bytes().to_vec(), rest),
                Kind::Witness => {
                    let (time, signature) = rest.split_first_chunk::<8>()?;
                    let time = u64::from_be_bytes(*time);
                    (time, cosigned_text(time, note.text), signature)
                }
            };
            let key = UnparsedPublicKey::new(&ED25519, &self.key);
            key.verify(&message, signature).ok()?;
            Some(Signed {
                line,
                time: i64::try_from(time).ok()?,
            })
        })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(&self.key);
        write!(f, "{}+", self.name)?;
        self.id()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "+{}", STANDARD.encode(bytes))
    }
}

impl FromStr for VerifierKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "not a verifier key; write NAME+HASH+KEY as the witness gives it".to_owned();
        if text.starts_with(PRIVATE) {
            return Err(
                "this is a private key; give the verifier key that goes with it".to_owned(),
            );
        }
        let (name, rest) = text.split_once('+').ok_or_else(form)?;
        let (_, key) = rest.split_once('+').ok_or_else(form)?;
        let bytes = STANDARD.decode(key).map_err(|_| form())?;
        let (kind, key) = bytes.split_first().ok_or_else(form)?;
        let kind = match kind {
            1 => Kind::Log,
            4 => Kind::Witness,
            other => return Err(format!("a key of type {other}; Ed25519 alone is known")),
        };
        let key = key.try_into().map_err(|_| form())?;
        let made = Self::new(name, kind, key)?;
        // One form only, the hash included.
        if made.to_string() == text {
            Ok(made)
        } else {
            Err("its hash is not that of its name and key; copy it again".to_owned())
        }
    }
}

/// A name fits in a signature line and in a verifier key.
fn is_name(name: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && name.len() <= NAME_LIMIT && !name.contains(is_odd)
}

fn cosigned_text(time: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

/// A signature line's name, and its bytes after base64.
fn signature(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
    Some((name, STANDARD.decode(bytes).ok()?))
}

/// A signature that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Its line, without the newline.
    pub line: &'a str,
    /// When a witness cosigned, seconds since the epoch; 0 of a log.
    pub time: i64,
}

/// A key that signs notes: a log's, and in tests a witness's.
pub struct NoteSigner {
    verifier: VerifierKey,
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner")
            .field("verifier", &self.verifier)
            .finish_non_exhaustive()
    }
}

impl NoteSigner {
    /// From 32 random bytes.
    ///
    /// # Errors
    /// The name is none.
    pub fn new(name: &str, kind: Kind, seed: [u8; 32]) -> Result<Self, String> {
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref())
            .map_err(|_| "no Ed25519 key can be made".to_owned())?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| "no Ed25519 key can be made".to_owned())?;
        let verifier = VerifierKey::new(name, kind, public)?;
        Ok(Self {
            verifier,
            pair,
            seed,
        })
    }

    /// From [`NoteSigner::secret`].
    ///
    /// # Errors
    /// The text is no private key of a log; it is not in the error.
    pub fn from_secret(text: &str) -> Result<Self, String> {
        let form = || "no private key of a log".to_owned();
        let rest = text.strip_prefix(PRIVATE).ok_or_else(form)?;
        let (name, rest) = rest.split_once('+').ok_or_else(form)?;
        let (_, key) = rest.split_once('+').ok_or_else(form)?;
        let bytes = Zeroizing::new(STANDARD.decode(key).map_err(|_| form())?);
        let seed = bytes.strip_prefix(&[Kind::Log.byte()]).ok_or_else(form)?;
        let seed = seed.try_into().map_err(|_| form())?;
        Self::new(name, Kind::Log, seed)
    }

    /// The key as text (`PRIVATE+KEY+NAME+HASH+KEY`): a secret.
    pub fn secret(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![self.verifier.kind.byte()]);
        bytes.extend_from_slice(self.seed.as_ref());
        let id: String = self
            .verifier
            .id()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let key = Zeroizing::new(STANDARD.encode(&bytes));
        Zeroizing::new(format!("{PRIVATE}{}+{id}+{}", self.verifier.name, *key))
    }

    /// Verifies its signatures.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// A signature line over a note's text; `time` (seconds since the epoch) counts for a
    /// witness alone.
    pub fn sign(&self, text: &str, time: u64) -> String {
        let mut bytes = self.verifier.id().to_vec();
        let signature = match self.verifier.kind {
            Kind::Log => self.pair.sign(text.as_bytes()),
            Kind::Witness => {
                bytes.extend_from_slice(&time.to_be_bytes());
                self.pair.sign(&cosigned_text(time, text))
            }
        };
        bytes.extend_from_slice(signature.as_ref());
        format!("{DASH}{} {}\n", self.verifier.name, STANDARD.encode(bytes))
    }
}

/// A signed note, taken apart; nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// The text that is signed, its last newline included.
    pub text: &'a str,
    signatures: Vec<&'a str>,
}

impl<'a> Note<'a> {
    /// From its whole text.
    ///
    /// # Errors
    /// The text has not the form of a note, or is longer than [`NOTE_LIMIT`].
    pub fn parse(note: &'a str) -> Result<Self, String> {
        let form = || "not a signed note".to_owned();
        if note.len() > NOTE_LIMIT {
            return Err(format!("longer than {NOTE_LIMIT} bytes"));
        }
        let at = note.rfind("\n\n").ok_or_else(form)?;
        let text = &note[..=at];
        let signatures = signature_lines(&note[at + 2..]).ok_or_else(form)?;
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err(form());
        }
        Ok(Self { text, signatures })
    }

    /// A text with the signature lines that a witness answered with.
    pub fn with_lines(text: &'a str, lines: &'a str) -> Option<Self> {
        let signatures = signature_lines(lines)?;
        Some(Self { text, signatures })
    }
}

/// Whole lines, each of a signature's form; at least one.
fn signature_lines(text: &str) -> Option<Vec<&str>> {
    let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
    let fits = (1..=SIGNATURES_LIMIT).contains(&lines.len());
    let all = lines.iter().all(|line| signature(line).is_some());
    (fits && all).then_some(lines)
}

/// How many lines a log has, and the root of their tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log: `fanal/ID/JOURNAL`.
    pub origin: String,
    /// How many lines.
    pub size: u64,
    /// The tree's root.
    pub root: Sha256,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root.0);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// From a note's text; extension lines are passed over.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let number = size.parse::<u64>().ok()?;
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        (!origin.is_empty() && number.to_string() == size).then(|| Self {
            origin: origin.to_owned(),
            size: number,
            root: Sha256(root),
        })
    }
}

/// The origin of a journal's log.
pub fn origin(owner: &str, journal: &str) -> String {
    format!("fanal/{owner}/{journal}")
}

/// Owner and journal of an origin; none where it is not of a journal.
pub fn parse_origin(origin: &str) -> Option<(&str, &str)> {
    let (owner, journal) = origin.strip_prefix("fanal/")?.split_once('/')?;
    (!owner.is_empty() && !journal.is_empty() && !journal.contains('/')).then_some((owner, journal))
}

/// The body of a submission ([tlog-witness](https://c2sp.org/tlog-witness)): the tree that the
/// witness holds, the proof that the new one begins with it, the signed checkpoint.
pub fn submission(old: u64, proof: &[Sha256], note: &str) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        body.push_str(&STANDARD.encode(hash.0));
        body.push('\n');
    }
    body.push('\n');
    body.push_str(note);
    body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::ProptestConfig;

    use super::*;

    // The example of the signed-note specification.
    const EXAMPLE: &str = "This is an example message.\n\n\u{2014} example.com/foo Z2SnQ8dF3Z9X5CGTdnDTvbjoF66bNK1fvfXJZy0p7XH7eFhIpSAs7WWjQsYZ5oWVsMvT2+2bNQFMgBUM8B+MJ6jLRwM=\n";

    fn log() -> NoteSigner {
        NoteSigner::new("fanal/berre-l-etang/0a", Kind::Log, [7; 32]).unwrap()
    }

    fn witness() -> NoteSigner {
        NoteSigner::new("example.com/witness", Kind::Witness, [9; 32]).unwrap()
    }

    #[test]
    fn keys_are_written_as_they_are_read() {
        // Of Go's sum.golang.org, known everywhere.
        let known = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let key: VerifierKey = known.parse().unwrap();
        assert_eq!((key.name(), key.kind()), ("sum.golang.org", Kind::Log));
        assert_eq!(key.to_string(), known);
        for (from, to, why) in [
            ("033de0ae", "033de0af", "hash"),
            ("+Ac4z", "+Bc4z", "type 5"),
            ("+Ac4z", "+A", "not a verifier key"),
            ("sum.golang.org+", "", "not a verifier key"),
            ("sum.golang.org", "sum golang", "no name"),
            ("sum.golang.org", "PRIVATE+KEY+x", "private"),
        ] {
            let error = known
                .replacen(from, to, 1)
                .parse::<VerifierKey>()
                .unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_log_signs_and_a_witness_cosigns() {
        let (log, witness) = (log(), witness());
        let checkpoint = Checkpoint {
            origin: log.verifier().name().to_owned(),
            size: 42,
            root: Sha256::of(b"root"),
        };
        let text = checkpoint.text();
        let note = format!(
            "{text}\n{}{}",
            log.sign(&text, 0),
            witness.sign(&text, 1_700)
        );
        let parsed = Note::parse(&note).unwrap();
        assert_eq!(Checkpoint::parse(parsed.text), Some(checkpoint));
        assert_eq!(log.verifier().signed(&parsed).unwrap().time, 0);
        assert_eq!(witness.verifier().signed(&parsed).unwrap().time, 1_700);
        let other = NoteSigner::new("example.com/witness", Kind::Witness, [8; 32]).unwrap();
        assert_eq!(other.verifier().signed(&parsed), None);
        let changed = note.replacen("42", "43", 1);
        let changed = Note::parse(&changed).unwrap();
        assert_eq!(log.verifier().signed(&changed), None);
        assert_eq!(witness.verifier().signed(&changed), None);
    }

    #[test]
    fn a_secret_makes_the_same_key_and_shows_in_no_debug() {
        let log = log();
        let again = NoteSigner::from_secret(&log.secret()).unwrap();
        assert_eq!(again.verifier(), log.verifier());
        let (_, key) = log
            .secret()
            .rsplit_once('+')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert!(!format!("{log:?}").contains(&key));
        let error = NoteSigner::from_secret("PRIVATE+KEY+a+b+c").unwrap_err();
        assert_eq!(error, "no private key of a log");
    }

    #[test]
    fn other_forms_are_no_notes() {
        assert!(Note::parse(EXAMPLE).is_ok());
        let (text, lines) = EXAMPLE.split_once("\n\n").unwrap();
        for note in [
            text.to_owned(),
            format!("{text}\n{lines}"),
            format!("{text}\n\n"),
            format!("{text}\n\n{}", lines.trim_end()),
            format!("{text}\n\n{lines}more\n"),
            format!("{text}\r\n\n{lines}"),
            format!("{text}\n\n{}", lines.repeat(SIGNATURES_LIMIT + 1)),
            format!("{}\n\n{lines}", text.repeat(1_000)),
        ] {
            assert!(Note::parse(&note).is_err(), "{note:.80}");
        }
        for length in 0..EXAMPLE.len() {
            if let Some(short) = EXAMPLE.get(..length) {
                assert!(Note::parse(short).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn checkpoints_and_origins_have_one_form() {
        let root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let good = format!("fanal/a/b\n7\n{root}\n");
        assert_eq!(Checkpoint::parse(&good).unwrap().text(), good);
        let extended = format!("{good}an extension\n");
        assert_eq!(Checkpoint::parse(&extended).unwrap().size, 7);
        for bad in ["fanal/a/b\n07\n", "fanal/a/b\n-1\n", "\n7\n"] {
            assert_eq!(Checkpoint::parse(&format!("{bad}{root}\n")), None);
        }
        assert_eq!(Checkpoint::parse("fanal/a/b\n7\nAAAA\n"), None);
        assert_eq!(
            parse_origin(&origin("corg-13", "00ff")),
            Some(("corg-13", "00ff"))
        );
        for bad in [
            "fanal/a",
            "fanal//b",
            "fanal/a/",
            "fanal/a/b/c",
            "other/a/b",
        ] {
            assert_eq!(parse_origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn no_flipped_bit_passes_both_signatures() {
        let (log, witness) = (log(), witness());
        let text = "fanal/berre-l-etang/0a\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
        let note = format!("{text}\n{}{}", log.sign(text, 0), witness.sign(text, 9));
        let holds = |note: &str| {
            Note::parse(note).is_ok_and(|note| {
                let by = |signer: &NoteSigner| signer.verifier().signed(&note).is_some();
                by(&log) && by(&witness)
            })
        };
        assert!(holds(&note));
        for bit in 0..note.len() * 8 {
            let mut changed = note.clone().into_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            let passes = std::str::from_utf8(&changed).is_ok_and(holds);
            assert!(!passes, "bit {bit}");
        }
    }

    proptest::proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,80}\n\n(\u{2014} \\PC{0,20} [A-Za-z0-9+/=]{0,40}\n){0,3}") {
            if let Ok(note) = Note::parse(&text) {
                let _ = Checkpoint::parse(note.text);
                let _ = witness().verifier().signed(&note);
            }
            let _ = text.parse::<VerifierKey>();
            let _ = NoteSigner::from_secret(&text);
        }
    }

    #[test]
    fn a_submission_has_the_bytes_of_the_specification() {
        let body = submission(20, &[Sha256::ZERO], "text\n\nsignatures\n");
        let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(body, format!("old 20\n{hash}\n\ntext\n\nsignatures\n"));
    }
}
