//! What the console finds places and draws its map with: the addresses
//! (`[console] addresses`) and the tiles (`[console] tiles`), both optional.
//!
//! Addresses are read on a thread of their own, at the start and at each reload; until they
//! are there, the old ones answer. Tiles are opened at once, so that an archive of the wrong
//! kind refuses the settings, and read one by one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::config::settings;
use crate::metrics::health::{Check, Checks};
use crate::places::{self, Index, Place};
use crate::tiles::{Source, Tile};

/// Searches and reads of tiles at once; further ones wait for their turn.
const AT_ONCE: usize = 8;
/// The name of the addresses' check in `/ready`.
const CHECK: &str = "addresses";

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lack {
    /// The settings name none.
    #[error("no {0} are configured at this centre; set [console] {0}")]
    NotSet(&'static str),
    /// Not there yet.
    #[error("the addresses are still being read; ask again in some seconds")]
    Reading,
    /// They can't be read.
    #[error("{0}")]
    Unreadable(String),
}

/// Tiles, and whom the map must name for them.
#[derive(Debug)]
pub(super) struct Tiles {
    source: Source,
    /// Farthest and closest zoom.
    pub(super) zooms: (u8, u8),
    /// Whom the map must name.
    pub(super) attribution: Option<String>,
}

impl Tiles {
    /// Opens what the settings name.
    ///
    /// # Errors
    /// It can't be used; the text says why.
    pub(super) fn open(console: &settings::Console) -> Result<Option<Self>, String> {
        let source = console.tiles.as_deref().map(Source::open).transpose()?;
        Ok(source.map(|source| Self {
            zooms: source.zooms(),
            source,
            attribution: console.tiles_attribution.clone(),
        }))
    }
}

/// The addresses.
#[derive(Debug)]
enum Addresses {
    NotSet,
    Reading,
    Ready(Arc<Index>),
    Failed(String),
}

#[derive(Debug)]
struct State {
    tiles: Option<Arc<Tiles>>,
    addresses: Addresses,
    /// The file to be read next.
    wanted: Option<Wanted>,
    /// Ends the reading of what is no longer wanted.
    is_over: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Wanted {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
}

/// Both; shared by the API and anyone who reloads.
#[derive(Debug)]
pub struct Atlas {
    state: Arc<Mutex<State>>,
    /// Wakes the reader; it ends once this is dropped.
    wake: SyncSender<()>,
    turns: Arc<Semaphore>,
    checks: Checks,
}

impl Drop for Atlas {
    fn drop(&mut self) {
        lock(&self.state).is_over.store(true, Ordering::Relaxed);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Atlas {
    /// Opens the tiles, and begins to read the addresses.
    ///
    /// # Errors
    /// The tiles can't be used, or there is no thread to be had.
    pub(super) fn start(console: &settings::Console, checks: Checks) -> Result<Arc<Self>, String> {
        let tiles = Tiles::open(console)?;
        let state = Arc::new(Mutex::new(State {
            tiles: None,
            addresses: Addresses::NotSet,
            wanted: None,
            is_over: Arc::default(),
        }));
        let (wake, woken) = sync_channel(1);
        let (of_reader, of_checks) = (Arc::clone(&state), checks.clone());
        std::thread::Builder::new()
            .name("addresses".to_owned())
            .spawn(move || read_all(&of_reader, &woken, &of_checks))
            .map_err(|error| format!("no thread for the addresses: {error}"))?;
        let atlas = Self {
            state,
            wake,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            checks,
        };
        atlas.apply(console, tiles);
        Ok(Arc::new(atlas))
    }

    /// Puts tiles that were opened from these settings in force, and reads the addresses again.
    pub(super) fn apply(&self, console: &settings::Console, tiles: Option<Tiles>) {
        let mut state = lock(&self.state);
        state.tiles = tiles.map(Arc::new);
        state.is_over.store(true, Ordering::Relaxed);
        let is_over = Arc::<AtomicBool>::default();
        state.is_over = Arc::clone(&is_over);
        let Some(path) = console.addresses.clone() else {
            state.addresses = Addresses::NotSet;
            state.wanted = None;
            self.checks.remove(CHECK);
            return;
        };
        if !matches!(state.addresses, Addresses::Ready(_)) {
            state.addresses = Addresses::Reading;
        }
        state.wanted = Some(Wanted { path, is_over });
        drop(state);
        // A full queue wakes it as well.
        let _ = self.wake.try_send(());
    }

    /// Whether addresses are configured.
    pub(super) fn has_places(&self) -> bool {
        !matches!(lock(&self.state).addresses, Addresses::NotSet)
    }

    /// The tiles that are configured.
    pub(super) fn tiles(&self) -> Option<Arc<Tiles>> {
        lock(&self.state).tiles.clone()
    }

    /// Searches, off the runtime's threads.
    pub(super) async fn search(
        &self,
        query: String,
        near: Option<[f64; 2]>,
        limit: usize,
    ) -> Result<Vec<Place>, Lack> {
        let index = match &lock(&self.state).addresses {
            Addresses::NotSet => return Err(Lack::NotSet("addresses")),
            Addresses::Reading => return Err(Lack::Reading),
            Addresses::Failed(cause) => return Err(Lack::Unreadable(cause.clone())),
            Addresses::Ready(index) => Arc::clone(index),
        };
        let search = move || index.search(&query, near, limit);
        self.blocking(search).await
    }

    /// Reads a tile, off the runtime's threads; `None`: there is none.
    pub(super) async fn tile(&self, zoom: u8, column: u32, row: u32) -> Result<Option<Tile>, Lack> {
        let tiles = self.tiles().ok_or(Lack::NotSet("tiles"))?;
        let read = move || tiles.source.tile(zoom, column, row);
        self.blocking(read).await?.map_err(|error| {
            tracing::warn!(%error, zoom, column, row, "a tile can't be read");
            Lack::Unreadable(format!("the tile can't be read: {error}"))
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Lack> {
        let gone = |error: &dyn std::error::Error| Lack::Unreadable(error.to_string());
        let turns = Arc::clone(&self.turns);
        let turn = turns.acquire_owned().await.map_err(|error| gone(&error))?;
        let work = move || {
            let _turn = turn;
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| gone(&error))
    }
}

/// The reader: one file after the other, the newest that is wanted.
fn read_all(state: &Mutex<State>, woken: &Receiver<()>, checks: &Checks) {
    while woken.recv().is_ok() {
        let Some(Wanted { path, is_over }) = lock(state).wanted.take() else {
            continue;
        };
        let read = read(&path, &is_over);
        let mut state = lock(state);
        if is_over.load(Ordering::Relaxed) {
            continue;
        }
        match read {
            Ok((index, check)) => {
                let old =
                    std::mem::replace(&mut state.addresses, Addresses::Ready(Arc::new(index)));
                checks.set(CHECK, check);
                drop(state);
                drop(old);
            }
            Err(error) => {
                let cause = format!("addresses {}: {error}", path.display());
                let stays = if let Addresses::Ready(_) = state.addresses {
                    "; the old ones stay"
                } else {
                    state.addresses = Addresses::Failed(
                        "the addresses can't be read; the centre's log says why".to_owned(),
                    );
                    ""
                };
                tracing::error!("{cause}{stays}");
                let remedy = "correct the file or console.addresses, and reload (SIGHUP)";
                checks.set(CHECK, Check::warning(format!("{cause}{stays}"), remedy));
            }
        }
    }
}

fn read(path: &Path, is_over: &AtomicBool) -> Result<(Index, Check), String> {
    let file = File::open(path).map_err(|error: io::Error| error.to_string())?;
    let read = places::ban::read(file, places::Builder::default(), is_over)?;
    let (rows, streets) = (read.index.rows(), read.index.streets());
    let detail = format!("{rows} addresses in {streets} streets");
    tracing::info!(rows, streets, bytes = read.index.bytes(), path = %path.display(), "addresses were read");
    if read.bad > 0 {
        let examples = read.examples.join("; ");
        tracing::warn!(
            rows = read.bad,
            "rows of the addresses can't be used: {examples}"
        );
    }
    let check = if read.is_cut {
        let text = format!("{detail}, the rest of the file left out: it is too large");
        tracing::warn!("{text}");
        Check::warning(
            text,
            "give the addresses of the départements that the centre serves",
        )
    } else {
        Check::ok(detail)
    };
    Ok((read.index, check))
}
