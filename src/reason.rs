//! Why something was refused, failed or ended: the stable codes of the
//! interface, each with one sentence in French and English that says what to do,
//! and all that follows from a reason, in one table. Nothing else sorts reasons.
//!
//! A [`Reason`] is data, not an error: it travels in control messages, problem
//! documents, journal entries, QUIC reset codes and metric labels, always under
//! the same name.

use serde::{Deserialize, Serialize};

use crate::text;

/// What is done with a reason besides telling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The signer is not known to be who he says: counts as a failed attempt of the
    /// address that the request came from.
    Attempts,
    /// Known to `fanal_gateway_requests_total`.
    GatewayRequests,
    /// Known to `fanal_receiver_requests_total`: the receiver's own and the gateway's.
    ReceiverRequests,
    /// Known to `fanal_gateway_relays_closed_total`.
    RelaysClosed,
    /// Known to `fanal_gateway_camera_starts_total`.
    CameraStarts,
    /// A grant that a review ends is told to have ended for this; for any other reason
    /// of a review it is told that the agreement changed.
    EndsGrants,
    /// A centre may name it as the cause when it gives a grant back.
    GivenBack,
}

macro_rules! passes {
    (passes) => {
        true
    };
    (stays) => {
        false
    };
}

macro_rules! reasons {
    ($($variant:ident = $number:literal, $code:literal, $http:literal, $rtsp:literal, $stage:literal, $passes:ident, [$($mark:ident)*], $en:literal, $fr:literal;)*) => {
        /// A stable reason code. The number is the QUIC application error code
        /// of a reset or close for that reason, and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // the sentences below say what each one means
        pub enum Reason { $($variant = $number),* }

        impl Reason {
            /// Every reason, in the order of the interface.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),*];

            /// The code as written everywhere: API, journal, metrics, logs.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code),* }
            }

            /// The HTTP status of a problem document for this reason.
            pub const fn http_status(self) -> u16 {
                match self { $(Reason::$variant => $http),* }
            }

            /// The RTSP status for a picture that a live grant does not get, for this
            /// reason. An ended grant's is 403, whatever ended it (INTERFACES 6).
            pub const fn rtsp_status(self) -> u16 {
                match self { $(Reason::$variant => $rtsp),* }
            }

            /// How far a request got that is refused for this: the later the check, the
            /// higher. Of several refusals the furthest is told.
            pub const fn stage(self) -> u8 {
                match self { $(Reason::$variant => $stage),* }
            }

            /// Whether it passes by itself: the same may succeed in a moment, without
            /// another request, other settings or a repair.
            pub const fn passes(self) -> bool {
                match self { $(Reason::$variant => passes!($passes)),* }
            }

            /// What is done with it besides.
            pub const fn marks(self) -> &'static [Mark] {
                match self { $(Reason::$variant => &[$(Mark::$mark),*]),* }
            }

            /// What happened and what to do, in English.
            pub const fn english(self) -> &'static str {
                match self { $(Reason::$variant => $en),* }
            }

            /// What happened and what to do, in French.
            pub const fn french(self) -> &'static str {
                match self { $(Reason::$variant => $fr),* }
            }
        }
    };
}

