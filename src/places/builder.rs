//! Groups addresses by street and city, and numbers their words.

use std::collections::{BTreeSet, HashMap};

use super::words::{expansion, is_filler, words};
use super::{City, Houses, Index, NAME, Point, ROWS, STREETS, Street, TEXT, mean, number};

/// An address as a file has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row<'a> {
    /// Number in the street; 0: none.
    pub number: u32,
    /// `bis`, `ter`, `a`…, or empty.
    pub suffix: &'a str,
    /// The street's name.
    pub street: &'a str,
    /// The commune's name.
    pub city: &'a str,
    /// Its former name, by which people may still call it; may be empty.
    pub former: &'a str,
    /// The postcode.
    pub postcode: &'a str,
    /// Latitude and longitude in degrees.
    pub position: [f64; 2],
}

/// The index holds as much as it may ([`ROWS`], [`STREETS`], [`TEXT`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Name, former name and postcode.
type CityKey = (Box<str>, Box<str>, Box<str>);

/// A row that was taken.
#[derive(Clone, Copy, Debug)]
struct House {
    street: u32,
    number: u32,
    suffix: u16,
    point: Point,
}

/// Takes rows, in any order; [`Builder::finish`] makes the index.
#[derive(Debug, Default)]
pub struct Builder {
    cities: HashMap<CityKey, u32>,
    /// By city and name.
    streets: HashMap<(u32, Box<str>), u32>,
    suffixes: HashMap<Box<str>, u16>,
    houses: Vec<House>,
    text: usize,
    limits: Option<(usize, usize)>,
}

impl Builder {
    /// A builder with limits of its own: rows, and bytes of names.
    pub fn with_limits(rows: usize, text: usize) -> Self {
        Self {
            limits: Some((rows, text)),
            ..Self::default()
        }
    }

    /// How many rows it holds.
    pub fn rows(&self) -> usize {
        self.houses.len()
    }

    /// Takes a row.
    ///
    /// # Errors
    /// [`Full`]; the row was not taken. The caller has checked what it says.
    pub fn add(&mut self, row: &Row<'_>) -> Result<(), Full> {
        let (rows, text) = self.limits.unwrap_or((ROWS, TEXT));
        let longest = row.street.len() + row.city.len() + row.former.len() + row.postcode.len();
        let is_full = self.houses.len() >= rows
            || self.streets.len() >= STREETS
            || self.text + longest > text;
        if is_full {
            return Err(Full);
        }
        let city = self.city(row);
        let street = self.street(city, row.street);
        let suffix = self.suffix(row.suffix);
        let [latitude, longitude] = row.position;
        self.houses.push(House {
            street,
            number: row.number,
            suffix,
            point: [fixed(latitude), fixed(longitude)],
        });
        Ok(())
    }

    fn city(&mut self, row: &Row<'_>) -> u32 {
        let former = if row.former == row.city {
            ""
        } else {
            row.former
        };
        let key = (row.city.into(), former.into(), row.postcode.into());
        let next = number(self.cities.len());
        let text = &mut self.text;
        *self.cities.entry(key).or_insert_with(|| {
            *text += row.city.len() + former.len() + row.postcode.len();
            next
        })
    }

    fn street(&mut self, city: u32, name: &str) -> u32 {
        let next = number(self.streets.len());
        let text = &mut self.text;
        *self.streets.entry((city, name.into())).or_insert_with(|| {
            *text += name.len();
            next
        })
    }

    /// No suffix where there are too many kinds of them.
    fn suffix(&mut self, suffix: &str) -> u16 {
        let folded = words(suffix).concat();
        if folded.is_empty() || folded.len() > NAME {
            return 0;
        }
        let next = u16::try_from(self.suffixes.len() + 1).unwrap_or(0);
        if next == 0 {
            return self.suffixes.get(folded.as_str()).copied().unwrap_or(0);
        }
        *self.suffixes.entry(folded.into()).or_insert(next)
    }

    /// The index of all rows.
    pub fn finish(mut self) -> Index {
        // Cities stand first, as streets without a name, so that they are found too.
        let cities = self.cities.len();
        for house in &mut self.houses {
            house.street += number(cities);
        }
        self.houses
            .sort_unstable_by_key(|house| (house.street, house.number, house.suffix));
        let mut names: Vec<(u32, Box<str>)> =
            (0..cities).map(|city| (number(city), "".into())).collect();
        names.resize(cities + self.streets.len(), (0, "".into()));
        for (key, at) in std::mem::take(&mut self.streets) {
            names[cities + at as usize] = key;
        }
        let mut lists = Words::default();
        let mut city_words = vec![Vec::new(); cities];
        let mut cities = vec![("".into(), "".into(), "".into()); cities];
        for (key, at) in std::mem::take(&mut self.cities) {
            cities[at as usize] = key;
        }
        for (of, (name, former, postcode)) in city_words.iter_mut().zip(&cities) {
            *of = lists.numbers(&format!("{name} {former} {postcode}"));
        }
        let street_words: Vec<Vec<u32>> =
            names.iter().map(|(_, name)| lists.numbers(name)).collect();
        let mut suffixes: Vec<Box<str>> = vec!["".into(); self.suffixes.len() + 1];
        for (suffix, at) in self.suffixes {
            suffixes[usize::from(at)] = suffix;
        }
        let parts = Parts {
            cities: cities
                .into_iter()
                .map(|(name, _, postcode)| (name, postcode))
                .collect(),
            city_words,
            streets: names,
            street_words,
            houses: self.houses,
            suffixes,
        };
        parts.index(lists)
    }
}

