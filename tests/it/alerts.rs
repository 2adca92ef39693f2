//! The shipped alerts: promtool judges that each fires and that it does not, and each has its
//! paragraph in both languages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::metrics::{full, promtool};
use crate::support::site::Place;

/// What promtool is shown of one alert, one value a minute.
struct Case {
    alert: &'static str,
    /// A series and its values as promtool writes them: `0x5 1x60` is six times 0, 61 times 1.
    series: &'static [(&'static str, &'static str)],
    /// Minutes after which the alert has `firing` instances.
    at: u32,
    firing: u32,
}

const fn case(
    alert: &'static str,
    series: &'static [(&'static str, &'static str)],
    at: u32,
    firing: u32,
) -> Case {
    Case {
        alert,
        series,
        at,
        firing,
    }
}

/// When something ends, in days of 86 400 s: promtool's time begins at 0.
const DAYS_13: &str = "1123200x130";
const DAYS_15: &str = "1296000x130";
const DAYS_20: &str = "1728000x130";
const DAYS_22: &str = "1900800x130";

const LAG: &str = r#"fanal_receiver_copies_lag_seconds{instance="a"}"#;
const LAG_GATEWAY: &str = r#"fanal_gateway_copies_lag_seconds{instance="a"}"#;
const OTHER_COPY: &str = r#"fanal_gateway_copies_total{instance="a",outcome="contradicts"}"#;
const OTHER_COPY_CENTRE: &str =
    r#"fanal_receiver_copies_total{instance="a",outcome="contradicts"}"#;
const FULL_COPY: &str = r#"fanal_receiver_copies_total{instance="a",outcome="full"}"#;
const UP: &str = r#"up{job="fanal-receiver",instance="a"}"#;
const STARTED: &str = r#"process_start_time_seconds{job="fanal-gateway",instance="a"}"#;
const UNGRANTED: &str = "fanal_gateway_ungranted_bytes_total";
const WAITING: &str = "fanal_gateway_approvals_waiting";
const OWN: &str = "fanal_receiver_journal_intact";
const OWN_GATEWAY: &str = "fanal_gateway_journal_intact";
const CENTRES: &str = r#"fanal_gateway_centre_journal_intact{centre="corg-13"}"#;
const COMMUNES: &str = r#"fanal_receiver_commune_journal_intact{commune="berre"}"#;
const ERRORS: &str = "fanal_gateway_journal_errors_total";
const ERRORS_CENTRE: &str = "fanal_receiver_journal_errors_total";
const FREE: &str = "fanal_gateway_state_free_bytes";
const FREE_CENTRE: &str = "fanal_receiver_state_free_bytes";
const LIST: &str = r#"fanal_gateway_certificate_expiry_timestamp_seconds{use="revocation_list"}"#;
const LIST_CENTRE: &str =
    r#"fanal_receiver_certificate_expiry_timestamp_seconds{use="revocation_list"}"#;
const AGREEMENT: &str = r#"fanal_gateway_certificate_expiry_timestamp_seconds{use="agreement"}"#;
const CONSOLE: &str = r#"fanal_receiver_certificate_expiry_timestamp_seconds{use="console"}"#;
const AHEAD: &str = r#"fanal_gateway_witness_answers_total{witness="w",outcome="ahead"}"#;
const REWRITTEN: &str =
    r#"fanal_receiver_witness_answers_total{witness="w",outcome="inconsistent"}"#;
const BEHIND: &str = r#"fanal_gateway_witness_answers_total{witness="w",outcome="behind"}"#;
const COSIGNED: &str =
    r#"fanal_gateway_witness_cosigned_timestamp_seconds{witness="w",instance="a"}"#;
const COSIGNED_CENTRE: &str =
    r#"fanal_receiver_witness_cosigned_timestamp_seconds{witness="w",instance="b"}"#;
