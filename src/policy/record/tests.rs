use super::*;
use crate::certs::trial::Trial;
use crate::clock::Boot;
use crate::format::ids::{CentreId, ProfileWish, RequestId};
use crate::format::jws::Signer;
use crate::format::statement::{REQUEST_TYPE, RequestClaims};
use crate::journal::entry::Span;
use uuid::Uuid;

const START: i64 = 1_795_400_000;
const HOUR: i64 = 3_600;

struct World {
    authority: Authority,
    signer: Signer,
    who: Designation,
    records: Records,
    seq: u64,
    pem: String,
}

fn at(seconds: i64) -> Wall {
    Wall::from_seconds(START + seconds)
}

fn now(seconds: i64) -> Now {
    Now {
        boot: Boot(Duration::from_secs(seconds.unsigned_abs())),
        wall: at(seconds),
    }
}

fn reference(text: &str) -> Incident {
    Incident::new(text).unwrap()
}

fn grant(number: u128) -> GrantId {
    GrantId(Uuid::from_u128(number))
}

fn id(number: u128) -> MarkId {
    MarkId(Uuid::from_u128(number))
}

fn camera(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

impl World {
    fn new() -> Self {
        let trial = Trial::new(at(0)).unwrap();
        Self::of(&trial, "4711", "CORG 13")
    }

    fn of(trial: &Trial, number: &str, unit: &str) -> Self {
        let identity = trial.simple_operator(number, unit, at(0)).unwrap();
        let authority = Authority::from_pem(trial.designation_authority(), &[]).unwrap();
        let signer = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
        let rules = crate::format::designation::Rules {
            max_designation: None,
            require_fresh_revocation: false,
        };
        let who = crate::format::designation::designate(signer.chain(), &authority, rules, at(60));
        Self {
            who: who.unwrap(),
            authority,
            signer,
            records: Records::default(),
            seq: 0,
            pem: trial.designation_authority().to_owned(),
        }
    }

    fn take(&mut self, seconds: i64, entry: &Entry) -> Option<(Unit, Incident)> {
        self.seq += 1;
        let authorities = [self.authority.clone()];
        self.records
            .take(self.seq, at(seconds), entry, &authorities)
    }

    /// A grant of one hour.
    fn grants(&mut self, seconds: i64, number: u128, incident: &str) -> Option<(Unit, Incident)> {
        let claims = RequestClaims {
            jti: RequestId(Uuid::from_u128(number)),
            iat: START + seconds - 1,
            aud: CommuneId::new("berre-l-etang").unwrap(),
            centre: CentreId::new("corg-13").unwrap(),
            cameras: vec![camera("port")],
            grounds: "burglary".to_owned(),
            incident: reference(incident),
            duration: 3_600,
            profile: ProfileWish::Auto,
            present: vec!["Brigadier Noir".to_owned()],
            renews: None,
        };
        let entry = GrantEntry {
            grant: grant(number),
            request: self.signer.sign(REQUEST_TYPE, &claims),
            jti: claims.jti,
            proof: Some("proof".to_owned()),
            commune: claims.aud.clone(),
            centre: claims.centre.clone(),
            operator: self.who.operator.clone(),
            grounds: claims.grounds.clone(),
            incident: claims.incident.clone(),
            recipients: Vec::new(),
            granted: claims.cameras.clone(),
            refused: Vec::new(),
            renewal: false,
            first_start: START + seconds,
            start: START + seconds,
            expires: START + seconds + HOUR,
            approved_by: None,
            agreement: "2026".to_owned(),
            settings: Sha256::ZERO,
            peer_head: None,
            receiver: None,
        };
        self.take(seconds, &Entry::Grant(Box::new(entry)))
    }

    fn ends(&mut self, seconds: i64, number: u128) {
        let entry = Entry::Ended {
            grant: grant(number),
            reason: Reason::GrantReleased,
            at: at(seconds).rfc3339(),
            by: None,
        };
        assert!(self.take(seconds, &entry).is_some());
    }

    fn writes(&mut self, seconds: i64, marked: &Marked) -> Result<bool, Denied> {
        let Some(mut entry) = self.records.write(&self.who, marked, at(seconds))? else {
            return Ok(false);
        };
        let text = (!marked.text.is_empty()).then(|| Text {
            salt: [7; 16],
            text: marked.text.clone(),
        });
        entry.text = text.as_ref().map(Text::digest);
        self.take(seconds, &Entry::Mark(Box::new(entry)));
        self.records.set_texts(text);
        Ok(true)
    }

    fn note(&self, number: u128, text: &str) -> Marked {
        Marked {
            id: id(number),
            incident: reference("2026/1"),
            at: at(0),
            span: None,
            text: text.to_owned(),
        }
    }

    fn bookmark(&self, number: u128, name: &str) -> Marked {
        Marked {
            span: Some(Span {
                grant: grant(1),
                commune: CommuneId::new("berre-l-etang").unwrap(),
                camera: camera(name),
                from: at(0).rfc3339(),
                to: None,
                clock_offset: Some(-1.5),
            }),
            ..self.note(number, "")
        }
    }

    fn get(&self, seconds: i64) -> Option<&Record> {
        self.records
            .get(&self.who.unit(), &reference("2026/1"), at(seconds))
    }
}

#[test]
fn a_record_is_kept_for_two_days_after_its_last_end() {
    let mut world = World::new();
    assert_eq!(
        world.grants(10, 1, "2026/1"),
        Some((world.who.unit(), reference("2026/1")))
    );
    let record = world.get(10).unwrap();
    assert_eq!((record.until(at(10)), record.live(at(10))), (None, 1));
    assert_eq!(record.grounds, ["burglary"]);
    world.grants(20, 2, "2026/1");
    world.ends(30, 1);
    assert_eq!(world.get(40).unwrap().until(at(40)), None, "one lives");
    world.ends(50, 2);
    let over = at(50).plus(KEPT);
    assert_eq!(world.get(60).unwrap().until(at(60)), Some(over));
    // Closing counts where it is later; closing again does not.
    let closing = world.records.turn(
        &world.who,
        &reference("2026/1"),
        (false, None),
        |_| true,
        at(70),
    );
    world.take(70, &closing.unwrap().unwrap());
    assert_eq!(
        world.get(80).unwrap().until(at(80)),
        Some(at(70).plus(KEPT))
    );
    let again = world.records.turn(
        &world.who,
        &reference("2026/1"),
        (false, None),
        |_| true,
        at(90),
    );
    assert_eq!(again, Ok(None));
    let end = 70 + 48 * HOUR;
    assert!(world.get(end - 1).is_some());
    assert!(world.records.forget(at(end - 1)).is_empty() && world.get(end).is_none());
    world.records.forget(at(end));
    assert!(world.records.records.is_empty() && world.records.grants.is_empty());
    assert_eq!(world.records.bytes, 0);
}

#[test]
fn a_grant_without_an_end_is_over_by_its_time_and_opens_what_was_closed() {
    let mut world = World::new();
    world.grants(0, 1, "2026/1");
    let refused = world.records.turn(
        &world.who,
        &reference("2026/1"),
        (false, None),
        |_| true,
        at(10),
    );
    assert!(matches!(refused, Err(Denied::Conflict(_))), "{refused:?}");
    let later = HOUR + 60;
    assert_eq!(world.get(later).unwrap().over(at(later)), Some(at(HOUR)));
    let closing = world.records.turn(
        &world.who,
        &reference("2026/1"),
        (false, None),
        |_| true,
        at(later),
    );
    world.take(later, &closing.unwrap().unwrap());
    assert!(world.get(later).unwrap().closed.is_some());
    world.grants(later + 10, 2, "2026/1");
    assert!(world.get(later + 10).unwrap().closed.is_none());
}

#[test]
fn another_unit_and_another_authority_see_nothing_of_it() {
    let mut world = World::new();
    world.grants(0, 1, "2026/1");
    let unit = world.who.unit();
    let of_unit = Unit {
        name: "CORG 84".to_owned(),
        ..unit
    };
    let of_authority = Unit {
        authority: Sha256::ZERO,
        ..unit.clone()
    };
    for other in [of_unit, of_authority] {
        assert!(
            world
                .records
                .get(&other, &reference("2026/1"), at(1))
                .is_none()
        );
        assert!(world.records.list(&other, at(1)).is_empty());
    }
    assert_eq!(world.records.list(&unit, at(1)).len(), 1);
    // A request that leads to no authority of the settings is in no record.
    let stranger = World::of(&Trial::new(at(0)).unwrap(), "4711", "CORG 13");
    world.signer = stranger.signer;
    assert_eq!(world.grants(5, 3, "2026/3"), None);
}

#[test]
fn notes_stay_as_they_are_and_bookmarks_change() {
    let mut world = World::new();
    let note = world.note(1, "deux personnes\nporte arrière");
    assert_eq!(world.writes(0, &note), Err(Denied::Unknown));
    world.grants(0, 1, "2026/1");
    assert_eq!(world.writes(1, &note), Ok(true));
    assert_eq!(world.writes(2, &note), Ok(false), "sent again");
    let other = world.note(1, "trois");
    assert!(matches!(world.writes(3, &other), Err(Denied::Conflict(_))));
    let mut mark = world.bookmark(2, "port");
    assert_eq!(world.writes(4, &mark), Ok(true));
    mark.text = "voiture blanche".to_owned();
    if let Some(span) = &mut mark.span {
        span.to = Some(at(4).rfc3339());
    }
    assert_eq!(world.writes(5, &mark), Ok(true));
    assert_eq!(world.writes(6, &mark), Ok(false));
    let record = world.get(6).unwrap();
    let marks = record.marks();
    let texts = marks
        .iter()
        .map(|mark| mark.text.as_ref().unwrap().text.as_str());
    assert_eq!(texts.collect::<Vec<_>>(), [&note.text, "voiture blanche"]);
    assert!(marks[1].changed_by.is_none() && marks[1].span == mark.span);
    // Withdrawn: the text is gone, the lines stay.
    let lines = record.lines.len();
    let who = world.who.clone();
    let withdrawn = world
        .records
        .withdraw(&who, &note.incident, id(1), false, at(7));
    assert_eq!(withdrawn, Err(Denied::Unknown), "it is no bookmark");
    let withdrawn = world
        .records
        .withdraw(&who, &note.incident, id(1), true, at(7));
    world.take(7, &Entry::Mark(Box::new(withdrawn.unwrap().unwrap())));
    let record = world.get(8).unwrap();
    assert!(record.marks()[0].withdrawn && record.marks()[0].text.is_none());
    assert_eq!(record.lines.len(), lines + 1);
    assert!(matches!(world.writes(9, &note), Err(Denied::Conflict(_))));
    let again = world
        .records
        .withdraw(&who, &note.incident, id(1), true, at(9));
    assert_eq!(again, Ok(None));
}

#[test]
fn what_is_marked_was_granted_and_texts_are_bounded() {
    let mut world = World::new();
    world.grants(0, 1, "2026/1");
    let elsewhere = world.bookmark(1, "mairie");
    assert!(matches!(
        world.writes(1, &elsewhere),
        Err(Denied::Conflict(_))
    ));
    let mut foreign = world.bookmark(1, "port");
    if let Some(span) = &mut foreign.span {
        span.grant = grant(9);
    }
    assert!(matches!(
        world.writes(1, &foreign),
        Err(Denied::Conflict(_))
    ));
    let mut backwards = world.bookmark(1, "port");
    if let Some(span) = &mut backwards.span {
        span.to = Some(at(-1).rfc3339());
    }
    assert!(matches!(world.writes(1, &backwards), Err(Denied::Wrong(_))));
    for bad in ["", " ", "a\u{7}", "\u{202e}a", &"é".repeat(TEXT + 1)] {
        let note = world.note(1, bad);
        assert!(
            matches!(world.writes(1, &note), Err(Denied::Wrong(_))),
            "{bad:?}"
        );
    }
    assert_eq!(world.writes(1, &world.note(1, &"é".repeat(TEXT))), Ok(true));
    for number in 2..=MARKS as u128 {
        assert_eq!(world.writes(2, &world.note(number, "x")), Ok(true));
    }
    let more = world.note(MARKS as u128 + 1, "x");
    let refused = world.writes(3, &more);
    assert!(matches!(refused, Err(Denied::Conflict(_))), "{refused:?}");
}

#[test]
fn one_operator_has_his_pace() {
    let mut world = World::new();
    let who = world.who.clone();
    for _ in 0..WRITES {
        assert!(world.records.pace(&who, now(0)).is_ok());
    }
    let refused = world.records.pace(&who, now(0)).unwrap_err();
    assert_eq!(
        (refused.reason, refused.wait),
        (Reason::TooManyRequests, Some(2))
    );
    assert!(world.records.pace(&who, now(2)).is_ok());
    let mut other = who;
    other.operator.number = "4712".to_owned();
    assert!(world.records.pace(&other, now(2)).is_ok());
}

#[test]
fn records_and_lines_are_bounded() {
    let mut world = World::new();
    for number in 0..RECORDS as u128 {
        world.grants(0, number, &format!("2026/{number}"));
    }
    world.ends(1, 7);
    world.grants(2, 9_999, "2026/more");
    assert_eq!(world.records.records.len(), RECORDS);
    let gone = world
        .records
        .get(&world.who.unit(), &reference("2026/7"), at(3));
    assert!(gone.is_none(), "the one that is over");
    let viewing = Entry::ViewingStarted {
        grant: grant(1),
        commune: CommuneId::new("berre-l-etang").unwrap(),
        camera: camera("port"),
        who: "4711".to_owned(),
        how: "live".to_owned(),
        from: "127.0.0.1".to_owned(),
        holders: Vec::new(),
    };
    let each = size_of::<Line>() + 200;
    let count = RECORD_BYTES / each + 100;
    for _ in 0..count {
        world.take(4, &viewing);
    }
    let record = world.get(5).unwrap();
    assert!(record.bytes <= RECORD_BYTES && record.left_out >= 100);
    let held: usize = world
        .records
        .records
        .values()
        .map(|record| record.bytes)
        .sum();
    assert_eq!(world.records.bytes, held);
}

#[test]
fn a_unit_whose_authority_has_other_keys_keeps_its_records() {
    let mut world = World::new();
    world.grants(0, 1, "2026/1");
    let other = Trial::new(at(0)).unwrap();
    let trial_authority = world.authority.clone();
    let both = [world.pem.as_str(), other.designation_authority()].concat();
    let wider = Authority::from_pem(&both, &[]).unwrap();
    assert_ne!(wider.id(), trial_authority.id());
    world.records.reload(at(1), std::slice::from_ref(&wider));
    let unit = Unit {
        name: "CORG 13".to_owned(),
        authority: wider.id(),
    };
    assert!(
        world
            .records
            .get(&unit, &reference("2026/1"), at(2))
            .is_some()
    );
    assert!(world.get(2).is_none());
    // What follows finds it.
    world.authority = wider;
    world.ends(3, 1);
}
