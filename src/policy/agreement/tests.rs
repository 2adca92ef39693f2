//! Tables of requests against agreements.

use std::path::PathBuf;

use super::*;
use crate::config::settings::{Approval, Streams, Tls, Transport};
use crate::format::ids::{CentreId, CommuneId, Incident, ProfileWish, RequestId, Sha256};

const HOUR: Duration = Duration::from_secs(3600);

/// A time as a clock in Paris shows it.
fn paris(local: &str) -> Wall {
    let local: DateTime = local.parse().unwrap();
    wall(&TimeZone::get("Europe/Paris").unwrap(), local).unwrap()
}

fn utc(time: &str) -> Wall {
    Wall(time.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn agreement() -> Agreement {
    Agreement {
        reference: "Convention du 13 février 2025".to_owned(),
        centre: CentreId::new("corg-13").unwrap(),
        addresses: vec![],
        from: "2025-02-13".parse().unwrap(),
        until: "2030-02-12".parse().unwrap(),
        designation_authority: PathBuf::new(),
        revoked: None,
        require_fresh_revocation: false,
        units: vec!["CORG 13".to_owned()],
        cameras: vec!["*".to_owned()],
        except: vec!["ecole-*".to_owned(), "prive".to_owned()],
        hours: vec![],
        grounds: vec!["burglary".to_owned(), "pursuit".to_owned()],
        max_duration: HOUR,
        max_total: 4 * HOUR,
        max_relays: 3,
        max_designation: 31 * 24 * HOUR,
        snapshots: false,
        watermark: false,
        vms: false,
        approval: Approval::Automatic,
        approval_timeout: Duration::from_secs(120),
        approval_exempt: vec![],
        tls: Tls {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            authority: PathBuf::new(),
            revoked: Vec::new(),
        },
        settings_hash: Sha256::ZERO,
    }
}

fn request(cameras: &[&str]) -> RequestClaims {
    RequestClaims {
        jti: RequestId(uuid::Uuid::from_u128(1)),
        iat: 0,
        aud: CommuneId::new("berre-l-etang").unwrap(),
        centre: CentreId::new("corg-13").unwrap(),
        cameras: cameras.iter().map(|id| camera_id(id)).collect(),
        grounds: "burglary".to_owned(),
        incident: Incident::new("13-2026-1").unwrap(),
        duration: 1800,
        profile: ProfileWish::Auto,
        present: vec![],
        renews: None,
    }
}

fn camera_id(id: &str) -> CameraId {
    CameraId::new(id).unwrap()
}

/// The commune's cameras: any `cam-…` and `ecole-…`, one in the group `prive`,
/// one invalid, one whose masks nobody verified.
fn camera(id: &CameraId) -> Option<Camera> {
    let known = id.as_str();
    if known == "ghost" {
        return None;
    }
    let groups = if known == "villa" {
        vec!["prive".to_owned()]
    } else {
        vec!["port".to_owned()]
    };
    let streams = if known == "broken" {
        Err("main: no URL".to_owned())
    } else {
        Ok(Streams {
            main: "rtsp://10.0.0.11/main".parse().unwrap(),
            sub: None,
            onvif: None,
            credential: None,
            transport: Transport::Tcp,
            start_timeout: Duration::from_secs(10),
            close_after: Duration::from_secs(10),
            warm: false,
        })
    };
    Some(Camera {
        id: id.clone(),
        name: known.to_owned(),
        groups,
        streams,
        position: None,
        bearing: None,
        field_of_view: None,
        neighbours: vec![],
        mask_verified: known != "unmasked",
    })
}

const NOW: &str = "2026-11-23T03:00:00";

struct Case {
    agreement: Agreement,
    request: RequestClaims,
    relays: BTreeSet<CameraId>,
    renewal: Option<Renewal>,
    now: Wall,
}

impl Case {
    fn new(cameras: &[&str]) -> Self {
        Self {
            agreement: agreement(),
            request: request(cameras),
            relays: BTreeSet::new(),
            renewal: None,
            now: paris(NOW),
        }
    }

    fn judge(&self) -> Result<Verdict, Refusal> {
        judge(
            &self.agreement,
            &self.request,
            "CORG 13",
            &camera,
            &self.relays,
            self.renewal,
            self.now,
        )
    }

    fn refusal(&self) -> Reason {
        self.judge().unwrap_err().reason
    }
}

#[test]
fn the_test_camera_is_given_for_drills_alone() {
    let judge = |case: &Case| {
        let test = Camera::test("Berre-l'Étang").unwrap();
        let all = |id: &CameraId| {
            if *id == test.id {
                Some(test.clone())
            } else {
                camera(id)
            }
        };
        let (agreement, request, relays) = (&case.agreement, &case.request, &case.relays);
        judge(agreement, request, "CORG 13", &all, relays, None, case.now)
    };
    let mut case = Case::new(&["fanal-test"]);
    case.agreement.cameras = vec!["nothing".to_owned()];
    case.agreement.grounds = vec!["burglary".to_owned(), "drill".to_owned()];
    assert_eq!(judge(&case).unwrap_err().reason, Reason::GroundsNotAllowed);
    case.request.grounds = "drill".to_owned();
    let granted = judge(&case).unwrap().granted;
    assert_eq!(granted, [camera_id("fanal-test")], "without being named");
    case.agreement.except = vec!["fanal-*".to_owned()];
    assert_eq!(judge(&case).unwrap_err().reason, Reason::CameraNotCovered);
    case.agreement.except.clear();
    case.agreement.grounds = vec!["burglary".to_owned()];
    assert_eq!(judge(&case).unwrap_err().reason, Reason::GroundsNotAllowed);
}

#[test]
fn each_camera_gets_its_own_verdict() {
    let mut case = Case::new(&[
        "ghost", "cam-1", "ecole-2", "villa", "broken", "unmasked", "cam-2",
    ]);
    let verdict = case.judge().unwrap();
    assert_eq!(verdict.granted, [camera_id("cam-1"), camera_id("cam-2")]);
    let refused: Vec<(&str, Reason)> = (verdict.refused.iter())
        .map(|refused| (refused.camera.as_str(), refused.refusal.reason))
        .collect();
    assert_eq!(
        refused,
        [
            ("ghost", Reason::CameraUnknown),
            ("ecole-2", Reason::CameraNotCovered),
            ("villa", Reason::CameraNotCovered),
            ("broken", Reason::CameraInvalid),
            ("unmasked", Reason::MaskNotVerified),
        ]
    );
    assert_eq!(verdict.expires, case.now.plus(HOUR / 2));
    for (cameras, reason) in [
        (&["ghost", "ecole-1"], Reason::CameraUnknown),
        (&["ecole-1", "ghost"], Reason::CameraNotCovered),
        (&["broken", "ghost"], Reason::CameraInvalid),
        (&["unmasked", "ghost"], Reason::MaskNotVerified),
    ] {
        case.request = request(cameras);
        let refusal = case.judge().unwrap_err();
        assert_eq!(refusal.reason, reason);
        assert!(refusal.detail.contains(cameras[0]), "{}", refusal.detail);
    }
}

#[test]
fn coverage_by_id_by_group_and_by_exception() {
    for (cameras, except, covered) in [
        (&["cam-1"][..], &[][..], true),
        (&["cam-2"], &[], false),
        (&["cam-*"], &[], true),
        (&["po*"], &[], true),
        (&["port"], &["cam-1"], false),
        (&["port"], &["port"], false),
        (&[], &[], false),
    ] {
        let mut case = Case::new(&["cam-1"]);
        case.agreement.cameras = cameras.iter().map(|&pattern| pattern.to_owned()).collect();
        case.agreement.except = except
            .iter()
            .map(|&pattern: &&str| pattern.to_owned())
            .collect();
        assert_eq!(case.judge().is_ok(), covered, "{cameras:?} {except:?}");
    }
}

#[test]
fn a_camera_that_is_relayed_already_counts_once() {
    let mut case = Case::new(&["cam-1", "cam-2", "cam-3", "cam-4"]);
    let verdict = case.judge().unwrap();
    assert_eq!(verdict.granted.len(), 3);
    assert_eq!(verdict.refused[0].camera, camera_id("cam-4"));
    assert_eq!(verdict.refused[0].refusal.reason, Reason::TooManyRelays);

    case.relays = ["cam-8", "cam-9", "cam-4"].map(camera_id).into();
    let verdict = case.judge().unwrap();
    assert_eq!(verdict.granted, [camera_id("cam-4")]);

    case.request = request(&["cam-1"]);
    assert_eq!(case.refusal(), Reason::TooManyRelays);
}

#[test]
fn the_whole_is_refused_for_what_concerns_the_whole() {
    let mut case = Case::new(&["cam-1"]);
    case.agreement.units = vec!["COB Berre".to_owned()];
    assert_eq!(case.refusal(), Reason::NoAgreement);
    case.agreement.units = vec![];
    assert!(case.judge().is_ok());
    case.request.centre = CentreId::new("corg-83").unwrap();
    assert_eq!(case.refusal(), Reason::NoAgreement);

    let mut case = Case::new(&["cam-1"]);
    case.request.grounds = "drill".to_owned();
    assert_eq!(case.refusal(), Reason::GroundsNotAllowed);

    let mut case = Case::new(&["cam-1"]);
    case.request.duration = 3600;
    assert!(case.judge().is_ok());
    case.request.duration = 3601;
    assert_eq!(case.refusal(), Reason::DurationTooLong);
}

#[test]
fn renewals_end_with_the_total() {
    let mut case = Case::new(&["cam-1"]);
    let first_start = case.now;
    case.renewal = Some(Renewal { first_start });
    case.now = first_start.plus(3 * HOUR);
    assert_eq!(case.judge().unwrap().expires, case.now.plus(HOUR / 2));
    case.now = first_start.plus(4 * HOUR - Duration::from_secs(600));
    assert_eq!(case.judge().unwrap().expires, first_start.plus(4 * HOUR));
    case.now = first_start.plus(4 * HOUR);
    assert_eq!(case.refusal(), Reason::DurationTooLong);
}

#[test]
fn dates_are_inclusive_in_paris() {
    let agreement = agreement();
    let last = paris("2030-02-13T00:00:00");
    for (time, in_force) in [
        ("2025-02-12T23:59:59.999", false),
        ("2025-02-13T00:00:00", true),
        ("2030-02-12T23:59:59.999", true),
        ("2030-02-13T00:00:00", false),
    ] {
        let expected = in_force.then_some(last);
        assert_eq!(in_force_until(&agreement, paris(time)), expected, "{time}");
    }
    // Midnight in Paris is 23:00 in UTC in winter.
    assert_eq!(last, utc("2030-02-12T23:00:00Z"));
    let mut case = Case::new(&["cam-1"]);
    case.now = paris("2030-02-12T23:50:00");
    assert_eq!(case.judge().unwrap().expires, last);
    case.now = last;
    assert_eq!(case.refusal(), Reason::AgreementNotInForce);
}

fn window(days: &str, start: u16, end: u16) -> Hours {
    let mut set = [false; 7];
    for day in days.bytes() {
        set[usize::from(day - b'0')] = true;
    }
    Hours {
        days: set,
        start,
        end,
    }
}

/// When hours end, as a clock in Paris shows it.
fn until(hours: &[Hours], now: Wall) -> Option<String> {
    let mut agreement = agreement();
    agreement.hours = hours.to_vec();
    let end = in_force_until(&agreement, now)?;
    let zone = TimeZone::get("Europe/Paris").unwrap();
    let local = jiff::Timestamp::from_microsecond(end.0)
        .unwrap()
        .to_zoned(zone);
    Some(local.strftime("%a %H:%M").to_string())
}

#[test]
fn hours_are_windows_of_the_week() {
    // Monday is 0; 2026-11-23 is a Monday.
    let office = [window("01234", 8 * 60, 20 * 60)];
    for (time, expected) in [
        ("2026-11-23T07:59:59", None),
        ("2026-11-23T08:00:00", Some("Mon 20:00")),
        ("2026-11-23T19:59:59", Some("Mon 20:00")),
        ("2026-11-23T20:00:00", None),
        ("2026-11-28T12:00:00", None),
    ] {
        assert_eq!(until(&office, paris(time)).as_deref(), expected, "{time}");
    }
    // Friday and Saturday night: it is the day on which the window starts that counts.
    let night = [window("45", 20 * 60, 6 * 60)];
    for (time, expected) in [
        ("2026-11-27T05:00:00", None),
        ("2026-11-27T23:00:00", Some("Sat 06:00")),
        ("2026-11-28T05:59:59", Some("Sat 06:00")),
        ("2026-11-28T06:00:00", None),
        ("2026-11-29T05:00:00", Some("Sun 06:00")),
        ("2026-11-29T23:00:00", None),
    ] {
        assert_eq!(until(&night, paris(time)).as_deref(), expected, "{time}");
    }
}

#[test]
fn windows_without_a_gap_are_one() {
    let days = [window("01", 0, 1440)];
    let monday = paris("2026-11-23T12:00:00");
    assert_eq!(until(&days, monday).as_deref(), Some("Wed 00:00"));
    let chained = [
        window("0", 8 * 60, 12 * 60),
        window("0", 11 * 60, 14 * 60),
        window("0", 14 * 60, 15 * 60),
    ];
    assert_eq!(
        until(&chained, paris("2026-11-23T09:00:00")).as_deref(),
        Some("Mon 15:00")
    );
    // All week: only the last day ends it.
    let mut agreement = agreement();
    agreement.hours = vec![window("0123456", 0, 1440)];
    let last = Some(paris("2030-02-13T00:00:00"));
    assert_eq!(in_force_until(&agreement, monday), last);
    agreement.hours = vec![window("0123456", 8 * 60, 8 * 60)];
    assert_eq!(in_force_until(&agreement, monday), last);
}

#[test]
fn hours_follow_the_clock_on_the_days_it_is_changed() {
    let night = [window("5", 22 * 60, 6 * 60)];
    // 2027-03-28: from 02:00 to 03:00; the night has seven hours.
    let start = paris("2027-03-27T22:00:00");
    assert!(until(&night, start).is_some());
    assert!(until(&night, start.plus(7 * HOUR)).is_none());
    assert!(until(&night, start.plus(7 * HOUR - HOUR / 60)).is_some());
    // 2026-10-25: from 03:00 back to 02:00; the night has nine hours.
    let start = paris("2026-10-24T22:00:00");
    assert!(until(&night, start.plus(9 * HOUR - HOUR / 60)).is_some());
    assert!(until(&night, start.plus(9 * HOUR)).is_none());
    // A time that is skipped: one hour later. One that comes twice: the first.
    let short = [window("5", 22 * 60, 2 * 60 + 30)];
    assert_eq!(
        until(&short, utc("2027-03-28T00:59:00Z")).as_deref(),
        Some("Sun 03:30")
    );
    assert!(until(&short, utc("2026-10-25T00:29:00Z")).is_some());
    assert!(until(&short, utc("2026-10-25T00:31:00Z")).is_none());
    assert!(until(&short, utc("2026-10-25T01:10:00Z")).is_none());
}

/// What a gateway announces of its dates and hours.
fn announced(from: &str, until: &str, hours: &[(&[usize], u16, u16)]) -> AgreementInfo {
    let hours = hours.iter().map(|(days, start, end)| Hours {
        days: std::array::from_fn(|day| days.contains(&day)),
        start: *start,
        end: *end,
    });
    AgreementInfo {
        reference: String::new(),
        from: from.to_owned(),
        until: until.to_owned(),
        units: Vec::new(),
        authorities: Vec::new(),
        grounds: Vec::new(),
        max_duration: 0,
        max_total: 0,
        max_relays: 0,
        snapshots: false,
        watermark: false,
        vms: false,
        approval: false,
        approval_exempt: Vec::new(),
        hours: hours.collect(),
    }
}

#[test]
fn since_when_an_announced_agreement_is_closed() {
    const ALL: &[usize] = &[0, 1, 2, 3, 4, 5, 6];
    let always = announced("2026-01-01", "2026-12-31", &[]);
    // 20:00 to 6:00, every day; and 8:00 to 18:00 on Mondays alone.
    let nights = announced("2026-01-01", "2026-12-31", &[(ALL, 1_200, 360)]);
    let mondays = announced("2026-01-01", "2026-12-31", &[(&[0], 480, 1_080)]);
    let closed_of = |since: Option<&str>, until: Option<&str>| {
        let (since, until) = (since.map(paris), until.map(paris));
        Some(Closed { since, until })
    };
    for (agreement, now, expected) in [
        (&always, "2026-06-01T12:00", None),
        (
            &always,
            "2025-12-31T23:59",
            closed_of(None, Some("2026-01-01T00:00")),
        ),
        (
            &always,
            "2027-01-01T00:00",
            closed_of(Some("2027-01-01T00:00"), None),
        ),
        (&nights, "2026-06-01T23:00", None),
        (&nights, "2026-06-01T05:59", None),
        (
            &nights,
            "2026-06-01T06:00",
            closed_of(Some("2026-06-01T06:00"), Some("2026-06-01T20:00")),
        ),
        // A night that begins before the first day counts from midnight.
        (
            &nights,
            "2025-12-31T21:00",
            closed_of(None, Some("2026-01-01T00:00")),
        ),
        (&nights, "2026-01-01T01:00", None),
        (
            &nights,
            "2026-12-31T12:00",
            closed_of(Some("2026-12-31T06:00"), Some("2026-12-31T20:00")),
        ),
        (
            &mondays,
            "2026-06-02T12:00",
            closed_of(Some("2026-06-01T18:00"), Some("2026-06-08T08:00")),
        ),
        (&mondays, "2026-06-01T12:00", None),
        // The first Monday is not there yet; the last was on the 28th.
        (
            &mondays,
            "2026-01-01T12:00",
            closed_of(None, Some("2026-01-05T08:00")),
        ),
        (
            &mondays,
            "2026-12-29T12:00",
            closed_of(Some("2026-12-28T18:00"), None),
        ),
    ] {
        assert_eq!(closed(agreement, paris(now)), expected, "{now}");
    }
    // What can't be read closes nothing: the gateway decides.
    assert_eq!(
        closed(&announced("?", "?", &[]), paris("2026-06-01T12:00")),
        None
    );
    let odd = announced("2026-01-01", "2026-12-31", &[(ALL, u16::MAX, 5)]);
    assert_eq!(
        closed(&odd, paris("2026-06-01T12:00")),
        closed_of(None, None)
    );
}

#[test]
fn of_several_that_are_closed_the_one_that_opens_first() {
    let now = paris("2026-06-02T12:00");
    let nights = announced(
        "2026-01-01",
        "2026-12-31",
        &[(&[0, 1, 2, 3, 4, 5, 6], 1_200, 360)],
    );
    let over = announced("2025-01-01", "2025-12-31", &[]);
    let always = announced("2026-01-01", "2026-12-31", &[]);
    let both = [&over, &nights, &over];
    assert_eq!(all_closed(both.into_iter(), now), closed(&nights, now));
    assert_eq!(all_closed([&nights, &always].into_iter(), now), None);
    assert_eq!(all_closed([].into_iter(), now), None);
}

#[test]
fn what_is_announced_refuses_no_request_that_the_agreement_itself_allows_and_for_the_same_reason() {
    let told = |agreement: &Agreement| AgreementInfo {
        reference: "A".to_owned(),
        from: agreement.from.to_string(),
        until: agreement.until.to_string(),
        units: agreement.units.clone(),
        grounds: agreement
            .grounds
            .iter()
            .map(|id| crate::format::control::GroundInfo {
                id: id.clone(),
                fr: String::new(),
                en: String::new(),
            })
            .collect(),
        max_duration: agreement.max_duration.as_secs(),
        hours: agreement.hours.clone(),
        ..announced("", "", &[])
    };
    let mut reasons = BTreeSet::new();
    for hour in 0..24 * 8 {
        for change in 0..8 {
            let mut case = Case::new(&["cam-1"]);
            case.now = paris("2026-03-25T00:30:00").plus(hour * HOUR);
            case.agreement.hours = vec![window("0134", 20 * 60, 6 * 60), window("6", 0, 1440)];
            match change {
                1 => case.agreement.units = vec!["COB Berre".to_owned()],
                2 => case.request.grounds = "drill".to_owned(),
                3 => case.request.duration = 3601,
                4 => case.agreement.hours.clear(),
                5 => case.agreement.until = jiff::civil::date(2026, 3, 27),
                6 => case.agreement.from = jiff::civil::date(2026, 3, 28),
                _ => {}
            }
            let (agreement, request) = (&case.agreement, &case.request);
            let judged = case.judge().map(drop).map_err(|refusal| refusal.reason);
            let checked = check_announced(&[told(agreement)], request, "CORG 13", case.now);
            assert_eq!(
                checked.map_err(|refusal| refusal.reason),
                judged,
                "{hour} {change}"
            );
            reasons.extend(judged.err());
        }
    }
    assert_eq!(reasons.len(), 4, "{reasons:?}");
}

#[test]
fn of_several_announced_agreements_the_furthest_refuses_and_what_cant_be_read_refuses_nothing() {
    let Case { request, now, .. } = Case::new(&["cam-1"]);
    let over = announced("2020-01-01", "2020-12-31", &[]);
    let of_others = AgreementInfo {
        units: vec!["COB Istres".to_owned()],
        ..announced("2020-01-01", "2040-12-31", &[])
    };
    let check = |all: &[AgreementInfo]| {
        let checked = check_announced(all, &request, "CORG 13", now);
        checked.map_err(|refusal| refusal.reason)
    };
    assert_eq!(check(&[]), Err(Reason::NoAgreement));
    let both = [of_others.clone(), over.clone(), of_others];
    assert_eq!(check(&both), Err(Reason::AgreementNotInForce));
    let odd = announced("?", "?", &[]);
    assert_eq!(check(&[over, odd]), Err(Reason::GroundsNotAllowed));
}
