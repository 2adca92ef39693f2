//! A report as one page: no script, nothing from elsewhere, made to be printed on A4.

use std::fmt::Write as _;

use super::View;
use super::attested;
use super::words::Words;
use crate::commands::paper::{cells_of, head, row, table_head, text};
use crate::journal::compare::Side;
use crate::journal::report::{Grant, PUBLIC_MINIMUM, Public, Report};

/// Findings on the page; `fanal journal verify` names them all.
const FINDINGS_SHOWN: usize = 10;

/// The report of a month.
pub(super) fn page(report: &Report, view: &View) -> String {
    let words = view.words;
    let owner = report.owner.as_deref().unwrap_or("-");
    let mut html = head(words.lang, &[words.title, owner, &report.month]);
    let of = match report.side {
        Some(Side::Centre) => words.of_centre,
        _ => words.of_commune,
    };
    let zone = view.zone.iana_name().unwrap_or("UTC");
    let _ = write!(
        html,
        "<header><h1>{}</h1><p><strong>{}</strong> · {of} <strong>{}</strong></p><p class=\"small\">{}{}{}</p></header>",
        text(words.title),
        text(&report.month),
        text(owner),
        words.zone,
        words.lang.colon(),
        text(zone),
    );
    verification(&mut html, report, words);
    totals(&mut html, report, words);
    let _ = write!(html, "<section><h2>{}</h2>", words.list);
    if report.grants.is_empty() {
        let _ = write!(html, "<p>{}</p>", words.none);
    }
    for grant in &report.grants {
        one(&mut html, grant, view);
    }
    html.push_str("</section></body></html>\n");
    html
}

/// The page for everybody.
pub(super) fn public(public: &Public, view: &View) -> String {
    let words = view.words;
    let owner = public.owner.as_deref().unwrap_or("-");
    let mut html = head(words.lang, &[words.public_title, owner, &public.month]);
    let _ = write!(
        html,
        "<header><h1>{}</h1><p><strong>{}</strong> · <strong>{}</strong></p></header><table>",
        text(words.public_title),
        text(&public.month),
        text(owner),
    );
    for (name, value) in public_rows(public, words) {
        row(&mut html, &name, &value);
    }
    let minimum = PUBLIC_MINIMUM.to_string();
    let _ = writeln!(
        html,
        "</table><p class=\"small\">{}</p></body></html>",
        text(&words.folded.replace("{}", &minimum))
    );
    html
}

/// What the public page says, row by row.
pub(super) fn public_rows(public: &Public, words: &Words) -> Vec<(String, String)> {
    let number = |count: Option<u64>| match count {
        Some(count) => count.to_string(),
        None => format!("{} {PUBLIC_MINIMUM}", words.fewer),
    };
    let mut rows = vec![(words.grants.to_owned(), number(public.grants))];
    for (ground, count) in &public.grounds {
        rows.push((
            format!(
                "{}{}{}",
                words.grounds,
                words.lang.colon(),
                words.ground(ground)
            ),
            count.to_string(),
        ));
    }
    rows.push((words.viewings.to_owned(), number(public.viewings)));
    if let Some(hours) = public.viewing_hours {
        rows.push((words.viewing_hours.to_owned(), hours.to_string()));
    }
    rows.push((words.stills.to_owned(), number(public.stills)));
    rows.push((words.refused.to_owned(), number(public.refusals)));
    for (code, count) in &public.refusals_by_reason {
        rows.push((
            format!("{}{}{}", words.reason, words.lang.colon(), words.code(code)),
            count.to_string(),
        ));
    }
    let intact = if public.intact {
        words.intact
    } else {
        words.not_intact
    };
    rows.push((words.verification.to_owned(), intact.to_owned()));
    rows
}

fn verification(html: &mut String, report: &Report, words: &Words) {
    let found = &report.verification;
    let (class, said) = if found.intact {
        ("good", words.intact)
    } else {
        ("bad", words.not_intact)
    };
    let _ = write!(
        html,
        "<section><h2>{}</h2><p class=\"{class}\">{said}</p>",
        words.verification
    );
    if !found.findings.is_empty() {
        html.push_str("<ul>");
        for finding in found.findings.iter().take(FINDINGS_SHOWN) {
            let _ = write!(html, "<li>{}</li>", text(finding));
        }
        if found.findings.len() > FINDINGS_SHOWN {
            html.push_str("<li>…</li>");
        }
        html.push_str("</ul>");
    }
    html.push_str("<table>");
    row(html, words.lines, &found.lines.to_string());
    row(html, words.statements, &found.statements.to_string());
    let keys = if found.keys_checked {
        words.keys_checked
    } else {
        words.keys_not_checked
    };
    row(html, words.keys, keys);
    row(html, words.journals, &found.journals.join("\n"));
    let attested = found.attested.iter();
    let said: Vec<String> = attested
        .map(|one| attested::sentence(one, words.lang))
        .collect();
    if !said.is_empty() {
        row(html, words.attested, &said.join("\n"));
    }
    html.push_str("</table></section>");
}

