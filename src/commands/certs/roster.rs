//! `fanal certs roster`: many certificates from a spreadsheet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::{duration, request, told, wrong};
use crate::certs::Error;
use crate::certs::authority::{Person, Subject};
use crate::certs::files::{Directory, MACHINE_LIFE, Wanted};
use crate::clock::Wall;
use crate::commands::Usage;
use crate::config::csv;

/// Largest roster.
const LIMIT: u64 = 4 * 1024 * 1024;
/// How long a designation is valid where the row does not say.
const DESIGNATION_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Columns, with their French names.
const COLUMNS: [(&str, &str); 6] = [
    ("kind", "genre"),
    ("id", "identifiant"),
    ("name", "nom"),
    ("unit", "unité"),
    ("for", "durée"),
    ("csr", "demande"),
];

/// Makes what the table asks for, once all of it is right.
pub(super) fn run(
    file: &Path,
    replace: bool,
    directory: &Directory,
    now: Wall,
) -> anyhow::Result<Vec<PathBuf>> {
    let name = file.display();
    let size = std::fs::metadata(file).map(|of| of.len());
    let size = size.with_context(|| format!("the roster {name} can't be read"))?;
    if size > LIMIT {
        return Err(Usage(format!("{name}: larger than {LIMIT} bytes")).into());
    }
    let bytes = std::fs::read(file).with_context(|| format!("the roster {name} can't be read"))?;
    let beside = file.parent().unwrap_or_else(|| Path::new(""));
    let all = wanted(&bytes, replace, beside);
    let all = all.map_err(|mistakes| {
        let lines = mistakes.iter().map(|line| format!("\n{name}:{line}"));
        Usage(format!("nothing was made:{}", lines.collect::<String>()))
    })?;
    let mut written = Vec::new();
    for (row, wanted) in all {
        match directory.issue(&wanted, now) {
            Ok(made) => written.extend(told(&wanted.subject, made)),
            // Made by an earlier run.
            Err(Error::Exists(_)) => {}
            Err(error) => return Err(wrong(error).context(format!("{name}:{row}"))),
        }
    }
    Ok(written)
}

/// The rows, by their numbers in the spreadsheet; or each mistake, beginning with its row.
fn wanted(bytes: &[u8], replace: bool, beside: &Path) -> Result<Vec<(u32, Wanted)>, Vec<String>> {
    let table = csv::parse(bytes).map_err(|(row, text)| vec![format!("{row}: {text}")])?;
    let mut rows = table.rows.into_iter();
    let header = rows.next().map(|(_, header)| header).unwrap_or_default();
    let place = |(name, french): (&str, &str)| {
        let is_it = |cell: &str| {
            let cell = cell.trim().to_lowercase();
            cell == name || cell == french
        };
        header.iter().position(is_it)
    };
    let places = COLUMNS.map(place);
    if places[0].is_none() || places[1].is_none() {
        let text = "1: the first row must name the columns kind and id; then name, unit, for, csr as needed";
        return Err(vec![text.to_owned()]);
    }
    let (mut all, mut mistakes, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (row, record) in rows {
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let cell = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
        let read = one(places.map(|at| cell(at).trim()), replace, beside).and_then(|wanted| {
            let name = wanted.subject.file_name().to_owned();
            if seen.insert(name.clone()) {
                Ok(wanted)
            } else {
                Err(format!("{name} is there twice; keep one row"))
            }
        });
        match read {
            Ok(wanted) => all.push((row, wanted)),
            Err(text) => mistakes.push(format!("{row}: {text}")),
        }
    }
    if mistakes.is_empty() {
        Ok(all)
    } else {
        Err(mistakes)
    }
}

fn one(
    [kind, id, name, unit, lasting, csr]: [&str; 6],
    replace: bool,
    beside: &Path,
) -> Result<Wanted, String> {
    let person = |default: &str| {
        let unit = if unit.is_empty() { default } else { unit };
        if name.is_empty() || unit.is_empty() {
            return Err(format!("{id}: give name and unit of a person"));
        }
        Ok(Person {
            number: id.to_owned(),
            name: name.to_owned(),
            unit: unit.to_owned(),
        })
    };
    let (subject, usual) = match kind {
        "gateway" | "receiver" | "passerelle" | "récepteur" => {
            (Subject::Machine(id.to_owned()), MACHINE_LIFE)
        }
        "operator" | "opérateur" => (Subject::Operator(person("")?), DESIGNATION_LIFE),
        "agent" => (Subject::Agent(person("commune")?), MACHINE_LIFE),
        "console" => {
            let names = id.split_whitespace().map(str::to_owned);
            (Subject::Server(names.collect()), MACHINE_LIFE)
        }
        other => {
            return Err(format!(
                "kind {other:?}: write gateway, receiver, operator, agent or console"
            ));
        }
    };
    subject.check().map_err(|error| error.to_string())?;
    let lasting = match lasting {
        "" => usual,
        written => duration(written).map_err(|text| format!("for: {text}"))?,
    };
    let request = match csr {
        "" => None,
        file => Some(request(&beside.join(file)).map_err(|error| format!("{error:#}"))?),
    };
    Ok(Wanted {
        subject,
        lasting,
        request,
        replace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_right_or_named_as_the_spreadsheet_does() {
        let good = "kind;id;nom;unité;for\r\ngateway;berre-l-etang;;;90d\r\n\r\n\
            operator;13-4567;Adjudant Zoé;CORG 13;\r\nconsole;corg13.example 10.0.0.1;;;\r\n";
        let rows = wanted(good.as_bytes(), false, Path::new("")).unwrap();
        let seen: Vec<_> = rows
            .iter()
            .map(|(row, one)| {
                (
                    *row,
                    one.subject.file_name(),
                    one.lasting.as_secs() / 86_400,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (2, "berre-l-etang", 90),
                (4, "13-4567", 7),
                (5, "corg13.example", 365)
            ]
        );
        let bad = "kind,id,name,unit,for,csr\r\nmayor,x,,,,\r\noperator,1,,,,\r\n\
            gateway,Berre,,,,\r\ngateway,fos,,,soon,\r\ngateway,fos,,,,\r\n\
            gateway,fos,,,,\r\nagent,a,A,,,no.csr\r\n";
        let mistakes = wanted(bad.as_bytes(), false, Path::new("")).unwrap_err();
        let starts = [
            "2: kind \"mayor\"",
            "3: 1: give name",
            "4: id",
            "5: for",
            "7: fos is there twice",
            "8: the request",
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:?}");
        for (mistake, start) in mistakes.iter().zip(starts) {
            assert!(mistake.starts_with(start), "{mistake}");
        }
        assert!(wanted(b"name\nx\n", false, Path::new("")).is_err());
        assert!(wanted(b"", false, Path::new("")).is_err());
    }
}
