// The record of an intervention as the centre keeps it, with what this page has not sent yet. Pure.

import { isMine, splitKey } from "/page/state/rules.js";

/** A line of this page stands for one of the record's that is so near to it, in ms. */
const NEAR = 15_000;

/**
 * The lines of the panel's history: what the centre's journal says, and what only this page saw (a
 * camera's trouble, a line's) or the journal does not show yet.
 * @param {Incident} incident
 * @param {KeptRecord|undefined} record
 * @param {{camera: (key: string) => string, commune: (id: string) => string, grounds: (id: string) => Labels}} names
 * @param {Me|null} me
 * @returns {HistoryLine[]} oldest first
 */
export function historyOf(incident, record, names, me) {
  const told = record === undefined ? [] : linesOf(record, names, me);
  const own = incident.history.filter((line) => !told.some((other) => isSame(line, other)));
  return [...own, ...told].sort((one, other) => one.at - other.at);
}

/**
 * Whether both say the same of the same.
 * @param {HistoryLine} line of this page
 * @param {HistoryLine} told by the centre
 */
function isSame(line, told) {
  if (line.key !== told.key) return false;
  if (line.key === "desk.history.opened") return true;
  const near = Math.abs(line.at - told.at) < NEAR;
  // The end of a grant comes once; renewals are told apart by their time.
  if (line.params?.grant !== undefined && told.params?.grant !== undefined)
    return line.params.grant === told.params.grant && (near || line.key !== "desk.history.renewed");
  return near && (line.params?.reason ?? null) === (told.params?.reason ?? null);
}

/**
 * @param {KeptRecord} record
 * @param {{camera: (key: string) => string, commune: (id: string) => string, grounds: (id: string) => Labels}} names
 * @param {Me|null} me
 * @returns {HistoryLine[]}
 */
function linesOf(record, names, me) {
  /** @type {Map<string, Granted>} newest line of each grant */
  const grants = new Map();
  const people = peopleOf(record);
  /** @type {HistoryLine[]} */
  const lines = [];
  /**
   * @param {RecordLine} of
   * @param {Level} level
   * @param {string} key
   * @param {TextParams} params
   */
  const add = (of, level, key, params) => lines.push({ at: Date.parse(of.time), level, key, params });
  /** @param {string} commune @param {string[]} cameras */
  const named = (commune, cameras) => cameras.map((camera) => names.camera(`${commune}/${camera}`)).join(", ");
  for (const line of record.history) {
    if (line.kind === "opened")
      add(line, "info", "desk.history.opened", { grounds: names.grounds(record.grounds[0] ?? "") });
    if (line.kind === "closed") add(line, "info", "desk.history.closed", {});
    if (line.kind === "granted") {
      const before = grants.get(line.grant);
      grants.set(line.grant, line);
      const params = { commune: names.commune(line.commune), grant: line.grant };
      const cameras = named(line.commune, line.cameras);
      if (before === undefined)
        add(line, "info", "desk.history.granted", { ...params, cameras, n: line.cameras.length });
      else if (before.operator.number === line.operator.number)
        add(line, "info", "desk.history.renewed", { ...params, until: Date.parse(line.expires) });
      else
        add(line, "info", "desk.history.taken_over", { ...params, from: before.operator.name, to: line.operator.name });
    }
    if (line.kind === "refused") {
      const params = { commune: names.commune(line.commune), reason: line.reason };
      const cameras = named(line.commune, line.cameras);
      if (line.reason === "request_cancelled") {
        add(line, "info", "desk.history.cancelled", { commune: params.commune, n: line.cameras.length });
        continue;
      }
      if (line.renews === undefined)
        add(line, "bad", "desk.history.refused", { ...params, cameras, n: line.cameras.length });
      else add(line, "bad", "desk.history.renew_refused", params);
    }
    if (line.kind === "ended") {
      const of = grants.get(line.grant);
      const commune = of?.commune ?? "";
      const isOther = line.by !== undefined && line.by !== of?.operator.number;
      const key = isOther ? "desk.history.ended_by" : "desk.history.ended";
      const isExpected = ["grant_released", "grant_expired"].includes(line.reason) && !isOther;
      const isMyGrant = of !== undefined && isMine({ operator: of.operator }, me);
      add(line, isExpected || !isMyGrant ? "info" : "bad", key, {
        commune: names.commune(commune),
        cameras: named(commune, of?.cameras ?? []),
        reason: line.reason,
        by: people.get(line.by ?? "")?.name ?? line.by ?? "",
        grant: line.grant,
      });
    }
    if (line.kind === "still")
      add(line, "info", "watch.history.snapshot", { camera: names.camera(`${line.commune}/${line.camera}`) });
    if (line.kind === "mark" && !line.withdrawn && !line.bookmark)
      add(line, "info", "record.history.note", { name: line.operator.name });
  }
  return lines;
}

/**
 * Everybody whom a record names in full, by number.
 * @param {KeptRecord} record
 */
export function peopleOf(record) {
  /** @type {Map<string, Operator>} */
  const people = new Map();
  for (const line of record.history) if ("operator" in line) people.set(line.operator.number, line.operator);
  for (const mark of [...record.notes, ...record.bookmarks]) people.set(mark.operator.number, mark.operator);
  return people;
}

/**
 * The bookmarks of an intervention: the centre's, and what this page has not sent yet.
 * @param {string} ref
 * @param {KeptRecord|undefined} record
 * @param {Unsent[]} outbox
 * @param {(key: string) => string} cameraName
 * @returns {Bookmark[]}
 */
export function bookmarksOf(ref, record, outbox, cameraName) {
  /** @type {Map<string, Bookmark>} */
  const marks = new Map();
  /** @param {RecordBookmark} mark @param {boolean} pending */
  const put = (mark, pending) =>
    marks.set(mark.id, {
      id: mark.id,
      camera: mark.camera,
      name: cameraName(mark.camera),
      commune: splitKey(mark.camera).commune,
      from: Date.parse(mark.from),
      to: Date.parse(mark.to ?? mark.from),
      note: mark.text ?? "",
      open: !mark.to,
      clockOffset: mark.clock_offset ?? "",
      grant: mark.grant,
      operator: mark.operator,
      pending,
    });
  for (const mark of record?.bookmarks ?? []) if (!mark.withdrawn) put(mark, false);
  for (const { ref: of, kind, id, body, operator } of outbox) {
    if (of !== ref || kind !== "bookmarks" || id === null) continue;
    if (body === null) marks.delete(id);
    else {
      const { operator: first = operator } = marks.get(id) ?? {};
      put({ .../** @type {RecordBookmark} */ (body), id, operator: first }, true);
    }
  }
  return [...marks.values()];
}

/**
 * The notes, in the same way.
 * @param {string} ref
 * @param {KeptRecord|undefined} record
 * @param {Unsent[]} outbox
 * @returns {(RecordNote & {pending: boolean})[]}
 */
export function notesOf(ref, record, outbox) {
  /** @type {Map<string, RecordNote & {pending: boolean}>} */
  const notes = new Map((record?.notes ?? []).map((note) => [note.id, { ...note, pending: false }]));
  for (const { ref: of, kind, id, body, operator } of outbox) {
    if (of !== ref || kind !== "notes" || id === null) continue;
    const known = notes.get(id);
    if (body === null) {
      if (known) notes.set(id, { ...known, withdrawn: true, text: null, pending: true });
    } else if (known === undefined) {
      const { text, at } = /** @type {{text: string, at: string}} */ (body);
      notes.set(id, { id, operator, at, text, digest: null, text_lost: false, withdrawn: false, pending: true });
    }
  }
  return [...notes.values()];
}
