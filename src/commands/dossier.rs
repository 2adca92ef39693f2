//! `fanal dossier`: the annexes that a commune files, from its actual settings, as a page to print:
//! a draft for its lawyer (CSI R252-3, R253-6; GDPR 30 and 35).
#![allow(clippy::print_stdout)]

mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::words::Words;
use super::Usage;
use super::paper::{Lang, cells_of, head, row, table_head, text};
use crate::config::settings::{Agreement, Approval, Camera, Gateway, Hours, Transport};
use crate::config::{self, Daemon, Disk};

/// Arguments of `fanal dossier`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: the annexes of Berre-l'Étang, to print or to send to the commune's lawyer
  fanal dossier --config /etc/fanal/gateway.toml --lang fr > dossier.html

The text states what the settings say and what fanal does; passages in square brackets are for the
commune to fill in. No password, address or key is in it."
)]
pub struct DossierArgs {
    /// The commune's settings file
    #[arg(long, value_name = "FILE", default_value = "/etc/fanal/gateway.toml")]
    config: PathBuf,
    /// The language
    #[arg(long, value_enum, default_value = "fr")]
    lang: Lang,
}

/// Runs `fanal dossier`.
///
/// # Errors
/// The file is wrong, or a receiver's.
pub fn run(args: DossierArgs) -> anyhow::Result<ExitCode> {
    let disk = Disk::reading();
    let wrong = |errors: config::Errors| Usage(errors.to_string());
    if config::detect(&args.config, &disk).map_err(wrong)? == Daemon::Receiver {
        let text = "the annexes are the commune's: name its gateway.toml";
        return Err(Usage(text.to_owned()).into());
    }
    let loaded = config::load_gateway_from(&args.config, &disk).map_err(wrong)?;
    let words = args.lang.of(&words::FRENCH, &words::ENGLISH);
    print!(
        "{}",
        page(&loaded.settings, words, &loaded.hash.to_string())
    );
    Ok(ExitCode::SUCCESS)
}

/// The whole page.
fn page(settings: &Gateway, words: &Words, hash: &str) -> String {
    let mut html = head(words.lang, &[words.title, &settings.name]);
    let _ = write!(
        html,
        "<header><h1>{}</h1><p><strong>{}</strong> ({})</p><p class=\"bad\">{}</p><p class=\"small\">{}</p><p class=\"small\">{} {hash}</p></header>",
        text(words.title),
        text(&settings.name),
        text(settings.commune.as_str()),
        text(words.draft),
        text(words.brackets),
        text(words.settings),
    );
    let facts = Facts { settings, words };
    facts.transmission(&mut html);
    facts.security(&mut html);
    facts.agreements(&mut html);
    facts.cameras(&mut html);
    facts.assessment(&mut html);
    facts.register(&mut html);
    facts.information(&mut html);
    html.push_str("</body></html>\n");
    html
}

/// What the settings say.
struct Facts<'a> {
    settings: &'a Gateway,
    words: &'a Words,
}

