//! What a transcript says, in French and English.

use super::Lang;

/// Members of bodies that only a program reads: they are in the signed original.
pub(super) const LEFT_TO_THE_ORIGINAL: &[&str] = &[
    "v",
    "salt",
    "kind",
    "journal_id",
    "request",
    "proof",
    "head",
    "peer_head",
    "statement",
    "certificate",
    "tree",
    "line",
    "found",
    "checkpoint",
    "settings",
];

/// Members that are seconds since the epoch.
pub(super) const TIMES: &[&str] = &["start", "first_start", "expires", "iat", "counted_since"];

/// The words of a language.
pub(super) struct Words {
    pub(super) lang: Lang,
    pub(super) title: &'static str,
    pub(super) period: &'static str,
    pub(super) only: &'static str,
    pub(super) made: &'static str,
    pub(super) zone: &'static str,
    pub(super) journal: &'static str,
    pub(super) last: &'static str,
    pub(super) pruned: &'static str,
    pub(super) intact: &'static str,
    pub(super) not_intact: &'static str,
    pub(super) verify: &'static str,
    pub(super) signed: &'static str,
    pub(super) about: &'static str,
    pub(super) read_me: &'static str,
    pub(super) lines: &'static str,
    pub(super) number: &'static str,
    pub(super) when: &'static str,
    pub(super) what: &'static str,
    pub(super) detail: &'static str,
    pub(super) yes_or_no: [&'static str; 2],
}

const FRENCH: Words = Words {
    lang: Lang::Fr,
    title: "Transcription du journal de vidéoprotection",
    period: "Période (mois, heure universelle)",
    only: "Uniquement ce qui concerne",
    made: "Établie le",
    zone: "Heures",
    journal: "Journal (identifiant, dernière ligne, son empreinte)",
    last: "ligne",
    pruned: "Lignes effacées au terme de la conservation, effacement signé",
    intact: "Le journal est intact : aucune ligne modifiée, ajoutée, retirée ni déplacée.",
    not_intact: "Le journal N'EST PAS INTACT.",
    verify: "L'original signé est dans le dossier « journal ». Il se vérifie, dans ce dossier, par une seule commande :",
    signed: "La transcription est signée (transcript.html.jws) ; pour vérifier qu'elle n'a pas été modifiée :",
    about: "transcript.html : la transcription lisible du journal (code de la sécurité intérieure, article L. 253-3).\njournal/ : l'original, ligne par ligne, avec les déclarations signées. Une ligne hors de la période ou\nqui concerne un autre destinataire y figure sans son contenu, de sorte que la chaîne se vérifie quand même.\ncertificates.pem : les certificats des machines, tels que le journal les conserve.",
    read_me: "LISEZ-MOI.txt",
    lines: "Lignes",
    number: "N°",
    when: "Heure",
    what: "Opération",
    detail: "Détail",
    yes_or_no: ["non", "oui"],
};

const ENGLISH: Words = Words {
    lang: Lang::En,
    title: "Transcript of the video protection journal",
    period: "Period (months, UTC)",
    only: "Only what concerns",
    made: "Made",
    zone: "Times",
    journal: "Journal (id, last line, its link)",
    last: "line",
    pruned: "Lines removed since their time was over, as signed",
    intact: "The journal is intact: no line was changed, added, removed or moved.",
    not_intact: "The journal is NOT INTACT.",
    verify: "The signed original is in the directory \"journal\". One command verifies it, in this directory:",
    signed: "The transcript is signed (transcript.html.jws); to verify that it was not changed:",
    about: "transcript.html: the journal as a transcript to read.\njournal/: the original, line by line, with its signed statements. A line outside the period, or\nthat concerns somebody else, is there without its content, so that the chain verifies all the same.\ncertificates.pem: the machines' certificates, as the journal keeps them.",
    read_me: "README.txt",
    lines: "Lines",
    number: "No.",
    when: "Time",
    what: "What",
    detail: "Detail",
    yes_or_no: ["no", "yes"],
};

/// The words of this language.
pub(super) fn of(lang: Lang) -> &'static Words {
    lang.of(&FRENCH, &ENGLISH)
}

