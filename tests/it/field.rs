//! The table of cameras with faults (`fanal::simulate::field`), walked row by row: each
//! is opened through the camera pool and must be shown whole, or refused with the
//! right reason. A row is data; a new one is played here without further code.
//!
//! `FIELD=name` plays the rows alone whose names have this in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fanal::config::settings::Transport;
use fanal::gateway::camera::Limits;
use fanal::media::nal::length_prefixed;
use fanal::media::sink::State;
use fanal::media::unit::{AccessUnit, Codec};
use fanal::media::{h264, h265, jpeg};
use fanal::secret::Secret;
use fanal::simulate::field::script::{Law, Material};
use fanal::simulate::field::{
    self, Clip, Count, Expect, Fault, Kind, Options, PLAIN_CAMERA, RATE, Server, clip,
};
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::camera::{Got, LIMITS, Recorder, credential, gateway, streams, world};

/// Pictures a second of cameras whose periods are in pictures.
const FAST: u32 = 40;

/// Rows that are played at the same time.
const TOGETHER: usize = 24;

/// How long a refusal, or the first picture, may take.
const START: Duration = Duration::from_secs(12);

/// Patience of cameras that want reports: longer than the 5 s between two.
const PATIENCE: Duration = Duration::from_secs(10);

/// One camera, one way to play it.
#[derive(Clone, Copy, Debug)]
struct Play {
    fault: &'static Fault,
    codec: Codec,
    password: bool,
}

impl std::fmt::Display for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = if self.password {
            "with a password"
        } else {
            "open"
        };
        write!(
            f,
            "{} ({:?}, {password})",
            self.fault.name,
            self.fault.codec(self.codec)
        )
    }
}

/// The ways in which a kind's rows are played.
fn plays(kind: Kind) -> Vec<Play> {
    let wanted = std::env::var("FIELD").unwrap_or_default();
    let mut plays = Vec::new();
    for fault in field::of(kind) {
        if !fault.name.contains(&wanted) {
            continue;
        }
        let play = |codec, password| Play {
            fault,
            codec,
            password,
        };
        // Open and with Digest, but for those that are about Digest.
        if kind != Kind::Digest {
            plays.push(play(Codec::H264, false));
        }
        if !fault.real_time {
            plays.push(play(Codec::H264, true));
        }
        let pictures = matches!(kind, Kind::Rtp | Kind::Pictures | Kind::Udp);
        if pictures && fault.script.codec.is_none() {
            plays.push(play(Codec::H265, false));
        }
    }
    plays
}

/// Plays all rows of a kind and tells which are wrong.
async fn walk(kind: Kind) {
    let plays = plays(kind);
    let all = plays.len();
    // Made before any time is taken: some take seconds.
    for play in &plays {
        clip(play.fault, play.codec);
    }
    let wrong: Vec<String> = stream::iter(plays)
        .map(|play| async move { watch(play).await.err().map(|wrong| (play, wrong)) })
        .buffer_unordered(TOGETHER)
        .filter_map(|wrong| async { wrong })
        .map(|(play, wrong)| format!("{play}\n    {}\n    {wrong}", play.fault.about))
        .collect()
        .await;
    assert!(
        wrong.is_empty(),
        "{} of {all} rows are wrong:\n\n{}\n",
        wrong.len(),
        wrong.join("\n\n")
    );
}