impl Facts<'_> {
    /// A chapter of sentences; `{name}` in them is replaced.
    fn chapter(&self, html: &mut String, title: &str, sentences: &[&str]) {
        let _ = write!(html, "<section><h2>{}</h2>", text(title));
        for sentence in sentences {
            let said = self.fill(sentence);
            let _ = write!(html, "<p>{}</p>", text(&said));
        }
        html.push_str("</section>");
    }

    /// Puts the settings' figures into a sentence.
    fn fill(&self, sentence: &str) -> String {
        let settings = self.settings;
        let centres: Vec<&str> = settings
            .agreements
            .iter()
            .map(|one| one.centre.as_str())
            .collect();
        let warm = self.usable().filter(|(_, warm, _)| *warm).count();
        let udp = self.usable().filter(|(.., udp)| *udp).count();
        let values: BTreeMap<&str, String> = BTreeMap::from([
            ("{commune}", settings.name.clone()),
            (
                "{centres}",
                if centres.is_empty() {
                    "–".to_owned()
                } else {
                    centres.join(", ")
                },
            ),
            ("{cameras}", settings.cameras.len().to_string()),
            ("{verified}", self.verified().to_string()),
            ("{warm}", warm.to_string()),
            ("{udp}", udp.to_string()),
            ("{keep}", self.words.months(settings.keep)),
            (
                "{contact}",
                settings
                    .contact
                    .clone()
                    .unwrap_or_else(|| self.words.unknown.to_owned()),
            ),
        ]);
        let mut said = sentence.to_owned();
        for (name, value) in values {
            said = said.replace(name, &value);
        }
        if self.words.lang == Lang::Fr {
            // No line begins with what French puts a space before.
            for mark in [":", ";", "»"] {
                said = said.replace(&format!(" {mark}"), &format!("\u{a0}{mark}"));
            }
        }
        said
    }

    /// Cameras that can be opened: whether they are kept open, and whether their pictures come by UDP.
    fn usable(&self) -> impl Iterator<Item = (&Camera, bool, bool)> {
        self.settings.cameras.values().filter_map(|camera| {
            let streams = camera.streams.as_ref().ok()?;
            Some((camera, streams.warm, streams.transport == Transport::Udp))
        })
    }

    fn verified(&self) -> usize {
        self.settings
            .cameras
            .values()
            .filter(|camera| camera.mask_verified)
            .count()
    }

    fn transmission(&self, html: &mut String) {
        let words = self.words;
        self.chapter(html, words.transmission, words.transmission_said);
        let uplink = match self.settings.uplink.max_bitrate {
            Some(bits) => words
                .uplink_limited
                .replace("{}", &(bits / 1_000_000).to_string()),
            None => words.uplink_open.to_owned(),
        };
        let _ = write!(html, "<p>{}</p>", text(&uplink));
    }

    fn security(&self, html: &mut String) {
        let words = self.words;
        self.chapter(html, words.security, words.security_said);
        let fresh = self
            .settings
            .agreements
            .iter()
            .all(|one| one.require_fresh_revocation);
        let said = if fresh {
            words.revocation_strict
        } else {
            words.revocation_alert
        };
        let _ = write!(html, "<p>{}</p>", text(said));
        let said = match &self.settings.socket_group {
            Some(group) => words.socket_group.replace("{}", group),
            None => words.socket_alone.to_owned(),
        };
        let _ = write!(html, "<p>{}</p>", text(&said));
    }

    fn agreements(&self, html: &mut String) {
        let words = self.words;
        let _ = write!(html, "<section><h2>{}</h2>", text(words.agreements));
        if self.settings.agreements.is_empty() {
            let _ = write!(html, "<p>{}</p>", text(words.no_agreement));
        }
        for agreement in &self.settings.agreements {
            let _ = write!(
                html,
                "<article><h3>{}</h3><table>",
                text(&agreement.reference)
            );
            for (name, value) in self.agreement(agreement) {
                row(html, name, &value);
            }
            html.push_str("</table></article>");
        }
        html.push_str("</section>");
    }

    fn agreement(&self, agreement: &Agreement) -> Vec<(&'static str, String)> {
        let words = self.words;
        let listed = |texts: &[String], none: &str| match texts {
            [] => none.to_owned(),
            texts => texts.join(", "),
        };
        let grounds = agreement.grounds.iter().map(|id| self.ground(id));
        let hours: Vec<String> = agreement
            .hours
            .iter()
            .map(|one| words.window(one))
            .collect();
        let approval = match agreement.approval {
            Approval::Automatic => words.automatic.to_owned(),
            Approval::Commune => {
                let exempt: Vec<&str> = agreement
                    .approval_exempt
                    .iter()
                    .map(|id| self.ground(id))
                    .collect();
                let wait = words.duration(agreement.approval_timeout);
                let said = words.by_commune.replace("{}", &wait);
                match &exempt[..] {
                    [] => said,
                    exempt => format!("{said} {} {}.", words.exempt, exempt.join(", ")),
                }
            }
        };
        let date = |day: jiff::civil::Date| day.strftime(words.date).to_string();
        let yes = |yes: bool| if yes { words.yes } else { words.no }.to_owned();
        vec![
            (words.centre, agreement.centre.to_string()),
            (
                words.in_force,
                format!("{} – {}", date(agreement.from), date(agreement.until)),
            ),
            (words.units, listed(&agreement.units, words.any_unit)),
            (words.grounds, grounds.collect::<Vec<_>>().join(", ")),
            (words.hours, listed(&hours, words.always)),
            (words.covered, listed(&agreement.cameras, "–")),
            (words.except, listed(&agreement.except, words.nothing)),
            (words.max_duration, words.duration(agreement.max_duration)),
            (words.max_total, words.duration(agreement.max_total)),
            (words.max_relays, agreement.max_relays.to_string()),
            (
                words.max_designation,
                words.duration(agreement.max_designation),
            ),
            (words.approval, approval),
            (words.snapshots, yes(agreement.snapshots)),
            (words.watermark, yes(agreement.watermark)),
            (words.vms, yes(agreement.vms)),
            (words.fingerprint, agreement.settings_hash.to_string()),
        ]
    }

    /// The label of a ground.
    fn ground<'s>(&'s self, id: &'s str) -> &'s str {
        let known = self.settings.grounds.get(id);
        known.map_or(id, |ground| self.words.lang.of(&ground.fr, &ground.en))
    }

    fn cameras(&self, html: &mut String) {
        let words = self.words;
        self.chapter(html, words.cameras, words.cameras_said);
        table_head(
            html,
            &[words.camera, words.camera_name, words.groups, words.masks],
        );
        for camera in self.settings.cameras.values() {
            let masks = match (&camera.streams, camera.mask_verified) {
                (Err(_), _) => words.camera_invalid,
                (Ok(_), true) => words.masks_verified,
                (Ok(_), false) => words.masks_unverified,
            };
            let cells = [
                camera.id.to_string(),
                camera.name.clone(),
                camera.groups.join(", "),
                masks.to_owned(),
            ];
            cells_of(html, &cells);
        }
        html.push_str("</tbody></table>");
    }

    fn assessment(&self, html: &mut String) {
        let words = self.words;
        self.chapter(html, words.assessment, words.assessment_said);
        table_head(html, &[words.risk, words.measure, words.rest]);
        for risk in words.risks {
            let cells = risk.map(|cell| self.fill(cell));
            cells_of(html, &cells);
        }
        html.push_str("</tbody></table>");
    }

    fn register(&self, html: &mut String) {
        let words = self.words;
        let _ = write!(html, "<section><h2>{}</h2><table>", text(words.register));
        for (name, said) in words.register_said {
            row(html, name, &self.fill(said));
        }
        html.push_str("</table></section>");
    }

    fn information(&self, html: &mut String) {
        let words = self.words;
        self.chapter(html, words.information, words.information_said);
        let _ = write!(
            html,
            "<blockquote><p>{}</p></blockquote>",
            text(&self.fill(words.notice))
        );
    }
}

