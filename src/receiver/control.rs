//! How the API and the RTSP library see the control task: what it publishes,
//! and what they may ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::Addresses;
use crate::clock::Wall;
use crate::config::{Loaded, settings};
use crate::format::designation::{Authority, Designation, Unit};
use crate::format::ids::{CameraId, CommuneId, GrantId, RequestId};
use crate::policy::desk::{Asked, Commune, Denial, Desk, Grant, Notice, Still, Told};
use crate::reason::{Reason, Refusal};

/// Questions that wait for the control task; beyond it the API answers 503.
pub(super) const ASKS: usize = 256;
/// Notices kept for a listener that is slow; beyond it he is told to look again.
pub(super) const NOTICES: usize = 512;
/// How long an answer of the control task is waited for, besides the gateway's.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take: the gateway's time, and both journals'.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);

/// What is shown. Replaced at each change, but only what changed: each grant and each
/// commune is shared with the desk and with the table before, and so are the lists of
/// ended grants and of communes while nothing in them changes. A camera's change of
/// state copies one grant and the pointers to the live ones.
#[derive(Clone, Debug, Default)]
pub struct Table {
    live: BTreeMap<GrantId, Arc<Grant>>,
    ended: Arc<Told>,
    /// The communes of the settings.
    pub communes: Arc<BTreeMap<CommuneId, Arc<Commune>>>,
    /// Of which [`Desk::communes_version`] they are; `None`: none was shown yet.
    communes_version: Option<u64>,
}

impl Table {
    /// What the desk shows now; `before` is what was shown last.
    pub(super) fn of(desk: &Desk, before: &Self) -> Self {
        let communes_version = Some(desk.communes_version());
        let communes = if before.communes_version == communes_version {
            Arc::clone(&before.communes)
        } else {
            let communes = desk.communes();
            let shared = communes.map(|(id, commune)| (id.clone(), Arc::clone(commune)));
            Arc::new(shared.collect())
        };
        let live = desk.grants();
        Self {
            live: live.map(|grant| (grant.id, Arc::clone(grant))).collect(),
            ended: Arc::clone(desk.ended()),
            communes,
            communes_version,
        }
    }

    /// A live grant, or one that ended a short while ago.
    pub fn grant(&self, grant: GrantId) -> Option<&Arc<Grant>> {
        self.live.get(&grant).or_else(|| self.ended.get(&grant))
    }

    /// The live grants, by id.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.live.values()
    }
}

/// What a reload may change for the API.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The settings.
    pub settings: Arc<settings::Receiver>,
    /// Who signs operators' designations.
    pub authorities: Arc<[Authority]>,
    /// Where the receiver listens.
    pub addresses: Addresses,
    /// +1 at each reload.
    pub generation: u64,
}

/// How a request was answered that was not refused.
#[derive(Debug)]
pub enum Answered {
    /// It is granted, and recorded on both sides.
    Granted(Arc<Grant>),
    /// The commune must approve it.
    Waiting {
        /// Its id, for [`Control::asked`].
        request: RequestId,
        /// The commune.
        commune: CommuneId,
        /// Until when, by the centre's clock.
        approve_by: Wall,
    },
}

/// What may be asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// An operator's request.
    Request {
        text: String,
        reply: oneshot::Sender<Result<Answered, Denial>>,
    },
    /// What became of one.
    Asked {
        request: RequestId,
        unit: Unit,
        reply: oneshot::Sender<Option<Asked>>,
    },
    /// An operator gives a grant back.
    Release {
        grant: GrantId,
        operator: Designation,
        reply: oneshot::Sender<Result<Arc<Grant>, Refusal>>,
    },
    /// An operator gives up a request that waits for its commune.
    Cancel {
        request: RequestId,
        operator: Designation,
        reply: oneshot::Sender<Result<(), Option<Refusal>>>,
    },
    /// An operator wants a still.
    Snapshot {
        still: Still,
        operator: Designation,
        reply: oneshot::Sender<Result<Still, Refusal>>,
    },
    /// What a client looks at closely; nothing once it is gone.
    Focus {
        client: u64,
        cameras: Vec<(CommuneId, CameraId)>,
    },
    /// New settings.
    Reload {
        loaded: Box<Loaded<settings::Receiver>>,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// The settings file is wrong; the old settings stay.
    ReloadFailed { error: String },
}