fn totals(html: &mut String, report: &Report, words: &Words) {
    let totals = &report.totals;
    let _ = write!(html, "<section><h2>{}</h2><table>", words.totals);
    for (name, count) in [
        (words.grants, totals.grants),
        (words.renewals, totals.renewals),
        (words.handovers, totals.handovers),
        (words.operators, totals.operators),
        (words.cameras, totals.cameras),
        (words.viewings, totals.viewings),
    ] {
        row(html, name, &count.to_string());
    }
    row(
        html,
        words.viewing_time,
        &View::duration(totals.viewing_seconds),
    );
    for (name, count) in [
        (words.stills, totals.stills),
        (words.refused, totals.refused),
        (words.unverified, totals.unverified),
        (words.cuts, totals.cuts),
    ] {
        row(html, name, &count.to_string());
    }
    if let Some(bytes) = totals.bytes {
        row(html, words.bytes, &bytes.to_string());
    }
    html.push_str("</table>");
    if !report.grounds.is_empty() {
        let _ = write!(html, "<h3>{}</h3><table>", words.by_grounds);
        for (ground, count) in &report.grounds {
            row(html, words.ground(ground), &count.to_string());
        }
        html.push_str("</table>");
    }
    if !report.refusals.is_empty() {
        let _ = write!(
            html,
            "<h3>{}</h3><table><thead><tr><th>{}</th><th>{}</th></tr></thead><tbody>",
            words.refusals, words.reason, words.count
        );
        for (code, count) in &report.refusals {
            let _ = write!(
                html,
                "<tr><td>{}</td><td>{count}</td></tr>",
                text(words.code(code))
            );
        }
        html.push_str("</tbody></table>");
    }
    html.push_str("</section>");
}

fn one(html: &mut String, grant: &Grant, view: &View) {
    let words = view.words;
    let _ = write!(
        html,
        "<article><h3>{} · {} · {}</h3><p class=\"small\">{}</p><table>",
        text(&view.time(&grant.start)),
        text(words.ground(&grant.grounds)),
        text(&grant.incident),
        grant.grant,
    );
    for signed in &grant.operators {
        let operator = &signed.operator;
        let said = format!(
            "{} – {} ({})\n{} {}",
            operator.number,
            operator.name,
            operator.unit,
            words.from,
            view.time(&signed.from)
        );
        row(html, words.operator, &said);
    }
    row(html, words.incident, &grant.incident);
    row(html, words.start, &view.time(&grant.start));
    let lines = |texts: Vec<String>| texts.join(", ");
    row(
        html,
        words.cameras,
        &lines(grant.cameras.iter().map(ToString::to_string).collect()),
    );
    if !grant.refused.is_empty() {
        let refused = grant.refused.iter();
        let refused = refused.map(|one| {
            format!(
                "{}{}{}",
                one.camera,
                words.lang.colon(),
                words.reason(one.refusal.reason)
            )
        });
        row(
            html,
            words.refused_cameras,
            &refused.collect::<Vec<_>>().join("\n"),
        );
    }
    if !grant.present.is_empty() {
        row(
            html,
            words.present,
            &lines(grant.present.iter().cloned().collect()),
        );
    }
    if let Some(by) = &grant.approved_by {
        row(html, words.approved_by, by);
    }
    row(html, words.agreement, &grant.agreement);
    if grant.renewals > 0 {
        row(html, words.renewals, &grant.renewals.to_string());
    }
    match &grant.end {
        Some(end) => {
            let said = format!("{}\n{}", view.time(&end.at), words.reason(end.reason));
            row(html, words.end, &said);
            if let Some(by) = &end.by {
                row(html, words.ended_by, by);
            }
        }
        None => row(html, words.end, words.no_end),
    }
    if let Some(bytes) = grant.bytes {
        row(html, words.bytes, &bytes.to_string());
    }
    html.push_str("</table>");
    viewings(html, grant, view);
    html.push_str("</article>");
}

fn viewings(html: &mut String, grant: &Grant, view: &View) {
    let words = view.words;
    if grant.viewings.is_empty() {
        let _ = write!(html, "<p class=\"small\">{}</p>", words.nobody);
    } else {
        table_head(html, &[words.who, words.camera, words.from, words.to]);
        for viewing in &grant.viewings {
            // Many short viewings come folded: their number.
            let who = match viewing.count {
                Some(count) => format!("{} × {count}", viewing.who),
                None => viewing.who.clone(),
            };
            let cells = [
                who,
                viewing.camera.to_string(),
                view.time(&viewing.from),
                view.time(&viewing.to),
            ];
            cells_of(html, &cells);
        }
        html.push_str("</tbody></table>");
    }
    if !grant.stills.is_empty() {
        table_head(html, &[words.still, words.who, words.camera, words.from]);
        for still in &grant.stills {
            let cells = [
                still.snapshot.to_string(),
                still.operator.number.clone(),
                still.camera.to_string(),
                view.time(&still.captured),
            ];
            cells_of(html, &cells);
        }
        html.push_str("</tbody></table>");
    }
}
