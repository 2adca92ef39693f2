//! One entry in one line of a table.

use crate::format::ids::CameraId;
use crate::format::statement::Operator;
use crate::format::text::shown;
use crate::journal::entry::{Entry, GrantEntry, MarkEntry};
use crate::reason::Reason;

/// What an entry says, for a person.
pub(super) fn say(entry: &Entry) -> String {
    let said = match entry {
        Entry::Started { by, version, .. } => format!("{by}, fanal {version}"),
        Entry::Stopped {} => String::new(),
        Entry::Reloaded { error: None, .. } => "new settings in force".to_owned(),
        Entry::Reloaded {
            error: Some(error), ..
        } => format!("new settings refused: {error}"),
        Entry::Grant(entry) => grant(entry),
        Entry::Refused {
            peer,
            operator,
            refusal,
            wait_ended,
            ..
        } => {
            let by = wait_ended.as_ref().and_then(|ended| ended.by.as_ref());
            let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
            format!("{} through {peer}{by}: {refusal}", person(operator))
        }
        Entry::Forwarded { jti, peer } => format!("{jti} to {peer}"),
        Entry::Waiting {
            jti,
            peer,
            operator,
            cameras,
            approve_by,
            ..
        } => format!(
            "{jti} {} through {peer}, to {}: approve by {approve_by}",
            person(operator),
            names(cameras)
        ),
        Entry::Unverified {
            peer,
            count,
            reason,
        } => format!("{count} requests through {peer}, last one {reason}"),
        Entry::Excess {
            peer,
            operator,
            count,
        } => format!(
            "{count} requests of {} through {peer} beyond his pace",
            person(operator)
        ),
        Entry::Confirmed { grant, centre, .. } => format!("{grant} recorded at {centre}"),
        Entry::Resumed { grant } => grant.to_string(),
        Entry::Moved {
            grant,
            centre,
            receiver,
        } => {
            let receiver = receiver.to_string();
            format!("{grant} to the receiver {} of {centre}", &receiver[..8])
        }
        Entry::Ended {
            grant,
            reason,
            at,
            by,
        } => {
            let by = by
                .as_ref()
                .map(|by| format!(" by {by}"))
                .unwrap_or_default();
            format!("{grant} {reason}{by} at {at}")
        }
        Entry::Cut { scope, until, by } => format!("{scope} until {until} by {by}"),
        Entry::Allowed { scope, by } => format!("{scope} by {by}"),
        Entry::Decision {
            jti,
            person: signer,
            refused,
            ..
        } => match refused {
            None => format!("{jti} signed by {}", person(signer)),
            Some(refusal) => format!("{jti} signed by {}, no effect: {refusal}", person(signer)),
        },
        Entry::ViewingStarted {
            grant,
            commune,
            camera,
            who,
            how,
            from,
            holders,
        } => {
            let held = if holders.is_empty() {
                String::new()
            } else {
                format!(", a URL that {} had too", holders.join(", "))
            };
            format!("{grant} {who} sees {commune}/{camera} by {how} from {from}{held}")
        }
        Entry::ViewingEnded {
            start,
            grant,
            reason,
            at,
            taken_over_by,
        } => {
            let why = match taken_over_by {
                Some(by) => format!("taken over by {by}"),
                None => reason.map_or("left", Reason::code).to_owned(),
            };
            format!("{grant} begun at line {start}: {why} at {at}")
        }
        Entry::CredentialsChanged {
            grant,
            operator,
            reason,
        } => format!(
            "{grant} new RTSP password, {} held the URL: {reason}",
            person(operator)
        ),
        Entry::ViewingsOwed {
            grant,
            commune,
            part,
            parts,
            viewings,
            ..
        } => format!(
            "{grant} {} viewings owed to {commune}, part {} of {parts}",
            viewings.len(),
            u64::from(*part) + 1
        ),
        Entry::ViewingsTaken { grant, commune, .. } => {
            format!("{grant} {commune} has the list of viewings")
        }
        Entry::Viewings {
            grant, viewings, ..
        } => format!("{grant} {} viewings told by the centre", viewings.len()),
        Entry::Snapshot {
            snapshot,
            grant,
            commune,
            camera,
            captured,
            operator,
            ..
        } => format!(
            "{grant} {} takes still {snapshot} of {commune}/{camera} at {captured}",
            person(operator)
        ),
        Entry::SnapshotRefused {
            snapshot,
            grant,
            refusal,
        } => format!("{grant} still {snapshot} not given: {refusal}"),
        Entry::Incident {
            incident,
            open,
            operator,
            ..
        } => {
            let what = if *open { "opened" } else { "closed" };
            format!("{incident} {what} by {}", person(operator))
        }
        Entry::Mark(entry) => mark(entry),
        Entry::LogKey { vkey, .. } => vkey.clone(),
        Entry::Cosigned { witness, size, .. } => format!("{witness} saw lines 1 to {size}"),
        Entry::PeerHead { peer, .. } => peer.clone(),
        Entry::PeerContradiction { peer, detail, .. } => format!("{peer}: {detail}"),
        Entry::PeerContinues { peer, .. } => format!("{peer} began a new journal"),
        Entry::JournalWentBack { peer, detail, .. } => format!("{peer} holds its head: {detail}"),
        Entry::JournalDamaged { file, line, cause } => format!("{file} line {line}: {cause}"),
        Entry::PeerDamaged {
            peer,
            detail: Some(detail),
        } => format!("{peer} says that its journal does not verify: {detail}"),
        Entry::PeerDamaged { peer, detail: None } => {
            format!("{peer} says nothing of that any more")
        }
        Entry::JournalAccepted { journal, by } => format!("that of {journal}, by {by}"),
        Entry::Revocation {
            authority, number, ..
        } => format!("list {number} of {authority}"),
        Entry::TornLine { hash, bytes } => format!("{bytes} bytes cut, SHA-256 {hash}"),
        Entry::Interrupted {
            since,
            error,
            refused,
        } => format!("not writable since {since}, {refused} entries refused: {error}"),
        Entry::Continues { journal, seq, link } => {
            format!("journal {journal} after its line {seq}, link {link}")
        }
        Entry::Attestation(told) => format!(
            "{} from {} to {}: {} bytes of pictures in {} rows, {} outside a grant{}",
            told.centre,
            told.from,
            told.to,
            told.media.iter().map(|row| row.sent).sum::<u64>(),
            told.media.len(),
            told.ungranted,
            if told.gap.is_some() {
                ", with a gap"
            } else {
                ""
            },
        ),
        Entry::Pruned {
            months,
            journal,
            first,
            last,
            link,
            ..
        } => format!(
            "{} removed, its time is over: lines {first} to {last} of journal {journal}, link {link}",
            months.join(" ")
        ),
        Entry::ClockAccepted { newest, by } => format!("behind {newest}, accepted by {by}"),
    };
    // Names and details come from outside: they must not steer a terminal.
    shown(&said, 400)
}

