//! Finds what is typed.

use super::words::{expansion, is_filler, words};
use super::{Index, MOST, Place, Point, QUERY, QUERY_WORDS, WordRange, number};

/// Suffixes that people write as words of their own.
const SUFFIX_WORDS: &[&str] = &["bis", "ter", "quater", "quinquies"];
/// Longest number of a house, in digits; five are a postcode's.
const NUMBER_DIGITS: usize = 4;

/// A word of a query as numbers of the index's words.
#[derive(Debug)]
struct Token {
    /// The word itself, and what it is short for.
    exact: [WordRange; 2],
    /// All words that begin with it.
    begins: WordRange,
}

impl Token {
    fn is_exact(&self, word: u32) -> bool {
        self.exact.iter().any(|range| range.contains(&word))
    }

    fn fits(&self, word: u32) -> bool {
        self.begins.contains(&word) || self.is_exact(word)
    }
}

/// A house as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    number: u32,
    suffix: String,
}

/// How well a street fits; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The house that was asked for is not there.
    lacks_house: bool,
    /// Words that only begin with what was typed.
    begun: u8,
    /// Words of its name that were not typed, fillers left out.
    more: u8,
    /// From where the search is near to; squared, no unit.
    away: u64,
    street: u32,
}

impl Index {
    /// The best places for what is typed so far, at most [`MOST`]; of those that fit as
    /// well, those near to `near` (degrees) first.
    ///
    /// Each word must occur in the name of the street or its city, or begin one;
    /// a number in front picks a house, else it is the street's middle.
    pub fn search(&self, query: &str, near: Option<[f64; 2]>, limit: usize) -> Vec<Place> {
        let limit = limit.min(MOST);
        let text: String = query.chars().take(QUERY).collect();
        let mut typed = words(&text);
        typed.truncate(QUERY_WORDS);
        let first = take_number(&mut typed, 0);
        let mut found = self.ranked(&typed, first.as_ref(), near, limit);
        let mut wanted = first;
        if found.is_empty() && wanted.is_none() {
            // `rue de la république 12`
            let at = typed.iter().rposition(|word| is_number(word));
            wanted = at.and_then(|at| take_number(&mut typed, at));
            if wanted.is_some() {
                found = self.ranked(&typed, wanted.as_ref(), near, limit);
            }
        }
        let places = found
            .iter()
            .map(|street| self.place(*street, wanted.as_ref()));
        places.collect()
    }

    /// Streets that fit, best first.
    fn ranked(
        &self,
        typed: &[String],
        wanted: Option<&Wanted>,
        near: Option<[f64; 2]>,
        limit: usize,
    ) -> Vec<usize> {
        let last = typed.len().saturating_sub(1);
        let kept = |(at, word): &(usize, &String)| *at == last || !is_filler(word);
        let tokens = typed.iter().enumerate().filter(kept);
        let tokens: Vec<Token> = tokens
            .map(|(at, word)| self.token(word, at == last))
            .collect();
        // The rarest word gives the candidates.
        let Some(rarest) = tokens.iter().min_by_key(|token| self.weight(token)) else {
            return Vec::new();
        };
        let near = near.map(|near| near.map(|degrees| (degrees * 1e7).round() as i32));
        let ranks = self.candidates(rarest);
        let mut ranks: Vec<Rank> = ranks
            .into_iter()
            .filter_map(|street| self.rank(street, &tokens, wanted, near))
            .collect();
        if ranks.len() > limit && limit > 0 {
            ranks.select_nth_unstable(limit - 1);
        }
        ranks.truncate(limit);
        ranks.sort_unstable();
        ranks.iter().map(|rank| rank.street as usize).collect()
    }

    fn token(&self, word: &str, is_last: bool) -> Token {
        let exact = |word: &str| {
            let from = self.first_word(|other| other < word);
            from..self.first_word(|other| other <= word)
        };
        let own = exact(word);
        let long = expansion(word).map_or(0..0, exact);
        // A number is whole unless it is still being typed.
        let begins = if is_number(word) && !is_last {
            own.clone()
        } else {
            own.start..self.first_word(|other| other < word || other.starts_with(word))
        };
        Token {
            exact: [own, long],
            begins,
        }
    }

    /// In how many streets a token's words occur, at most.
    fn weight(&self, token: &Token) -> usize {
        let count = |range: &WordRange| self.streets_with(range).len();
        count(&token.begins) + count(&token.exact[1])
    }

    fn streets_with(&self, words: &WordRange) -> &[u32] {
        let from = self.posting_starts[words.start as usize] as usize;
        let to = self.posting_starts[words.end as usize] as usize;
        &self.postings[from..to]
    }

    /// Each street in which the token occurs, once.
    fn candidates(&self, token: &Token) -> Vec<u32> {
        let begun = self.streets_with(&token.begins);
        let long = self.streets_with(&token.exact[1]);
        // A letter begins words of most streets: marking them is faster than sorting.
        let mut marks = vec![0_u64; self.streets.len().div_ceil(64)];
        for street in begun.iter().chain(long) {
            marks[(street / 64) as usize] |= 1 << (street % 64);
        }
        let mut streets = Vec::with_capacity(self.streets.len().min(begun.len() + long.len()));
        for (at, mut marks) in marks.into_iter().enumerate() {
            while marks != 0 {
                streets.push(number(at) * 64 + marks.trailing_zeros());
                marks &= marks - 1;
            }
        }
        streets
    }

