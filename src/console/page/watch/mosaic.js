// All tiles of the incident that is shown: their cameras, places, streams and states.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { agreementFor, grantOf, grantsOf, isMine, splitKey } from "/page/state/rules.js";
import { Flow } from "/page/watch/flow.js";
import { layout, neighbour } from "/page/watch/layout.js";
import { Live } from "/page/watch/live.js";
import { markText } from "/page/watch/mark.js";
import { Nearby } from "/page/watch/nearby.js";
import { pageOf, pageWith } from "/page/watch/pages.js";
import {
  awaitedText,
  causeOf,
  contactOf,
  keptBack,
  profileOf,
  reasonOf,
  silentText,
  startingText,
  stutterText,
} from "/page/watch/tile_text.js";
import { Tile } from "/page/watch/tile.js";
import { FROZEN, TAKEN_OVER, isPictured, tileState } from "/page/watch/tile_state.js";
import { toast } from "/page/widget/toasts.js";

/** Up to this many tiles all show main streams, where the link has room for them. */
const MAIN_TILES = 4;
/** A hidden page continues for this long, in ms, so that a short look elsewhere costs nothing. */
const HIDDEN_AFTER = 5_000;

/** A camera whose pictures ended under a live grant is subscribed to again after this, in ms. */
const RETRY_AFTER = 2_000;

/** @type {Record<string, Point|undefined>} */
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The mosaic of a window. */
export class Mosaic {
  #ctx;
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  /** @type {Rect[]} */
  #rects = [];
  /** @type {Map<string, StreamFigures>} */
  #figures = new Map();
  /** @type {Map<string, PictureProblem>} */
  #problems = new Map();
  /** @type {Map<string, Why & {grant: string|undefined, retryAt: number}>} */
  #ends = new Map();
  #connected = false;
  /** Why the receiver closed the connection; empty: it did not. */
  #closedFor = "";
  #paused = false;
  /** @type {number|undefined} */
  #hiddenTimer;
  /** @type {(() => void)[]} */
  #stops = [];
  #isMain;
  #pinned;
  /** @type {Me|null} */
  #signer = null;
  /** @type {string|null} */
  #online = null;
  #nearby;
  /** How the pictures of each tile came of late. @type {Map<string, Flow>} */
  #flows = new Map();
  /** Since when tiles have waited for a first picture. @type {Map<string, number>} */
  #startedAt = new Map();
  /** The signer's newest grant for each tile. @type {Map<string, string>} */
  #under = new Map();
  #page = 0;
  #pages = 1;
  /** The camera that a window of its own shows large. @type {string|null} */
  #ownFocus = null;
  scriptMs = 0;

  /**
   * @param {HTMLElement} element
   * @param {DeskContext} ctx
   * @param {{isMain: boolean, actions: MosaicActions, incident?: string|null}} of the main window
   *   writes `store.tiles`; another one always shows the same `incident`
   */
  constructor(element, ctx, { isMain, actions, incident = null }) {
    this.#ctx = ctx;
    this.#isMain = isMain;
    this.#pinned = incident;
    this.actions = actions;
    this.element = h("div", { class: "mosaic", "data-testid": "mosaic" });
    element.append(this.element);
    const document = element.ownerDocument;
    this.live = new Live(ctx, {
      connection: (connected, reason) => {
        this.#connected = connected;
        this.#tellClosed(connected ? "" : (reason ?? this.#closedFor));
        this.update();
      },
      figures: (message) => this.#report(message),
      state: () => this.update(),
      problem: (message) => this.#problem(message),
      end: (message) => this.#ended(message),
    });
    const { store } = ctx;
    // Before anything is watched: a wall has tiles from its first moment.
    this.#nearby = new Nearby(ctx, { go: (key) => actions.goOn(key), loaded: () => this.update() });
    new ResizeObserver(() => this.place()).observe(this.element);
    this.#stops.push(store.watch(["incidents", "incident", "grants", "locked", "online", "me"], () => this.follow()));
    this.#stops.push(store.watch(["focused"], () => this.place()));
    this.#stops.push(store.watch(["current", "focused"], () => this.#markCurrent()));
    this.#stops.push(store.watch(["goTo"], () => this.#goTo()));
    this.#stops.push(store.watch(["me", "online"], () => this.#connect()));
    this.#stops.push(
      store.watch(["lang"], () => {
        for (const tile of this.#tiles.values()) tile.words();
        this.update();
      }),
    );
    const hidden = () => this.#hidden(document.hidden);
    document.addEventListener("visibilitychange", hidden);
    this.#stops.push(() => document.removeEventListener("visibilitychange", hidden));
  }

