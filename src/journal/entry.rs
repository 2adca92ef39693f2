//! What is in a journal entry's body. `v` and `salt` are added by the
//! writer. Never a picture, never the incident's content, never a secret.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::format::designation::Verified;

use super::attestation::Attestation;
use crate::format::ids::{
    CameraId, CentreId, CommuneId, GrantId, Incident, MarkId, RequestId, Sha256, SnapshotId,
};
use crate::format::statement::{Operator, Received, RefusedCamera, RequestClaims, Viewing};
use crate::media::relay::RelayId;
use crate::reason::{Reason, Refusal};

/// Version of the bodies.
pub const VERSION: u32 = 1;

/// An entry's body. Unknown kinds and fields of a newer version are kept as
/// they are by readers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// The daemon started, with these settings.
    Started {
        /// Commune's or centre's id.
        by: String,
        /// fanal's version.
        version: String,
        /// SHA-256 of the settings file.
        settings: Sha256,
        /// Own link certificate chain (PEM): certificates are kept in the journal.
        certificate: String,
    },
    /// The key that signs this journal's checkpoints; made with the journal.
    LogKey {
        /// Its verifier key, for witnesses; the name is the log's origin, `fanal/ID/JOURNAL`.
        vkey: String,
        /// The owner's statement of it (`fanal-log-key+jwt`).
        statement: String,
    },
    /// A witness cosigned a checkpoint of this journal: it saw a tree of so many lines that begins
    /// with each one it saw before.
    Cosigned {
        /// The witness's name in the settings.
        witness: String,
        /// Its verifier key.
        vkey: String,
        /// How many lines the checkpoint covers.
        size: u64,
        /// The checkpoint with the log's and the witness's signature: a signed note.
        checkpoint: String,
    },
    /// The daemon stopped in order.
    Stopped {},
    /// New settings are in force, or were refused (`error`).
    Reloaded {
        /// SHA-256 of the settings file.
        settings: Sha256,
        /// Why the file was refused; the old settings stay.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A grant or its renewal: at the gateway before the camera opens, at the
    /// receiver before a viewer gets a frame.
    Grant(Box<GrantEntry>),
    /// A request that verified was refused whole.
    Refused {
        /// The request verbatim.
        request: String,
        /// Its id.
        jti: RequestId,
        /// The peer: the centre at the gateway, the commune at the receiver.
        peer: String,
        /// Who signed.
        operator: Operator,
        /// Why.
        #[serde(flatten)]
        refusal: Refusal,
        /// The grant whose renewal, recorded under the same `jti`, this undoes:
        /// the grant is as it was before. A replay of a renewal undoes nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        voids: Option<GrantId>,
        /// That it ends the wait of the same request: see [`Entry::Waiting`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ended: Option<WaitEnded>,
    },
    /// At the receiver: a request goes to its gateway. Only such a one may be granted later,
    /// after a lost link, a restart or an approval; its grant or refusal closes it.
    Forwarded {
        /// Its id.
        jti: RequestId,
        /// The commune.
        peer: CommuneId,
    },
    /// At the gateway: a request passed all checks and waits for the commune's
    /// approval. Its grant (`approved_by`) or a refusal (`wait_ended`) ends the
    /// wait; a restart ends it too.
    Waiting {
        /// The request verbatim.
        request: String,
        /// Its id.
        jti: RequestId,
        /// The centre.
        peer: CentreId,
        /// Who signed.
        operator: Operator,
        /// The agreement that wants approval.
        agreement: String,
        /// The cameras that would be granted.
        cameras: Vec<CameraId>,
        /// Until when it waits, RFC 3339.
        approve_by: String,
    },
    /// Requests that did not verify, counted; never stored. One line a minute at most.
    Unverified {
        /// The peer they came from.
        peer: String,
        /// How many.
        count: u64,
        /// The last one's reason.
        reason: Reason,
    },
    /// Requests of one operator beyond his pace: they verified, were refused, and are counted
    /// here instead of stored. The first one is told at once, then one line a minute at most.
    /// After a restart none that he signed before it is taken (see [`crate::policy::peer::pace`]).
    Excess {
        /// The peer: the centre at the gateway, the commune of the last one at the receiver.
        peer: String,
        /// Who signed.
        operator: Operator,
        /// How many.
        count: u64,
    },
    /// At the gateway: the centre's head that covers its entry of the grant.
    Confirmed {
        /// The grant.
        grant: GrantId,
        /// The centre.
        centre: CentreId,
        /// Its head statement, verbatim.
        head: String,
    },
    /// A relay goes on after a restart, under the same grant.
    Resumed {
        /// The grant.
        grant: GrantId,
    },
    /// A grant's pictures go to another receiver of the centre from now on: written by the
    /// gateway before it asks that receiver, and by the receiver that had them.
    Moved {
        /// The grant.
        grant: GrantId,
        /// The centre.
        centre: CentreId,
        /// Which receiver gets them: SHA-256 of the key of its certificate.
        receiver: Sha256,
    },
    /// A grant ended. It acted first: `at` is the true time.
    Ended {
        /// The grant.
        grant: GrantId,
        /// Why.
        reason: Reason,
        /// When, RFC 3339.
        at: String,
        /// Who, where a person did it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// The commune cut a scope.
    Cut {
        /// What: `grant:ID`, `camera:ID`, `centre:ID` or `all`.
        scope: String,
        /// Until when the same is refused, RFC 3339.
        until: String,
        /// Who: the socket peer, or `page:NUMBER` of the person who signed.
        by: String,
    },
    /// The commune lifted a cut.
    Allowed {
        /// What.
        scope: String,
        /// Who: the socket peer, or `page:NUMBER` of the person who signed.
        by: String,
    },
    /// At the gateway: what a person at the commune signed on its page. What it does follows in
    /// entries of its own; an approval and the end of a cut wait for this one.
    Decision {
        /// The statement verbatim.
        statement: String,
        /// Its id.
        jti: RequestId,
        /// Who signed; the unit is empty where the certificate names none.
        person: Operator,
        /// Why it had no effect.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<Refusal>,
    },
    /// At the receiver: somebody began to watch.
    ViewingStarted {
        /// The grant.
        grant: GrantId,
        /// The commune.
        commune: CommuneId,
        /// The camera.
        camera: CameraId,
        /// Who: the operator's number, or `vms:NAME`.
        who: String,
        /// How: `rtsp` (over TCP), `rtsp_udp`, `live`.
        how: String,
        /// From where.
        from: String,
        /// RTSP: numbers of other operators who were given the same URL under earlier requests
        /// of the grant. It plays under `who`'s request; the player may be theirs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holders: Vec<String>,
    },
    /// At the receiver: the same stopped watching.
    ViewingEnded {
        /// Number of the line that holds its start.
        start: u64,
        /// The grant.
        grant: GrantId,
        /// Why it was ended; absent where the viewer left by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// When, RFC 3339.
        at: String,
        /// The operator (number) who took the grant over: the pictures go on under his request,
        /// as a viewing of his own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_over_by: Option<String>,
    },
    /// At the receiver: a grant's RTSP password changed, since an operator who held the URL
    /// under an earlier request of the grant is designated no longer. Its players ended.
    CredentialsChanged {
        /// The grant.
        grant: GrantId,
        /// Who held the URL.
        operator: Operator,
        /// Why he may not any more.
        reason: Reason,
    },
    /// At the receiver: a part of a list of viewings that the commune has not confirmed some
    /// minutes after its grant's end; it stays owed.
    ViewingsOwed {
        /// The grant.
        grant: GrantId,
        /// The commune.
        commune: CommuneId,
        /// The part's number, from 0.
        part: u32,
        /// How many parts the list has.
        parts: u32,
        /// What the part says.
        viewings: Vec<Viewing>,
        /// What it says was received.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        received: Vec<Received>,
        /// Since when that was counted, seconds since the epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counted_since: Option<i64>,
    },
    /// At the receiver: the commune's journal holds the whole list of a grant's viewings.
    ViewingsTaken {
        /// The grant.
        grant: GrantId,
        /// The commune.
        commune: CommuneId,
        /// The newest of its heads that came with its confirmations, verbatim.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<String>,
    },
    /// At the gateway: the centre's signed list of viewings at a grant's end.
    Viewings {
        /// The grant.
        grant: GrantId,
        /// The part's number, from 0; absent in lists of centres that number none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<u32>,
        /// How many parts the list has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parts: Option<u32>,
        /// The statement, verbatim.
        statement: String,
        /// What it says.
        viewings: Vec<Viewing>,
        /// What it says was received.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        received: Vec<Received>,
    },
    /// At both ends: an operator takes a still of a picture. At the receiver before
    /// the gateway is asked, at the gateway before the receiver may give it.
    Snapshot {
        /// Its id, the same at both ends.
        snapshot: SnapshotId,
        /// The grant.
        grant: GrantId,
        /// The commune.
        commune: CommuneId,
        /// The camera.
        camera: CameraId,
        /// When the picture was captured, by the gateway's clock, RFC 3339.
        captured: String,
        /// Who signed the grant's newest request.
        operator: Operator,
        /// Of the PNG's image data, its IDAT chunks' contents in order; absent in entries of
        /// versions that asked for none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Sha256>,
    },
    /// At the receiver: a still that its journal holds was not given.
    SnapshotRefused {
        /// Which.
        snapshot: SnapshotId,
        /// The grant.
        grant: GrantId,
        /// Why.
        #[serde(flatten)]
        refusal: Refusal,
    },
    /// At the receiver: an operator opened the record of an incident, or closed it.
    Incident {
        /// Its reference.
        incident: Incident,
        /// Whether it is open from now on.
        open: bool,
        /// Who.
        operator: Operator,
        /// [`crate::format::designation::Authority::id`] of the one that designates him.
        authority: Sha256,
        /// The grounds on which it was opened, where he said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grounds: Option<String>,
    },
    /// At the receiver: an operator wrote a note or marked a span of pictures, changed or withdrew it.
    Mark(Box<MarkEntry>),
    /// A peer's journal head, kept from the first day.
    PeerHead {
        /// The commune's or centre's id.
        peer: String,
        /// The head statement, verbatim.
        head: String,
    },
    /// A peer's journal contradicts a head its owner signed.
    PeerContradiction {
        /// The commune's or centre's id.
        peer: String,
        /// What does not fit.
        detail: String,
        /// The head it contradicts, verbatim.
        head: String,
        /// The head that contradicts it, verbatim.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<String>,
    },
    /// A peer began a new journal, whose first line names all that is held of the old one.
    PeerContinues {
        /// The commune's or centre's id.
        peer: String,
        /// That first line, verbatim.
        line: String,
    },
    /// This machine's journal lacks a line whose head it signed and a peer holds.
    JournalWentBack {
        /// Who holds the head.
        peer: String,
        /// The line that is missing.
        detail: String,
        /// The head, verbatim.
        head: String,
    },
    /// This machine's journal does not verify, as was found at the start or by a look while the
    /// daemon ran: a new one began, which continues the last line that is certain.
    JournalDamaged {
        /// The file of the first line that does not verify.
        file: String,
        /// Its number there.
        line: u64,
        /// The fault of that line.
        cause: String,
    },
    /// A peer says that its journal does not verify; without a detail, that it does again or
    /// was accepted there.
    PeerDamaged {
        /// The commune's or centre's id.
        peer: String,
        /// What it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// An administrator accepts a journal as it is, whatever it lost before.
    JournalAccepted {
        /// Whose: this machine's id, or a peer's.
        journal: String,
        /// Who.
        by: String,
    },
    /// A newer revocation list is in force.
    Revocation {
        /// The authority's key identifier or name.
        authority: String,
        /// The list's number.
        number: String,
        /// SHA-256 of the list.
        list: Sha256,
    },
    /// An unterminated last line was cut off at recovery.
    TornLine {
        /// SHA-256 of the bytes that were cut.
        hash: Sha256,
        /// How many.
        bytes: u64,
    },
    /// The journal could not be written for a time; now it can again.
    Interrupted {
        /// Since when, RFC 3339.
        since: String,
        /// What failed first.
        error: String,
        /// How many entries were refused meanwhile; none of them is in the journal.
        refused: u64,
    },
    /// A new journal begins after a failed fsync or a journal that did not verify; it names
    /// the old one's last line that is certain.
    Continues {
        /// The old journal's id.
        journal: String,
        /// Its last known line.
        seq: u64,
        /// That line's link.
        link: Sha256,
    },
    /// At the gateway: what was sent to a centre in a time, and why; each day and at an
    /// orderly stop.
    Attestation(Box<Attestation>),
    /// A month was removed since its time is over (interfaces.md 10, "Retention"): the anchor of
    /// one of the journals that had lines in it. Durable before the file goes.
    Pruned {
        /// The months: `2023-11`.
        months: Vec<String>,
        /// The journal's id: the line that says it may be among those removed.
        journal: String,
        /// Its first line that was removed.
        first: u64,
        /// Its last one.
        last: u64,
        /// That line's link.
        link: Sha256,
        /// Roots of the whole subtrees over the links of all lines up to that one (RFC 6962),
        /// the largest first: what a tree of the rest goes on from.
        tree: Vec<Sha256>,
        /// A head of that line, signed when it was removed.
        head: String,
        /// A signed checkpoint that covers these lines: the newest that a witness cosigned, else
        /// one of exactly these. None where the log's key was not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<String>,
    },
    /// An administrator accepted a clock behind the journal's newest time.
    ClockAccepted {
        /// The newest time before, RFC 3339.
        newest: String,
        /// Who.
        by: String,
    },
}

impl Entry {
    /// A request that verified and was refused whole, by or through this peer.
    pub fn refused(
        request: &Verified<RequestClaims>,
        peer: impl Display,
        refusal: Refusal,
    ) -> Self {
        Self::Refused {
            request: request.text().to_owned(),
            jti: request.claims().jti,
            peer: peer.to_string(),
            operator: request.designation().operator.clone(),
            refusal,
            voids: None,
            wait_ended: None,
        }
    }

    /// The same, where it undoes the renewal of a grant, or ended a wait for approval.
    #[must_use]
    pub fn undoing(mut self, grant: Option<GrantId>, wait: Option<WaitEnded>) -> Self {
        if let Self::Refused {
            voids, wait_ended, ..
        } = &mut self
        {
            (*voids, *wait_ended) = (grant, wait);
        }
        self
    }
}

/// A note or a bookmark in the record of an incident; of several entries of one id the newest counts.
///
/// Its text is the operator's own and may be of the incident's content, which no journal holds: here
/// is its digest alone, salted so that it can't be guessed. The text is at the receiver, for as long
/// as the record ([`crate::policy::record`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarkEntry {
    /// Its id.
    pub mark: MarkId,
    /// The incident.
    pub incident: Incident,
    /// Who.
    pub operator: Operator,
    /// [`crate::format::designation::Authority::id`] of the one that designates him.
    pub authority: Sha256,
    /// When he wrote it, by his page's clock, RFC 3339: it may have waited for the receiver.
    pub at: String,
    /// The pictures that a bookmark marks; a note has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// SHA-256 of the salt's 16 bytes and the text's UTF-8; none where there is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Sha256>,
    /// Whether it was withdrawn: the text is removed, the line stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// A span of one camera's pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The grant under which they were seen.
    pub grant: GrantId,
    /// The commune.
    pub commune: CommuneId,
    /// The camera.
    pub camera: CameraId,
    /// From when, RFC 3339.
    pub from: String,
    /// Until when, RFC 3339; none while the bookmark is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Seconds that the commune's clock was ahead of the centre's, where the page knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset: Option<f64>,
}

/// How a request's wait for approval ended without a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitEnded {
    /// Who at the commune, where a person did it: the socket peer, or `page:NUMBER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A grant's or renewal's entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantEntry {
    /// The grant's id; a renewal keeps it.
    pub grant: GrantId,
    /// The request verbatim.
    pub request: String,
    /// Its id.
    pub jti: RequestId,
    /// The gateway's signed grant, verbatim; at the receiver only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The commune.
    pub commune: CommuneId,
    /// The centre.
    pub centre: CentreId,
    /// Who signed.
    pub operator: Operator,
    /// Why.
    pub grounds: String,
    /// The intervention.
    pub incident: Incident,
    /// Recipients: the unit and who else is present.
    pub recipients: Vec<String>,
    /// What is granted, and under which relay numbers at the gateway.
    pub granted: Vec<CameraId>,
    /// What is not.
    pub refused: Vec<RefusedCamera>,
    /// Whether a live grant is carried on.
    pub renewal: bool,
    /// When the grant first began, seconds since the epoch.
    pub first_start: i64,
    /// From when, seconds since the epoch.
    pub start: i64,
    /// Until when, seconds since the epoch.
    pub expires: i64,
    /// Who approved it at the commune (the socket peer, or `page:NUMBER`), where the agreement wants
    /// that; a renewal that needs no new approval names him again. At the gateway only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// The agreement's reference and the hash of its settings.
    pub agreement: String,
    /// SHA-256 of the agreement's settings.
    pub settings: Sha256,
    /// The newest head held of the peer, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_head: Option<String>,
    /// At the gateway, which receiver of the centre gets its pictures: SHA-256 of the key of its
    /// certificate. Older versions knew of one receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Sha256>,
}

/// The id of a relay in the journal, where it helps.
pub type Relay = RelayId;
