//! What the attestations come to, in one sentence for people.

use crate::commands::paper::Lang;
use crate::journal::verify::attested::Attested;

/// The sentence in this language.
pub(super) fn sentence(attested: &Attested, lang: Lang) -> String {
    if lang == Lang::En {
        return attested.to_string();
    }
    let Attested {
        centre,
        from,
        to,
        sent,
        received,
        grants,
        ..
    } = attested;
    let mut said = match attested.ungranted {
        0 => format!("Du {from} au {to}, rien n'est parti vers {centre} hors d'une autorisation"),
        bytes => format!(
            "Du {from} au {to}, {bytes} octets sont partis vers {centre} HORS de toute autorisation"
        ),
    };
    let mut word = ", sauf ";
    for gap in &attested.gaps {
        said.push_str(&format!("{word}du {} au {}", gap.from, gap.to));
        word = " et ";
    }
    if attested.more_gaps > 0 {
        said.push_str(&format!("{word}{} autres fois", attested.more_gaps));
    }
    if !attested.gaps.is_empty() {
        said.push_str(", quand rien n'a été compté");
    }
    if attested.faults > 0 {
        said.push_str(&format!("{word}ce que disent {} constats", attested.faults));
    }
    said.push_str(&format!(
        "\u{a0}: {sent} octets d'images sous {grants} autorisations, dont {received} reçus selon la signature du \
         centre\u{a0}; c'est ce que les programmes des deux côtés ont compté."
    ));
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ids::CentreId;
    use crate::journal::attestation::Gap;

    #[test]
    fn the_sentence_is_whole_in_both_languages() {
        let mut attested = Attested {
            centre: CentreId::new("corg-13").unwrap(),
            from: "A".to_owned(),
            to: "D".to_owned(),
            gaps: Vec::new(),
            more_gaps: 0,
            sent: 10,
            received: 9,
            grants: 1,
            ungranted: 0,
            faults: 0,
        };
        assert_eq!(sentence(&attested, Lang::En), attested.to_string());
        let said = sentence(&attested, Lang::Fr);
        assert!(
            said.starts_with(
                "Du A au D, rien n'est parti vers corg-13 hors d'une autorisation\u{a0}: 10"
            ),
            "{said}"
        );
        attested.gaps.push(Gap {
            from: "B".to_owned(),
            to: "C".to_owned(),
        });
        attested.faults = 2;
        let said = sentence(&attested, Lang::Fr);
        assert!(
            said.contains(
                ", sauf du B au C, quand rien n'a été compté et ce que disent 2 constats"
            ),
            "{said}"
        );
    }
}
