//! The words of a street or a query: folded, abbreviations written out.

use super::fold::fold;

/// Words that name nothing by themselves; people leave them out and put them in.
const FILLERS: &[&str] = &[
    "a", "au", "aux", "d", "de", "des", "du", "en", "et", "l", "la", "le", "les", "sur",
];

/// What people and files shorten, and what that means. Sorted.
const ABBREVIATIONS: &[(&str, &str)] = &[
    ("adj", "adjudant"),
    ("all", "allee"),
    ("allees", "allee"),
    ("av", "avenue"),
    ("ave", "avenue"),
    ("bat", "batiment"),
    ("bd", "boulevard"),
    ("bld", "boulevard"),
    ("blvd", "boulevard"),
    ("boul", "boulevard"),
    ("bvd", "boulevard"),
    ("capt", "capitaine"),
    ("cdt", "commandant"),
    ("che", "chemin"),
    ("chem", "chemin"),
    ("chs", "chaussee"),
    ("cne", "capitaine"),
    ("col", "colonel"),
    ("crs", "cours"),
    ("dr", "docteur"),
    ("esp", "esplanade"),
    ("fbg", "faubourg"),
    ("fg", "faubourg"),
    ("gal", "general"),
    ("gen", "general"),
    ("ham", "hameau"),
    ("imp", "impasse"),
    ("lot", "lotissement"),
    ("lt", "lieutenant"),
    ("mal", "marechal"),
    ("mgr", "monseigneur"),
    ("mte", "montee"),
    ("mtee", "montee"),
    ("pas", "passage"),
    ("pass", "passage"),
    ("pdt", "president"),
    ("pl", "place"),
    ("pr", "professeur"),
    ("pres", "president"),
    ("prof", "professeur"),
    ("prom", "promenade"),
    ("q", "quai"),
    ("qrt", "quartier"),
    ("r", "rue"),
    ("res", "residence"),
    ("rpt", "rondpoint"),
    ("rte", "route"),
    ("sgt", "sergent"),
    ("sq", "square"),
    ("st", "saint"),
    ("ste", "sainte"),
    ("trav", "traverse"),
];

/// Words in the order in which they stand, folded.
pub(super) fn words(text: &str) -> Vec<String> {
    fold(text).split_whitespace().map(str::to_owned).collect()
}

/// What a word is short for.
pub(super) fn expansion(word: &str) -> Option<&'static str> {
    let at = ABBREVIATIONS.binary_search_by_key(&word, |(short, _)| short);
    at.ok().map(|at| ABBREVIATIONS[at].1)
}

/// Whether a word names nothing by itself.
pub(super) fn is_filler(word: &str) -> bool {
    FILLERS.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_folded() {
        assert!(FILLERS.is_sorted());
        assert!(ABBREVIATIONS.is_sorted_by(|one, other| one.0 < other.0));
        for (short, long) in ABBREVIATIONS {
            assert_eq!((fold(short), fold(long)), ((*short).into(), (*long).into()));
            assert!(!is_filler(short), "{short}");
        }
    }

    #[test]
    fn words_of_a_street() {
        assert_eq!(words("Av. de l'Étang"), ["av", "de", "l", "etang"]);
        assert_eq!(expansion("av"), Some("avenue"));
        assert_eq!(expansion("avenue"), None);
    }
}
