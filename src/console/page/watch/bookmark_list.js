// Marked spans, and their list, which goes with a requisition. Pure.

const COLUMNS = {
  fr: [
    "commune",
    "caméra (id)",
    "caméra",
    "début UTC",
    "fin UTC",
    "début local",
    "fin local",
    "écart d'horloge de la commune (s)",
    "intervention",
    "motif",
    "opérateur",
    "matricule",
    "unité",
    "autorisation",
    "note",
  ],
  en: [
    "commune",
    "camera (id)",
    "camera",
    "from UTC",
    "to UTC",
    "from local",
    "to local",
    "commune's clock offset (s)",
    "incident",
    "grounds",
    "operator",
    "number",
    "unit",
    "grant",
    "note",
  ],
};

/**
 * A cell: quoted where it must be, and never taken for a formula.
 * @param {unknown} value
 */
function cell(value) {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?\d+([.,]\d+)?$/.test(text) ? `'${text}` : text;
  return /[";\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/**
 * @param {number} ms
 * @param {Lang} language
 */
function local(ms, language) {
  return new Date(ms).toLocaleString(language === "fr" ? "fr-FR" : "en-GB", { timeZoneName: "short" });
}

/**
 * The list as CSV: UTF-8 with its mark and `;`, as spreadsheets in French take it.
 * @param {Bookmark[]} marks with `commune` by its name
 * @param {{ref: string, grounds: string}} incident with `grounds` by their label
 * @param {Lang} language
 */
export function csvOf(marks, incident, language) {
  const rows = marks.map((mark) => [
    mark.commune,
    mark.camera,
    mark.name,
    new Date(mark.from).toISOString(),
    new Date(mark.to).toISOString(),
    local(mark.from, language),
    local(mark.to, language),
    mark.clockOffset,
    incident.ref,
    incident.grounds,
    mark.operator.name,
    mark.operator.number,
    mark.operator.unit,
    mark.grant,
    mark.note,
  ]);
  const lines = [COLUMNS[language], ...rows].map((row) => row.map(cell).join(";"));
  return `\ufeff${lines.join("\r\n")}\r\n`;
}
