//! Why something was refused, failed or ended: the stable codes of the
//! interface, each with one sentence in French and English that says what to do.
//!
//! A [`Reason`] is data, not an error: it travels in control messages, problem
//! documents, journal entries, QUIC reset codes and metric labels, always under
//! the same name.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($variant:ident = $number:literal, $code:literal, $status:literal, $en:literal, $fr:literal;)*) => {
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
                match self { $(Reason::$variant => $status),* }
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

reasons! {
    MalformedRequest = 1, "malformed_request", 403, "the request is not in the agreed form; update the program that made it", "la demande n'a pas la forme convenue ; mettez à jour le programme qui l'a faite";
    BadSignature = 2, "bad_signature", 403, "the signature does not match; sign again with the key of the designation", "la signature ne correspond pas ; signez à nouveau avec la clé de la désignation";
    StaleRequest = 3, "stale_request", 403, "the request is more than 60 s from the gateway's clock; set the clock of the workstation and sign again", "la demande s'écarte de plus de 60 s de l'horloge de la commune ; réglez l'horloge du poste et signez à nouveau";
    ReplayedRequest = 4, "replayed_request", 403, "this request was used already; sign a new one", "cette demande a déjà servi ; signez-en une nouvelle";
    WrongAudience = 5, "wrong_audience", 403, "the request names another commune or centre than the one that received it", "la demande vise une autre commune ou un autre centre que celui qui l'a reçue";
    OperatorNotDesignated = 6, "operator_not_designated", 403, "the operator's certificate is not signed by the agreement's designation authority, or is not of the agreed form; ask the unit's commander for a designation", "le certificat de l'opérateur n'est pas signé par l'autorité de désignation de la convention, ou n'a pas la forme convenue ; demandez une désignation au commandant d'unité";
    DesignationExpired = 7, "designation_expired", 403, "the designation is not valid at this time; ask for a new one", "la désignation n'est pas valable à cette heure ; demandez-en une nouvelle";
    DesignationRevoked = 8, "designation_revoked", 403, "the designation was revoked by its authority", "la désignation a été révoquée par son autorité";
    RevocationUnknown = 9, "revocation_unknown", 403, "the list of revoked designations is missing or too old, and a fresh one is required; publish a new list", "la liste des désignations révoquées manque ou est trop ancienne, et une liste à jour est exigée ; publiez-en une nouvelle";
    NoAgreement = 10, "no_agreement", 403, "the commune has no agreement with this centre and unit", "la commune n'a pas de convention avec ce centre et cette unité";
    AgreementNotInForce = 11, "agreement_not_in_force", 403, "the agreement is not in force today or at this hour", "la convention n'est pas en vigueur à cette date ou à cette heure";
    AgreementChanged = 12, "agreement_changed", 403, "the commune changed the agreement's settings, which no longer allow this", "la commune a modifié les réglages de la convention, qui ne le permettent plus";
    CameraUnknown = 13, "camera_unknown", 403, "the commune has no camera of that name; look it up in the list", "la commune n'a pas de caméra de ce nom ; cherchez-la dans la liste";
    CameraNotCovered = 14, "camera_not_covered", 403, "the agreement does not cover this camera", "la convention ne couvre pas cette caméra";
    CameraInvalid = 15, "camera_invalid", 403, "the camera's settings at the commune are wrong; the commune's technician must mend them", "les réglages de la caméra à la commune sont erronés ; le technicien de la commune doit les corriger";
    MaskNotVerified = 16, "mask_not_verified", 403, "nobody has verified this camera's privacy masks; the commune must do so first", "personne n'a vérifié les masques de cette caméra ; la commune doit d'abord le faire";
    GroundsNotAllowed = 17, "grounds_not_allowed", 403, "the agreement does not allow these grounds", "la convention ne prévoit pas ce motif";
    IncidentMissing = 18, "incident_missing", 403, "a request must name the incident it serves", "une demande doit nommer l'intervention qu'elle sert";
    DurationTooLong = 19, "duration_too_long", 403, "the duration is longer than the agreement allows; ask for less", "la durée dépasse ce que permet la convention ; demandez moins";
    TooManyRelays = 20, "too_many_relays", 403, "the agreement's number of cameras at once is reached; release one first", "le nombre de caméras simultanées de la convention est atteint ; libérez-en une d'abord";
    UplinkFull = 21, "uplink_full", 403, "the commune's link is full; release a camera first", "la liaison de la commune est pleine ; libérez d'abord une caméra";
    CommuneRefused = 22, "commune_refused", 403, "the commune refuses this for now; call its contact", "la commune refuse pour l'instant ; appelez son contact";
    ApprovalPending = 23, "approval_pending", 403, "the commune must approve first", "la commune doit d'abord approuver";
    ApprovalTimedOut = 24, "approval_timed_out", 403, "nobody at the commune approved in time; call its contact", "personne à la commune n'a approuvé à temps ; appelez son contact";
    JournalUnavailable = 25, "journal_unavailable", 503, "the journal can't be written, so nothing may be shown; the administrator of that side must make room or mend the disk", "le journal ne peut être écrit, rien ne peut donc être montré ; l'administrateur de ce côté doit libérer de la place ou réparer le disque";
    CentreUnconfirmed = 26, "centre_unconfirmed", 503, "the centre did not confirm in time that it recorded the grant; ask again", "le centre n'a pas confirmé à temps avoir consigné l'autorisation ; redemandez";
    ClockWrong = 27, "clock_wrong", 503, "a clock stands behind what the journal recorded; its administrator must set it, or accept it", "une horloge retarde sur ce que le journal a consigné ; son administrateur doit la régler ou l'accepter";
    CommuneUnknown = 28, "commune_unknown", 403, "this centre knows no commune of that name", "ce centre ne connaît pas de commune de ce nom";
    CommuneOffline = 29, "commune_offline", 503, "the commune's gateway is not connected; call its contact", "la passerelle de la commune n'est pas connectée ; appelez son contact";
    CameraUnreachable = 30, "camera_unreachable", 503, "the camera does not answer on its network; check its power, cable and address", "la caméra ne répond pas sur son réseau ; vérifiez alimentation, câble et adresse";
    CameraRefused = 31, "camera_refused", 503, "the camera refused the connection or the session; check its address, port and settings", "la caméra a refusé la connexion ou la session ; vérifiez adresse, port et réglages";
    CameraUnauthorized = 32, "camera_unauthorized", 503, "the camera refused the user name or password; nothing more is tried until the settings change, lest the account be locked", "la caméra a refusé l'identifiant ou le mot de passe ; rien n'est retenté avant un changement de réglage, pour ne pas bloquer le compte";
    CameraBusy = 33, "camera_busy", 503, "the camera or recorder allows no more sessions; close another viewer of it, or set max_sessions", "la caméra ou l'enregistreur n'admet plus de session ; fermez un autre client, ou réglez max_sessions";
    CameraNotFound = 34, "camera_not_found", 503, "the camera has no stream at that path; check its URL", "la caméra n'a pas de flux à ce chemin ; vérifiez son URL";
    CameraNoKeyFrame = 35, "camera_no_key_frame", 503, "the camera sends video but no key frame in time; shorten its key frame interval", "la caméra envoie de la vidéo mais pas d'image clé à temps ; raccourcissez l'intervalle entre images clés";
    CameraStalled = 36, "camera_stalled", 503, "the camera stopped sending; it is opened again by itself", "la caméra a cessé d'émettre ; elle est rouverte d'elle-même";
    CodecUnsupported = 37, "codec_unsupported", 503, "the camera sends a codec that can't be relayed; set it to H.264, H.265 or MJPEG", "la caméra émet un codec qui ne peut être relayé ; réglez-la en H.264, H.265 ou MJPEG";
    StreamChanged = 38, "stream_changed", 503, "the camera changed its codec; open the picture again", "la caméra a changé de codec ; rouvrez l'image";
    GrantUnknown = 39, "grant_unknown", 404, "there is no such grant", "cette autorisation n'existe pas";
    GrantExpired = 40, "grant_expired", 403, "the grant's time is up; sign a new request if the incident goes on", "le temps de l'autorisation est écoulé ; signez une nouvelle demande si l'intervention continue";
    GrantReleased = 41, "grant_released", 403, "the grant was released by an operator", "l'autorisation a été rendue par un opérateur";
    GrantCut = 42, "grant_cut", 403, "the commune cut this relay; call its contact", "la commune a coupé ce relais ; appelez son contact";
    LinkLost = 43, "link_lost", 503, "the link to the commune is lost; it resumes by itself when the link is back", "la liaison avec la commune est perdue ; tout reprend de soi-même à son retour";
    TokenInvalid = 44, "token_invalid", 401, "the bearer token is not valid here; sign a new one", "le jeton n'est pas valable ici ; signez-en un nouveau";
    TokenExpired = 45, "token_expired", 401, "the bearer token has expired; sign a new one", "le jeton a expiré ; signez-en un nouveau";
    TooManyAttempts = 46, "too_many_attempts", 429, "too many attempts; wait a minute", "trop de tentatives ; attendez une minute";
    ShuttingDown = 47, "shutting_down", 503, "the daemon is stopping; ask again when it is back", "le service s'arrête ; redemandez à son retour";
    ProtocolError = 48, "protocol_error", 502, "the other side broke the protocol; compare the versions and look at its log", "l'autre côté n'a pas respecté le protocole ; comparez les versions et voyez son journal technique";
    Internal = 49, "internal", 500, "something went wrong here; look at the log", "une erreur s'est produite ici ; voyez le journal technique";
}

impl Reason {
    /// The reason with this code, if there is one.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
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

/// A refusal or failure: its reason and what stands in the way, in English,
/// without secrets (whose grant, whose clock and by how many seconds).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// What stands in the way, at most 512 characters; empty when the sentence says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Refusal {
    /// A refusal with what stands in the way.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: String::new(),
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
            assert!(!reason.english().is_empty() && !reason.french().is_empty());
        }
    }
}