/// A handle to the control task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) table: watch::Receiver<Arc<Table>>,
    pub(super) shared: watch::Receiver<Arc<Shared>>,
    pub(super) notices: broadcast::Sender<Notice>,
}

impl Control {
    /// What is shown now.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    /// What the settings say now.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared.borrow())
    }

    /// Listens to changes from now on.
    pub fn listen(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Passes a request on and waits for its answer.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn request(&self, text: String) -> Result<Answered, Denial> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Request { text, reply })?;
        match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Reason::ShuttingDown.into()),
            Err(_) => {
                let detail = "the journal of the centre takes too long";
                Err(Refusal::new(Reason::JournalUnavailable, detail).into())
            }
        }
    }

    /// What became of a request of this unit.
    ///
    /// # Errors
    /// The daemon is busy or stops.
    pub async fn asked(&self, request: RequestId, unit: Unit) -> Result<Option<Asked>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Asked {
            request,
            unit,
            reply,
        })?;
        wait(answer).await
    }

    /// Gives a grant back.
    ///
    /// # Errors
    /// There is no such grant of the operator's unit.
    pub async fn release(
        &self,
        grant: GrantId,
        operator: Designation,
    ) -> Result<Arc<Grant>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Release {
            grant,
            operator,
            reply,
        })?;
        wait(answer).await?
    }

    /// Gives up a request that waits for its commune.
    ///
    /// # Errors
    /// The daemon is busy or stops; inside, as [`Desk::handle_cancel`].
    pub async fn cancel(
        &self,
        request: RequestId,
        operator: Designation,
    ) -> Result<Result<(), Option<Refusal>>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Cancel {
            request,
            operator,
            reply,
        })?;
        wait(answer).await
    }

    /// Whether a still may be given: both ends have then recorded it.
    ///
    /// # Errors
    /// Why not.
    pub async fn snapshot(&self, still: Still, operator: Designation) -> Result<Still, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Snapshot {
            still,
            operator,
            reply,
        })?;
        match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Reason::ShuttingDown.into()),
            Err(_) => {
                let detail = "the journal of the centre takes too long";
                Err(Refusal::new(Reason::JournalUnavailable, detail))
            }
        }
    }

    /// Says what a client looks at closely. Best effort: it is no promise.
    pub fn focus(&self, client: u64, cameras: Vec<(CommuneId, CameraId)>) {
        // A full queue costs a focus, nothing else.
        let _ = self.asks.try_send(Ask::Focus { client, cameras });
    }

    /// Puts new settings in force.
    ///
    /// # Errors
    /// What they name can't be read; the old ones stay.
    pub async fn reload(&self, loaded: Loaded<settings::Receiver>) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let loaded = Box::new(loaded);
        self.ask(Ask::Reload { loaded, reply })
            .map_err(|refusal| refusal.to_string())?;
        wait(answer).await.map_err(|refusal| refusal.to_string())?
    }

    /// Notes that the settings file is wrong: journal and metric say so.
    pub fn reload_failed(&self, error: String) {
        if self.asks.try_send(Ask::ReloadFailed { error }).is_err() {
            tracing::warn!("a failed reload could not be noted");
        }
    }

    fn ask(&self, ask: Ask) -> Result<(), Refusal> {
        self.asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Refusal::new(Reason::TooManyAttempts, "the centre is busy; ask again")
            }
            mpsc::error::TrySendError::Closed(_) => Reason::ShuttingDown.into(),
        })
    }
}

async fn wait<T>(answer: oneshot::Receiver<T>) -> Result<T, Refusal> {
    match tokio::time::timeout(CONTROL_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Reason::ShuttingDown.into()),
        Err(_) => Err(Refusal::new(
            Reason::Internal,
            "the control task does not answer",
        )),
    }
}