fn grant(entry: &GrantEntry) -> String {
    let kind = if entry.renewal { "renewal" } else { "grant" };
    let approved = entry.approved_by.as_ref();
    let approved = approved
        .map(|by| format!(", approved by {by}"))
        .unwrap_or_default();
    let refused = match entry.refused.len() {
        0 => String::new(),
        count => format!(", {count} refused"),
    };
    format!(
        "{} {kind}: {} of {}, {} for {}, to {}{refused}; {} s{approved}",
        entry.grant,
        person(&entry.operator),
        entry.operator.unit,
        entry.grounds,
        entry.incident,
        names(&entry.granted),
        entry.expires.saturating_sub(entry.start),
    )
}

fn mark(entry: &MarkEntry) -> String {
    let does = if entry.withdrawn {
        "withdraws"
    } else {
        "writes"
    };
    let (mark, who, incident) = (entry.mark, person(&entry.operator), &entry.incident);
    match &entry.span {
        None => format!("{incident} {who} {does} note {mark}"),
        Some(span) => format!(
            "{incident} {who} {does} bookmark {mark}: {}/{} from {} to {}",
            span.commune,
            span.camera,
            span.from,
            span.to.as_deref().unwrap_or("now")
        ),
    }
}

fn names(cameras: &[CameraId]) -> String {
    let names: Vec<&str> = cameras.iter().map(CameraId::as_str).collect();
    names.join(" ")
}

fn person(operator: &Operator) -> String {
    format!("{} ({})", operator.name, operator.number)
}
