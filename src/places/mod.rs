//! Places by their address, without internet: a Base Adresse Nationale CSV in
//! memory, found as fast as it is typed.
//!
//! [`ban`] reads the file, [`Builder`] groups its rows by street and city,
//! [`Index`] answers. A row takes a number, a suffix and a position (14 bytes);
//! a street its name once, its words as numbers into one sorted list of words.
//! In a sorted list all words with the same beginning are neighbours, so that a
//! word which is still being typed is a range of numbers.
//!
//! A full text library would bring scoring, segments and files that nobody needs
//! here, and weigh more than the rest of the receiver.
//!
//! | bound | value | over it |
//! |---|---|---|
//! | rows | [`ROWS`] | the rest is left out, and said |
//! | streets | [`STREETS`] | the same |
//! | text of names | [`TEXT`] | the same |
//! | a line of the file | [`ban::LINE`] | the file is refused |
//! | a query | [`QUERY`] characters, [`QUERY_WORDS`] words | the rest is not looked at |

pub mod ban;
mod builder;
pub mod fold;
mod search;
#[cfg(test)]
mod tests;
mod words;

use std::ops::Range;

use serde::Serialize;

pub use builder::{Builder, Full, Row};

/// Most rows of an index; the whole of France has 26 million, a département some 10⁵ to 10⁶.
pub const ROWS: usize = 5_000_000;
/// Most streets of an index: each takes some 150 bytes while it is built.
pub const STREETS: usize = 1_000_000;
/// Most bytes of names in an index.
pub const TEXT: usize = 256 * 1024 * 1024;
/// Longest name of a street or a city, in characters.
pub const NAME: usize = 128;
/// Characters of a query that are looked at.
pub const QUERY: usize = 128;
/// Words of a query that are looked at.
pub const QUERY_WORDS: usize = 16;
/// Most places in an answer.
pub const MOST: usize = 20;

/// A place that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// As it is written: `12 bis Rue de la République, 13130 Berre-l'Étang`.
    pub label: String,
    /// Latitude and longitude in degrees.
    pub position: [f64; 2],
    /// The commune's name.
    pub city: String,
    /// The postcode.
    pub postcode: String,
}

/// A point, in 10⁻⁷ degrees: 1 cm.
type Point = [i32; 2];

/// Numbers of words: from, to.
type WordRange = Range<u32>;

/// A city (a commune's name and postcode).
#[derive(Debug)]
struct City {
    name: Box<str>,
    postcode: Box<str>,
    /// Its words' numbers, sorted.
    words: Box<[u32]>,
    /// The middle of its houses.
    middle: Point,
}

/// A street of a city. The first ones stand for the cities themselves: they have
/// neither name nor houses.
#[derive(Debug)]
struct Street {
    name: Box<str>,
    city: u32,
    /// Where its words' numbers begin in [`Index::street_words`].
    words: u32,
    /// Where its houses begin in [`Index::houses`].
    houses: u32,
}

/// Houses, each list in the order of street, number and suffix.
#[derive(Debug, Default)]
struct Houses {
    numbers: Vec<u32>,
    /// Numbers into [`Index::suffixes`].
    suffixes: Vec<u16>,
    points: Vec<Point>,
}

/// What can be searched. Never changes once it is built.
#[derive(Debug)]
pub struct Index {
    cities: Vec<City>,
    streets: Vec<Street>,
    street_words: Vec<u32>,
    houses: Houses,
    /// The first is empty: no suffix.
    suffixes: Vec<Box<str>>,
    /// All words, one after the other, sorted.
    dictionary: String,
    /// Where each word begins, and where the last ends.
    word_starts: Vec<u32>,
    /// Numbers of the words that name nothing by themselves.
    fillers: Vec<u32>,
    /// Streets in which each word occurs, by its own name or its city's.
    postings: Vec<u32>,
    /// Where each word's streets begin, and where the last's end.
    posting_starts: Vec<u32>,
}

impl Index {
    /// How many addresses it holds.
    pub fn rows(&self) -> usize {
        self.houses.numbers.len()
    }

    /// How many streets it holds.
    pub fn streets(&self) -> usize {
        self.streets.len() - self.cities.len()
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let lists = self.houses.numbers.capacity() * 4
            + self.houses.suffixes.capacity() * 2
            + self.houses.points.capacity() * size_of::<Point>()
            + self.street_words.capacity() * 4
            + self.word_starts.capacity() * 4
            + self.postings.capacity() * 4
            + self.posting_starts.capacity() * 4
            + self.dictionary.capacity();
        let streets = self.streets.iter().map(|street| street.name.len());
        let cities = self.cities.iter().map(|city| {
            city.name.len() + city.postcode.len() + city.words.len() * 4 + size_of::<City>()
        });
        lists
            + streets.sum::<usize>()
            + self.streets.capacity() * size_of::<Street>()
            + cities.sum::<usize>()
    }

    /// A word by its number.
    fn word(&self, number: usize) -> &str {
        let from = self.word_starts[number] as usize;
        let to = self.word_starts[number + 1] as usize;
        &self.dictionary[from..to]
    }

    fn word_count(&self) -> usize {
        self.word_starts.len() - 1
    }

    /// The first word for which `is_before` no longer holds; words are sorted.
    fn first_word(&self, is_before: impl Fn(&str) -> bool) -> u32 {
        let (mut from, mut to) = (0, self.word_count());
        while from < to {
            let middle = usize::midpoint(from, to);
            if is_before(self.word(middle)) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        number(from)
    }

    fn words_of(&self, street: usize) -> &[u32] {
        let from = self.streets[street].words as usize;
        let to = self.streets.get(street + 1).map(|next| next.words as usize);
        &self.street_words[from..to.unwrap_or(self.street_words.len())]
    }

    fn houses_of(&self, street: usize) -> Range<usize> {
        let from = self.streets[street].houses as usize;
        let to = self
            .streets
            .get(street + 1)
            .map(|next| next.houses as usize);
        from..to.unwrap_or(self.houses.numbers.len())
    }

    /// The house that is nearest to the middle of all of a street's.
    fn middle_of(&self, street: usize) -> Point {
        let points = &self.houses.points[self.houses_of(street)];
        let middle = mean(points.iter());
        let nearest = points
            .iter()
            .min_by_key(|point| search::squared(middle, **point));
        nearest.copied().unwrap_or_else(|| {
            let city = self.streets[street].city as usize;
            self.cities[city].middle
        })
    }
}

/// The mean of points; where there are none, the origin.
fn mean<'a>(points: impl Iterator<Item = &'a Point>) -> Point {
    let (mut sum, mut count) = ([0_i64; 2], 0_i64);
    for point in points {
        sum = [sum[0] + i64::from(point[0]), sum[1] + i64::from(point[1])];
        count += 1;
    }
    sum.map(|sum| i32::try_from(sum / count.max(1)).unwrap_or(0))
}

/// An index as it is kept: lists here are bounded by [`ROWS`] and [`TEXT`], far below 2³².
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
