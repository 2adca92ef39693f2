//! Why a relay carries the stream that it carries.

use serde::{Deserialize, Serialize};

/// Why a relay carries the full picture or the sub-stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The operator asked for it.
    Asked,
    /// One camera is looked at closely: it has the full picture, its page the small ones.
    Focus,
    /// The full picture fits.
    Room,
    /// The full picture does not fit.
    Uplink,
    /// The camera has no sub-stream in the settings.
    NoSubStream,
    /// The camera's other stream has another codec, which no player could follow.
    OtherCodec,
    /// The camera allows no second session.
    CameraBusy,
    /// The camera's other stream did not come.
    NotAvailable,
    /// No viewer can decode the first stream's codec, and all can the other's.
    Decoder,
    /// A cause that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Cause {
    /// All that a gateway gives.
    pub const ALL: [Self; 9] = [
        Self::Asked,
        Self::Focus,
        Self::Room,
        Self::Uplink,
        Self::NoSubStream,
        Self::OtherCodec,
        Self::CameraBusy,
        Self::NotAvailable,
        Self::Decoder,
    ];

    /// The code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Focus => "focus",
            Self::Room => "room",
            Self::Uplink => "uplink",
            Self::NoSubStream => "no_sub_stream",
            Self::OtherCodec => "other_codec",
            Self::CameraBusy => "camera_busy",
            Self::NotAvailable => "not_available",
            Self::Decoder => "decoder",
            Self::Unknown => "unknown",
        }
    }

    /// What it means, in English.
    pub const fn english(self) -> &'static str {
        match self {
            Self::Asked => "as asked",
            Self::Focus => "the full picture is for the camera looked at closely",
            Self::Room => "the uplink has room for the full picture",
            Self::Uplink => "the uplink has no room for the full picture; release a camera",
            Self::NoSubStream => "the camera has no sub-stream; the commune can add one",
            Self::OtherCodec => {
                "the camera's other stream has another codec; the commune should set both alike"
            }
            Self::CameraBusy => "the camera allows no second session, which changing streams needs",
            Self::NotAvailable => "the camera's other stream did not come; it is tried again",
            Self::Decoder => {
                "the browsers that watch can't decode the camera's main stream; the commune could set it to H.264"
            }
            Self::Unknown => "a cause that this version does not know",
        }
    }

    /// What it means, in French.
    pub const fn french(self) -> &'static str {
        match self {
            Self::Asked => "comme demandé",
            Self::Focus => "l'image complète est pour la caméra regardée de près",
            Self::Room => "la liaison montante a la place pour l'image complète",
            Self::Uplink => {
                "la liaison montante n'a pas la place pour l'image complète ; libérez une caméra"
            }
            Self::NoSubStream => {
                "la caméra n'a pas de flux secondaire ; la commune peut en ajouter un"
            }
            Self::OtherCodec => {
                "l'autre flux de la caméra a un autre codec ; la commune devrait les régler de même"
            }
            Self::CameraBusy => {
                "la caméra n'admet pas de seconde session, nécessaire pour changer de flux"
            }
            Self::NotAvailable => {
                "l'autre flux de la caméra n'est pas venu ; un nouvel essai suivra"
            }
            Self::Decoder => {
                "les navigateurs qui regardent ne décodent pas le flux principal ; la commune pourrait le régler en H.264"
            }
            Self::Unknown => "une cause que cette version ne connaît pas",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_is_written_and_new_ones_are_borne() {
        for cause in Cause::ALL {
            let written = serde_json::to_string(&cause).unwrap();
            assert_eq!(written, format!("\"{cause}\""));
            assert_eq!(serde_json::from_str::<Cause>(&written).unwrap(), cause);
        }
        let newer = serde_json::from_str::<Cause>("\"moonlight\"").unwrap();
        assert_eq!(newer, Cause::Unknown);
    }
}