const ENTRIES: &str = r#"fanal_gateway_journal_entries_total{instance="a"}"#;
const ENTRIES_CENTRE: &str = r#"fanal_receiver_journal_entries_total{instance="b"}"#;
const OLDER: &str = "fanal_receiver_revocation_lists_older";
const OLDER_GATEWAY: &str = "fanal_gateway_revocation_lists_older";
const LINK: &str = r#"fanal_gateway_link_up{centre="corg-13"}"#;
const LINK_CENTRE: &str = r#"fanal_receiver_link_up{commune="berre"}"#;
const TCP: &str = r#"fanal_gateway_link_transport{centre="corg-13",transport="tcp"}"#;
const QUIC: &str = r#"fanal_gateway_link_transport{centre="corg-13",transport="quic"}"#;
const OFFSET: &str = r#"fanal_gateway_link_clock_offset_seconds{centre="corg-13"}"#;
const RELOAD: &str = "fanal_gateway_config_last_reload_successful";
const RELOAD_CENTRE: &str = "fanal_receiver_config_last_reload_successful";
const INVALID: &str = r#"fanal_gateway_cameras{state="invalid"}"#;
const FAILED: &str = r#"fanal_gateway_cameras{state="failed"}"#;
const FAILED_THERE: &str = r#"fanal_receiver_commune_cameras{commune="berre",state="failed"}"#;
const USABLE_THERE: &str = r#"fanal_receiver_commune_cameras{commune="berre",state="usable"}"#;
const ENDS_THERE: &str =
    r#"fanal_receiver_commune_certificate_expiry_timestamp_seconds{commune="berre",use="link"}"#;
const UNAUTHORIZED: &str =
    r#"fanal_gateway_camera_starts_total{outcome="failed",reason="camera_unauthorized"}"#;
const UNREACHABLE: &str =
    r#"fanal_gateway_camera_starts_total{outcome="failed",reason="camera_unreachable"}"#;
const EXPIRED: &str = r#"fanal_gateway_notices_total{outcome="expired"}"#;
const GONE: &str = r#"fanal_receiver_notices_total{outcome="gone"}"#;
const RETRIED: &str = r#"fanal_gateway_notices_total{outcome="retried"}"#;
const SECOND: &str = r#"fanal_receiver_transit_seconds_bucket{instance="a",le="1"}"#;
const TWO: &str = r#"fanal_receiver_transit_seconds_bucket{instance="a",le="2"}"#;
const ALL: &str = r#"fanal_receiver_transit_seconds_bucket{instance="a",le="+Inf"}"#;

