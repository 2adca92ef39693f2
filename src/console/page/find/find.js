// The left of the page: the search field, the list of results, the map, the saved sets.

import { h, fill } from "/page/core/dom.js";
import { Problem } from "/page/core/api.js";
import { positionText, readPosition } from "/page/core/coordinates.js";
import { t } from "/page/core/text.js";
import { isAvailable, realObstacle, silenceText } from "/page/find/availability.js";
import { findCameras, findPlaces, keepCameras } from "/page/find/lookup.js";
import { CameraMap } from "/page/find/map.js";
import { ResultList } from "/page/find/result_list.js";
import { Sets } from "/page/find/sets.js";
import { problemText } from "/page/state/line_text.js";
import { cameraName, communeName } from "/page/state/names.js";
import { shownIncident, splitKey } from "/page/state/rules.js";
import { toast } from "/page/widget/toasts.js";

/** Pause after a key before it is looked up, in ms. */
const PAUSE = 80;
/** Results shown; the list ends with the number of the others. */
const MOST = 200;
/** Cameras nearest to a place that one press asks for. */
const NEAREST = 4;

/** @typedef {(name: "find"|"watch") => void} ShowPanel */

/**
 * Mounts the finder into `element`.
 * @param {HTMLElement} element
 * @param {DeskContext} ctx
 * @param {{showPanel: ShowPanel}} on
 */
export function mountFind(element, ctx, { showPanel }) {
  const { store, shortcuts } = ctx;
  const finder = new Finder(element, ctx, showPanel);
  shortcuts.on("/", "find.key.search", () => finder.focus());
  shortcuts.on("v", "find.key.neighbours", () => {
    const key = store.get("current") ?? shownIncident(store)?.cameras.at(-1);
    if (key) finder.lookAt({ neighboursOf: key });
  });
  shortcuts.on("p", "find.key.nearest", () => finder.askNearest());
  return finder;
}

/** The finder: a subject, its results, and the cameras that are marked. */
export class Finder {
  #ctx;
  #showPanel;
  /** Number of the newest look-up: answers to older ones are dropped. */
  #asked = 0;
  /** @type {number|undefined} */
  #timer;
  /** Whether the results are not yet those of the typed text. */
  #pending = false;
  /** Enter that was pressed meanwhile. @type {{marks: boolean}|null} */
  #enter = null;
  /** @type {import("/page/find/lookup.js").About} */
  #about = { kind: "all" };
  /** @type {import("/page/find/result_list.js").Result[]} */
  #results = [];
  /** Cameras beyond those shown. */
  #more = 0;
  /** Why the last look-up failed. @type {Problem|null} */
  #problem = null;
  /** Keys of marked cameras. @type {Set<string>} */
  #marked = new Set();

