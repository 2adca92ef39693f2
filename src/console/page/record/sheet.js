// The record of an intervention as a document: for the requisition and for the procedure. The same
// elements are shown, printed and exported.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { reasonText } from "/page/state/line_text.js";
import { cameraName, communeName, groundsLabel } from "/page/state/names.js";
import { bookmarksOf, notesOf, peopleOf } from "/page/state/record.js";

/** @typedef {import("/page/core/dom.js").Child} Child */

/** @param {number} number */
const two = (number) => String(number).padStart(2, "0");

/**
 * `2026-11-30 14:05:09` of the workstation's time zone.
 * @param {string|number} time RFC 3339, or ms
 */
function local(time) {
  const at = new Date(time);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** @param {number} ms */
function utc(ms) {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

/** @param {number} ms */
function zone(ms) {
  const parts = new Intl.DateTimeFormat(lang() === "fr" ? "fr-FR" : "en-GB", { timeZoneName: "longOffset" });
  return parts.formatToParts(ms).find(({ type }) => type === "timeZoneName")?.value ?? "UTC";
}

/** @param {Operator} operator */
function person({ name, number }) {
  return `${name} (${number})`;
}

/**
 * SHA-256 of a text, in hexadecimal digits.
 * @param {string} text
 */
async function sha256(text) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {string} titleKey
 * @param {string} noneKey
 * @param {string[]} columns keys of their heads
 * @param {Child[][]} rows
 * @param {string} testid
 */
function table(titleKey, noneKey, columns, rows, testid) {
  return h(
    "section",
    { "data-testid": testid },
    h("h2", { text: t(titleKey) }),
    rows.length === 0
      ? h("p", { text: t(noneKey) })
      : h(
          "table",
          {},
          h("thead", {}, h("tr", {}, ...columns.map((key) => h("th", { scope: "col", text: t(key) })))),
          h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, cell))))),
        ),
  );
}

/** @param {Child[]} parts one below the other */
function lines(...parts) {
  return h("div", { class: "lines-of" }, ...parts.filter(Boolean).map((part) => h("div", {}, part)));
}

/**
 * The document.
 * @param {Context} ctx
 * @param {KeptRecord} record
 */
export async function sheet(ctx, record) {
  const { store, clock } = ctx;
  const [me, centre] = [store.get("me"), store.get("console")];
  const now = clock.now();
  const proofs = await Promise.all(
    record.history.filter((line) => line.kind === "granted").map(async (line) => [line.seq, await sha256(line.proof)]),
  );
  const seqs = record.history.map(({ seq }) => seq);
  /** @type {[string, string][]} */
  const facts = [
    ["record.fact.centre", [centre?.name, centre?.centre].filter(Boolean).join(" · ")],
    ["record.fact.unit", me?.unit ?? ""],
    ["record.fact.grounds", record.grounds.map((id) => groundsLabel(store, id)).join(", ")],
    ["record.fact.opened", local(record.opened)],
    [
      "record.fact.closed",
      record.closed === null
        ? t("record.fact.not_closed")
        : `${local(record.closed)}${record.closed_by ? ` · ${person(record.closed_by)}` : ""}`,
    ],
    ["record.fact.kept", record.until === null ? t("record.fact.while_live") : local(record.until)],
    ["record.fact.made", `${local(now)}${me ? ` ${t("record.by", { ...me })}` : ""}`],
  ];
  return h(
    "article",
    { class: "record-sheet", lang: lang() },
    h("h1", { text: t("record.title", { ref: record.incident }) }),
    h("dl", {}, ...facts.flatMap(([key, text]) => [h("dt", { text: t(key) }), h("dd", { text })])),
    h("p", { class: "note", text: t("record.zone", { zone: zone(now) }) }),
    record.left_out > 0 ? h("p", { class: "note", text: t("record.left_out", { n: record.left_out }) }) : null,
    requests(store, record),
    viewings(store, record),
    bookmarks(store, record),
    stills(store, record),
    notes(store, record),
    proofTable(record, new Map(/** @type {[number, string][]} */ (proofs))),
    verification(record, centre?.centre ?? "", seqs),
  );
}

/**
 * @param {PageStore} store
 * @param {KeptRecord} record
 */
