//! A thread of its own for work that nothing waits for: what goes out to others about the
//! journal. TLS, files and slow servers then take no time of the daemon's.

use std::time::Duration;

use tokio::sync::oneshot;

/// How long the thread has for its end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The thread.
#[derive(Debug)]
pub struct Background {
    name: &'static str,
    end: oneshot::Receiver<()>,
}

impl Background {
    /// Starts the thread, which runs this work to its end on a runtime of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<F: Future<Output = ()>>(
        name: &'static str,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (ended, end) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || {
            runtime.block_on(work());
            // A name that is being looked up holds up no stop.
            runtime.shutdown_background();
            // Nobody may wait any more.
            let _ = ended.send(());
        })?;
        Ok(Self { name, end })
    }

    /// Waits for its end, once its work was told to end.
    pub async fn ended(self) {
        if tokio::time::timeout(STOP_TIMEOUT, self.end).await.is_err() {
            let thread = self.name;
            tracing::error!(thread, "a thread does not end, the disk does not answer");
        }
    }
}
