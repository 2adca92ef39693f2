//! What witnesses answered; both daemons.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounterVec, IntGaugeVec};

use super::register::Register;
use crate::clock::Wall;
use crate::config::settings;
use crate::policy::cosigning::Outcome;

/// Metrics of witnesses, by the names of the settings. Clones count together.
#[derive(Clone, Debug)]
pub struct Witnesses {
    /// `witness`, `outcome` ([`Outcome`]): answers to checkpoints.
    answers_total: IntCounterVec,
    /// `witness`: when it cosigned last, since the epoch; 0: never.
    cosigned: IntGaugeVec,
    /// The names that have series.
    names: Arc<Mutex<BTreeSet<String>>>,
}

impl Witnesses {
    pub(super) fn register(r: &Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            answers_total: r.counters(
                "witness_answers_total",
                &["witness", "outcome"],
                "What came of checkpoints sent to a witness.",
            )?,
            cosigned: r.gauges(
                "witness_cosigned_timestamp_seconds",
                &["witness"],
                "When this witness cosigned last, since the epoch; 0: never.",
            )?,
            names: Arc::default(),
        })
    }

    /// Follows new settings: series of new witnesses begin at 0, others' go.
    pub fn apply(&self, witnesses: &[settings::Witness]) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let new: BTreeSet<String> = witnesses.iter().map(|one| one.name.clone()).collect();
        for gone in names.difference(&new) {
            // An error says that there is none.
            let _ = self.cosigned.remove_label_values(&[gone]);
            for outcome in Outcome::ALL {
                let labels = [gone.as_str(), outcome.as_str()];
                let _ = self.answers_total.remove_label_values(&labels);
            }
        }
        for name in &new {
            self.cosigned.with_label_values(&[name]);
            for outcome in Outcome::ALL {
                let labels = [name.as_str(), outcome.as_str()];
                self.answers_total.with_label_values(&labels);
            }
        }
        *names = new;
    }

    /// A witness answered, or did not.
    pub fn count(&self, witness: &str, outcome: Outcome) {
        let labels = [witness, outcome.as_str()];
        self.answers_total.with_label_values(&labels).inc();
    }

    /// A witness cosigned at this time.
    pub fn cosigned(&self, witness: &str, at: Wall) {
        let gauge = self.cosigned.with_label_values(&[witness]);
        gauge.set(at.seconds().max(gauge.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::note::{Kind, NoteSigner};

    #[test]
    fn series_begin_at_zero_and_go_with_their_witness() {
        let register = Register::new("fanal_gateway_").unwrap();
        let metrics = Witnesses::register(&register).unwrap();
        let key = NoteSigner::new("w", Kind::Witness, [1; 32]).unwrap();
        let witness = settings::Witness {
            name: "Préfecture".to_owned(),
            url: "http://127.0.0.1:1".parse().unwrap(),
            key: key.verifier().clone(),
        };
        metrics.apply(&[witness]);
        let text = || crate::metrics::encode(&register.registry).unwrap();
        let label = "witness=\"Préfecture\"";
        for outcome in Outcome::ALL {
            let series = format!("{{outcome=\"{}\",{label}}} 0", outcome.as_str());
            assert!(text().contains(&series), "{series}");
        }
        metrics.cosigned("Préfecture", Wall::from_seconds(9));
        metrics.cosigned("Préfecture", Wall::from_seconds(5));
        assert!(text().contains(&format!("{{{label}}} 9")));
        metrics.apply(&[]);
        assert!(!text().contains("Préfecture"));
    }
}