// number, code, HTTP status, RTSP status, stage, does it pass, marks, English, French
reasons! {
    MalformedRequest = 1, "malformed_request", 403, 403, 0, stays, [Attempts GatewayRequests ReceiverRequests],
        "the request is not in the agreed form; update the program that made it",
        "la demande n'a pas la forme convenue ; mettez à jour le programme qui l'a établie";
    BadSignature = 2, "bad_signature", 403, 403, 1, stays, [Attempts GatewayRequests ReceiverRequests],
        "the signature does not match; sign again with the key that belongs to the designation",
        "la signature ne correspond pas ; signez de nouveau avec la clé qui va avec la désignation";
    StaleRequest = 3, "stale_request", 403, 403, 11, stays, [GatewayRequests ReceiverRequests],
        "the request is more than 60 s from the gateway's clock; set the clock of the workstation and sign again",
        "la demande s'écarte de plus de 60 s de l'horloge de la commune ; mettez le poste à l'heure et signez de nouveau";
    ReplayedRequest = 4, "replayed_request", 403, 403, 11, stays, [Attempts GatewayRequests ReceiverRequests],
        "this request was used already; sign a new one",
        "cette demande a déjà servi ; signez-en une nouvelle";
    WrongAudience = 5, "wrong_audience", 403, 403, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed GivenBack],
        "the request names another commune or centre than the one that received it; sign a new one for the right place",
        "la demande est adressée à une autre commune ou à un autre centre que celui qui l'a reçue ; signez-en une nouvelle au bon destinataire";
    OperatorNotDesignated = 6, "operator_not_designated", 403, 403, 2, stays, [Attempts GatewayRequests ReceiverRequests RelaysClosed GivenBack],
        "the certificate is not signed by the agreement's designation authority, or is not of the agreed form; ask the unit's commander for a designation",
        "le certificat n'est pas signé par l'autorité de désignation de la convention, ou n'a pas la forme convenue ; demandez une désignation au commandant de l'unité";
    DesignationExpired = 7, "designation_expired", 403, 403, 4, stays, [GatewayRequests ReceiverRequests RelaysClosed EndsGrants GivenBack],
        "the designation is not valid at this time; ask the unit's commander for a new one",
        "la désignation n'est pas valable à cette date ; demandez-en une nouvelle au commandant de l'unité";
    DesignationRevoked = 8, "designation_revoked", 403, 403, 5, stays, [GatewayRequests ReceiverRequests RelaysClosed EndsGrants GivenBack],
        "the designation was revoked by its authority; ask the unit's commander",
        "la désignation a été révoquée par son autorité ; adressez-vous au commandant de l'unité";
    RevocationUnknown = 9, "revocation_unknown", 403, 403, 3, stays, [GatewayRequests ReceiverRequests RelaysClosed EndsGrants GivenBack],
        "the list of revoked designations is missing or too old, and a current one is required; its authority must publish a new one",
        "la liste des désignations révoquées manque ou est périmée, alors qu'une liste à jour est exigée ; son autorité doit en publier une nouvelle";
    NoAgreement = 10, "no_agreement", 403, 403, 7, stays, [GatewayRequests ReceiverRequests RelaysClosed],
        "the commune has no agreement with this centre for this unit; the commune and the centre must conclude one",
        "la commune n'a pas de convention avec ce centre pour cette unité ; il faut d'abord en conclure une";
    AgreementNotInForce = 11, "agreement_not_in_force", 403, 403, 8, stays, [GatewayRequests ReceiverRequests RelaysClosed GivenBack],
        "the agreement is not in force on this day or at this hour; ask within its dates and hours",
        "la convention n'est pas en vigueur à cette date ou à cette heure ; faites la demande dans les dates et heures qu'elle prévoit";
    AgreementChanged = 12, "agreement_changed", 403, 403, 11, stays, [RelaysClosed],
        "the commune changed the agreement's settings, which no longer allow this; sign a new request for what they allow",
        "la commune a modifié les réglages de la convention, qui ne permettent plus ce relais ; signez une nouvelle demande dans les limites prévues";
    CameraUnknown = 13, "camera_unknown", 403, 503, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed],
        "the commune has no camera of that name; look it up in the list",
        "la commune n'a pas de caméra de ce nom ; cherchez-la dans la liste";
    CameraNotCovered = 14, "camera_not_covered", 403, 403, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed],
        "the agreement does not cover this camera; choose another from the list",
        "la convention ne couvre pas cette caméra ; choisissez-en une autre dans la liste";
    CameraInvalid = 15, "camera_invalid", 403, 503, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed],
        "the camera's settings at the commune are wrong; the commune's technician must correct them",
        "les réglages de la caméra à la commune sont erronés ; le technicien de la commune doit les corriger";
    MaskNotVerified = 16, "mask_not_verified", 403, 403, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed],
        "nobody has verified this camera's privacy masks; the commune must do so first",
        "les masques de confidentialité de cette caméra n'ont pas été vérifiés ; la commune doit le faire d'abord";
    GroundsNotAllowed = 17, "grounds_not_allowed", 403, 403, 9, stays, [GatewayRequests ReceiverRequests],
        "the agreement does not allow these grounds; choose one that it names",
        "la convention n'admet pas ce motif ; choisissez l'un de ceux qu'elle prévoit";
    IncidentMissing = 18, "incident_missing", 403, 403, 6, stays, [GatewayRequests ReceiverRequests],
        "a request must name the incident it serves; give its reference",
        "la demande doit désigner l'intervention pour laquelle elle est faite ; indiquez sa référence";
    DurationTooLong = 19, "duration_too_long", 403, 403, 10, stays, [GatewayRequests ReceiverRequests],
        "the duration is longer than the agreement allows; ask for less",
        "la durée dépasse ce que permet la convention ; demandez moins";
    TooManyRelays = 20, "too_many_relays", 403, 403, 11, passes, [GatewayRequests ReceiverRequests RelaysClosed GivenBack],
        "the agreement's number of cameras at once is reached; release one first",
        "le nombre de caméras simultanées prévu par la convention est atteint ; libérez-en une d'abord";
    UplinkFull = 21, "uplink_full", 403, 403, 11, passes, [GatewayRequests ReceiverRequests],
        "the commune's uplink is full; release a camera first",
        "la liaison montante de la commune est saturée ; libérez d'abord une caméra";
    CommuneRefused = 22, "commune_refused", 403, 403, 11, stays, [GatewayRequests ReceiverRequests EndsGrants],
        "the commune refuses this for now; call its contact",
        "la commune refuse pour l'instant ; appelez son contact";
    ApprovalPending = 23, "approval_pending", 403, 403, 11, stays, [],
        "somebody at the commune must approve first; wait, or call its contact",
        "quelqu'un à la commune doit d'abord approuver ; patientez ou appelez son contact";
    ApprovalTimedOut = 24, "approval_timed_out", 403, 403, 11, stays, [GatewayRequests ReceiverRequests],
        "nobody at the commune approved in time; call its contact and sign a new request",
        "personne à la commune n'a approuvé à temps ; appelez son contact et signez une nouvelle demande";
    JournalUnavailable = 25, "journal_unavailable", 503, 503, 11, passes, [GatewayRequests ReceiverRequests RelaysClosed GivenBack],
        "the journal can't be written, so nothing may be shown; the administrator of that side must make room or repair the disk",
        "le journal ne peut pas être écrit, donc rien ne peut être montré ; l'administrateur de ce côté doit faire de la place ou réparer le disque";
    CentreUnconfirmed = 26, "centre_unconfirmed", 503, 503, 11, passes, [ReceiverRequests RelaysClosed],
        "the centre did not confirm in time that it recorded the grant; sign a new request",
        "le centre n'a pas confirmé à temps qu'il a consigné l'autorisation ; signez une nouvelle demande";
    ClockWrong = 27, "clock_wrong", 503, 503, 11, passes, [GatewayRequests ReceiverRequests RelaysClosed],
        "a clock is behind what the journal recorded; its administrator must set it, or accept it",
        "une horloge est en retard sur ce que le journal a consigné ; son administrateur doit la régler ou l'accepter";
    CommuneUnknown = 28, "commune_unknown", 403, 403, 11, stays, [ReceiverRequests RelaysClosed GivenBack],
        "this centre knows no commune of that name; look it up in the list",
        "ce centre ne connaît aucune commune de ce nom ; cherchez-la dans la liste";
    CommuneOffline = 29, "commune_offline", 503, 503, 11, passes, [ReceiverRequests],
        "the commune's gateway is not connected; call its contact",
        "la passerelle de la commune n'est pas connectée ; appelez son contact";
    CameraUnreachable = 30, "camera_unreachable", 503, 503, 11, passes, [CameraStarts],
        "the camera does not answer on its network; check its power, cable and address",
        "la caméra ne répond pas sur son réseau ; vérifiez son alimentation, son câble et son adresse";
    CameraRefused = 31, "camera_refused", 503, 503, 11, stays, [CameraStarts],
        "the camera refused the connection or the session; check its address, port and settings",
        "la caméra a refusé la connexion ou la session ; vérifiez son adresse, son port et ses réglages";
    CameraUnauthorized = 32, "camera_unauthorized", 503, 503, 11, stays, [CameraStarts],
        "the camera refused the user name or password; correct them: nothing more is tried until the settings change, so that the camera does not lock the account",
        "la caméra a refusé l'identifiant ou le mot de passe ; corrigez-les : rien n'est retenté d'ici là, pour ne pas bloquer le compte";
    CameraBusy = 33, "camera_busy", 503, 503, 11, passes, [CameraStarts],
        "the camera or recorder allows no more sessions; close another viewer of it, or set max_sessions",
        "la caméra ou l'enregistreur n'accepte plus de session ; fermez un autre lecteur, ou réglez max_sessions";
    CameraNotFound = 34, "camera_not_found", 503, 503, 11, stays, [CameraStarts],
        "the camera has no stream at that path; check its URL",
        "la caméra n'a pas de flux à ce chemin ; vérifiez son URL";
    CameraNoKeyFrame = 35, "camera_no_key_frame", 503, 503, 11, stays, [CameraStarts],
        "the camera sends video but no key frame in time; shorten its key frame interval",
        "la caméra envoie de la vidéo mais pas d'image clé à temps ; réduisez l'intervalle entre images clés";
    CameraStalled = 36, "camera_stalled", 503, 503, 11, passes, [CameraStarts],
        "the camera stopped sending; it is opened again by itself, wait a moment",
        "la caméra a cessé d'émettre ; elle est rouverte automatiquement, patientez";
    CodecUnsupported = 37, "codec_unsupported", 503, 503, 11, stays, [RelaysClosed CameraStarts],
        "the camera sends a codec that can't be relayed; set it to H.264, H.265 or MJPEG",
        "la caméra émet dans un format qui ne peut pas être relayé ; réglez-la en H.264, H.265 ou MJPEG";
    StreamChanged = 38, "stream_changed", 503, 503, 11, stays, [],
        "the camera changed its codec; open the picture again",
        "la caméra a changé de format vidéo ; rouvrez l'image";
    GrantUnknown = 39, "grant_unknown", 404, 403, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed GivenBack],
        "there is no such grant; look it up in the list of grants, or sign a new request",
        "cette autorisation n'existe pas ; cherchez-la dans la liste, ou signez une nouvelle demande";
    GrantExpired = 40, "grant_expired", 403, 403, 11, stays, [RelaysClosed GivenBack],
        "the grant's time is up; sign a new request if the incident goes on",
        "l'autorisation a expiré ; signez une nouvelle demande si l'intervention continue";
    GrantReleased = 41, "grant_released", 403, 403, 11, stays, [RelaysClosed GivenBack],
        "the grant was released by an operator; sign a new request if the incident goes on",
        "un opérateur a mis fin à l'autorisation ; signez une nouvelle demande si l'intervention continue";
    GrantCut = 42, "grant_cut", 403, 403, 11, stays, [RelaysClosed],
        "the commune cut this relay; call its contact",
        "la commune a coupé ce relais ; appelez son contact";
    LinkLost = 43, "link_lost", 503, 503, 11, passes, [ReceiverRequests RelaysClosed],
        "the link to the commune is lost; it resumes by itself when the link is back",
        "la liaison avec la commune est perdue ; le relais reprendra de lui-même à son retour";
    TokenInvalid = 44, "token_invalid", 401, 403, 11, stays, [],
        "the bearer token is not valid here; sign a new one",
        "le jeton d'accès n'est pas valable ici ; signez-en un nouveau";
    TokenExpired = 45, "token_expired", 401, 403, 11, stays, [],
        "the bearer token has expired; sign a new one",
        "le jeton d'accès a expiré ; signez-en un nouveau";
    TooManyAttempts = 46, "too_many_attempts", 429, 403, 11, passes, [GatewayRequests ReceiverRequests],
        "too many attempts; wait a minute",
        "trop de tentatives ; attendez une minute";
    ShuttingDown = 47, "shutting_down", 503, 503, 11, passes, [GatewayRequests ReceiverRequests RelaysClosed CameraStarts],
        "the daemon is stopping; ask again when it is back",
        "le service s'arrête ; redemandez à son retour";
    ProtocolError = 48, "protocol_error", 502, 503, 11, stays, [ReceiverRequests RelaysClosed GivenBack],
        "the other side broke the protocol; compare the versions and look at its log",
        "l'autre côté n'a pas respecté le protocole ; comparez les versions et consultez son journal technique";
    SnapshotNotAllowed = 50, "snapshot_not_allowed", 403, 403, 11, stays, [],
        "this still may not be taken; look at what the agreement and the grant allow",
        "cette capture d'image n'est pas permise ; voyez ce que prévoient la convention et l'autorisation";
    JournalWentBack = 55, "journal_went_back", 503, 503, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed GivenBack],
        "a journal lacks lines that it held before, as after a restore from a backup; its administrator must find out why and accept it as it is, on both sides",
        "il manque au journal des lignes qu'il contenait, comme après la restauration d'une sauvegarde ; son administrateur doit en trouver la cause et l'accepter tel quel, des deux côtés";
    OwnRequest = 56, "own_request", 403, 403, 11, stays, [],
        "the person who signed this request may not approve it; another person of the commune must decide",
        "la personne qui a signé cette demande ne peut pas l'approuver ; une autre personne de la commune doit décider";
    OtherReceiver = 57, "other_receiver", 503, 503, 11, passes, [RelaysClosed],
        "the pictures of this grant come to another receiver of the centre; watch there, with the same grant and the same URL path",
        "les images de cette autorisation arrivent à un autre récepteur du centre ; regardez-les là-bas, avec la même autorisation et le même chemin d'URL";
    Internal = 49, "internal", 500, 503, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed CameraStarts],
        "something went wrong here; the administrator should look at the log",
        "une erreur interne s'est produite ; l'administrateur doit consulter le journal technique";
    AccountChanged = 63, "account_changed", 403, 403, 11, stays, [],
        "the centre's settings no longer have this VMS account as it was; its administrator must give the VMS the new name, password or address",
        "ce compte VMS n'existe plus tel quel dans la configuration du centre ; l'administrateur doit donner au VMS le nouveau nom, mot de passe ou adresse";
    TooManyRequests = 54, "too_many_requests", 429, 503, 11, passes, [GatewayRequests ReceiverRequests],
        "this operator asked too often in a short time; wait the seconds that are named, then ask again",
        "cet opérateur a fait trop de demandes en peu de temps ; attendez les secondes indiquées, puis redemandez";
    RequestCancelled = 65, "request_cancelled", 403, 403, 11, stays, [GatewayRequests ReceiverRequests RelaysClosed GivenBack],
        "the operator cancelled this request while it waited; sign a new one if the cameras are needed after all",
        "l'opérateur a annulé cette demande pendant l'attente ; signez-en une nouvelle si les caméras sont encore utiles";
    CentreUnreachable = 52, "centre_unreachable", 502, 503, 11, passes, [],
        "the centre's receiver does not answer; check the network of this workstation, it is tried again by itself",
        "le récepteur du centre ne répond pas ; vérifiez le réseau de ce poste ; la connexion est retentée automatiquement";
}