  /**
   * Says once why the receiver closes the connection again and again.
   * @param {string} reason empty: it is open
   */
  #tellClosed(reason) {
    if (reason !== "" && reason !== this.#closedFor && this.#isMain)
      toast({ level: "bad", key: "watch.closed", params: { reason } });
    this.#closedFor = reason;
  }

  get tiles() {
    return this.#tiles;
  }

  /** Ends all of it: the window closes. */
  end() {
    for (const stop of this.#stops) stop();
    this.live.end();
  }

  #incident() {
    const { store } = this.#ctx;
    return store.get("incidents").get(this.#pinned ?? store.get("incident") ?? "");
  }

  /** Another signer needs another socket; a receiver that is back may have lost this one. */
  #connect() {
    const { store } = this.#ctx;
    const [me, online] = [store.get("me"), store.get("online")];
    if (this.#signer !== null && me !== null && me !== this.#signer) this.live.reopen();
    else if (online === "online" && this.#online === "offline") this.live.probe();
    this.#signer = me;
    this.#online = online;
  }

  /**
   * The grant that a tile shows: a live one, else the last that ended, to say why.
   * @param {string} key
   */
  #grant(key) {
    const { store } = this.#ctx;
    const incident = this.#incident();
    if (incident === undefined) return undefined;
    const { commune, camera } = splitKey(key);
    const live = grantOf(key, incident, store.get("grants"), store.get("me"));
    if (live) this.#under.set(key, live.grant);
    // A colleague's other grants for the same camera say nothing of why this one has no picture.
    const under = this.#under.get(key) ?? "";
    const own = live ?? (incident.grants.has(under) ? store.get("grants").get(under) : undefined);
    if (own) return own;
    return grantsOf(incident, store.get("grants"))
      .filter((grant) => grant.commune === commune && grant.granted.some((entry) => entry.camera === camera))
      .at(-1);
  }

  /**
   * Who carries a grant on that is another's now: the pictures are his, and end here.
   * @param {Grant|undefined} grant
   */
  #taker(grant) {
    const me = this.#ctx.store.get("me");
    return grant && !grant.ended && me !== null && !isMine(grant, me) ? grant.operator.name : null;
  }

