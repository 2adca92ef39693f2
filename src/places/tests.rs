use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::words::{expansion, is_filler, words};
use super::*;

/// A file as the Base Adresse Nationale writes it, columns that nobody needs included.
const FILE: &str = "\u{feff}id;id_fantoir;numero;rep;nom_voie;code_postal;code_insee;nom_commune;code_insee_ancienne_commune;nom_ancienne_commune;x;y;lon;lat;type_position
13014_1;1;2;;Rue de la République;13130;13014;Berre-l'Étang;;;0;0;5.1601;43.4701;entrée
13014_1;1;12;;Rue de la République;13130;13014;Berre-l'Étang;;;0;0;5.1611;43.4711;entrée
13014_1;1;12;bis;Rue de la République;13130;13014;Berre-l'Étang;;;0;0;5.1612;43.4712;entrée
13014_1;1;40;;Rue de la République;13130;13014;Berre-l'Étang;;;0;0;5.1641;43.4741;entrée
13014_2;1;5;;Boulevard Marcel Cachin;13130;13014;Berre-l'Étang;;;0;0;5.17;43.48;entrée
13014_3;1;1;;Avenue du Maréchal Juin;13130;13014;Berre-l'Étang;;;0;0;5.18;43.49;entrée
13014_4;1;3;;Place Saint-Éloi;13130;13014;Berre-l'Étang;;;0;0;5.19;43.5;entrée
13014_5;1;8;;Rue du 8 Mai 1945;13130;13014;Berre-l'Étang;;;0;0;5.2;43.51;entrée
13081_1;1;12;;Rue de la République;13340;13081;Rognac;;;0;0;5.23;43.48;entrée
13081_2;1;7;a;Chemin de Berre;13340;13081;Rognac;;Rognac-le-Vieux;0;0;5.24;43.49;entrée
";

fn read(file: &str) -> ban::Outcome {
    let never = AtomicBool::new(false);
    ban::read(file.as_bytes(), Builder::default(), &never).unwrap()
}

fn labels(index: &Index, query: &str) -> Vec<String> {
    let found = index.search(query, None, MOST);
    found.into_iter().map(|place| place.label).collect()
}

#[test]
fn finds_what_people_type() {
    let index = read(FILE).index;
    assert_eq!((index.rows(), index.streets()), (10, 7));
    let berre = "13130 Berre-l'Étang";
    for (query, street) in [
        ("12 rue de la rép berre", "12 Rue de la République"),
        (
            "12, RUE DE LA REPUBLIQUE 13130 BERRE-L'ETANG",
            "12 Rue de la République",
        ),
        ("12 bis r republique berre", "12 bis Rue de la République"),
        ("12bis r republique berre", "12 bis Rue de la République"),
        ("12b rue republique berre", "12 bis Rue de la République"),
        ("12 b rue republique berre", "12 bis Rue de la République"),
        ("republique 12 berre", "12 Rue de la République"),
        ("13 rue de la republique berre", "Rue de la République"),
        ("bd cachin", "Boulevard Marcel Cachin"),
        ("av du mal juin", "Avenue du Maréchal Juin"),
        ("pl st eloi", "Place Saint-Éloi"),
        ("st-él", "Place Saint-Éloi"),
        ("rue du 8 mai", "Rue du 8 Mai 1945"),
        ("8 rue du 8 mai 1945", "8 Rue du 8 Mai 1945"),
    ] {
        let found = labels(&index, query);
        let expected = format!("{street}, {berre}");
        assert_eq!(found.first(), Some(&expected), "{query}: {found:?}");
    }
    // A city by itself, before the streets that are named after it.
    assert_eq!(labels(&index, "berre")[0], berre);
    assert!(labels(&index, "berre").contains(&"Chemin de Berre, 13340 Rognac".to_owned()));
    assert_eq!(
        labels(&index, "7a che berre le vieux"),
        ["7 a Chemin de Berre, 13340 Rognac"]
    );
    for nothing in ["", "  ", "'", "12", "rue de la paix", "marseille", "12 bis"] {
        assert_eq!(labels(&index, nothing), [""; 0], "{nothing}");
    }
}

