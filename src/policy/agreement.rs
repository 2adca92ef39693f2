//! Does an agreement allow this: dates and hours in Europe/Paris, centre, unit,
//! cameras, grounds, duration, total, number of relays. Pure.
//!
//! The gate judges by the agreement itself ([`judge`]). The desk has what the gate
//! announced of it, and refuses by the same rules what no agreement can allow
//! ([`check_announced`]); cameras, total and relays are the gate's alone to know.
//!
//! Dates and hours are what a clock in the commune shows. An hour that the
//! spring change skips counts as one hour later, one that the autumn change
//! shows twice counts when it is shown first.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::clock::Wall;
use crate::config::settings::{Agreement, Camera, DURATION_LIMIT, Hours};
use crate::format::control::AgreementInfo;
use crate::format::ids::CameraId;
use crate::format::statement::{RefusedCamera, RequestClaims};
use crate::format::text;
use crate::reason::{Reason, Refusal};

/// Minutes of a day; as the end of a window, the end of the day.
const DAY_MINUTES: u16 = 1440;
/// Days looked ahead for the end of the hours. Weekly windows without a gap for
/// more than a week have none.
const HORIZON_DAYS: u32 = 9;
/// Days looked back and ahead for when an announced agreement was last in force, and will be.
const WEEK: i64 = 8;
/// Windows of an announced agreement that are looked at.
const WINDOWS: usize = 64;

/// What is known of the grant that a request carries on.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// When the grant first began.
    pub first_start: Wall,
}

/// What an agreement says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Covered cameras, in the request's order.
    pub granted: Vec<CameraId>,
    /// The rest.
    pub refused: Vec<RefusedCamera>,
    /// End by agreement, hours, duration and total; the designation's end is not in it.
    pub expires: Wall,
}

/// Judges a verified request. `relays` = cameras relayed to this centre under
/// other grants of the agreement now, each counted once.
/// Whole refusals: `no_agreement` (centre, unit), `agreement_not_in_force`,
/// `grounds_not_allowed`, `duration_too_long`; if no camera is left, the first
/// camera's reason.
pub fn judge(
    agreement: &Agreement,
    request: &RequestClaims,
    unit: &str,
    camera: &dyn Fn(&CameraId) -> Option<Camera>,
    relays: &BTreeSet<CameraId>,
    renewal: Option<Renewal>,
    now: Wall,
) -> Result<Verdict, Refusal> {
    if agreement.centre != request.centre {
        let detail = format!("there is no agreement with {}", request.centre);
        return Err(Refusal::new(Reason::NoAgreement, detail));
    }
    let name = format_args!("the agreement with {}", agreement.centre);
    check_unit(name, &agreement.units, unit)?;
    let in_force_until = in_force_until(agreement, now).ok_or_else(|| {
        let (from, until) = (&agreement.from, &agreement.until);
        not_in_force("the agreement", from, until, &agreement.hours)
    })?;
    let grounds: Vec<&str> = agreement.grounds.iter().map(String::as_str).collect();
    check_grounds(&grounds, request)?;
    let end = end_by_duration(agreement, request, renewal, now)?;
    let (granted, refused) = judge_cameras(agreement, request, camera, relays);
    if granted.is_empty() {
        let first = refused.into_iter().next();
        return Err(first.map_or_else(
            || Refusal::new(Reason::MalformedRequest, "the request names no camera"),
            |camera| {
                let detail = match camera.refusal.detail.as_str() {
                    "" => format!("camera {}", camera.camera),
                    cause => format!("camera {}: {cause}", camera.camera),
                };
                Refusal::new(camera.refusal.reason, detail)
            },
        ));
    }
    Ok(Verdict {
        granted,
        refused,
        expires: end.min(in_force_until),
    })
}

