//! What an index of addresses costs, and how fast it answers: `cargo bench --bench places`.
//!
//!     cargo bench --bench places -- --rows 1000000
//!
//! Generated streets of a département: their names are made of words that streets in France
//! have, so that common words occur in thousands of them. Every query is typed letter by letter, as
//! the console sends it. Nothing here asserts a time.
#![allow(missing_docs, clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fanal::places::{Builder, Index, MOST, Row};

const KINDS: &[&str] = &[
    "Rue",
    "Rue",
    "Rue",
    "Rue",
    "Avenue",
    "Chemin",
    "Impasse",
    "Allée",
    "Boulevard",
    "Place",
    "Traverse",
];
const LINKS: &[&str] = &[
    "de la",
    "du",
    "des",
    "de l'",
    "",
    "",
    "du Général",
    "Saint",
    "Jean",
    "Marie",
];
const NAMES: &[&str] = &[
    "République",
    "Paix",
    "Victoire",
    "Église",
    "Gare",
    "Moulin",
    "Château",
    "Fontaine",
    "École",
    "Mairie",
    "Leclerc",
    "Gaulle",
    "Moulin",
    "Jaurès",
    "Hugo",
    "Pasteur",
    "Curie",
    "Mistral",
    "Daudet",
    "Cézanne",
    "Oliviers",
    "Pins",
    "Chênes",
    "Lilas",
    "Roses",
    "Mimosas",
    "Amandiers",
    "Cyprès",
    "Tilleuls",
    "Platanes",
];
const ENDS: &[&str] = &[
    "",
    "",
    "",
    "Haute",
    "Basse",
    "Neuve",
    "Vieille",
    "du Nord",
    "du Sud",
    "de Provence",
];
/// As people type: numbers, abbreviations, endings left out, accents and case as they come.
const QUERIES: &[&str] = &[
    "12 rue de la république commune 17",
    "av du gal leclerc",
    "3 bis che des oliviers hauts commune 4",
    "impasse jean jaures",
    "bd victor hugo 13042",
    "pl de l'église",
    "rue de la paix",
    "commune 99",
    "7 trav st pins rue 812",
    "allée marie cézanne de provence",
];

fn main() -> anyhow::Result<()> {
    // Cargo gives `--bench` to every bench.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let rows = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 1_000_000,
        ["--rows", rows] => rows.parse().context("--rows wants a number")?,
        _ => bail!("--rows N is all that can be said"),
    };
    let began = Instant::now();
    let index = build(rows)?;
    println!(
        "{} rows, {} streets: built in {:.2} s (of which generating the names is a part), {:.1} bytes a row",
        index.rows(),
        index.streets(),
        began.elapsed().as_secs_f64(),
        index.bytes() as f64 / index.rows() as f64,
    );
    for near in [None, Some([43.5, 5.3])] {
        let mut took = Vec::new();
        for _ in 0..5 {
            for query in QUERIES {
                for (end, letter) in query.char_indices() {
                    let typed = &query[..end + letter.len_utf8()];
                    let began = Instant::now();
                    black_box(index.search(typed, near, MOST));
                    took.push((began.elapsed(), typed));
                }
            }
        }
        took.sort_unstable();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        let ms = |(took, _): (Duration, &str)| took.as_secs_f64() * 1e3;
        println!(
            "{} queries{}: p50 {:.3}, p99 {:.2}, longest {:.2} ms ({:?})",
            took.len(),
            if near.is_some() { ", near a place" } else { "" },
            ms(at(0.5)),
            ms(at(0.99)),
            ms(at(1.0)),
            at(1.0).1,
        );
    }
    Ok(())
}

/// Streets of 19 houses on average, spread over 119 communes.
fn build(rows: usize) -> anyhow::Result<Index> {
    let mut builder = Builder::default();
    let mut random = Random(1);
    let mut street = 0;
    while builder.rows() < rows {
        street += 1;
        let mut pick = |list: &'static [&'static str]| list[random.below(list.len())];
        let (kind, link, name, end) = (pick(KINDS), pick(LINKS), pick(NAMES), pick(ENDS));
        // Every third has a word of its own, as names of people and places are.
        let own = if street % 3 == 0 {
            format!(" Nom{street}")
        } else {
            String::new()
        };
        let name = format!("{kind} {link} {name}{own} {end}");
        let commune = random.below(119);
        let (city, postcode) = (
            format!("Commune-{commune}-l'Étang"),
            format!("{}", 13_000 + commune),
        );
        let houses = 1 + random.below(37);
        for house in 0..houses.min(rows - builder.rows()) {
            let position = [
                43.2 + random.below(400_000) as f64 / 1e6,
                4.8 + random.below(800_000) as f64 / 1e6,
            ];
            let row = Row {
                number: u32::try_from(house * 2 + 1)?,
                suffix: if house % 9 == 8 { "bis" } else { "" },
                street: name.trim(),
                city: &city,
                former: "",
                postcode: &postcode,
                position,
            };
            if builder.add(&row).is_err() {
                bail!("that many do not fit");
            }
        }
    }
    Ok(builder.finish())
}

/// Numbers that only have to look like chance, and be the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}
