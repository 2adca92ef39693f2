//! What the terminal shows, in the operator's language: who signs, what is signed, and whether
//! the receiver answers.

use std::io::Write;

use crate::clock::Wall;
use crate::commands::client::Server;
use crate::commands::french::French;
use crate::config::grounds::GROUNDS;
use crate::format::decision::{CutDecision, Decision};
use crate::format::designation::Designation;
use crate::format::ids::{CameraId, CentreId, CommuneId, ProfileWish, RequestId};
use crate::format::statement::{Operator, RequestClaims};

/// Writes on the terminal.
///
/// # Errors
/// It can't be written.
pub(super) fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// The first lines: who signs for which centre, and where the page is.
pub(super) fn greeting(
    french: French,
    me: &Designation,
    (server, id): (Server, &CentreId),
    (url, now): (&str, Wall),
) -> String {
    let Operator { name, number, unit } = &me.operator;
    let unit = Some(unit).filter(|unit| !unit.is_empty());
    let unit = unit.map(|unit| format!(", {unit}")).unwrap_or_default();
    let (who, until) = (format!("{name} ({number}{unit})"), me.not_after.rfc3339());
    if server == Server::Commune {
        return if french.0 {
            format!(
                "La page de {who}, à la commune {id} ; certificat valable jusqu'au {until} :\n  {url}\n\
                 Chaque décision signée s'affiche ici. Ctrl-C arrête la page."
            )
        } else {
            format!(
                "The page of {who}, at the commune {id}; certificate valid until {until}:\n  {url}\n\
                 Each decision that is signed is shown here. Ctrl-C stops the page."
            )
        };
    }
    let centre = id;
    let valid = if me.not_after > now {
        french.pick("valable jusqu'au", "valid until")
    } else {
        french.pick(
            "EXPIRÉE (mettez la nouvelle à sa place, elle sera prise aussitôt) depuis le",
            "EXPIRED (put the new one in its place, it is taken at once) since",
        )
    };
    if french.0 {
        format!(
            "La page de {who}, au centre {centre} ; désignation {valid} {until} :\n  {url}\n\
             Chaque demande signée s'affiche ici. Ctrl-C arrête la page."
        )
    } else {
        format!(
            "The page of {who}, at the centre {centre}; designation {valid} {until}:\n  {url}\n\
             Each request that is signed is shown here. Ctrl-C stops the page."
        )
    }
}

/// A newer designation is used from now on.
pub(super) fn renewed(french: French, me: &Designation) -> String {
    let (name, until) = (&me.operator.name, me.not_after.rfc3339());
    if french.0 {
        format!("Nouvelle désignation de {name} prise en compte : valable jusqu'au {until}")
    } else {
        format!("The new designation of {name} is used: valid until {until}")
    }
}

/// What a request says, in words.
pub(super) fn request(french: French, claims: &RequestClaims) -> String {
    let time = Wall::from_seconds(claims.iat).rfc3339();
    let cameras: Vec<&str> = claims.cameras.iter().map(CameraId::as_str).collect();
    let profile = match claims.profile {
        ProfileWish::Auto => french.pick("automatique", "automatic"),
        ProfileWish::Main => french.pick("principal", "main"),
        ProfileWish::Sub => french.pick("secondaire", "sub"),
    };
    let grounds = GROUNDS.iter().find(|(id, ..)| *id == claims.grounds);
    let grounds = grounds.map_or(claims.grounds.as_str(), |(_, fr, en)| french.pick(fr, en));
    let (commune, centre) = (&claims.aud, &claims.centre);
    let (cameras, incident) = (cameras.join(", "), &claims.incident);
    let duration = duration(claims.duration);
    let mut text = if french.0 {
        format!(
            "{time} Signé : demande à {commune}, par {centre}\n  caméras : {cameras}\n  \
             intervention : {incident}\n  motif : {grounds}\n  durée : {duration} ; flux : {profile}"
        )
    } else {
        format!(
            "{time} Signed: a request to {commune}, through {centre}\n  cameras: {cameras}\n  \
             incident: {incident}\n  grounds: {grounds}\n  duration: {duration}; stream: {profile}"
        )
    };
    if !claims.present.is_empty() {
        text.push_str(french.pick("\n  présents : ", "\n  present: "));
        text.push_str(&claims.present.join(", "));
    }
    if let Some(grant) = claims.renews {
        text.push_str(french.pick("\n  prolonge l'autorisation ", "\n  renews the grant "));
        text.push_str(&grant.to_string());
    }
    text
}

/// A decision, as the terminal shows it before it is signed.
pub(super) fn decision(french: French, iat: i64, commune: &CommuneId, said: &str) -> String {
    let time = Wall::from_seconds(iat).rfc3339();
    let signed = french.pick("Signé pour", "Signed for");
    format!("{time} {signed} {commune}: {said}")
}

/// What is decided about a request.
pub(super) fn of_request(french: French, request: RequestId, decision: Decision) -> String {
    let what = match decision {
        Decision::Approve => french.pick("accepte la demande", "approves the request"),
        Decision::Refuse => french.pick("refuse la demande", "refuses the request"),
    };
    format!("{what} {request}")
}

/// What is decided about a scope.
pub(super) fn of_scope(
    french: French,
    scope: &str,
    block: Option<u64>,
    decision: CutDecision,
) -> String {
    let what = match decision {
        CutDecision::Cut => french.pick("coupe", "cuts"),
        CutDecision::Allow => french.pick("autorise de nouveau", "allows again"),
    };
    let holds = block.and_then(|seconds| u32::try_from(seconds).ok());
    let holds = holds.map(|seconds| {
        let during = french.pick("pendant", "for");
        format!(", {during} {}", duration(seconds))
    });
    format!("{what} {scope}{}", holds.unwrap_or_default())
}

/// The receiver does not answer any more.
pub(super) fn away(french: French, time: Wall, cause: &str) -> String {
    let text = french.pick("Le récepteur ne répond pas", "The receiver does not answer");
    let colon = french.pick(" :", ":");
    format!("{} {text}{colon} {cause}", time.rfc3339())
}

/// The receiver answers again.
pub(super) fn back(french: French, time: Wall) -> String {
    let text = french.pick(
        "Le récepteur répond de nouveau",
        "The receiver answers again",
    );
    format!("{} {text}", time.rfc3339())
}

/// Hours, minutes and seconds, the parts that are not zero.
fn duration(seconds: u32) -> String {
    let parts = [
        (seconds / 3_600, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_by_their_parts() {
        for (seconds, told) in [(1_200, "20 min"), (5_400, "1 h 30 min"), (3_601, "1 h 1 s")] {
            assert_eq!(duration(seconds), told);
        }
    }
}