/// Plays one camera. `Err`: what is wrong.
async fn watch(play: Play) -> Result<(), String> {
    let Play {
        fault,
        codec,
        password,
    } = play;
    let rate = if fault.real_time { RATE } else { FAST };
    let mut options = Options {
        codec,
        rate,
        patience: PATIENCE.max(fault.script.idle_limit.unwrap_or_default()),
        ..Options::new([fault])
    };
    if password {
        options.credentials = Some(("fanal".to_owned(), Secret::new("s3cret")));
    }
    let server = Server::bind(options)
        .await
        .map_err(|error| error.to_string())?;
    let counts = server.counts();
    let mut streams = streams(&server.urls()[0].1);
    if password {
        streams.credential = credential("s3cret", false);
    }
    if fault.script.udp {
        streams.transport = Transport::Udp;
    }
    let token = CancellationToken::new();
    let serving = server.run(token.clone());
    let watching = async {
        let _stop = token.drop_guard();
        let world = world(
            gateway(vec![("cam", streams)]),
            Limits {
                stall: Duration::from_secs(4),
                ..LIMITS
            },
        );
        let first = Recorder::new();
        let attachment = world.attach("cam", &first);
        let second = Recorder::new();
        let judged = judge(play, rate, &world, &first, &second, &counts).await;
        let count = counts.borrow().get(fault.name).cloned().unwrap_or_default();
        drop(attachment);
        world.pool.shutdown().await;
        judged.map_err(|wrong| describe(&wrong, &first.got(), &count))
    };
    let (judged, ()) = tokio::join!(watching, serving);
    judged
}

/// What went wrong, with all that helps to see why.
fn describe(wrong: &str, got: &Got, count: &Count) -> String {
    let states: Vec<String> = got
        .states
        .iter()
        .map(|state| match state {
            State::Starting => "starting".to_owned(),
            State::Live => "live".to_owned(),
            State::Retrying(refusal) => format!("retrying {} ({})", refusal.reason, refusal.detail),
            State::Failed(refusal) => format!("failed {} ({})", refusal.reason, refusal.detail),
        })
        .take(5)
        .collect();
    let asked: Vec<String> = count
        .latest
        .iter()
        .take(8)
        .map(|(method, uri, status)| format!("{method} {uri} {status}"))
        .collect();
    format!(
        "{wrong}\n    states: {}\n    asked: {}\n    {} connections, {} played, {} sent",
        states.join(", "),
        asked.join("; "),
        count.connections,
        count.played,
        count.pictures
    )
}

async fn judge(
    play: Play,
    rate: u32,
    world: &crate::camera::World,
    first: &Arc<Recorder>,
    second: &Arc<Recorder>,
    counts: &tokio::sync::watch::Receiver<field::Counts>,
) -> Result<(), String> {
    let fault = play.fault;
    let (shown, reasons, words): (bool, &[_], &str) = match &fault.expect {
        Expect::Shown => (true, &[], ""),
        Expect::Refused(reasons, words) => (false, reasons, words),
        Expect::ShownOr(reason, words) => (true, std::slice::from_ref(reason), words),
    };
    let refused = |got: &Got| {
        got.states
            .iter()
            .any(|state| matches!(state, State::Retrying(_) | State::Failed(_)))
    };
    first
        .reached(START, |got| refused(got) || !got.units.is_empty())
        .await;
    let got = first.got();
    if let Some(State::Retrying(refusal) | State::Failed(refusal)) = got
        .states
        .iter()
        .find(|state| matches!(state, State::Retrying(_) | State::Failed(_)))
    {
        if reasons.contains(&refusal.reason)
            && refusal.detail.contains(words)
            && got.units.is_empty()
        {
            return Ok(());
        }
        return Err(format!("refused: {} ({})", refusal.reason, refusal.detail));
    }
    if !shown {
        return Err("not refused".to_owned());
    }
    if got.units.is_empty() {
        return Err("no picture".to_owned());
    }
    // Somebody joins in the middle of a group.
    let half = (fault.pictures / 2).max(8);
    let begun = u64::from(half);
    let mut sent = counts.clone();
    let lasting = Duration::from_secs(1) * (fault.pictures / rate + 1);
    let reached = |pictures: u64| {
        move |counts: &field::Counts| {
            counts
                .get(fault.name)
                .is_some_and(|count| count.pictures >= pictures)
        }
    };
    let limit = lasting + START;
    let _ = tokio::time::timeout(limit, sent.wait_for(reached(begun))).await;
    let _joined = world.attach("cam", second);
    let all = u64::from(fault.pictures);
    let _ = tokio::time::timeout(limit, sent.wait_for(reached(all))).await;
    let enough = usize::try_from(fault.pictures).unwrap() * usize::from(fault.share) / 100;
    // The last picture may still be under way, or be held until the next begins.
    let all_came = first
        .reached(Duration::from_secs(5), |got| {
            refused(got) || got.units.len() + 2 >= enough
        })
        .await;
    let got = first.got();
    if refused(&got) {
        return Err("the session broke".to_owned());
    }
    let clip = clip(fault, play.codec);
    check(fault, &clip, &got)?;
    if !all_came {
        return Err(format!(
            "{} of {} pictures",
            got.units.len(),
            fault.pictures
        ));
    }
    let joins = second.reached(START, |got| !got.units.is_empty());
    joins.await;
    let late = second.got();
    if late.units.is_empty() {
        return Err("who joins gets no picture".to_owned());
    }
    check(fault, &clip, &late).map_err(|wrong| format!("who joins: {wrong}"))?;
    if !late.groups.first().is_some_and(|group| group.kept) {
        return Err("who joins does not begin with the group's key picture".to_owned());
    }
    let count = counts.borrow().get(fault.name).cloned().unwrap_or_default();
    if count.played != 1 || count.connections > fault.connections {
        return Err(format!(
            "{} sessions, {} connections",
            count.played, count.connections
        ));
    }
    // A refusal is one of those that lock accounts: one second try at most.
    if play.password && fault.script.guard.is_none_or(|guard| guard.uses > 100) && count.refused > 1
    {
        return Err(format!("{} passwords were refused", count.refused));
    }
    Ok(())
}

