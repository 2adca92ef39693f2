use super::*;
use crate::clock::Wall;
use crate::format::ids::{
    CameraId, CentreId, CommuneId, GrantId, Incident, RequestId, Sha256, SnapshotId,
};
use crate::format::statement::{Operator, Viewing};
use crate::journal::entry::{Entry, GrantEntry};
use crate::journal::sim::{Scratch, lines};
use crate::reason::{Reason, Refusal};

/// 2026-11-30T22:00:00Z.
const START: Wall = Wall::from_seconds(1_796_076_000);
const HOSTILE: &str = "<script>alert(\"1\")</script>&'";

fn operator(number: &str) -> Operator {
    Operator {
        name: format!("Adjudant {HOSTILE}"),
        number: number.to_owned(),
        unit: "CORG 13".to_owned(),
    }
}

fn granted(number: u128, by: &str, renewal: bool, start: i64) -> Entry {
    Entry::Grant(Box::new(GrantEntry {
        grant: GrantId(uuid::Uuid::from_u128(1)),
        request: String::new(),
        jti: RequestId(uuid::Uuid::from_u128(number)),
        proof: None,
        commune: CommuneId::new("berre-l-etang").unwrap(),
        centre: CentreId::new("corg-13").unwrap(),
        operator: operator(by),
        grounds: "pursuit".to_owned(),
        incident: Incident::new("COG-13/42").unwrap(),
        recipients: vec!["CORG 13".to_owned(), "=cmd|' /C calc'!A0".to_owned()],
        granted: vec![CameraId::new("quai-nord").unwrap()],
        refused: Vec::new(),
        renewal,
        first_start: START.seconds(),
        start,
        expires: start + 600,
        approved_by: Some("@mairie".to_owned()),
        agreement: "x".to_owned(),
        settings: Sha256::ZERO,
        peer_head: None,
        receiver: None,
    }))
}

/// A grant that is handed over, ends in December, was watched, with a still; and a refusal.
fn entries() -> Vec<(Wall, Entry)> {
    let grant = GrantId(uuid::Uuid::from_u128(1));
    let at = |seconds: u64| START.plus(std::time::Duration::from_secs(seconds));
    let viewing = Viewing {
        camera: CameraId::new("quai-nord").unwrap(),
        who: "+13-1".to_owned(),
        kind: "live".to_owned(),
        from: at(10).rfc3339(),
        to: at(3_670).rfc3339(),
        holders: Vec::new(),
        count: None,
        seconds: None,
    };
    let refused = Entry::Refused {
        request: String::new(),
        jti: RequestId(uuid::Uuid::from_u128(9)),
        peer: "corg-13".to_owned(),
        operator: operator("13-9"),
        refusal: Refusal::from(Reason::GroundsNotAllowed),
        voids: None,
        wait_ended: None,
    };
    let still = Entry::Snapshot {
        snapshot: SnapshotId(uuid::Uuid::from_u128(5)),
        grant,
        commune: CommuneId::new("berre-l-etang").unwrap(),
        camera: CameraId::new("quai-nord").unwrap(),
        captured: at(20).rfc3339(),
        operator: operator("13-1"),
        sha256: Some(Sha256::of(b"picture")),
    };
    let ended = Entry::Ended {
        grant,
        reason: Reason::GrantReleased,
        at: at(7_300).rfc3339(),
        by: Some("13-2".to_owned()),
    };
    vec![
        (at(0), granted(1, "13-1", false, START.seconds())),
        (at(1), refused),
        (at(20), still),
        (at(500), granted(2, "13-2", true, START.seconds() + 500)),
        (at(7_300), ended),
        (
            at(7_301),
            Entry::Viewings {
                grant,
                part: None,
                parts: None,
                statement: String::new(),
                viewings: vec![viewing],
                received: Vec::new(),
            },
        ),
    ]
}

/// The report of November; its statements are empty, so it is not intact.
fn report(name: &str) -> Report {
    let directory = Scratch::new(name);
    let lines = lines(&entries());
    std::fs::write(directory.0.join("2026-11.jsonl"), lines[..4].concat()).unwrap();
    std::fs::write(directory.0.join("2026-12.jsonl"), lines[4..].concat()).unwrap();
    let options = Options {
        directory: directory.0.clone(),
        ..Options::default()
    };
    let december = report::report(&options, month("2026-12").unwrap()).unwrap();
    assert_eq!(december.totals.grants, 0, "it is in November's");
    let none = report::report(&options, month("2026-10").unwrap());
    assert!(none.unwrap_err().contains("no line of 2026-10"));
    report::report(&options, month("2026-11").unwrap()).unwrap()
}