/// Whether any of the agreements that a gateway announced may allow a request, checked in
/// the order in which the gate judges: unit, dates and hours, grounds, duration. What
/// can't be read, or is not announced, is left for the gate to judge.
///
/// # Errors
/// `no_agreement`, `agreement_not_in_force`, `grounds_not_allowed`, `duration_too_long`: of
/// several agreements the refusal of the one that passed most checks.
pub fn check_announced<'a>(
    agreements: impl IntoIterator<Item = &'a AgreementInfo>,
    request: &RequestClaims,
    unit: &str,
    now: Wall,
) -> Result<(), Refusal> {
    let mut furthest: Option<(usize, Refusal)> = None;
    for agreement in agreements {
        let name = &agreement.reference;
        let (from, until, hours) = (&agreement.from, &agreement.until, &agreement.hours);
        let in_force = match closed(agreement, now) {
            None => Ok(()),
            Some(_) => Err(not_in_force(name, from, until, hours)),
        };
        let grounds = agreement.grounds.iter().map(|ground| ground.id.as_str());
        let longest = Duration::from_secs(agreement.max_duration);
        let checks = [
            check_unit(name, &agreement.units, unit),
            in_force,
            check_grounds(&grounds.collect::<Vec<_>>(), request),
            check_duration(name, longest, request),
        ];
        let failed = checks.into_iter().enumerate();
        let mut failed = failed.filter_map(|(passed, check)| Some((passed, check.err()?)));
        let Some((passed, refusal)) = failed.next() else {
            return Ok(());
        };
        if furthest.as_ref().is_none_or(|(most, _)| passed > *most) {
            furthest = Some((passed, refusal));
        }
    }
    Err(furthest.map_or_else(|| Reason::NoAgreement.into(), |(_, refusal)| refusal))
}

/// When the agreement is over: the end of its last day.
pub fn ends(agreement: &Agreement) -> Option<Wall> {
    day_ends(agreement.until)
}

/// When a day is over, in the communes' time zone.
fn day_ends(day: Date) -> Option<Wall> {
    let paris = TimeZone::get("Europe/Paris").ok()?;
    wall(&paris, start_of(day.tomorrow().ok()?)?)
}

/// When the agreement stops being in force after `now` (its last day's end or
/// the end of its hours), or `None` if it is not in force now.
pub fn in_force_until(agreement: &Agreement, now: Wall) -> Option<Wall> {
    days_and_hours_until(agreement.from, agreement.until, &agreement.hours, now)
}

/// The same of an agreement that was announced; also `None` where its dates can't be read.
pub fn announced_until(agreement: &AgreementInfo, now: Wall) -> Option<Wall> {
    let (from, until) = (agreement.from.parse().ok()?, agreement.until.parse().ok()?);
    let hours = &agreement.hours[..agreement.hours.len().min(WINDOWS)];
    days_and_hours_until(from, until, hours, now)
}

fn days_and_hours_until(from: Date, until: Date, hours: &[Hours], now: Wall) -> Option<Wall> {
    // The bundled data always knows it; without it nothing is in force.
    let paris = TimeZone::get("Europe/Paris").ok()?;
    let begins = wall(&paris, start_of(from)?)?;
    let ends = day_ends(until)?;
    if now < begins || now >= ends {
        return None;
    }
    if hours.is_empty() {
        return Some(ends);
    }
    let until = hours_until(hours, &paris, now)?;
    Some(until.map_or(ends, |until| until.min(ends)))
}

/// A time in which an agreement is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When it began; `None`: it has never been in force.
    pub since: Option<Wall>,
    /// When it ends; `None`: never, or further ahead than is looked.
    pub until: Option<Wall>,
}

/// Whether an agreement that was announced is out of its dates or hours, and since when.
/// `None`: it is in force, or its dates can't be read.
pub fn closed(agreement: &AgreementInfo, now: Wall) -> Option<Closed> {
    let paris = TimeZone::get("Europe/Paris").ok()?;
    let first: Date = agreement.from.parse().ok()?;
    let last: Date = agreement.until.parse().ok()?;
    let begins = wall(&paris, start_of(first)?)?;
    let ends = wall(&paris, start_of(last.tomorrow().ok()?)?)?;
    if now >= ends {
        let since = Some(ends);
        return Some(Closed { since, until: None });
    }
    if agreement.hours.is_empty() {
        let until = Some(begins);
        return (now < begins).then_some(Closed { since: None, until });
    }
    let windows = windows(&agreement.hours, &paris, now.max(begins))?;
    if now >= begins
        && windows
            .iter()
            .any(|(start, end)| *start <= now && now < *end)
    {
        return None;
    }
    let before = windows.iter().map(|(_, end)| *end);
    let after = windows
        .iter()
        .map(|(start, end)| ((*start).max(begins), *end));
    // A window that was open before the first day's midnight goes on after it.
    let after = after.filter(|(start, end)| *start > now && start < end);
    Some(Closed {
        since: before.filter(|end| *end <= now && *end > begins).max(),
        until: after
            .map(|(start, _)| start)
            .filter(|start| *start < ends)
            .min(),
    })
}