impl Reason {
    /// The reason with this code, if there is one.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }

    /// Whether this is done with it.
    pub fn has(self, mark: Mark) -> bool {
        self.marks().contains(&mark)
    }

    /// All reasons with this mark.
    pub fn marked(mark: Mark) -> impl Iterator<Item = Self> {
        let all = Self::ALL.iter().copied();
        all.filter(move |reason| reason.has(mark))
    }

    /// The number used as QUIC application error code.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The reason with this QUIC application error code, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| u64::from(reason.number()) == number)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Reason {
    /// A code of a newer version reads as [`Reason::Internal`]: unknown reasons
    /// must not break an older peer.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from_code(&code).unwrap_or(Self::Internal))
    }
}

/// A refusal or failure: its reason and what is in the way, in English,
/// without secrets (whose grant, whose clock and by how many seconds).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// What is in the way; empty when the sentence says it all. A peer's is cut to
    /// [`DETAIL_LIMIT`] and made fit to be shown where it is decoded.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "detail"
    )]
    pub detail: String,
    /// After how many seconds the same may succeed, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u32>,
}

/// Longest [`Refusal::detail`], in characters.
pub const DETAIL_LIMIT: usize = 512;

fn detail<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let detail = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    Ok(text::shown(&detail, DETAIL_LIMIT))
}

