//! Signs documents made from a journal, and verifies them: `FILE.jws` beside `FILE` is a statement
//! (interfaces.md 4) of the document's SHA-256, by the key that the user names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{authorities, prune};
use crate::clock::{Clock, Wall};
use crate::commands::Usage;
use crate::format::ids::Sha256;
use crate::format::jws::{self, Signer};
use crate::format::statement::STATEMENT_LIMIT;
use crate::format::text::shown;
use crate::format::{designation, trust};

/// `typ` of a document's signature.
const DOCUMENT_TYPE: &str = "fanal-document+jwt";

/// What is signed of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentClaims {
    /// When, seconds since the epoch.
    iat: i64,
    /// The file's name at that time.
    file: String,
    /// SHA-256 of its bytes.
    sha256: Sha256,
}

/// Whose key signs.
#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// Sign with this key (PEM): a person's designation or page key, or the daemon's
    #[arg(long, value_name = "KEY", requires = "certificate")]
    sign: Option<PathBuf>,
    /// The certificate of that key (PEM)
    #[arg(long, value_name = "FILE", requires = "sign")]
    certificate: Option<PathBuf>,
}

impl SignArgs {
    /// Whether a key is named.
    pub(super) fn is_given(&self) -> bool {
        self.sign.is_some()
    }

    /// The key, if one is named.
    pub(super) fn signer(&self) -> anyhow::Result<Option<Signer>> {
        let files = self.sign.as_ref().zip(self.certificate.as_ref());
        files
            .map(|(key, chain)| prune::signer(key, chain))
            .transpose()
    }
}

/// Writes a document, and its signature beside it.
pub(super) fn write(path: &Path, text: &[u8], signer: Option<&Signer>) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())?;
    let Some(signer) = signer else { return Ok(()) };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let statement = signer.sign(
        DOCUMENT_TYPE,
        &DocumentClaims {
            iat: Clock::system().now().wall.seconds(),
            file: name.into_owned(),
            sha256: Sha256::of(text),
        },
    );
    let beside = beside(path);
    std::fs::write(&beside, statement).with_context(|| beside.display().to_string())
}

/// Where a document's signature is.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".jws");
    name.into()
}

/// Arguments of `fanal journal verify-report`.
#[derive(Debug, Args)]
pub(super) struct VerifyReportArgs {
    /// The report, transcript or other document
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its signature [default: FILE.jws]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// A link, designation or page authority (PEM): also check whose key signed; may be given several times
    #[arg(long = "authority", value_name = "FILE")]
    authorities: Vec<PathBuf>,
}

/// Runs `fanal journal verify-report`: exit status 1 where it is not as it was signed.
pub(super) fn verify_report(args: &VerifyReportArgs) -> anyhow::Result<ExitCode> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let text = read(&args.file)?;
    let path = args.signature.clone().unwrap_or_else(|| beside(&args.file));
    let statement = read(&path)?;
    let statement = String::from_utf8(statement)
        .ok()
        .filter(|text| text.len() <= STATEMENT_LIMIT);
    let statement = statement.ok_or_else(|| anyhow!("{}: no signature", path.display()))?;
    let signed = jws::open::<DocumentClaims>(statement.trim_end(), DOCUMENT_TYPE);
    let signed = signed.map_err(|refusal| anyhow!("{}: {refusal}", path.display()))?;
    let claims = signed.claims;
    if claims.sha256 != Sha256::of(&text) {
        println!(
            "NOT as it was signed: {} was changed, or is another document",
            args.file.display()
        );
        return Ok(ExitCode::from(1));
    }
    let at = Wall::from_seconds(claims.iat);
    let leaf = signed
        .chain
        .first()
        .ok_or_else(|| anyhow!("no certificate"))?;
    let who = match designation::read(leaf) {
        Ok(person) => {
            let operator = person.operator;
            format!("{} ({}, {})", operator.name, operator.number, operator.unit)
        }
        Err(_) => trust::dns_names(leaf).join(", "),
    };
    let (who, at_text) = (shown(&who, 200), at.rfc3339());
    let Some(authorities) = authorities(&args.authorities)? else {
        println!(
            "as signed at {at_text} by {who}; whose key it is was not checked: give --authority"
        );
        return Ok(ExitCode::SUCCESS);
    };
    match authorities.proves(&signed.chain, at) {
        Ok(()) => {
            println!("as signed at {at_text} by {who}, whose certificate the authority signed");
            Ok(ExitCode::SUCCESS)
        }
        Err(cause) => {
            println!(
                "as signed at {at_text} by a key that no authority given proves ({who}): {cause}"
            );
            Ok(ExitCode::from(1))
        }
    }
}

/// The file that a signed document needs.
pub(super) fn needs_file(out: Option<&Path>, sign: &SignArgs) -> anyhow::Result<()> {
    if out.is_none() && sign.sign.is_some() {
        let text = "--sign writes its signature beside the document: give --out FILE";
        return Err(Usage(text.to_owned()).into());
    }
    Ok(())
}
