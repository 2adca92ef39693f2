//! Waits that end: by what they wait for, or by a failure that says what did not come.

use std::time::Duration;

/// Longest wait for anything that should happen: twice the time after which a silent link
/// counts as lost. Nothing takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come; a hang is a failure.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {} s", PATIENCE.as_secs()),
    }
}