  /**
   * @param {HTMLElement} element
   * @param {DeskContext} ctx
   * @param {ShowPanel} showPanel
   */
  constructor(element, ctx, showPanel) {
    this.#ctx = ctx;
    this.#showPanel = showPanel;
    this.input = h("input", {
      type: "search",
      "data-testid": "search",
      "aria-controls": "find-results",
      autocomplete: "off",
      spellcheck: "false",
      maxlength: "128",
      on: { input: () => this.#typed(), keydown: (event) => this.#key(event) },
    });
    this.about = h("p", { class: "find-about small quiet" });
    this.back = h("button", { class: "plain small", hidden: true, on: { click: () => this.#clear() } });
    this.nearest = h("button", {
      class: "primary small",
      "data-testid": "ask-nearest",
      hidden: true,
      on: { click: () => this.askNearest() },
    });
    this.list = new ResultList(ctx, {
      choose: (key, grounds) => this.#choose(key, grounds),
      toggle: (key) => this.#toggle(key),
      go: (place) => this.#goToPlace(place),
      leave: () => this.input.focus(),
    });
    this.more = h("p", { class: "quiet small" });
    this.askButton = h("button", { class: "primary", "data-testid": "ask", on: { click: () => this.#askMarked() } });
    this.saveButton = h("button", { on: { click: () => this.#save() } });
    this.foot = h("div", { class: "find-foot row" }, this.askButton, this.saveButton);
    this.sets = new Sets((cameras) => this.#ask(cameras));
    this.map = new CameraMap(ctx, {
      pick: (key, event) => (event.shiftKey ? this.#toggle(key) : this.#choose(key)),
      place: (position) => this.lookAt({ at: position }),
      shape: (shape) => this.#inShape(shape),
    });
    element.classList.add("find");
    element.append(
      h(
        "div",
        { class: "find-top stack" },
        this.input,
        this.sets.element,
        h("div", { class: "row find-about-row" }, this.about, h("span", { class: "grow" }), this.back),
        this.nearest,
      ),
      h("div", { class: "find-list" }, this.list.element, this.more),
      this.foot,
      this.map.element,
    );
    const { store } = ctx;
    store.watch(["lang"], () => this.#words());
    store.watch(
      ["cameras", "communes", "incidents", "incident", "online", "lang", "grants", "approvals", "silent"],
      () => this.#show(),
    );
    store.watch(["online"], () => {
      if (store.get("online") === "online") this.#loadAll();
    });
    store.watch(["incident"], () => this.#incidentChanged());
  }

  focus() {
    this.#showPanel("find");
    this.input.focus();
    this.input.select();
  }

  /** All cameras, for the map and the names. */
  async #loadAll() {
    const { api, store } = this.#ctx;
    try {
      keepCameras(store, await api.get("cameras?limit=10000"));
      if (this.#about.kind === "all") this.#find();
    } catch {
      // The next change of `online` asks again.
    }
  }

  #incidentChanged() {
    const { at = null, place = null } = shownIncident(this.#ctx.store) ?? {};
    this.#marked.clear();
    const isNew = shownIncident(this.#ctx.store)?.cameras.length === 0;
    // Of a new intervention one press asks for the nearest.
    if (at !== null) this.lookAt({ at, label: place }).then(() => isNew && this.nearest.focus());
    else if (this.input.value === "") this.#clear();
  }

  /**
   * Shows the cameras near a place or beside a camera.
   * @param {Where} where
   * @returns {Promise<void>} once they are found
   */
  lookAt({ at, label = null, neighboursOf }) {
    if (at) {
      this.map.goTo(at);
      this.#about = { kind: "near", at, label };
      return this.#find();
    } else if (neighboursOf) {
      this.#showPanel("find");
      this.#about = { kind: "neighbours", of: neighboursOf };
      this.map.follow(this.#ctx.store.get("cameras").get(neighboursOf)?.position);
      return this.#find().then(() => {
        this.#show();
        this.list.focus();
      });
    }
    return Promise.resolve();
  }

  /** Asks for the cameras nearest to the place, where the button that says so is shown. */
  askNearest() {
    if (this.nearest.hidden || !this.nearest.checkVisibility()) return;
    const keys = this.#nearest();
    const { store, desk } = this.#ctx;
    desk.ask(keys);
    this.#showPanel("watch");
    store.set("goTo", keys[0] ?? null);
  }

  /** The nearest cameras of the place that may be asked for and are not shown yet, by key. */
  #nearest() {
    if (this.#about.kind !== "near") return [];
    const { desk } = this.#ctx;
    const watched = this.#watched();
    return this.#cameras()
      .map(({ key }) => key)
      .filter((key) => !watched.has(key) && desk.mayAsk(key) === null)
      .slice(0, NEAREST);
  }

  #clear() {
    clearTimeout(this.#timer);
    this.#enter = null;
    this.input.value = "";
    this.map.place = null;
    this.map.shape = null;
    this.map.redraw();
    const { at = null, place = null } = shownIncident(this.#ctx.store) ?? {};
    this.#about = at === null ? { kind: "all" } : { kind: "near", at, label: place };
    this.#find();
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#pending = true;
    this.#enter = null;
    const text = this.input.value.trim();
    this.#timer = setTimeout(() => {
      if (text === "") return this.#clear();
      const at = readPosition(text);
      if (at !== null) return this.lookAt({ at });
      this.#about = { kind: "query", text };
      this.#find();
    }, PAUSE);
  }

  async #find() {
    this.#asked += 1;
    const asked = this.#asked;
    const about = this.#about;
    try {
      const [cameras, places] = await Promise.all([findCameras(this.#ctx, about), findPlaces(this.#ctx, about)]);
      if (asked !== this.#asked) return;
      this.#results = ranked(about, cameras.slice(0, MOST), places);
      this.#more = Math.max(0, cameras.length - MOST);
      this.#problem = null;
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#results = [];
      this.#more = 0;
      this.#problem = Problem.of(error);
    }
    this.list.query = about.kind === "query" ? about.text : "";
    this.#pending = false;
    this.#show();
    const enter = this.#enter;
    this.#enter = null;
    if (enter !== null) this.#take(enter);
  }

  /** @param {Shape} shape */
  #inShape(shape) {
    this.#about = { kind: "shape", shape };
    this.#find().then(() => {
      for (const { key } of this.#cameras()) if (this.#ctx.desk.mayAsk(key) === null) this.#marked.add(key);
      this.#show();
    });
  }

  #cameras() {
    return this.#results.flatMap((result) => ("camera" in result ? [result.camera] : []));
  }

  /** Cameras of the mosaic that are shown or on their way: one that ended may be asked for again. */
  #watched() {
    const { store, desk } = this.#ctx;
    return new Set((shownIncident(store)?.cameras ?? []).filter((key) => desk.isWatched(key)));
  }

  /**
   * One click asks for a camera, or shows it large if it is there already. The keyboard follows.
   * @param {string} key
   * @param {string} [grounds] others than those in use
   */
  #choose(key, grounds) {
    const { desk, store } = this.#ctx;
    const follows = this.#about.kind === "neighbours" && store.get("focused") !== null;
    if (this.#watched().has(key)) store.set("focused", key);
    else if (!desk.choose(key, grounds)) return;
    else if (follows) store.set("focused", key);
    this.map.follow(store.get("cameras").get(key)?.position);
    this.#showPanel("watch");
    store.set("goTo", key);
  }

  /** @param {string} key */
  #toggle(key) {
    if (!this.#marked.delete(key) && this.#marked.size < MOST) this.#marked.add(key);
    this.#show();
  }

  #askMarked() {
    const cameras = [...this.#marked];
    this.#marked.clear();
    this.#ask(cameras);
  }

  /** @param {string[]} cameras by key */
  #ask(cameras) {
    const { desk } = this.#ctx;
    const free = cameras.filter((key) => desk.mayAsk(key) === null);
    const obstacle = cameras.map((key) => desk.mayAsk(key)).find((found) => found !== null);
    if (obstacle) toast({ level: "warn", ...obstacle });
    if (free.length > 0) desk.ask(free);
    this.#show();
  }

  #save() {
    const cameras = this.#marked.size > 0 ? [...this.#marked] : [...this.#watched()];
    const [first] = cameras;
    if (first === undefined) return;
    const { commune } = splitKey(first);
    const isKnown = this.#ctx.store.get("communes").has(commune);
    this.sets.open(cameras, isKnown ? communeName(this.#ctx.store, commune) : "");
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") {
      this.list.focus();
    } else if (event.key === "Enter") {
      // The results on the screen may still be those of another text.
      if (this.#pending) this.#enter = { marks: event.shiftKey };
      else this.#take({ marks: event.shiftKey });
    } else if (event.key === "Escape" && this.input.value !== "") this.#clear();
    else if (event.key === "Escape") {
      this.input.blur();
      this.#ctx.store.set("goTo", this.#ctx.store.get("current"));
    } else return;
    event.preventDefault();
  }

  /**
   * Takes the first result.
   * @param {{marks: boolean}} of whether a camera is marked instead of asked for
   */
  #take({ marks }) {
    const [chosen] = this.#results;
    if (chosen === undefined) return;
    if ("place" in chosen) this.#goToPlace(chosen.place);
    else if (marks) this.#toggle(chosen.camera.key);
    else if (this.#marked.size > 0) this.#askMarked();
    else this.#choose(chosen.camera.key);
  }

  /** @param {Place} place */
  #goToPlace({ label, position }) {
    const { desk, store } = this.#ctx;
    this.input.value = label;
    const incident = shownIncident(store);
    // An intervention without a place takes the first address that is looked for.
    if (incident?.at === null) desk.setPlace(incident.ref, { label, position });
    this.lookAt({ at: position, label }).then(() => this.nearest.focus());
  }

  #words() {
    this.input.placeholder = t("find.placeholder");
    this.input.setAttribute("aria-label", t("find.placeholder"));
    this.list.words();
    this.back.textContent = t("find.clear");
    this.saveButton.textContent = t("find.sets.open");
    this.map.words();
    this.sets.show();
  }

  #show() {
    const watched = this.#watched();
    const numbered = this.#about.kind === "neighbours";
    this.list.show({ results: this.#results, marked: this.#marked, watched, numbered });
    this.#showNearest();
    this.more.textContent = this.#moreText();
    this.about.textContent = this.#aboutText();
    this.back.hidden = this.#about.kind === "all";
    this.askButton.textContent = t("find.ask", { n: this.#marked.size });
    this.askButton.hidden = this.#marked.size === 0;
    this.foot.hidden = this.#marked.size === 0 && watched.size === 0;
    this.map.marks = [...this.#ctx.store.get("cameras").values()].flatMap((camera) => this.#mark(camera, watched));
  }

  #showNearest() {
    const n = this.#nearest().length;
    this.nearest.hidden = n === 0;
    if (n > 0) fill(this.nearest, t("find.nearest", { n }), " ", h("kbd", { text: "P" }));
  }

  #moreText() {
    if (this.#problem !== null) return problemText(this.#problem);
    if (this.#more > 0) return t("find.more", { n: this.#more });
    return this.#results.length === 0 ? t("find.none") : "";
  }

  #aboutText() {
    const about = this.#about;
    const n = this.#cameras().length + this.#more;
    if (about.kind === "near") return t("find.about.near", { n, at: about.label ?? positionText(about.at) });
    if (about.kind === "neighbours") {
      const isKnown = this.#ctx.store.get("cameras").has(about.of);
      return t("find.about.neighbours", { n, camera: isKnown ? cameraName(this.#ctx.store, about.of) : about.of });
    }
    return t(`find.about.${about.kind}`, { n });
  }

  /**
   * A camera on the map; none without a position.
   * @param {Camera} camera
   * @param {Set<string>} watched
   * @returns {import("/page/find/map.js").Mark[]}
   */
  #mark(camera, watched) {
    const { key, position } = camera;
    if (!position) return [];
    const obstacle = this.#ctx.desk.mayAsk(key);
    const state = watched.has(key)
      ? "watched"
      : !isAvailable(this.#ctx, camera)
        ? "unusable"
        : realObstacle(obstacle) !== null
          ? "blocked"
          : "usable";
    const why = state === "watched" || obstacle === null ? "" : `: ${t(obstacle.key, obstacle.params)}`;
    const silence = silenceText(this.#ctx, camera);
    const title = `${camera.name}, ${camera.commune_name}${why}${silence === "" ? "" : `: ${silence}`}`;
    return [{ ...camera, position, state, marked: this.#marked.has(key), title }];
  }
}

/**
 * Cameras and places in the order of the list: of a query first the cameras whose name has all its
 * words, then places, then the other cameras.
 * @param {import("/page/find/lookup.js").About} about
 * @param {import("/page/find/lookup.js").FoundCamera[]} cameras
 * @param {Place[]} places
 * @returns {import("/page/find/result_list.js").Result[]}
 */
function ranked(about, cameras, places) {
  const words = about.kind === "query" ? folded(about.text).split(" ") : [];
  const isNamed = (/** @type {Camera} */ { name }) => words.every((word) => folded(name).includes(word));
  const [named, others] =
    places.length === 0 ? [cameras, []] : [cameras.filter(isNamed), cameras.filter((one) => !isNamed(one))];
  return [
    ...named.map((camera) => ({ camera })),
    ...places.map((place) => ({ place })),
    ...others.map((camera) => ({ camera })),
  ];
}

/** @param {string} text */
function folded(text) {
  return text
    .normalize("NFD")
    .replace(/\p{M}/gu, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, " ")
    .trim();
}