impl Refusal {
    /// A refusal with what is in the way, cut to [`DETAIL_LIMIT`].
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: text::shown(&detail.into(), DETAIL_LIMIT),
            wait: None,
        }
    }

    /// The same, which may succeed after so many seconds.
    #[must_use]
    pub fn after(self, seconds: u32) -> Self {
        let wait = Some(seconds);
        Self { wait, ..self }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: String::new(),
            wait: None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.detail.is_empty() {
            write!(f, "{}: {}", self.reason, self.reason.english())
        } else {
            write!(f, "{}: {}", self.reason, self.detail)
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers_are_unique_and_found_again() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert_eq!(
                Reason::from_number(u64::from(reason.number())),
                Some(*reason)
            );
            for sentence in [reason.english(), reason.french()] {
                assert!((1..=200).contains(&sentence.chars().count()), "{sentence}");
                assert!(!sentence.ends_with('.'), "{sentence}");
            }
            let (english, french) = (reason.english(), reason.french());
            assert!(english.contains("; "), "{reason} says what to do");
            assert!(french.contains(" ; "), "{reason} says what to do");
        }
    }

    /// The columns agree with each other and with the interface: `403`, and `503` or
    /// the like where a machine can't (INTERFACES 5 to 7).
    #[test]
    fn the_columns_of_the_table_agree() {
        for reason in Reason::ALL.iter().copied() {
            let (http, rtsp) = (reason.http_status(), reason.rtsp_status());
            assert!(
                [401, 403, 404, 429, 500, 502, 503].contains(&http),
                "{reason}"
            );
            assert!([403, 503].contains(&rtsp), "{reason}");
            // A camera that is set up wrongly is known only once it is granted.
            let is_of_camera = [Reason::CameraInvalid, Reason::CameraUnknown].contains(&reason);
            // A player that waits succeeds, as one that wrote a wrong password does not.
            let may_try_again = reason == Reason::TooManyRequests;
            assert_eq!(
                rtsp == 503,
                http >= 500 || is_of_camera || may_try_again,
                "{reason}"
            );
            if reason.has(Mark::Attempts) {
                assert!(!reason.passes(), "{reason}");
            }
            if reason.has(Mark::GatewayRequests) {
                assert!(
                    reason.has(Mark::ReceiverRequests),
                    "{reason}: the gateway's come through"
                );
            }
            if reason.has(Mark::GivenBack) {
                assert!(reason.has(Mark::RelaysClosed), "{reason}");
            }
            if reason.has(Mark::EndsGrants) {
                assert!(
                    reason.has(Mark::GatewayRequests),
                    "{reason}: a review is a request's checks"
                );
            }
        }
    }

    #[test]
    fn who_is_not_known_is_told_so_before_what_he_may_not() {
        let order = [
            Reason::MalformedRequest,
            Reason::BadSignature,
            Reason::OperatorNotDesignated,
            Reason::RevocationUnknown,
            Reason::DesignationExpired,
            Reason::DesignationRevoked,
            Reason::IncidentMissing,
            Reason::NoAgreement,
            Reason::AgreementNotInForce,
            Reason::GroundsNotAllowed,
            Reason::DurationTooLong,
        ];
        assert!(order.is_sorted_by(|one, other| one.stage() < other.stage()));
        let last = order.map(Reason::stage).into_iter().max();
        for reason in Reason::ALL.iter().filter(|reason| !order.contains(reason)) {
            assert!(Some(reason.stage()) > last, "{reason}");
        }
    }
}