/// Words in the order in which they came.
#[derive(Debug, Default)]
struct Words {
    numbers: HashMap<Box<str>, u32>,
}

impl Words {
    /// The numbers of a text's words, abbreviations written out, none twice.
    fn numbers(&mut self, text: &str) -> Vec<u32> {
        let mut found = BTreeSet::new();
        for word in words(text) {
            let word = expansion(&word).unwrap_or(&word);
            let next = number(self.numbers.len());
            found.insert(match self.numbers.get(word) {
                Some(known) => *known,
                None => *self.numbers.entry(word.into()).or_insert(next),
            });
        }
        found.into_iter().collect()
    }

    fn sorted(self) -> Sorted {
        let mut words: Vec<(Box<str>, u32)> = self.numbers.into_iter().collect();
        words.sort_unstable();
        let mut renumbered = vec![0; words.len()];
        let mut dictionary = String::with_capacity(words.iter().map(|(word, _)| word.len()).sum());
        let mut starts = Vec::with_capacity(words.len() + 1);
        let mut fillers = Vec::new();
        for (at, (word, old)) in words.iter().enumerate() {
            renumbered[*old as usize] = number(at);
            if is_filler(word) {
                fillers.push(number(at));
            }
            starts.push(number(dictionary.len()));
            dictionary.push_str(word);
        }
        starts.push(number(dictionary.len()));
        Sorted {
            dictionary,
            starts,
            fillers,
            renumbered,
        }
    }
}

/// All words, sorted.
struct Sorted {
    dictionary: String,
    /// Where each begins in it, and where the last ends.
    starts: Vec<u32>,
    /// Numbers of those that name nothing by themselves.
    fillers: Vec<u32>,
    /// The new number of each, by its old one.
    renumbered: Vec<u32>,
}

/// What an index is made of, words still numbered as they came.
struct Parts {
    cities: Vec<(Box<str>, Box<str>)>,
    city_words: Vec<Vec<u32>>,
    streets: Vec<(u32, Box<str>)>,
    street_words: Vec<Vec<u32>>,
    houses: Vec<House>,
    suffixes: Vec<Box<str>>,
}

impl Parts {
    fn index(mut self, words: Words) -> Index {
        let Sorted {
            dictionary,
            starts: word_starts,
            fillers,
            renumbered,
        } = words.sorted();
        for list in self.city_words.iter_mut().chain(&mut self.street_words) {
            for word in list.iter_mut() {
                *word = renumbered[*word as usize];
            }
            list.sort_unstable();
        }
        let (postings, posting_starts) = self.postings(renumbered.len());
        let middles = self.middles();
        let cities = self.cities.into_iter().zip(self.city_words).zip(middles);
        let cities = cities.map(|(((name, postcode), words), middle)| City {
            name,
            postcode,
            words: words.into(),
            middle,
        });
        let mut street_words = Vec::with_capacity(self.street_words.iter().map(Vec::len).sum());
        let mut streets = Vec::with_capacity(self.streets.len());
        let mut at = 0;
        for (index, ((city, name), words)) in
            self.streets.into_iter().zip(self.street_words).enumerate()
        {
            streets.push(Street {
                name,
                city,
                words: number(street_words.len()),
                houses: number(at),
            });
            street_words.extend(words);
            while self
                .houses
                .get(at)
                .is_some_and(|house| house.street as usize == index)
            {
                at += 1;
            }
        }
        let mut houses = Houses {
            numbers: Vec::with_capacity(self.houses.len()),
            suffixes: Vec::with_capacity(self.houses.len()),
            points: Vec::with_capacity(self.houses.len()),
        };
        for house in &self.houses {
            houses.numbers.push(house.number);
            houses.suffixes.push(house.suffix);
            houses.points.push(house.point);
        }
        Index {
            cities: cities.collect(),
            streets,
            street_words,
            houses,
            suffixes: self.suffixes,
            dictionary,
            word_starts,
            fillers,
            postings,
            posting_starts,
        }
    }

    /// The streets of each word, sorted, and where each word's begin.
    fn postings(&self, words: usize) -> (Vec<u32>, Vec<u32>) {
        let each = || {
            self.streets
                .iter()
                .zip(&self.street_words)
                .map(|((city, _), own)| {
                    let city = &self.city_words[*city as usize];
                    let other = city.iter().filter(|word| own.binary_search(word).is_err());
                    own.iter().chain(other)
                })
        };
        let mut starts = vec![0_u32; words + 1];
        for word in each().flatten() {
            starts[*word as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut postings = vec![0; starts[words] as usize];
        for (street, words) in each().enumerate() {
            for word in words {
                let next = &mut next[*word as usize];
                postings[*next as usize] = number(street);
                *next += 1;
            }
        }
        (postings, starts)
    }

    /// The middle of each city's houses.
    fn middles(&self) -> Vec<Point> {
        let mut of_city = vec![Vec::new(); self.cities.len()];
        for house in &self.houses {
            let (city, _) = self.streets[house.street as usize];
            of_city[city as usize].push(house.point);
        }
        of_city.iter().map(|points| mean(points.iter())).collect()
    }
}

/// Degrees as they are kept.
fn fixed(degrees: f64) -> i32 {
    // Within ±180°, so within ±1.8 · 10⁹; `as` saturates.
    (degrees * 1e7).round() as i32
}