    fn rank(
        &self,
        street: u32,
        tokens: &[Token],
        wanted: Option<&Wanted>,
        near: Option<Point>,
    ) -> Option<Rank> {
        let at = street as usize;
        let own = self.words_of(at);
        let city = self.streets[at].city as usize;
        let of_city = &self.cities[city].words;
        let mut begun = 0;
        for token in tokens {
            let mut all = own.iter().chain(of_city.iter());
            if all.clone().any(|word| token.is_exact(*word)) {
                continue;
            }
            if !all.any(|word| token.fits(*word)) {
                return None;
            }
            begun += 1;
        }
        let more = own.iter().filter(|word| {
            !tokens.iter().any(|token| token.fits(**word)) && !self.fillers.contains(word)
        });
        let more = u8::try_from(more.count()).unwrap_or(u8::MAX);
        let away = near.map_or(0, |near| {
            let houses = self.houses_of(at);
            // Any house tells how far the street is; the middle would be dear.
            let point = self.houses.points[houses].first();
            squared(near, point.copied().unwrap_or(self.cities[city].middle))
        });
        Some(Rank {
            lacks_house: wanted.is_some_and(|wanted| self.house(at, wanted).is_none()),
            begun,
            more,
            away,
            street,
        })
    }

    /// The house of this number, with the suffix asked for; where it is not there, the
    /// first one of the number.
    fn house(&self, street: usize, wanted: &Wanted) -> Option<usize> {
        let houses = self.houses_of(street);
        let numbers = &self.houses.numbers[houses.clone()];
        let from = numbers.partition_point(|number| *number < wanted.number);
        let to = numbers.partition_point(|number| *number <= wanted.number);
        let mut found = houses.start + from..houses.start + to;
        let first = found.clone().next();
        let suffix = |at: &usize| &*self.suffixes[usize::from(self.houses.suffixes[*at])];
        let exact = found.clone().find(|at| suffix(at) == wanted.suffix);
        exact
            .or_else(|| {
                let begins = |at: &usize| suffix(at).starts_with(&wanted.suffix);
                found.find(begins).filter(|_| !wanted.suffix.is_empty())
            })
            .or(first)
    }

    fn place(&self, street: usize, wanted: Option<&Wanted>) -> Place {
        let Self {
            streets, cities, ..
        } = self;
        let name = &streets[street].name;
        let city = &cities[streets[street].city as usize];
        let house = wanted.and_then(|wanted| self.house(street, wanted));
        let (number, point) = match house {
            Some(at) => {
                let suffix = &self.suffixes[usize::from(self.houses.suffixes[at])];
                let space = if suffix.is_empty() { "" } else { " " };
                let number = self.houses.numbers[at];
                (format!("{number}{space}{suffix} "), self.houses.points[at])
            }
            None => (String::new(), self.middle_of(street)),
        };
        let comma = if name.is_empty() { "" } else { ", " };
        let label = format!("{number}{name}{comma}{} {}", city.postcode, city.name);
        Place {
            label: label.trim().to_owned(),
            position: point.map(|degrees| f64::from(degrees) / 1e7),
            city: city.name.to_string(),
            postcode: city.postcode.to_string(),
        }
    }
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Takes a house's number and its suffix out of what was typed, if they stand there.
fn take_number(typed: &mut Vec<String>, at: usize) -> Option<Wanted> {
    let word = typed.get(at)?;
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let glued = word[digits..].to_owned();
    let is_suffix = glued.chars().count() <= 1 || SUFFIX_WORDS.contains(&glued.as_str());
    if digits == 0 || digits > NUMBER_DIGITS || !is_suffix {
        return None;
    }
    let number = word[..digits].parse().ok()?;
    typed.remove(at);
    let mut suffix = glued;
    if suffix.is_empty()
        && let Some(next) = typed.get(at)
        && (SUFFIX_WORDS.contains(&next.as_str()) || is_letter(next, typed.len() - at))
    {
        suffix = typed.remove(at);
    }
    Some(Wanted { number, suffix })
}

/// Whether a letter after a number is its suffix (`12 b rue…`) and not the beginning of the
/// street (`12 r de…`, `12 l'olivier`).
fn is_letter(word: &str, words_left: usize) -> bool {
    word.len() == 1 && words_left > 1 && !matches!(word, "d" | "l") && expansion(word).is_none()
}

/// The squared distance of two points, in units that only compare.
pub(super) fn squared(one: Point, other: Point) -> u64 {
    let [north, east] = [0, 1].map(|i| one[i].abs_diff(other[i]));
    // A degree of longitude is some 0.7 of one of latitude in France: its square is half.
    u64::from(north).pow(2) + u64::from(east).pow(2) / 2
}
