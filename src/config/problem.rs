//! Mistakes with their place and remedy, and the state of one reading.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::files::Files;
use super::values;
use crate::format::ids::CameraId;

/// Most values in one list.
const LIST_LIMIT: usize = 10_000;

/// One mistake or oddity: where it is, what it is and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where one can be named.
    pub line: Option<u32>,
    /// The camera whose entry it is in.
    pub camera: Option<CameraId>,
    /// Whether that camera can't be relayed for it; the rest of the settings can.
    pub disables: bool,
    /// What is wrong, and the remedy.
    pub text: String,
}

impl Problem {
    fn new(file: &Path, line: Option<u32>, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            camera: None,
            disables: false,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(camera) = &self.camera {
            write!(f, " camera {:?}:", camera.as_str())?;
        }
        write!(f, " {}", self.text)
    }
}

/// All mistakes of a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Problem>);

impl Errors {
    pub(super) fn one(file: &Path, line: Option<u32>, text: impl Into<String>) -> Self {
        Self(vec![Problem::new(file, line, text)])
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// One reading of a file: what it may touch and what it found.
pub(super) struct Reading<'a> {
    pub(super) file: &'a Path,
    pub(super) files: &'a dyn Files,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a Path, files: &'a dyn Files) -> Self {
        Self {
            file,
            files,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, line: u32, text: impl Into<String>) {
        let problem = self.problem(line, text);
        self.errors.push(problem);
    }

    pub(super) fn warn(&mut self, line: u32, text: impl Into<String>) {
        let problem = self.problem(line, text);
        self.warnings.push(problem);
    }

    /// A warning about another file than the one that is read.
    pub(super) fn warn_in(&mut self, file: &Path, line: u32, text: impl Into<String>) {
        self.warnings.push(Problem::new(file, Some(line), text));
    }

    /// A warning about a camera's entry, which [disables](Problem::disables) it or not.
    pub(super) fn warn_of(
        &mut self,
        camera: &CameraId,
        (file, line): (&Path, u32),
        text: impl Into<String>,
        disables: bool,
    ) {
        self.warnings.push(Problem {
            camera: Some(camera.clone()),
            disables,
            ..Problem::new(file, Some(line), text)
        });
    }

    /// An error in another file than the one that is read.
    pub(super) fn error_in(&mut self, file: &Path, line: Option<u32>, text: impl Into<String>) {
        self.errors.push(Problem::new(file, line, text));
    }

    pub(super) fn problem(&self, line: u32, text: impl Into<String>) -> Problem {
        Problem::new(self.file, Some(line), text)
    }

    /// The value, or `None` after noting the error under its key.
    pub(super) fn checked<T>(
        &mut self,
        line: u32,
        key: &str,
        value: Result<T, String>,
    ) -> Option<T> {
        value
            .map_err(|text| self.error(line, format!("{key}: {text}")))
            .ok()
    }

    /// A value that must be there.
    pub(super) fn required<R, T>(
        &mut self,
        at: &Lines,
        key: &str,
        raw: Option<R>,
        check: impl FnOnce(R) -> Result<T, String>,
    ) -> Option<T> {
        let Some(raw) = raw else {
            self.error(at.of(key), format!("the key `{key}` is missing; add it"));
            return None;
        };
        self.checked(at.of(key), key, check(raw))
    }

    /// A value that may be missing; a wrong one is an error and reads as missing.
    pub(super) fn optional<R, T>(
        &mut self,
        at: &Lines,
        key: &str,
        raw: Option<R>,
        check: impl FnOnce(R) -> Result<T, String>,
    ) -> Option<T> {
        let raw = raw?;
        self.checked(at.of(key), key, check(raw))
    }

    /// A path that may be missing.
    pub(super) fn optional_path(
        &mut self,
        at: &Lines,
        key: &str,
        raw: Option<String>,
    ) -> Option<PathBuf> {
        let path = raw.map(|written| self.path(&written))?;
        self.checked(at.of(key), key, path)
    }

    /// A path that must be there.
    pub(super) fn required_path(
        &mut self,
        at: &Lines,
        key: &str,
        raw: Option<String>,
    ) -> Option<PathBuf> {
        if raw.is_none() {
            self.error(at.of(key), format!("the key `{key}` is missing; add it"));
        }
        self.optional_path(at, key, raw)
    }

    /// A duration within bounds, or its default.
    pub(super) fn duration(
        &mut self,
        at: &Lines,
        key: &str,
        raw: Option<String>,
        default: Duration,
        bounds: (Duration, Duration),
    ) -> Duration {
        self.optional(at, key, raw, |written| {
            values::duration(&written, bounds.0, bounds.1)
        })
        .unwrap_or(default)
    }

    /// A list of texts, each checked; wrong ones are errors and left out.
    pub(super) fn list<T>(
        &mut self,
        at: &Lines,
        key: &str,
        raw: Option<Vec<String>>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let raw = raw.unwrap_or_default();
        if raw.len() > LIST_LIMIT {
            self.error(at.of(key), format!("{key}: more than {LIST_LIMIT} values"));
            return Vec::new();
        }
        raw.iter()
            .filter_map(|written| self.checked(at.of(key), key, check(written)))
            .collect()
    }

    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn into_errors(mut self) -> Errors {
        self.errors.sort_by_key(|problem| problem.line);
        Errors(self.errors)
    }

    pub(super) fn take_warnings(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.warnings)
    }

    /// A path of the file: `${NAME}` replaced, relative to the file's directory.
    pub(super) fn path(&self, written: &str) -> Result<PathBuf, String> {
        if written.is_empty() || written.len() > 4096 || written.contains('\0') {
            return Err("not a path; name a file".to_owned());
        }
        let expanded = PathBuf::from(self.expand(written)?);
        if expanded.is_absolute() {
            return Ok(expanded);
        }
        let directory = self.file.parent().unwrap_or_else(|| Path::new(""));
        let mut whole = directory.to_owned();
        for part in expanded.components() {
            if part != Component::CurDir {
                whole.push(part);
            }
        }
        Ok(whole)
    }

    fn expand(&self, written: &str) -> Result<String, String> {
        let mut whole = String::new();
        let mut rest = written;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("{written:?} has ${{ without }}; close it"));
            };
            let value = self.files.variable(name).ok_or_else(|| {
                let hint = if name == "CREDENTIALS_DIRECTORY" {
                    "systemd sets it for units with LoadCredential=; by hand, run with CREDENTIALS_DIRECTORY=DIR"
                } else {
                    "set it in the daemon's environment"
                };
                format!("the environment has no {name}; {hint}")
            })?;
            whole.push_str(before);
            whole.push_str(&value);
            rest = after;
        }
        whole.push_str(rest);
        Ok(whole)
    }
}

/// Where a section and its keys stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    pub(super) header: u32,
    pub(super) keys: BTreeMap<String, u32>,
}

impl Lines {
    /// The key's line, or the section's where the key is missing.
    pub(super) fn of(&self, key: &str) -> u32 {
        self.keys.get(key).copied().unwrap_or(self.header)
    }

    /// All on one line, as in a table's row.
    pub(super) fn row(line: u32) -> Self {
        Self {
            header: line,
            keys: BTreeMap::new(),
        }
    }
}