impl Words {
    /// What a kind of entry is.
    pub(super) fn kind<'a>(&self, kind: &'a str) -> &'a str {
        self.lang.pick(KINDS, kind)
    }

    /// A member of a body.
    pub(super) fn field<'a>(&self, name: &'a str) -> &'a str {
        self.lang.pick(FIELDS, name)
    }
}

const KINDS: &[(&str, &str, &str)] = &[
    ("started", "Démarrage du service", "Daemon started"),
    ("stopped", "Arrêt du service", "Daemon stopped"),
    ("reloaded", "Réglages relus", "Settings reloaded"),
    ("grant", "Autorisation ou prolongation", "Grant or renewal"),
    ("refused", "Demande refusée", "Request refused"),
    (
        "forwarded",
        "Demande transmise à la commune",
        "Request forwarded to the commune",
    ),
    (
        "waiting",
        "Demande en attente d'accord",
        "Request waits for approval",
    ),
    (
        "unverified",
        "Demandes non vérifiables",
        "Requests that did not verify",
    ),
    (
        "excess",
        "Demandes trop nombreuses",
        "Requests beyond the pace",
    ),
    (
        "confirmed",
        "Inscription confirmée par le centre",
        "Recorded at the centre",
    ),
    (
        "resumed",
        "Reprise après redémarrage",
        "Resumed after a restart",
    ),
    (
        "moved",
        "Images passées à un autre récepteur",
        "Pictures moved to another receiver",
    ),
    (
        "incident",
        "Intervention ouverte ou clôturée",
        "Record of an incident opened or closed",
    ),
    (
        "mark",
        "Note ou repère d'une intervention",
        "Note or bookmark of an incident",
    ),
    ("ended", "Fin de l'autorisation", "Grant ended"),
    ("cut", "Coupure par la commune", "Cut by the commune"),
    ("allowed", "Coupure levée", "Cut lifted"),
    (
        "decision",
        "Décision signée à la page de la commune",
        "Decision signed at the commune's page",
    ),
    ("viewing_started", "Début de visionnage", "Viewing began"),
    ("viewing_ended", "Fin de visionnage", "Viewing ended"),
    (
        "credentials_changed",
        "Accès au flux renouvelé",
        "Stream credentials changed",
    ),
    (
        "viewings_owed",
        "Liste de visionnages à remettre",
        "List of viewings owed",
    ),
    (
        "viewings_taken",
        "Liste de visionnages remise",
        "List of viewings delivered",
    ),
    (
        "viewings",
        "Liste signée des visionnages",
        "Signed list of viewings",
    ),
    ("snapshot", "Capture d'image", "Still"),
    (
        "snapshot_refused",
        "Capture d'image refusée",
        "Still refused",
    ),
    (
        "peer_head",
        "État signé du journal de l'autre partie",
        "Head of the other side's journal",
    ),
    (
        "peer_contradiction",
        "Contradiction du journal de l'autre partie",
        "Contradiction of the other side's journal",
    ),
    (
        "peer_continues",
        "Nouveau journal de l'autre partie",
        "New journal of the other side",
    ),
    (
        "journal_went_back",
        "Journal revenu en arrière",
        "Journal went back",
    ),
    ("journal_damaged", "Journal endommagé", "Journal damaged"),
    (
        "peer_damaged",
        "Journal endommagé chez l'autre partie",
        "The other side's journal is damaged",
    ),
    (
        "journal_accepted",
        "Journal accepté en l'état",
        "Journal accepted as it is",
    ),
    (
        "revocation",
        "Liste de révocation en vigueur",
        "Revocation list in force",
    ),
    ("torn_line", "Ligne inachevée retirée", "Torn line removed"),
    ("interrupted", "Écriture interrompue", "Writing interrupted"),
    (
        "continues",
        "Suite d'un journal précédent",
        "Continues another journal",
    ),
    (
        "pruned",
        "Effacement au terme de la conservation",
        "Month removed, its time over",
    ),
    ("clock_accepted", "Horloge acceptée", "Clock accepted"),
    ("attestation", "Attestation", "Attestation"),
    ("log_key", "Clé du journal", "Key of the log"),
    (
        "cosigned",
        "Contreseing d'un témoin",
        "Cosigned by a witness",
    ),
];