/// Of several agreements that all are closed, the one that opens soonest; `None` where one
/// is in force, or there is none.
pub fn all_closed<'a>(
    agreements: impl Iterator<Item = &'a AgreementInfo>,
    now: Wall,
) -> Option<Closed> {
    let mut soonest: Option<Closed> = None;
    for agreement in agreements {
        let closed = closed(agreement, now)?;
        let order = |closed: &Closed| closed.until.map_or(i64::MAX, |until| until.0);
        soonest = Some(match soonest {
            Some(known) if order(&known) <= order(&closed) => known,
            _ => closed,
        });
    }
    soonest
}

/// The windows of the week before `now` and of the one after it.
fn windows(hours: &[Hours], paris: &TimeZone, now: Wall) -> Option<Vec<(Wall, Wall)>> {
    let today = jiff::Timestamp::from_microsecond(now.0)
        .ok()?
        .to_zoned(paris.clone())
        .date();
    let mut windows = Vec::new();
    for ahead in -WEEK..=WEEK {
        let day = today.checked_add(jiff::Span::new().days(ahead)).ok()?;
        let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).ok()?;
        let of_day = hours.iter().take(WINDOWS);
        for window in of_day.filter(|window| window.days[weekday]) {
            windows.extend(bounds(window.start, window.end, day, paris));
        }
    }
    Some(windows)
}

/// When the window around `now` ends, with those that follow without a gap;
/// `None` outside all windows, `Some(None)` if they never end.
fn hours_until(hours: &[Hours], paris: &TimeZone, now: Wall) -> Option<Option<Wall>> {
    let today = jiff::Timestamp::from_microsecond(now.0)
        .ok()?
        .to_zoned(paris.clone())
        .date();
    let mut windows = Vec::new();
    let mut day = today.yesterday().ok()?;
    for _ in 0..HORIZON_DAYS {
        let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).ok()?;
        for window in hours.iter().filter(|window| window.days[weekday]) {
            windows.extend(bounds(window.start, window.end, day, paris));
        }
        day = day.tomorrow().ok()?;
    }
    windows.sort_unstable();
    let mut until = None;
    for (start, end) in windows {
        let reached = until.unwrap_or(now);
        if start <= reached && end > reached {
            until = Some(end);
        }
    }
    let until = until?;
    let horizon = wall(paris, start_of(day)?)?;
    Some((until < horizon).then_some(until))
}

/// First moment and the moment after the last of a window that starts on this day.
fn bounds(start: u16, end: u16, day: Date, paris: &TimeZone) -> Option<(Wall, Wall)> {
    let end_day = if end <= start || end >= DAY_MINUTES {
        day.tomorrow().ok()?
    } else {
        day
    };
    let start = wall(paris, at_minute(day, start)?)?;
    let end = wall(paris, at_minute(end_day, end % DAY_MINUTES)?)?;
    Some((start, end))
}

fn at_minute(day: Date, minute: u16) -> Option<DateTime> {
    let hour = i8::try_from(minute / 60).ok()?;
    let minute = i8::try_from(minute % 60).ok()?;
    let time = jiff::civil::Time::new(hour, minute, 0, 0).ok()?;
    Some(day.to_datetime(time))
}

fn start_of(day: Date) -> Option<DateTime> {
    at_minute(day, 0)
}

fn wall(zone: &TimeZone, local: DateTime) -> Option<Wall> {
    let time = zone.to_timestamp(local).ok()?;
    Some(Wall(time.as_microsecond()))
}

