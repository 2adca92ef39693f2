//! What the log asks of the disk at a start, and how it explains what fails.

use std::io;

use crate::journal::store::Store;

/// Makes durable what a process that was killed may have left in the system's
/// memory alone, and drops that memory: after an fsync that failed it may show
/// lines that no later fsync writes. A head must cover what is on the disk.
pub(super) fn persist(store: &mut dyn Store) -> Result<(), String> {
    let listed = store.months();
    let months = listed.map_err(|error| explain("reading", "the journal's directory", &error))?;
    // Older files were durable before a newer one was made; one more costs little.
    for month in months.iter().rev().take(2) {
        let done = store.sync(*month).and_then(|()| store.forget(*month));
        done.map_err(|error| explain("fsync of", &month.file_name(), &error))?;
    }
    let synced = store.sync_directory();
    synced.map_err(|error| explain("fsync of", "the journal's directory", &error))
}

/// What failed and, where the cause is known, the next step.
pub(super) fn explain(doing: &str, file: &str, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room on the disk that holds state_dir"
        }
        io::ErrorKind::PermissionDenied => "; the daemon's user must own state_dir",
        io::ErrorKind::ReadOnlyFilesystem => "; the file system is mounted read-only",
        _ => "",
    };
    format!("{doing} {file}: {error}{remedy}")
}