  /** Tiles as the incident has them, streams as its grants allow. */
  follow() {
    const { store } = this.#ctx;
    const keys = this.#turnTo(this.#page);
    let changed = false;
    for (const [key, tile] of this.#tiles) {
      if (keys.includes(key)) continue;
      this.live.remove(key);
      tile.element.remove();
      for (const known of [this.#tiles, this.#figures, this.#problems, this.#ends, this.#flows, this.#startedAt])
        known.delete(key);
      this.#under.delete(key);
      changed = true;
      if (this.#isMain && store.get("current") === key) store.set("current", null);
    }
    const known = this.#tiles.size;
    for (const key of keys) {
      if (this.#tiles.has(key)) continue;
      const tile = new Tile(key, this);
      this.#tiles.set(key, tile);
      this.element.append(tile.element);
      this.live.add(key, tile.screen);
      changed = true;
      // Keys are meant for what was added last; of a mosaic that is drawn again, for its first.
      if (this.#isMain && (known > 0 || store.get("current") === null)) store.set("current", key);
    }
    changed ||= keys.join() !== [...this.#tiles.keys()].join();
    if (changed) {
      // In the incident's order.
      const rank = (/** @type {[string, Tile]} */ [key]) => keys.indexOf(key);
      this.#tiles = new Map([...this.#tiles].sort((one, other) => rank(one) - rank(other)));
      this.#orderElements();
      if (this.#isMain && store.get("current") === null) store.set("current", keys[0] ?? null);
      this.place();
      this.#markCurrent();
    }
    this.#startAndStop(store.get("locked"));
    this.update();
    this.#goTo();
  }

  /** The keyboard goes through tiles in their order; it stays where it is. */
  #orderElements() {
    const { activeElement } = this.element.ownerDocument;
    const tiles = [...this.#tiles.values()].map((tile) => tile.element);
    if (tiles.every((tile, index) => this.element.children[index] === tile)) return;
    this.element.append(...tiles);
    if (activeElement instanceof HTMLElement && this.element.contains(activeElement))
      activeElement.focus({ preventScroll: true });
  }

  /**
   * The tiles of a page of the mosaic, which is the one that is shown from now on.
   * @param {number} page
   */
  #turnTo(page) {
    const incident = this.#incident();
    const found = pageOf(incident?.cameras ?? [], incident?.pinned ?? new Set(), page);
    [this.#page, this.#pages] = [found.page, found.pages];
    return found.keys;
  }

  /** The page that is shown, from 0, and how many there are. */
  get pages() {
    return { page: this.#page, pages: this.#pages };
  }

  /**
   * Shows the next page, or the one before.
   * @param {number} step
   */
  turn(step) {
    this.#turnTo((this.#page + step + this.#pages) % this.#pages);
    this.follow();
    this.actions.turned?.();
  }

  /** The camera that is shown large. */
  get focused() {
    return this.#isMain ? this.#ctx.store.get("focused") : this.#ownFocus;
  }

  /** @param {string|null} key */
  set focused(key) {
    if (this.#isMain) this.#ctx.store.set("focused", key);
    else {
      this.#ownFocus = key;
      this.place();
      this.update();
    }
  }

  /** The tile that keys are meant for is marked. */
  #markCurrent() {
    const current = this.current();
    for (const tile of this.#tiles.values()) tile.mark(this.#isMain && tile === current);
  }

  /**
   * Keys are meant for this tile from now on.
   * @param {string} key
   */
  touch(key) {
    if (this.#isMain) this.#ctx.store.set("current", key);
  }

  /** The keyboard goes to a tile that was asked for, once it is there. */
  #goTo() {
    const { store } = this.#ctx;
    const goTo = store.get("goTo") ?? "";
    const incident = this.#incident();
    if (this.#isMain && !this.#tiles.has(goTo) && incident?.cameras.includes(goTo)) {
      const page = pageWith(incident.cameras, incident.pinned, goTo);
      if (page !== this.#page) return this.turn(page - this.#page);
    }
    const tile = this.#tiles.get(goTo);
    if (!this.#isMain || tile === undefined) return;
    store.set("goTo", null);
    store.set("current", tile.key);
    if (document.querySelector("dialog[open]") === null) tile.element.focus({ preventScroll: true });
  }

  /** @param {boolean} locked */
  #startAndStop(locked) {
    for (const key of this.#tiles.keys()) {
      const grant = this.#grant(key);
      const entry = grant?.granted.find(({ camera }) => camera === splitKey(key).camera);
      const isOn = grant && !grant.ended && entry && !["ended", "failed"].includes(entry.state);
      const runs = isOn && this.#taker(grant) === null;
      const end = this.#ends.get(key);
      // A restarted receiver, for example, knows the grant again in a moment.
      if (runs && end !== undefined && (end.grant !== grant.proof || performance.now() >= end.retryAt))
        this.#ends.delete(key);
      // Another grant may carry what can be decoded.
      if (this.#problems.has(key) && this.#problems.get(key)?.grant !== grant?.grant) this.#problems.delete(key);
      const wanted = runs && !locked && !this.#paused && !this.#problems.has(key) && !this.#ends.has(key);
      if (wanted) this.live.start(key, grant.grant);
      else this.live.stop(key);
      if (!wanted) this.#figures.delete(key);
    }
  }

  place() {
    const keys = [...this.#tiles.keys()];
    const focused = keys.indexOf(this.focused ?? "");
    const { clientWidth, clientHeight } = this.element;
    this.#rects = layout(keys.length, focused, clientWidth, clientHeight);
    [...this.#tiles.values()].forEach((tile, index) => {
      const rect = this.#rects[index];
      if (rect) tile.place(rect, { isFocused: index === focused, number: index + 1 });
    });
    // The first named camera gets its main stream, the others named yield to it. Few cameras may
    // all have theirs; of many only the first.
    const first = keys[Math.max(focused, 0)] ?? "";
    this.live.focus(focused >= 0 || keys.length > MAIN_TILES ? [first, ...keys.filter((key) => key !== first)] : []);
  }

  /** @param {FiguresReport} report */
  #report({ tiles, scriptMs }) {
    this.scriptMs = scriptMs;
    for (const figures of tiles)
      if (this.#tiles.has(figures.camera) && this.live.isWanted(figures.camera)) {
        this.#figures.set(figures.camera, figures);
        const flow = this.#flows.get(figures.camera) ?? new Flow();
        this.#flows.set(figures.camera, flow);
        flow.take(figures, performance.timeOrigin + performance.now());
      }
    if (this.#ends.size > 0) this.#startAndStop(this.#ctx.store.get("locked"));
    this.update();
  }

  /**
   * The browser decodes none of the camera's streams: the tile says why.
   * @param {StreamProblem} problem
   */
  #problem({ camera: key, grant, problem, codec, reason }) {
    if (this.#grant(key)?.grant !== grant) return;
    this.#problems.set(key, { reason: problem, why: reason, codec, grant });
    this.#startAndStop(this.#ctx.store.get("locked"));
    this.update();
  }

  /**
   * @param {string} key
   * @returns {Why|null}
   */
  #problemOf(key) {
    const problem = this.#problems.get(key);
    // That a camera has one stream alone is what its tile says anyway.
    const why = problem?.why === "codec_unsupported" ? null : (problem?.why ?? null);
    return problem === undefined ? null : { reason: problem.reason, detail: why };
  }

  /** @param {CameraEnd & {camera: string}} end */
  #ended({ camera: key, grant, reason, detail }) {
    // Else the camera continues under another grant.
    const isOver = this.#grant(key)?.grant === grant;
    if (isOver)
      this.#ends.set(key, { reason, detail, grant: this.#grant(key)?.proof, retryAt: performance.now() + RETRY_AFTER });
    this.#figures.delete(key);
    if (!isOver) this.#startAndStop(this.#ctx.store.get("locked"));
    this.update();
  }

  /** Every tile as it is now. */
  update() {
    const { store, clock } = this.#ctx;
    const now = performance.timeOrigin + performance.now();
    const centreNow = clock.now();
    /** @type {PageState["tiles"]} */
    const tiles = new Map();
    const silences = this.#silences(now);
    for (const [key, tile] of this.#tiles) {
      const { commune: communeId, camera: cameraId } = splitKey(key);
      const grant = this.#grant(key);
      const entry = grant?.granted.find(({ camera }) => camera === cameraId);
      const taker = this.#taker(grant);
      const commune = store.get("communes").get(communeId);
      const clockOffset = commune?.clock_offset ?? 0;
      const last = silences.get(communeId);
      const silent = last === undefined ? null : now - last;
      const figures = this.#figures.get(key);
      const approval = [...store.get("approvals").values()].find(
        (waiting) => waiting.commune === communeId && waiting.cameras.includes(cameraId),
      );
      const view = tileState({
        locked: store.get("locked"),
        paused: this.#paused,
        online: store.get("online") !== "offline",
        connected: this.#connected,
        grant,
        entry,
        approval,
        ended: taker === null ? (this.#ends.get(key) ?? null) : { reason: TAKEN_OVER, detail: taker },
        figures,
        problem: this.#problemOf(key),
        flow: this.#flows.get(key),
        now,
        centreNow,
        clockOffset,
      });
      view.clockOffset = clockOffset;
      const isMoving = view.state === "live" || view.state === "late";
      view.stutter = isMoving ? this.#flows.get(key)?.stutter(figures?.rate ?? null, now) : null;
      if (!isPictured(view.state)) this.#flows.get(key)?.forget();
      const isStarting = view.state === "starting";
      if (!isStarting) this.#startedAt.delete(key);
      else if (!this.#startedAt.has(key)) this.#startedAt.set(key, now);
      const startedMs = isStarting ? now - (this.#startedAt.get(key) ?? now) : 0;
      if (!isPictured(view.state) && !["starting", "retrying", "paused"].includes(view.state)) this.live.stop(key);
      const agreement = grant && agreementFor(commune, grant.grounds);
      const allowed = agreement?.snapshots === true;
      const isLarge = this.#tiles.size === 1 || this.focused === key;
      this.#nearby.show(tile.edges, isLarge && this.#isMain && !store.get("locked") ? key : null);
      tile.show({
        camera: store.get("cameras").get(key),
        commune,
        view,
        figures,
        entry,
        profile: profileOf(entry, figures),
        cause: causeOf(entry, figures),
        codec: this.#problems.get(key)?.codec ?? figures?.codec ?? null,
        leftMs: grant && !grant.ended ? Date.parse(grant.expires) - centreNow : null,
        waitMs: approval ? Date.parse(approval.approve_by ?? "") - centreNow : null,
        snapshot: { allowed, text: t(allowed ? "watch.tile.snapshot" : "watch.tile.no_snapshot") },
        mark: agreement?.watermark ? markText(store.get("me")) : "",
        // Everybody in the room reads a wall.
        address: this.#isMain && view.state === "unsupported" ? (entry?.rtsp ?? "") : "",
        isPinned: this.#incident()?.pinned.has(key) ?? false,
        isPaged: this.#pages > 1,
        reason: [
          silentText(commune, silent),
          awaitedText(figures, view),
          startingText({ startedMs, isJoined: this.#connected, entry, figures }),
          stutterText(view),
          keptBack(view, entry),
          reasonOf(view),
          contactOf(commune, view, silent),
        ]
          .filter(Boolean)
          .join(" "),
      });
      tiles.set(key, {
        state: view.state,
        reason: view.reason,
        profile: profileOf(entry, figures),
        cause: causeOf(entry, figures),
        ageMs: view.ageMs,
        frames: figures?.frames ?? 0,
        dropped: figures?.dropped ?? 0,
        width: figures?.width ?? 0,
        height: figures?.height ?? 0,
        codec: figures?.codec ?? null,
        queue: figures?.queue ?? 0,
        problem: this.#problems.get(key)?.reason ?? null,
      });
    }
    if (!this.#isMain) return;
    store.set("tiles", tiles);
    const before = store.get("silent");
    if ([...before.keys()].join() !== [...silences.keys()].join()) store.set("silent", silences);
  }

  /**
   * Communes from which nothing comes although nothing says why, with when their last picture came.
   * @param {number} now ms of the clock of `shownAt`
   */
  #silences(now) {
    /** @type {Map<string, number>} */
    const last = new Map();
    const { store } = this.#ctx;
    if (store.get("online") !== "online" || !this.#connected || this.#paused || store.get("locked")) return last;
    for (const key of this.#tiles.keys()) {
      const { commune, camera } = splitKey(key);
      const state = this.#grant(key)?.granted.find((entry) => entry.camera === camera)?.state;
      const shownAt = this.#figures.get(key)?.shownAt;
      if (!shownAt || (state !== "live" && state !== "late")) continue;
      last.set(commune, Math.max(last.get(commune) ?? 0, shownAt));
    }
    return new Map([...last].filter(([, at]) => now - at >= FROZEN));
  }

  /** @param {boolean} isHidden */
  #hidden(isHidden) {
    clearTimeout(this.#hiddenTimer);
    const pause = (/** @type {boolean} */ paused) => {
      this.#paused = paused;
      this.follow();
    };
    if (!isHidden) pause(false);
    else this.#hiddenTimer = setTimeout(() => pause(true), HIDDEN_AFTER);
  }

  /** @param {string} key */
  toggleFocus(key) {
    this.focused = this.focused === key ? null : key;
  }

  /**
   * @param {string} key
   * @param {boolean} ends whether nothing more of it is to be relayed
   */
  removeTile(key, ends) {
    this.actions.removeTile(key, ends);
  }

  /** @param {string} key */
  pin(key) {
    this.actions.pin(key);
  }

  /**
   * @param {string} key
   * @param {string} to the tile whose place it takes
   */
  move(key, to) {
    this.actions.move(key, to);
  }

  /** @param {string} key */
  snapshot(key) {
    return this.actions.snapshot(key, this.live);
  }

  /** @param {string} key */
  bookmark(key) {
    this.actions.bookmark(key);
  }

  /** @param {string} key */
  copyUrl(key) {
    const entry = this.#grant(key)?.granted.find(({ camera }) => camera === splitKey(key).camera);
    if (entry?.rtsp) this.actions.copy(entry.rtsp);
  }

  /**
   * Keys on a tile itself.
   * @param {KeyboardEvent} event
   * @param {Tile} tile
   */
  tileKey(event, tile) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target !== tile.element) return;
    const direction = DIRECTIONS[event.key];
    if (direction && event.shiftKey && tile.isFocused) tile.pan(direction[0] * 0.1, direction[1] * 0.1);
    else if (direction && this.#rects.length > 0) {
      const keys = [...this.#tiles.keys()];
      const next = keys[neighbour(this.#rects, keys.indexOf(tile.key), direction)] ?? "";
      if (event.shiftKey) this.move(tile.key, next);
      else this.#tiles.get(next)?.element.focus();
    } else if (event.key === "Enter" && tile.isOver) this.again(tile.key);
    else if (event.key === "Enter") this.toggleFocus(tile.key);
    else if (event.key === "Delete") this.removeTile(tile.key, !event.shiftKey);
    else if (event.key === "p" || event.key === "P") this.pin(tile.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The tile that keys are meant for: the one touched or added last. */
  current() {
    return this.#tiles.get(this.#ctx.store.get("current") ?? "");
  }

  /** @param {string} key */
  again(key) {
    this.actions.again(key);
  }
}

/**
 * A language-neutral summary for measurements: frames, drops, script time.
 * @param {PageStore} store
 * @param {Mosaic} mosaic
 */
export function figuresOf(store, mosaic) {
  const tiles = [...store.get("tiles")].map(([camera, tile]) => ({ camera, ...tile }));
  const sum = (/** @type {"frames"|"dropped"|"queue"} */ name) => tiles.reduce((total, tile) => total + tile[name], 0);
  return {
    frames: sum("frames"),
    dropped: sum("dropped"),
    decodeQueue: sum("queue"),
    scriptMs: mosaic.scriptMs,
    tiles,
    lang: lang(),
  };
}