fn check_unit(name: impl Display, units: &[String], unit: &str) -> Result<(), Refusal> {
    if units.is_empty() || units.iter().any(|known| known == unit) {
        return Ok(());
    }
    let unit = text::shown(unit, text::TEXT_LIMIT);
    let detail = format!("{name} does not name the unit {unit}");
    Err(Refusal::new(Reason::NoAgreement, detail))
}

fn not_in_force(
    name: impl Display,
    from: impl Display,
    until: impl Display,
    hours: &[Hours],
) -> Refusal {
    let hours = if hours.is_empty() {
        ""
    } else {
        ", at its hours alone"
    };
    let detail = format!("{name} is in force from {from} to {until}{hours}");
    Refusal::new(Reason::AgreementNotInForce, detail)
}

fn check_grounds(allowed: &[&str], request: &RequestClaims) -> Result<(), Refusal> {
    if allowed.contains(&request.grounds.as_str()) {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::GroundsNotAllowed,
        format!(
            "{} is not among {}",
            text::shown(&request.grounds, text::TEXT_LIMIT),
            text::shown(&allowed.join(", "), 300)
        ),
    ))
}

fn check_duration(
    name: impl Display,
    longest: Duration,
    request: &RequestClaims,
) -> Result<(), Refusal> {
    let (wanted, longest) = (u64::from(request.duration), longest.as_secs());
    if wanted <= longest {
        return Ok(());
    }
    let detail = format!("{wanted} s are asked for where {name} allows {longest} s");
    Err(Refusal::new(Reason::DurationTooLong, detail))
}

/// The end by the request's duration and the agreement's total.
fn end_by_duration(
    agreement: &Agreement,
    request: &RequestClaims,
    renewal: Option<Renewal>,
    now: Wall,
) -> Result<Wall, Refusal> {
    let duration = Duration::from_secs(u64::from(request.duration));
    let longest = agreement.max_duration.min(DURATION_LIMIT);
    check_duration("the agreement", longest, request)?;
    let first_start = renewal.map_or(now, |renewal| renewal.first_start);
    let end_by_total = first_start.plus(agreement.max_total);
    if end_by_total <= now {
        let detail = format!(
            "the grant has used up its total of {} s; release it and sign a new request",
            agreement.max_total.as_secs()
        );
        return Err(Refusal::new(Reason::DurationTooLong, detail));
    }
    Ok(now.plus(duration).min(end_by_total))
}

fn judge_cameras(
    agreement: &Agreement,
    request: &RequestClaims,
    camera: &dyn Fn(&CameraId) -> Option<Camera>,
    relays: &BTreeSet<CameraId>,
) -> (Vec<CameraId>, Vec<RefusedCamera>) {
    let limit = usize::try_from(agreement.max_relays).unwrap_or(usize::MAX);
    let mut relayed = relays.len();
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    for id in &request.cameras {
        let mut verdict = judge_camera(agreement, camera(id).as_ref(), &request.grounds);
        // A camera that is relayed already costs no other relay.
        if verdict.is_ok() && !relays.contains(id) {
            if relayed < limit {
                relayed += 1;
            } else {
                verdict = Err(Refusal::new(
                    Reason::TooManyRelays,
                    format!("{limit} cameras at once are allowed, and all are taken"),
                ));
            }
        }
        match verdict {
            Ok(()) => granted.push(id.clone()),
            Err(refusal) => refused.push(RefusedCamera {
                camera: id.clone(),
                refusal,
            }),
        }
    }
    (granted, refused)
}

/// Whether this camera may be relayed under the agreement at all. What is wrong
/// with a camera's entry is the commune's to know: the centre gets the code.
fn judge_camera(
    agreement: &Agreement,
    camera: Option<&Camera>,
    grounds: &str,
) -> Result<(), Refusal> {
    let camera = camera.ok_or(Reason::CameraUnknown)?;
    if !agreement.covers(camera) {
        return Err(Reason::CameraNotCovered.into());
    }
    if camera.is_test() && grounds != Camera::TEST_GROUNDS {
        let detail = format!("{} is given for {} alone", camera.id, Camera::TEST_GROUNDS);
        return Err(Refusal::new(Reason::GroundsNotAllowed, detail));
    }
    camera
        .unusable()
        .map_or(Ok(()), |reason| Err(reason.into()))
}

#[cfg(test)]
mod tests;