/// The slices of a unit, whatever is around them.
fn slices(codec: Codec, data: &[u8]) -> Vec<&[u8]> {
    match codec {
        Codec::H264 => length_prefixed(data)
            .filter(|nal| (1..=5).contains(&h264::nal_type(nal)))
            .collect(),
        Codec::H265 => length_prefixed(data)
            .filter(|nal| h265::nal_type(nal) <= h265::kind::LAST_SLICE)
            .collect(),
        Codec::Jpeg => vec![jpeg::Jpeg::parse(data).map_or(&[][..], |jpeg| {
            jpeg.scan.strip_suffix(&[0xff, 0xd9]).unwrap_or(jpeg.scan)
        })],
    }
}

/// Whether what was got is what the camera sent: whole pictures, one a unit, in order,
/// key pictures where they are, none but lost ones missing, on an even clock.
fn check(fault: &Fault, clip: &Clip, got: &Got) -> Result<(), String> {
    // Compared, not hashed: a picture may have megabytes, and this is a debug build.
    let index: BTreeMap<Vec<&[u8]>, usize> = clip
        .pictures
        .iter()
        .enumerate()
        .map(|(at, picture)| (picture.slices.iter().map(AsRef::as_ref).collect(), at))
        .collect();
    let count = clip.pictures.len();
    let mut before: Option<(usize, &AccessUnit)> = None;
    let (mut missing, mut groups) = (0, BTreeSet::new());
    for (at, (group, unit)) in got.units.iter().enumerate() {
        let found = slices(clip.codec, &unit.data);
        let Some(&place) = index.get(&found) else {
            let kinds: Vec<(u8, usize)> = length_prefixed(&unit.data)
                .map(|nal| (nal.first().copied().unwrap_or_default(), nal.len()))
                .take(8)
                .collect();
            let partial = clip.pictures.iter().position(|picture| {
                found
                    .first()
                    .is_some_and(|first| picture.slices.first().is_some_and(|slice| slice == first))
            });
            return Err(format!(
                "unit {at} is no picture that was sent: {kinds:x?}, begins as {partial:?}"
            ));
        };
        let picture = &clip.pictures[place];
        if unit.flags.key != picture.key && !fault.keyless {
            return Err(format!(
                "unit {at} is marked key: {}, picture {place} is: {}",
                unit.flags.key, picture.key
            ));
        }
        if groups.insert(*group) && !picture.key && !fault.keyless {
            return Err(format!(
                "group {group} begins with picture {place}, no key picture"
            ));
        }
        if let Some((last, previous)) = before {
            let step = (place + count - last) % count;
            if step == 0 {
                return Err(format!("picture {place} came twice"));
            }
            missing += step - 1;
            let ticks = unit.pts - previous.pts;
            // A jump of the camera's clock is far larger. A machine that was held up makes
            // steps too, but no larger ones than the time that passed.
            let passed = (unit.captured - previous.captured) * 9 / 100;
            if !(1..=270_000.max(passed * 5 / 4)).contains(&ticks) {
                return Err(format!(
                    "the clock makes a step of {ticks} ticks at picture {at}, {passed} passed"
                ));
            }
        }
        before = Some((place, unit));
    }
    // Where the camera's times say nothing, the clock keeps with arrival. (Elsewhere a busy
    // machine may hold up what is right.)
    let timed = |(_, law): &(_, Law)| matches!(law, Law::Time(_));
    let odd = fault.script.time_step.is_some() || fault.script.laws.iter().any(timed);
    if let (true, Some((_, first)), Some((_, last))) = (odd, got.units.first(), got.units.last()) {
        let shown = (last.pts - first.pts) * 1_000 / 90;
        let passed = last.captured - first.captured;
        if shown.abs_diff(passed) > 800_000 + passed.unsigned_abs() / 4 {
            return Err(format!("{shown} µs are shown in {passed}"));
        }
    }
    let units = got.units.len();
    if units * 100 < (units + missing) * usize::from(fault.share) {
        return Err(format!("{missing} pictures are missing among {units}"));
    }
    for group in &got.groups {
        let configuration = &group.configuration;
        // All parameter sets that the group's pictures need, with those of other groups or not.
        let place = got.units.iter().find(|(number, _)| *number == group.number);
        let place = place.and_then(|(_, unit)| index.get(&slices(clip.codec, &unit.data)));
        let sets = place.map_or(&[][..], |place| &clip.pictures[*place].sets);
        let has = |set: &[u8]| {
            configuration
                .record
                .windows(set.len())
                .any(|part| part == set)
        };
        if let Some(set) = sets.iter().find(|set| !has(set)) {
            return Err(format!(
                "group {} lacks the parameter set {set:x?}",
                group.number
            ));
        }
        if configuration.codec != clip.codec {
            return Err(format!("the codec is {:?}", configuration.codec));
        }
        let size = (configuration.width, configuration.height);
        let sizes = fault.script.material == Material::TwoSizes;
        if size != (clip.width, clip.height) && !sizes {
            return Err(format!(
                "the size is {size:?}, not {:?}",
                (clip.width, clip.height)
            ));
        }
    }
    Ok(())
}