function requests(store, record) {
  const people = peopleOf(record);
  /** @type {Map<string, string>} the holder of each grant, as the lines go */
  const holders = new Map();
  /** @param {string} commune @param {string[]} ids */
  const cameras = (commune, ids) => ids.map((id) => cameraName(store, `${commune}/${id}`)).join(", ");
  /** @type {Child[][]} */
  const rows = [];
  for (const line of record.history) {
    if (line.kind !== "granted" && line.kind !== "refused") continue;
    const present = line.present.length > 0 ? t("record.present", { names: line.present.join(", ") }) : null;
    const first = [
      local(line.asked),
      lines(person(line.operator), present),
      communeName(store, line.commune),
      groundsLabel(store, line.grounds),
      cameras(line.commune, line.cameras),
    ];
    if (line.kind === "refused") {
      rows.push([...first, t("record.refused", { reason: reasonText(line.reason) }), ""]);
      continue;
    }
    const holder = holders.get(line.grant);
    holders.set(line.grant, line.operator.number);
    const isTaken = holder !== undefined && holder !== line.operator.number;
    const answer = t(holder === undefined ? "record.granted" : isTaken ? "record.taken_over" : "record.renewed");
    const not = line.refused.map(({ camera, reason }) => `${cameras(line.commune, [camera])} (${reasonText(reason)})`);
    const later = record.history.some(
      (other) => other.kind === "granted" && other.grant === line.grant && other.seq > line.seq,
    );
    const end = record.history.find((other) => other.kind === "ended" && other.grant === line.grant);
    rows.push([
      ...first,
      lines(
        `${answer} ${t("record.until", { time: local(line.expires) })}`,
        not.length > 0 ? t("record.refused_some", { cameras: not.join(", ") }) : null,
        h("span", { class: "mono", text: line.grant }),
      ),
      later ? "…" : ending(end, people),
    ]);
  }
  const columns = ["asked", "operator", "commune", "grounds", "cameras", "answer", "end"];
  return table(
    "record.requests",
    "record.none_f",
    columns.map((name) => `record.col.${name}`),
    rows,
    "record-requests",
  );
}

/**
 * How a grant ended.
 * @param {RecordLine|undefined} end
 * @param {Map<string, Operator>} people
 */
function ending(end, people) {
  if (end?.kind !== "ended") return t("record.running");
  const by = end.by === undefined ? undefined : people.get(end.by);
  const name = by ? person(by) : (end.by ?? "");
  return lines(local(end.at), reasonText(end.reason), name ? t("record.ended_by", { name }) : null);
}

/**
 * @param {PageStore} store
 * @param {KeptRecord} record
 */
function viewings(store, record) {
  const people = peopleOf(record);
  const confirmed = new Set(record.history.flatMap((line) => (line.kind === "viewings_confirmed" ? [line.grant] : [])));
  const rows = record.history.flatMap((line) => {
    if (line.kind !== "viewing_started") return [];
    const end = record.history.find((other) => other.kind === "viewing_ended" && other.start === line.seq);
    const who = people.get(line.who);
    const isOver = end?.kind === "viewing_ended";
    const why = !isOver
      ? ""
      : end.taken_over_by
        ? `${t("record.taken_over")} ${t("record.ended_by", { name: people.get(end.taken_over_by)?.name ?? end.taken_over_by })}`
        : end.reason
          ? reasonText(end.reason)
          : t("record.left");
    return [
      [
        lines(cameraName(store, `${line.commune}/${line.camera}`), communeName(store, line.commune)),
        who ? person(who) : line.who,
        t(`record.how.${line.how}`),
        local(line.time),
        isOver ? local(end.at) : t("record.running"),
        lines(why, isOver && confirmed.has(line.grant) ? t("record.confirmed") : null),
      ],
    ];
  });
  const columns = ["camera", "who", "how", "from", "to", "why"];
  return table(
    "record.viewings",
    "record.none",
    columns.map((name) => `record.col.${name}`),
    rows,
    "record-viewings",
  );
}

/**
 * @param {PageStore} store
 * @param {KeptRecord} record
 */