fn view(lang: Lang) -> View {
    View {
        words: words::of(lang),
        zone: TimeZone::get("Europe/Paris").unwrap(),
    }
}

#[test]
fn a_month_holds_its_grants_to_their_end() {
    let report = report("report-month");
    let totals = &report.totals;
    assert_eq!(
        (totals.grants, totals.renewals, totals.handovers),
        (1, 1, 1)
    );
    assert_eq!(
        (totals.operators, totals.viewings, totals.stills),
        (2, 1, 1)
    );
    assert_eq!((totals.refused, totals.viewing_seconds), (1, 3_660));
    assert_eq!(report.refusals["grounds_not_allowed"], 1);
    assert_eq!(report.owner.as_deref(), Some("berre-l-etang"));
    let grant = &report.grants[0];
    assert_eq!(grant.end.as_ref().unwrap().by.as_deref(), Some("13-2"));
    assert_eq!(grant.operators[1].operator.number, "13-2");
    assert!(!report.verification.intact);
    let json: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
    assert_eq!(json["grants"][0]["operators"][0]["unit"], "CORG 13");
    assert_eq!(json["totals"]["bytes"], serde_json::Value::Null);
}

#[test]
fn the_page_is_one_file_without_script_in_which_no_name_is_markup() {
    let report = report("report-page");
    for lang in [Lang::Fr, Lang::En] {
        let html = page::page(&report, &view(lang));
        assert!(!html.contains("<script"), "{html}");
        assert!(
            html.contains("&lt;script&gt;alert(&quot;1&quot;)"),
            "{html}"
        );
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("url("));
        assert!(html.contains("default-src 'none'; style-src 'sha256-"));
        // 22:00 UTC is 23:00 in Paris.
        let time = match lang {
            Lang::Fr => "30/11/2026 23:00:00",
            Lang::En => "2026-11-30 23:00:00",
        };
        assert!(html.contains(time), "{html}");
    }
    let french = page::page(&report, &view(Lang::Fr));
    assert!(french.contains("poursuite d&#39;un fuyard"), "{french}");
    assert!(french.contains("NON INTACT"), "{french}");
}

#[test]
fn no_cell_of_a_table_runs_as_a_formula() {
    for (cell, safe) in [
        ("=1+1", "'=1+1"),
        ("+13-1", "'+13-1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("  =1", "'  =1"),
        ("\t=1", "'\t=1"),
        ("＝1", "'＝1"),
        ("a\n=1", "a\n'=1"),
        ("13-1", "13-1"),
        ("", ""),
    ] {
        assert_eq!(harmless(cell), safe);
    }
    let report = report("report-table");
    let text = table(&report, &view(Lang::Fr)).unwrap();
    let text = text.strip_prefix('\u{feff}').unwrap();
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(b';')
        .from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    for cell in rows[0].iter().flat_map(|cell| cell.split('\n')) {
        assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
    }
    assert!(
        rows[0][3].starts_with("13-1 Adjudant <script>"),
        "{:?}",
        rows[0]
    );
}

#[test]
fn the_public_page_names_nobody_and_no_small_number() {
    let report = report("report-public");
    let public = Public::of(&report);
    assert_eq!((public.grants, public.viewings), (None, None));
    for lang in [Lang::Fr, Lang::En] {
        let view = view(lang);
        let texts = [
            page::public(&public, &view),
            public_table(&public, &view).unwrap(),
            json(&public).unwrap(),
        ];
        for text in texts {
            for secret in [
                "13-1",
                "13-2",
                "Adjudant",
                "COG-13/42",
                "quai-nord",
                "mairie",
                "CORG 13",
                "00000001",
            ] {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
        }
    }
    let html = page::public(&public, &view(Lang::Fr));
    assert!(html.contains("moins de 5"), "{html}");
}

#[test]
fn months_are_written_one_way() {
    assert!(month("2026-11").is_ok());
    for wrong in ["2026-13", "2026-1", "11-2026", "2026-11.jsonl", "../x"] {
        assert!(month(wrong).is_err(), "{wrong}");
    }
}
