//! What reports say, in French and English.

use super::Lang;
use crate::config::grounds::GROUNDS;
use crate::reason::Reason;

/// The words of a language.
pub(super) struct Words {
    pub(super) lang: &'static str,
    french: bool,
    /// Of a table's cells: spreadsheets set to French read semicolons.
    pub(super) delimiter: u8,
    /// How times are written.
    pub(super) time: &'static str,
    /// Between a name and what it says: French has a space before it.
    pub(super) colon: &'static str,
    pub(super) title: &'static str,
    pub(super) public_title: &'static str,
    pub(super) of_commune: &'static str,
    pub(super) of_centre: &'static str,
    pub(super) zone: &'static str,
    pub(super) totals: &'static str,
    pub(super) grants: &'static str,
    pub(super) renewals: &'static str,
    pub(super) handovers: &'static str,
    pub(super) cameras: &'static str,
    pub(super) operators: &'static str,
    pub(super) viewings: &'static str,
    pub(super) viewing_time: &'static str,
    pub(super) viewing_hours: &'static str,
    pub(super) stills: &'static str,
    pub(super) refused: &'static str,
    pub(super) unverified: &'static str,
    pub(super) cuts: &'static str,
    pub(super) attested: &'static str,
    pub(super) bytes: &'static str,
    pub(super) by_grounds: &'static str,
    pub(super) refusals: &'static str,
    pub(super) count: &'static str,
    pub(super) reason: &'static str,
    pub(super) list: &'static str,
    pub(super) none: &'static str,
    pub(super) operator: &'static str,
    pub(super) from: &'static str,
    pub(super) grounds: &'static str,
    pub(super) present: &'static str,
    pub(super) incident: &'static str,
    pub(super) agreement: &'static str,
    pub(super) start: &'static str,
    pub(super) end: &'static str,
    pub(super) no_end: &'static str,
    pub(super) ended_by: &'static str,
    pub(super) approved_by: &'static str,
    pub(super) refused_cameras: &'static str,
    pub(super) who: &'static str,
    pub(super) camera: &'static str,
    pub(super) to: &'static str,
    pub(super) still: &'static str,
    pub(super) nobody: &'static str,
    pub(super) verification: &'static str,
    pub(super) intact: &'static str,
    pub(super) not_intact: &'static str,
    pub(super) lines: &'static str,
    pub(super) statements: &'static str,
    pub(super) keys: &'static str,
    pub(super) keys_checked: &'static str,
    pub(super) keys_not_checked: &'static str,
    pub(super) journals: &'static str,
    pub(super) other: &'static str,
    pub(super) fewer: &'static str,
    pub(super) folded: &'static str,
    pub(super) columns: [&'static str; 16],
}

const FRENCH: Words = Words {
    lang: "fr",
    french: true,
    delimiter: b';',
    time: "%d/%m/%Y %H:%M:%S",
    colon: "\u{a0}: ",
    title: "Consultations de vidéoprotection",
    public_title: "Vidéoprotection : consultations à distance du mois",
    of_commune: "Journal de la commune",
    of_centre: "Journal du centre",
    zone: "Heures",
    totals: "Totaux",
    grants: "Autorisations accordées",
    renewals: "Prolongations",
    handovers: "Passations à un collègue",
    cameras: "Caméras",
    operators: "Opérateurs",
    viewings: "Visionnages",
    viewing_time: "Durée totale des visionnages",
    viewing_hours: "Durée totale des visionnages, en heures entières",
    stills: "Captures d'image",
    refused: "Demandes refusées",
    unverified: "Demandes non vérifiables, seulement comptées",
    cuts: "Coupures par la commune",
    attested: "Attestations",
    bytes: "Octets transmis (attestations)",
    by_grounds: "Par motif",
    refusals: "Refus par raison",
    count: "Nombre",
    reason: "Raison",
    list: "Autorisations",
    none: "Aucune autorisation ce mois-ci.",
    operator: "Opérateur",
    from: "À partir de",
    grounds: "Motif",
    present: "Autres personnes présentes",
    incident: "Intervention",
    agreement: "Convention",
    start: "Début",
    end: "Fin",
    no_end: "Pas de fin dans le journal",
    ended_by: "Par",
    approved_by: "Accord de",
    refused_cameras: "Caméras refusées",
    who: "Qui",
    camera: "Caméra",
    to: "Jusqu'à",
    still: "Capture",
    nobody: "Personne n'a regardé, ou la liste signée n'est pas encore parvenue.",
    verification: "Vérification du journal",
    intact: "Intact : aucune ligne modifiée, ajoutée, retirée ni déplacée.",
    not_intact: "NON INTACT",
    lines: "Lignes",
    statements: "Déclarations signées vérifiées",
    keys: "Clés",
    keys_checked: "vérifiées auprès des autorités",
    keys_not_checked: "non rattachées à une autorité (--authority n'a pas été donné)",
    journals: "Journaux (identifiant, dernière ligne, son empreinte)",
    other: "autres",
    fewer: "moins de",
    folded: "Pour qu'aucune intervention ne soit reconnaissable, un nombre inférieur à {} n'est pas publié : il est regroupé sous « autres » ou remplacé par « moins de {} ».",
    columns: [
        "Autorisation",
        "Commune",
        "Centre",
        "Opérateurs",
        "Motif",
        "Intervention",
        "Autres personnes présentes",
        "Caméras",
        "Début",
        "Fin",
        "Raison de la fin",
        "Fin par",
        "Accord de",
        "Visionnages",
        "Captures",
        "Octets",
    ],
};

const ENGLISH: Words = Words {
    lang: "en",
    french: false,
    delimiter: b',',
    time: "%Y-%m-%d %H:%M:%S",
    colon: ": ",
    title: "Video protection: who looked",
    public_title: "Video protection: remote viewing this month",
    of_commune: "Journal of the commune",
    of_centre: "Journal of the centre",
    zone: "Times",
    totals: "Totals",
    grants: "Grants",
    renewals: "Renewals",
    handovers: "Handovers to a colleague",
    cameras: "Cameras",
    operators: "Operators",
    viewings: "Viewings",
    viewing_time: "Time watched, all viewings together",
    viewing_hours: "Time watched, all viewings together, in whole hours",
    stills: "Stills",
    refused: "Requests refused",
    unverified: "Requests that did not verify, only counted",
    cuts: "Cuts by the commune",
    attested: "Attestations",
    bytes: "Bytes sent (attestations)",
    by_grounds: "By grounds",
    refusals: "Refusals by reason",
    count: "Count",
    reason: "Reason",
    list: "Grants",
    none: "No grant this month.",
    operator: "Operator",
    from: "From",
    grounds: "Grounds",
    present: "Others present",
    incident: "Incident",
    agreement: "Agreement",
    start: "Start",
    end: "End",
    no_end: "No end in the journal",
    ended_by: "By",
    approved_by: "Approved by",
    refused_cameras: "Cameras refused",
    who: "Who",
    camera: "Camera",
    to: "Until",
    still: "Still",
    nobody: "Nobody watched, or the signed list has not come yet.",
    verification: "Verification of the journal",
    intact: "Intact: no line was changed, added, removed or moved.",
    not_intact: "NOT INTACT",
    lines: "Lines",
    statements: "Signed statements verified",
    keys: "Keys",
    keys_checked: "checked against the authorities",
    keys_not_checked: "not traced to an authority (--authority was not given)",
    journals: "Journals (id, last line, its link)",
    other: "others",
    fewer: "fewer than",
    folded: "So that no intervention can be recognised, a number below {} is not published: it is counted under \"others\" or replaced by \"fewer than {}\".",
    columns: [
        "Grant",
        "Commune",
        "Centre",
        "Operators",
        "Grounds",
        "Incident",
        "Others present",
        "Cameras",
        "Start",
        "End",
        "Why it ended",
        "Ended by",
        "Approved by",
        "Viewings",
        "Stills",
        "Bytes",
    ],
};

/// The words of this language.
pub(super) fn of(lang: Lang) -> &'static Words {
    match lang {
        Lang::Fr => &FRENCH,
        Lang::En => &ENGLISH,
    }
}

impl Words {
    /// The label of a ground; its id where the commune made it itself.
    pub(super) fn ground<'a>(&self, id: &'a str) -> &'a str {
        if id == "other" {
            return self.other;
        }
        let known = GROUNDS.iter().find(|(known, ..)| *known == id);
        known.map_or(
            id,
            |(_, french, english)| if self.french { french } else { english },
        )
    }

    /// What happened, as the reasons' own sentence says.
    pub(super) fn reason(&self, reason: Reason) -> &'static str {
        if self.french {
            reason.french()
        } else {
            reason.english()
        }
    }

    /// The same from a code; the code where this version does not know it.
    pub(super) fn code<'a>(&self, code: &'a str) -> &'a str {
        if code == "other" {
            return self.other;
        }
        Reason::from_code(code).map_or(code, |reason| self.reason(reason))
    }
}