function bookmarks(store, record) {
  const marks = bookmarksOf(record.incident, record, store.get("outbox"), (key) => cameraName(store, key));
  const rows = marks.map(({ name, commune, camera, from, to, open, clockOffset, note, operator, pending }) => [
    lines(name, communeName(store, commune), h("span", { class: "mono", text: camera })),
    lines(utc(from), open ? "…" : utc(to)),
    lines(local(from), open ? "…" : local(to)),
    clockOffset === "" ? "" : t("record.seconds", { n: clockOffset }),
    lines(note, person(operator), pending ? t("record.pending") : null),
  ]);
  const columns = ["camera", "utc", "local", "offset", "note"];
  return table(
    "record.bookmarks",
    "record.none",
    columns.map((name) => `record.col.${name}`),
    rows,
    "record-bookmarks",
  );
}

/**
 * @param {PageStore} store
 * @param {KeptRecord} record
 */
function stills(store, record) {
  const rows = record.history.flatMap((line) => {
    if (line.kind !== "still") return [];
    const not = record.history.find((other) => other.kind === "still_refused" && other.snapshot === line.snapshot);
    const why = not?.kind === "still_refused" ? t("record.still_refused", { reason: reasonText(not.reason) }) : null;
    return [
      [
        local(line.captured),
        lines(cameraName(store, `${line.commune}/${line.camera}`), communeName(store, line.commune)),
        person(line.operator),
        lines(h("span", { class: "mono", text: line.sha256 ?? "" }), why),
      ],
    ];
  });
  const columns = ["captured", "camera", "operator", "sha256"];
  return table(
    "record.stills",
    "record.none_f",
    columns.map((name) => `record.col.${name}`),
    rows,
    "record-stills",
  );
}

/**
 * @param {PageStore} store
 * @param {KeptRecord} record
 */
function notes(store, record) {
  const rows = notesOf(record.incident, record, store.get("outbox")).map((note) => [
    local(note.at),
    person(note.operator),
    note.withdrawn
      ? t("record.withdrawn", { name: (note.changed_by ?? note.operator).name })
      : lines(
          note.text_lost ? t("record.text_lost") : h("span", { class: "pre", text: note.text ?? "" }),
          note.pending ? t("record.pending") : null,
        ),
  ]);
  return table(
    "record.notes",
    "record.none_f",
    ["record.col.at", "record.col.operator", "record.col.text"],
    rows,
    "record-notes",
  );
}

/**
 * @param {KeptRecord} record
 * @param {Map<number, string>} hashes of the proofs, by line
 */
function proofTable(record, hashes) {
  const granted = record.history.filter((line) => line.kind === "granted");
  const grants = Map.groupBy(granted, ({ grant }) => grant);
  const rows = [...grants].map(([grant, of]) => [
    h("span", { class: "mono", text: grant }),
    of.at(-1)?.agreement,
    of.map(({ seq }) => seq).join(", "),
    lines(...of.map(({ seq }) => h("span", { class: "mono", text: hashes.get(seq) ?? "" }))),
  ]);
  const columns = ["grant", "agreement", "lines", "proof"];
  return table(
    "record.proofs",
    "record.none_f",
    columns.map((name) => `record.col.${name}`),
    rows,
    "record-proofs",
  );
}

/**
 * @param {KeptRecord} record
 * @param {string} centre
 * @param {number[]} seqs
 */
function verification(record, centre, seqs) {
  const directory = lang() === "fr" ? "DOSSIER" : "DIRECTORY";
  const commands = [
    `fanal journal verify ${directory} --authority link-ca.pem --authority designation-ca.pem`,
    `fanal journal record ${jsonName(record)} ${directory}`,
    ...(record.history.some(({ kind }) => kind === "still") ? [`fanal journal still IMAGE.png ${directory}`] : []),
  ];
  return h(
    "section",
    { "data-testid": "record-verify" },
    h("h2", { text: t("record.verify") }),
    h("p", {
      text: t("record.verify.about", {
        journal: record.journal ?? "",
        centre,
        first: seqs[0] ?? 0,
        last: seqs.at(-1) ?? 0,
      }),
    }),
    h("pre", { text: commands.join("\n") }),
    h("p", { text: t("record.verify.proofs") }),
  );
}

/**
 * The name of the exported file.
 * @param {KeptRecord} record
 */
export function jsonName({ incident }) {
  return `fanal-${incident.replace(/[^A-Za-z0-9._-]/g, "-")}.json`;
}
