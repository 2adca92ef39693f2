// The records of interventions at the centre: fetched, followed, written to. What the centre can't take
// now waits in this browser and is sent when it is back.

import { Problem } from "/page/core/api.js";
import { recall, remember } from "/page/core/storage.js";
import { problemText } from "/page/state/line_text.js";
import { cameraName } from "/page/state/names.js";
import { bookmarksOf } from "/page/state/record.js";
import { grantOf, shownIncident, splitKey } from "/page/state/rules.js";
import { toast } from "/page/widget/toasts.js";

const KEY = "fanal-unsent";
/** What waits at most, and how long it is kept, in ms: as long as the centre keeps a record. */
const [UNSENT_LIMIT, UNSENT_KEPT] = [300, 48 * 3_600_000];
/** Events of one record within this time, in ms, are one fetch. */
const TOGETHER = 250;
/** A bookmark begins this long before it was made, in ms. */
const BEFORE = 30_000;
/** Another try after an answer that may be another one later, in ms. */
const LATER = 5_000;

/** Keeps the page's copy of the records, and writes to them. */
export class Keeper {
  #ctx;
  /** @type {Map<string, number>} */
  #due = new Map();
  #sending = false;
  /** @type {number|undefined} */
  #retry;

  /** @param {Context} ctx */
  constructor(ctx) {
    this.#ctx = ctx;
    ctx.store.set("outbox", unsent(ctx.clock.now()));
  }

  /** Loads what the unit has; on each connection. */
  async load() {
    const { store } = this.#ctx;
    // A receiver of an older version has no records.
    await this.#list();
    await this.#send();
    const kept = new Set(store.get("recordList").map(({ incident }) => incident));
    const wanted = [...store.get("incidents").keys()].filter((ref) => kept.has(ref));
    await Promise.all(wanted.map((ref) => this.fetch(ref)));
  }

  /**
   * The record of this intervention changed.
   * @param {string} ref
   */
  takeEvent(ref) {
    if (this.#due.has(ref)) return;
    const timer = setTimeout(async () => {
      this.#due.delete(ref);
      const { store } = this.#ctx;
      if (store.get("incidents").has(ref) || store.get("records").has(ref)) await this.fetch(ref);
      else await this.#list();
    }, TOGETHER);
    this.#due.set(ref, timer);
  }

  async #list() {
    const { api, store } = this.#ctx;
    try {
      store.set("recordList", await api.get("incidents"));
    } catch {
      // The next connection loads it.
    }
  }

  /**
   * Fetches a record, or what is new in it. Whether it is there.
   * @param {string} ref
   */
  async fetch(ref) {
    const { api, store } = this.#ctx;
    const after = store.get("records").get(ref)?.history.at(-1)?.seq ?? 0;
    try {
      this.#take(await api.get(`incidents/${encodeURIComponent(ref)}?after=${after}`));
      return true;
    } catch (error) {
      return Problem.of(error).status === 0 && store.get("records").has(ref);
    }
  }