const CASES: &[Case] = &[
    case("FanalDown", &[(UP, "1x5 0x20")], 5, 0),
    case("FanalDown", &[(UP, "1x5 0x20")], 8, 1),
    case("FanalDown", &[(r#"up{job="other"}"#, "0x20")], 8, 0),
    case("FanalRestarts", &[(STARTED, "1+1x4 5x60")], 10, 1),
    case("FanalRestarts", &[(STARTED, "1+1x3 4x60")], 10, 0),
    case("FanalRestarts", &[(STARTED, "1+1x4 5x60")], 50, 0),
    case("FanalUngrantedBytes", &[(UNGRANTED, "0x9")], 5, 0),
    case("FanalUngrantedBytes", &[(UNGRANTED, "0x3 1x9")], 5, 1),
    case("FanalApprovalWaits", &[(WAITING, "0x9")], 5, 0),
    case("FanalApprovalWaits", &[(WAITING, "0x3 2x9")], 5, 1),
    case("FanalJournalBroken", &[(OWN, "1x9")], 8, 0),
    case("FanalJournalBroken", &[(OWN, "1x3 0x9")], 8, 1),
    case("FanalJournalBroken", &[(OWN_GATEWAY, "1x3 0x9")], 8, 1),
    case(
        "FanalJournalWentBack",
        &[(CENTRES, "1x9"), (COMMUNES, "1x9")],
        8,
        0,
    ),
    case("FanalJournalWentBack", &[(CENTRES, "1x3 0x9")], 8, 1),
    case("FanalJournalWentBack", &[(COMMUNES, "1x3 0x9")], 8, 1),
    case(
        "FanalJournalErrors",
        &[(ERRORS, "4x20"), (ERRORS_CENTRE, "4x20")],
        8,
        0,
    ),
    case("FanalJournalErrors", &[(ERRORS, "0x4 1x20")], 7, 1),
    case("FanalJournalErrors", &[(ERRORS_CENTRE, "0x4 1x20")], 7, 1),
    case("FanalJournalErrors", &[(ERRORS, "0x4 1x20")], 15, 0),
    case("FanalDiskNearlyFull", &[(FREE, "1100000000x30")], 20, 0),
    case("FanalDiskNearlyFull", &[(FREE, "900000000x30")], 9, 0),
    case("FanalDiskNearlyFull", &[(FREE, "900000000x30")], 20, 1),
    case(
        "FanalDiskNearlyFull",
        &[(FREE_CENTRE, "900000000x30")],
        20,
        1,
    ),
    case("FanalCertificateEndsSoon", &[(LIST, DAYS_13)], 90, 1),
    case("FanalCertificateEndsSoon", &[(LIST_CENTRE, DAYS_13)], 90, 1),
    case("FanalCertificateEndsSoon", &[(LIST, DAYS_15)], 90, 0),
    case("FanalCertificateEndsSoon", &[(AGREEMENT, DAYS_20)], 90, 1),
    case("FanalCertificateEndsSoon", &[(AGREEMENT, DAYS_22)], 90, 0),
    case("FanalCertificateEndsSoon", &[(CONSOLE, DAYS_20)], 90, 1),
    case("FanalCertificateEndsSoon", &[(CONSOLE, DAYS_22)], 90, 0),
    // Where there is none.
    case("FanalCertificateEndsSoon", &[(LIST, "0x130")], 90, 0),
    case("FanalWitnessContradicts", &[(AHEAD, "0x5 1x20")], 10, 1),
    case("FanalWitnessContradicts", &[(REWRITTEN, "0x5 1x20")], 10, 1),
    case("FanalWitnessContradicts", &[(BEHIND, "0x5 1x20")], 10, 0),
    case(
        "FanalWitnessSilent",
        &[(COSIGNED, "60x500"), (ENTRIES, "0+1x500")],
        420,
        1,
    ),
    case(
        "FanalWitnessSilent",
        &[(COSIGNED_CENTRE, "60x500"), (ENTRIES_CENTRE, "0+1x500")],
        420,
        1,
    ),
    case(
        "FanalWitnessSilent",
        &[(COSIGNED, "60x500"), (ENTRIES, "0+1x500")],
        350,
        0,
    ),
    // Nothing was written that a cosignature could cover.
    case(
        "FanalWitnessSilent",
        &[(COSIGNED, "60x500"), (ENTRIES, "7x500")],
        420,
        0,
    ),
    case("FanalCopiesLag", &[(LAG, "0+60x20")], 15, 0),
    case("FanalCopiesLag", &[(LAG, "0+60x20")], 18, 1),
    case("FanalCopiesLag", &[(LAG_GATEWAY, "0+60x20")], 18, 1),
    case("FanalCopiesContradict", &[(OTHER_COPY, "0x5 1x20")], 10, 1),
    case(
        "FanalCopiesContradict",
        &[(OTHER_COPY_CENTRE, "0x5 1x20")],
        10,
        1,
    ),
    case("FanalCopiesContradict", &[(FULL_COPY, "0x5 1x20")], 10, 0),
    case("FanalRevocationListOlder", &[(OLDER, "0x9")], 5, 0),
    case("FanalRevocationListOlder", &[(OLDER, "1x9")], 5, 1),
    case("FanalRevocationListOlder", &[(OLDER_GATEWAY, "1x9")], 5, 1),
    case("FanalLinkDown", &[(LINK, "1x2 0x20")], 6, 0),
    case("FanalLinkDown", &[(LINK, "1x2 0x20")], 10, 1),
    case("FanalLinkDown", &[(LINK_CENTRE, "1x2 0x20")], 10, 1),
    case("FanalLinkOverTcp", &[(TCP, "1x90")], 50, 0),
    case("FanalLinkOverTcp", &[(TCP, "1x90")], 70, 1),
    case("FanalLinkOverTcp", &[(QUIC, "1x90")], 70, 0),
    case("FanalClockOffset", &[(OFFSET, "-4x30")], 20, 0),
    case("FanalClockOffset", &[(OFFSET, "-6x30")], 20, 1),
    case("FanalClockOffset", &[(OFFSET, "6x30")], 20, 1),
    case(
        "FanalReloadRefused",
        &[(RELOAD, "1x9"), (RELOAD_CENTRE, "1x9")],
        6,
        0,
    ),
    case("FanalReloadRefused", &[(RELOAD, "1x3 0x9")], 6, 1),
    case("FanalReloadRefused", &[(RELOAD_CENTRE, "1x3 0x9")], 6, 1),
    case("FanalCameraSettingsInvalid", &[(INVALID, "2x30")], 20, 1),
    case(
        "FanalCameraSettingsInvalid",
        &[(INVALID, "0x30"), (FAILED, "2x30")],
        20,
        0,
    ),
    case("FanalCameraFailed", &[(FAILED, "0x5 2x30")], 15, 0),
    case("FanalCameraFailed", &[(FAILED, "0x5 2x30")], 22, 1),
    case("FanalCameraFailed", &[(FAILED_THERE, "0x5 2x30")], 22, 1),
    case(
        "FanalCameraFailed",
        &[(INVALID, "2x30"), (USABLE_THERE, "9x30")],
        22,
        0,
    ),
    case(
        "FanalCommuneCertificateEndsSoon",
        &[(ENDS_THERE, DAYS_13)],
        90,
        1,
    ),
    case(
        "FanalCommuneCertificateEndsSoon",
        &[(ENDS_THERE, DAYS_15)],
        90,
        0,
    ),
    // It has never linked.
    case(
        "FanalCommuneCertificateEndsSoon",
        &[(ENDS_THERE, "0x130")],
        90,
        0,
    ),
    case(
        "FanalCameraUnauthorized",
        &[(UNAUTHORIZED, "0x5 1x20")],
        10,
        1,
    ),
    case(
        "FanalCameraUnauthorized",
        &[(UNREACHABLE, "0x5 1x20")],
        10,
        0,
    ),
    case(
        "FanalPicturesLate",
        &[(SECOND, "0+97x30"), (TWO, "0+100x30"), (ALL, "0+100x30")],
        20,
        1,
    ),
    case(
        "FanalPicturesLate",
        &[(SECOND, "0+99.5x30"), (TWO, "0+100x30"), (ALL, "0+100x30")],
        20,
        0,
    ),
    case("FanalNoticesLost", &[(EXPIRED, "0x5 1x20")], 10, 1),
    case("FanalNoticesLost", &[(GONE, "0x5 1x20")], 10, 1),
    case("FanalNoticesLost", &[(RETRIED, "0x5 1x20")], 10, 0),
];

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn rules() -> String {
    std::fs::read_to_string(tree("deploy/alerts.yml")).unwrap()
}

/// Names of the shipped alerts.
fn alerts(rules: &str) -> BTreeSet<&str> {
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: BTreeSet<&str> = names.collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

#[test]
fn the_shipped_rules_and_scrapes_are_right() {
    for (kind, name) in [("rules", "alerts.yml"), ("config", "prometheus.yml")] {
        let path = tree("deploy").join(name).display().to_string();
        if let Some((good, said)) = promtool(&["check", kind, &path], "") {
            assert!(good, "{said}");
        }
    }
    // Every metric that a rule names exists.
    let [gateway, receiver] = full();
    let rules = rules();
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for name in words.filter(|word| word.starts_with("fanal_")) {
        assert!(gateway.contains(name) || receiver.contains(name), "{name}");
    }
}

#[test]
fn each_alert_fires_and_does_not() {
    let rules = rules();
    for alert in alerts(&rules) {
        let of = |fires: bool| {
            let mut cases = CASES.iter().filter(|case| case.alert == alert);
            cases.any(|case| (case.firing > 0) == fires)
        };
        assert!(of(true), "{alert}: no case in which it fires");
        assert!(of(false), "{alert}: no case in which it does not");
    }
    let tests = CASES.iter().map(|case| {
        let series = case.series.iter().map(|(series, values)| {
            format!("\n      - {{series: '{series}', values: '{values}'}}")
        });
        let series: String = series.collect();
        let Case {
            alert, at, firing, ..
        } = case;
        format!(
            "
  - interval: 1m
    input_series:{series}
    promql_expr_test:
      - expr: count(ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}) or vector(0)
        eval_time: {at}m
        exp_samples: [{{labels: '{{}}', value: {firing}}}]"
        )
    });
    let tests: String = tests.collect();
    let alerts = tree("deploy/alerts.yml");
    let text = format!("rule_files: [{}]\ntests:{tests}\n", alerts.display());
    let place = Place::new();
    let file = place.write("alerts-test.yml", text);
    let tested = promtool(&["test", "rules", &file.display().to_string()], "");
    if let Some((good, said)) = tested {
        assert!(good, "{said}");
    }
}

#[test]
fn each_alert_has_its_paragraph_in_both_languages() {
    let rules = rules();
    let alerts = alerts(&rules);
    for paper in ["alerts.md", "alerts.fr.md"] {
        let text = std::fs::read_to_string(tree("deploy/guide").join(paper)).unwrap();
        let mut told = BTreeSet::new();
        for part in text.split("\n## ").skip(1) {
            let (name, said) = part.split_once('\n').unwrap();
            assert!(said.trim().len() > 60, "{paper}: {name} says nothing");
            if name.starts_with("Fanal") {
                told.insert(name);
            }
        }
        assert_eq!(told, alerts, "{paper}");
    }
    for rule in rules.split("- alert: ").skip(1) {
        let (name, rule) = rule.split_once('\n').unwrap();
        let link = format!(
            "runbook_url: /usr/share/doc/fanal/guide/alerts.md#{}\n",
            name.to_lowercase()
        );
        assert!(
            rule.contains(&link),
            "{name} does not lead to its paragraph"
        );
        for language in ["summary: ", "summary_fr: "] {
            assert!(rule.contains(language), "{name}: no {language}");
        }
    }
}