#[test]
fn a_house_has_its_own_position_and_a_street_its_middle() {
    let index = read(FILE).index;
    let one = |query: &str| index.search(query, None, 1).remove(0);
    let house = one("12 rue de la republique berre");
    assert_eq!(house.position, [43.4711, 5.1611]);
    assert_eq!((&*house.city, &*house.postcode), ("Berre-l'Étang", "13130"));
    // Of four houses, the one nearest to their mean.
    assert_eq!(
        one("rue de la republique berre").position,
        [43.4712, 5.1612]
    );
}

#[test]
fn of_those_that_fit_as_well_the_nearest_comes_first() {
    let index = read(FILE).index;
    for (near, city) in [([43.47, 5.16], "Berre-l'Étang"), ([43.48, 5.23], "Rognac")] {
        let found = index.search("12 rue de la republique", Some(near), MOST);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].city, city);
    }
    assert_eq!(index.search("12 rue de la republique", None, 1).len(), 1);
    assert_eq!(index.search("12 rue de la republique", None, 0).len(), 0);
}

#[test]
fn compressed_or_not_in_one_part_or_several() {
    let (begin, end) = FILE.as_bytes().split_at(FILE.len() / 2);
    let mut compressed = Vec::new();
    for part in [begin, end] {
        let mut encoder =
            flate2::write::GzEncoder::new(&mut compressed, flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    let never = AtomicBool::new(false);
    let read = ban::read(&compressed[..], Builder::default(), &never).unwrap();
    assert_eq!((read.index.rows(), read.bad, read.is_cut), (10, 0, false));
    // Damaged: not half of it.
    let cut = &compressed[..compressed.len() - 20];
    assert!(ban::read(cut, Builder::default(), &never).is_err());
}

#[test]
fn bad_rows_are_counted_and_named_and_harm_no_other() {
    let header = "numero;rep;nom_voie;code_postal;nom_commune;lon;lat\n";
    let good = "1;;Rue A;13000;B;5;43\n";
    let long = "x".repeat(NAME + 1);
    let mut text = header.as_bytes().to_vec();
    for bad in [
        "x;;Rue A;13000;B;5;43\n".as_bytes(),
        b"1;;;13000;B;5;43\n",
        b"1;;Rue A;13000;B;5;91\n",
        b"1;;Rue A;13000;B;NaN;43\n",
        b"1;;Rue A\n",
        b"1;;Rue \xe9;13000;B;5;43\n",
        format!("1;;{long};13000;B;5;43\n").as_bytes(),
    ] {
        text.extend(bad);
        text.extend(good.as_bytes());
    }
    let never = AtomicBool::new(false);
    let read = ban::read(&text[..], Builder::default(), &never).unwrap();
    assert_eq!((read.bad, read.index.rows()), (7, 7));
    assert_eq!(read.examples[0], "line 2: numero is no number");
    assert_eq!(read.examples.len(), 3);
}

#[test]
fn what_is_no_list_of_addresses_is_refused() {
    let never = AtomicBool::new(false);
    let refused = |text: &[u8]| ban::read(text, Builder::default(), &never).unwrap_err();
    assert!(refused(b"").contains("no column numero"));
    assert!(refused(b"a;b\n1;2\n").contains("no column numero"));
    let header = b"numero;rep;nom_voie;code_postal;nom_commune;lon;lat\n";
    assert!(refused(header).contains("no address"));
    let line = [&header[..], &vec![b'x'; ban::LINE + 2]].concat();
    assert!(refused(&line).contains("a line is longer"));
    let over = AtomicBool::new(true);
    assert!(ban::read(FILE.as_bytes(), Builder::default(), &over).is_err());
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let never = AtomicBool::new(false);
    for builder in [
        Builder::with_limits(3, TEXT),
        Builder::with_limits(ROWS, 70),
    ] {
        let read = ban::read(FILE.as_bytes(), builder, &never).unwrap();
        assert!(read.is_cut);
        assert!(
            (1..10).contains(&read.index.rows()),
            "{}",
            read.index.rows()
        );
    }
}

/// The same search without any index.
fn naive(rows: &[Row<'_>], query: &str) -> Vec<String> {
    let mut typed = words(query);
    let number: Option<u32> = typed.first().and_then(|word| word.parse().ok());
    if number.is_some() {
        typed.remove(0);
    }
    let mut streets: Vec<(&str, &str, Vec<u32>)> = Vec::new();
    let mut cities: Vec<&str> = Vec::new();
    for row in rows {
        if !cities.contains(&row.city) {
            cities.push(row.city);
        }
        let known = streets
            .iter_mut()
            .find(|one| (one.0, one.1) == (row.street, row.city));
        match known {
            Some(known) => known.2.push(row.number),
            None => streets.push((row.street, row.city, vec![row.number])),
        }
    }
    let cities = cities.into_iter().map(|city| ("", city, Vec::new()));
    let last = typed.len().saturating_sub(1);
    let tokens: Vec<&String> = typed
        .iter()
        .enumerate()
        .filter(|(at, word)| *at == last || !is_filler(word))
        .map(|(_, word)| word)
        .collect();
    if tokens.is_empty() {
        return Vec::new();
    }
    let long = |word: &str| expansion(word).unwrap_or(word).to_owned();
    let mut ranked = BTreeMap::new();
    for (at, (street, city, numbers)) in cities.chain(streets).enumerate() {
        let own: std::collections::BTreeSet<String> =
            words(street).iter().map(|word| long(word)).collect();
        let mut all: Vec<String> = own.iter().cloned().collect();
        all.extend(words(city).iter().map(|word| long(word)));
        let fits = |token: &str, word: &String| word.starts_with(token) || *word == long(token);
        if !tokens
            .iter()
            .all(|token| all.iter().any(|word| fits(token, word)))
        {
            continue;
        }
        let is_exact = |token: &&&String| {
            all.iter()
                .any(|word| word == **token || *word == long(token))
        };
        let begun = tokens.iter().filter(|token| !is_exact(token)).count();
        let more = own
            .iter()
            .filter(|word| !is_filler(word) && !tokens.iter().any(|token| fits(token, word)))
            .count();
        let has = number.filter(|number| numbers.contains(number));
        let lacks = number.is_some() && has.is_none();
        let house = has.map_or(String::new(), |number| format!("{number} "));
        let comma = if street.is_empty() { "" } else { ", " };
        ranked.insert(
            (lacks, begun, more, at),
            format!("{house}{street}{comma}13000 {city}"),
        );
    }
    ranked.into_values().take(MOST).collect()
}

proptest! {
    #[test]
    fn finds_the_same_as_without_an_index(
        rows in proptest::collection::vec((1_u32..6, 0_usize..12, 0_usize..3), 1..40),
        number in proptest::option::of(1_u32..7),
        typed in proptest::collection::vec("[a-e]{1,2}|rue|r|de|la|st|saint|av|avenue|berre|rogn", 0..4),
    ) {
        const STREETS: [&str; 12] = [
            "Rue de la Cade", "Avenue Abade", "Rue Saint-Éloi", "Avenue de Berre", "Place de l'Abbé",
            "Rue Béa", "Chemin de la Cabane", "Avenue Ste Anne", "Rue de Rognac", "Impasse Dé", "Rue Ée", "Bd Ab",
        ];
        const CITIES: [&str; 3] = ["Berre-l'Étang", "Rognac", "Saint-Cannat"];
        let rows: Vec<Row<'_>> = rows.iter().map(|(number, street, city)| Row {
            number: *number, street: STREETS[*street], city: CITIES[*city], postcode: "13000",
            position: [43.0, 5.0], ..Row::default()
        }).collect();
        let mut builder = Builder::default();
        for row in &rows {
            builder.add(row).unwrap();
        }
        let number = number.map_or(String::new(), |number| format!("{number} "));
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let query = number + &typed.join(" ");
        // A letter after a number may be its suffix: for the other tests.
        prop_assume!(!(query.as_bytes().first().is_some_and(u8::is_ascii_digit) && typed.first().is_some_and(|word| word.len() == 1 && *word != "r")));
        prop_assert_eq!(labels(&builder.finish(), &query), naive(&rows, &query), "{}", query);
    }

    #[test]
    fn no_query_upsets_it(query in "\\PC{0,200}", limit in 0_usize..40) {
        let index = read(FILE).index;
        let found = index.search(&query, Some([90.0, -180.0]), limit);
        prop_assert!(found.len() <= limit.min(MOST));
    }
}