#[tokio::test]
async fn dialogue() {
    walk(Kind::Dialogue).await;
}

#[tokio::test]
async fn location() {
    walk(Kind::Location).await;
}

#[tokio::test]
async fn session() {
    walk(Kind::Session).await;
}

#[tokio::test]
async fn digest() {
    walk(Kind::Digest).await;
}

#[tokio::test]
async fn description() {
    walk(Kind::Description).await;
}

#[tokio::test]
async fn rtcp() {
    walk(Kind::Rtcp).await;
}

#[tokio::test]
async fn rtp() {
    walk(Kind::Rtp).await;
}

#[tokio::test]
async fn pictures() {
    walk(Kind::Pictures).await;
}

#[tokio::test]
async fn jpeg() {
    walk(Kind::Jpeg).await;
}

#[tokio::test]
async fn udp() {
    walk(Kind::Udp).await;
}

/// The measure itself: a camera without faults passes in every codec, so that what
/// fails elsewhere fails for its row's reason.
#[tokio::test]
async fn a_well_behaved_camera_is_shown() {
    for codec in [Codec::H264, Codec::H265, Codec::Jpeg] {
        for password in [false, true] {
            let play = Play {
                fault: &PLAIN_CAMERA,
                codec,
                password,
            };
            if let Err(wrong) = watch(play).await {
                panic!("{play}: {wrong}");
            }
        }
    }
}
