//! What carries a link, as metrics, logs and the API name it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// QUIC over UDP: the rule.
    Quic,
    /// TCP with TLS, where UDP does not get through.
    Tcp,
}

impl Transport {
    /// Both, for metrics.
    pub const ALL: [Self; 2] = [Self::Quic, Self::Tcp];

    /// Its name in metrics, logs and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