impl Words {
    /// A duration in whole units.
    fn duration(&self, duration: Duration) -> String {
        let seconds = duration.as_secs();
        let units = [
            (86_400, self.days),
            (3_600, self.hours_unit),
            (60, self.minutes),
        ];
        let fits = units
            .iter()
            .find(|(size, _)| seconds >= *size && seconds.is_multiple_of(*size));
        match fits {
            Some((size, unit)) => {
                let count = seconds / size;
                format!("{count} {}", unit[usize::from(count > 1)])
            }
            None => format!("{seconds} s"),
        }
    }

    /// A window of hours.
    fn window(&self, hours: &Hours) -> String {
        let days = hours.days.iter().zip(self.weekdays);
        let days: Vec<&str> = days.filter(|(on, _)| **on).map(|(_, name)| name).collect();
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        format!(
            "{} {}–{}",
            days.join(" "),
            time(hours.start),
            time(hours.end)
        )
    }

    /// How long the journal is kept.
    fn months(&self, keep: crate::format::keep::Keep) -> String {
        keep.to_string().replace("months", self.months_unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn durations_are_whole() {
        let said = |seconds| words::FRENCH.duration(Duration::from_secs(seconds));
        assert_eq!(
            [said(86_400), said(5_400), said(90)],
            ["1 jour", "90 minutes", "90 s"]
        );
        let keep = crate::format::keep::Keep::MOST;
        assert_eq!(words::FRENCH.months(keep), "36 mois");
        let hours = Hours {
            days: [true, true, false, false, false, false, true],
            start: 480,
            end: 1_440,
        };
        assert_eq!(words::FRENCH.window(&hours), "lun. mar. dim. 08:00–24:00");
    }
}