const FIELDS: &[(&str, &str, &str)] = &[
    ("grant", "autorisation", "grant"),
    ("jti", "demande", "request"),
    ("commune", "commune", "commune"),
    ("centre", "centre", "centre"),
    ("peer", "autre partie", "other side"),
    ("name", "nom", "name"),
    ("number", "matricule", "number"),
    ("unit", "unité", "unit"),
    ("grounds", "motif", "grounds"),
    ("incident", "intervention", "incident"),
    ("recipients", "destinataires", "recipients"),
    ("granted", "caméras accordées", "cameras granted"),
    ("refused", "refusé", "refused"),
    ("camera", "caméra", "camera"),
    ("cameras", "caméras", "cameras"),
    ("renewal", "prolongation", "renewal"),
    ("first_start", "première autorisation", "first start"),
    ("start", "début", "start"),
    ("expires", "expiration", "expires"),
    ("approved_by", "accord de", "approved by"),
    ("approve_by", "accord attendu avant", "approve by"),
    ("agreement", "convention", "agreement"),
    ("reason", "raison", "reason"),
    ("detail", "précision", "detail"),
    ("at", "heure", "at"),
    ("by", "par", "by"),
    ("who", "qui", "who"),
    ("how", "moyen", "how"),
    ("from", "depuis", "from"),
    ("to", "jusqu'à", "to"),
    ("until", "jusqu'à", "until"),
    ("scope", "portée", "scope"),
    ("count", "nombre", "count"),
    ("seconds", "secondes", "seconds"),
    ("snapshot", "capture", "still"),
    ("captured", "image du", "captured"),
    ("months", "mois", "months"),
    ("first", "première ligne", "first line"),
    ("last", "dernière ligne", "last line"),
    ("link", "empreinte", "link"),
    ("journal", "journal", "journal"),
    ("version", "version", "version"),
    ("error", "erreur", "error"),
    ("since", "depuis", "since"),
    ("part", "partie", "part"),
    ("parts", "parties", "parts"),
    ("authority", "autorité", "authority"),
    ("list", "liste", "list"),
    ("bytes", "octets", "bytes"),
    ("hash", "empreinte", "hash"),
    ("seq", "ligne", "line"),
    ("file", "fichier", "file"),
    ("cause", "cause", "cause"),
    ("newest", "dernière heure inscrite", "newest time"),
    ("person", "personne", "person"),
    ("sha256", "empreinte de l'image", "hash of the picture"),
    ("witness", "témoin", "witness"),
    ("vkey", "clé de vérification", "verifier key"),
    ("size", "lignes", "lines"),
    ("link_sent", "octets vers le centre", "bytes to the centre"),
    ("control_sent", "dont messages", "of them messages"),
    ("media", "images", "pictures"),
    ("sent", "octets envoyés", "bytes sent"),
    ("received", "octets reçus", "bytes received"),
    ("lost", "octets abandonnés", "bytes given up"),
    (
        "ungranted",
        "octets hors autorisation",
        "bytes outside a grant",
    ),
    (
        "idle_seconds",
        "secondes sans image",
        "seconds without pictures",
    ),
    ("camera_sessions", "caméras ouvertes", "cameras open"),
    ("why", "pourquoi", "why"),
    ("gap", "sans décompte", "not counted"),
    ("counted_since", "décompté depuis", "counted since"),
];