  /** @param {KeptRecord} answer with the lines that are new */
  #take(answer) {
    const { store } = this.#ctx;
    const { incident: ref, journal } = answer;
    const known = store.get("records").get(ref);
    const before = known?.journal === journal ? known.history : [];
    const last = before.at(-1)?.seq ?? 0;
    const history = [...before, ...answer.history.filter(({ seq }) => seq > last)];
    store.get("records").set(ref, { ...answer, history });
    const list = store.get("recordList").filter(({ incident }) => incident !== ref);
    const written = (/** @type {RecordNote[]} */ marks) => marks.filter(({ withdrawn }) => !withdrawn).length;
    const row = { ...answer, notes: written(answer.notes), bookmarks: written(answer.bookmarks) };
    store.set("recordList", [...list, row]);
    store.touch("records");
  }

  /**
   * Opens or closes the record of an intervention.
   * @param {string} ref
   * @param {"open"|"closed"} state
   * @param {string} [grounds] those in use
   */
  turn(ref, state, grounds) {
    this.#write({ ref, kind: "state", id: null, body: grounds === undefined ? { state } : { state, grounds } });
  }

  /**
   * Writes a note.
   * @param {string} ref
   * @param {string} text
   */
  addNote(ref, text) {
    const at = new Date(this.#ctx.clock.now()).toISOString();
    this.#write({ ref, kind: "notes", id: crypto.randomUUID(), body: { text, at } });
  }

  /**
   * Withdraws a note or a bookmark.
   * @param {string} ref
   * @param {"notes"|"bookmarks"} kind
   * @param {string} id
   */
  withdraw(ref, kind, id) {
    this.#write({ ref, kind, id, body: null });
  }

  /**
   * Marks a span of a camera in the intervention that is shown; the second press ends it.
   * @param {string} key
   */
  toggleBookmark(key) {
    const { store, clock } = this.#ctx;
    const [incident, me] = [shownIncident(store), store.get("me")];
    if (incident === undefined || me === null) return;
    const now = clock.now();
    const open = this.bookmarks(incident.ref).find((mark) => mark.camera === key && mark.open);
    const grant = grantOf(key, incident, store.get("grants"), me)?.grant;
    if (open) this.changeBookmark(incident.ref, { ...open, to: now, open: false });
    else if (grant === undefined) return;
    else
      this.changeBookmark(incident.ref, {
        id: crypto.randomUUID(),
        camera: key,
        from: now - BEFORE,
        to: now,
        note: "",
        open: true,
        clockOffset: store.get("communes").get(splitKey(key).commune)?.clock_offset ?? "",
        grant,
      });
    const params = { camera: cameraName(store, key) };
    toast({ level: "info", key: open ? "watch.bookmark.ended" : "watch.bookmark.begun", params });
  }

  /**
   * Writes a bookmark as it is from now on.
   * @param {string} ref
   * @param {Pick<Bookmark, "id"|"camera"|"from"|"to"|"note"|"open"|"clockOffset"|"grant">} mark
   */
  changeBookmark(ref, { id, camera, from, to, note, open, clockOffset, grant }) {
    const time = (/** @type {number} */ ms) => new Date(ms).toISOString();
    const body = {
      grant,
      camera,
      from: time(from),
      to: open ? null : time(to),
      clock_offset: clockOffset === "" ? null : clockOffset,
      text: note.trim(),
      at: time(this.#ctx.clock.now()),
    };
    this.#write({ ref, kind: "bookmarks", id, body });
  }

  /**
   * The bookmarks of an intervention, those that wait too.
   * @param {string} ref
   */
  bookmarks(ref) {
    const { store } = this.#ctx;
    return bookmarksOf(ref, store.get("records").get(ref), store.get("outbox"), (key) => cameraName(store, key));
  }

  /** @param {Pick<Unsent, "ref"|"kind"|"id"|"body">} what */
  #write(what) {
    const { store, clock } = this.#ctx;
    const me = store.get("me");
    if (me === null) return;
    const { name, number, unit } = me;
    // A newer word of the same replaces one that was not sent.
    const rest = store.get("outbox").filter((one) => what.id === null || one.id !== what.id || one === this.#current);
    rest.push({ ...what, operator: { name, number, unit }, since: clock.now() });
    this.#keep(rest.slice(-UNSENT_LIMIT));
    this.#send();
  }

  /** What is being sent. @type {Unsent|null} */
  #current = null;

  /** @param {Unsent[]} outbox */
  #keep(outbox) {
    this.#ctx.store.set("outbox", outbox);
    remember("local", KEY, outbox.length === 0 ? null : JSON.stringify(outbox));
  }

  /** Sends what this person wrote, in its order, as far as the centre takes it. */
  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    clearTimeout(this.#retry);
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) {
        this.#current = next;
        if (!(await this.#sendOne(next))) break;
        this.#keep(this.#ctx.store.get("outbox").filter((one) => one !== next));
      }
    } finally {
      this.#current = null;
      this.#sending = false;
    }
  }

  #next() {
    const me = this.#ctx.store.get("me");
    const isOwn = (/** @type {Unsent} */ { operator }) => operator.number === me?.number && operator.unit === me.unit;
    return this.#ctx.store.get("outbox").find(isOwn);
  }

  /**
   * Whether it is done with.
   * @param {Unsent} one
   */
  async #sendOne({ ref, kind, id, body }) {
    const { api, store } = this.#ctx;
    const record = `incidents/${encodeURIComponent(ref)}`;
    const path = kind === "state" ? record : `${record}/${kind}/${id}`;
    const send = () => (body === null ? api.delete(path) : api.put(path, body));
    /** @param {unknown} error */
    const openFirst = async (error) => {
      if (Problem.of(error).status !== 404 || kind === "state" || body === null) throw error;
      // Its grants were asked at another receiver of the centre: this one has no record yet.
      const grounds = store.get("incidents").get(ref)?.grounds;
      this.#take(await api.put(record, grounds ? { state: "open", grounds } : { state: "open" }));
      return send();
    };
    try {
      this.#take(await send().catch(openFirst));
      return true;
    } catch (error) {
      const problem = Problem.of(error);
      const isLater = problem.status === 0 || problem.status >= 500 || [401, 403, 429].includes(problem.status);
      if (isLater) {
        this.#retry = setTimeout(() => this.#send(), LATER);
        return false;
      }
      // Closed while a colleague's grant lives: it stays open at the centre.
      if (kind !== "state") {
        const { text = "" } = /** @type {{text?: string}} */ (body ?? {});
        toast({ level: "bad", key: "record.not_kept", params: { ref, text }, detail: problemText(problem) });
      }
      return true;
    }
  }
}

/**
 * What was not sent before this page was loaded.
 * @param {number} now ms
 * @returns {Unsent[]}
 */
function unsent(now) {
  try {
    /** @type {Unsent[]} */
    const kept = JSON.parse(recall("local", KEY) ?? "[]");
    return kept.filter(({ since }) => now - since < UNSENT_KEPT);
  } catch {
    return [];
  }
}
