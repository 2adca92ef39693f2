// All tiles of the incident that is shown: which there are, where they stand, what they cost.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { grantOf, isMine, liveGrants, splitKey } from "/page/incident/rules.js";
import { layout, neighbour } from "/page/watch/layout.js";
import { Live } from "/page/watch/live.js";
import { Tile } from "/page/watch/tile.js";
import { isPictured, tileState } from "/page/watch/tile_state.js";

/** Tiles at once; the rest waits for one to be closed. */
export const TILES_LIMIT = 16;
/** So many tiles show main streams all, where the link has room for them. */
const MAIN_TILES = 4;
/** A hidden page goes on for this long, in ms: who only glances elsewhere loses nothing. */
const HIDDEN_AFTER = 5_000;

/** A camera whose pictures ended though its grant runs is asked for again after this, in ms. */
const RETRY_AFTER = 2_000;

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The mosaic of a window. */
export class Mosaic {
  #ctx;
  #tiles = new Map();
  #rects = [];
  #figures = new Map();
  #problems = new Map();
  #ends = new Map();
  #connected = false;
  #paused = false;
  #hiddenTimer = null;
  #stops = [];
  #isMain;
  #pinned;
  #signer = null;
  #online = null;
  #askedSub = new Set();
  #asking = new Set();
  scriptMs = 0;

  /**
   * @param {{isMain: boolean, actions: object, incident?: string}} of the main window writes
   *   `store.tiles`; another one shows one `incident`, whatever the page shows
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
      connection: (connected) => {
        this.#connected = connected;
        this.update();
      },
      figures: (message) => this.#report(message),
      state: () => this.update(),
      problem: (message) => this.#problem(message),
      end: (message) => this.#ended(message),
    });
    const { store } = ctx;
    new ResizeObserver(() => this.place()).observe(this.element);
    this.#stops.push(store.watch(["incidents", "incident", "grants", "locked", "online", "me"], () => this.follow()));
    this.#stops.push(store.watch(["focused"], () => this.place()));
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
    return store.get("incidents").get(this.#pinned ?? store.get("incident"));
  }

  /** Another signer has a socket of his own; a receiver that is back may have lost this one. */
  #connect() {
    const { store } = this.#ctx;
    const [me, online] = [store.get("me"), store.get("online")];
    if (this.#signer !== null && me !== null && me !== this.#signer) this.live.reopen();
    else if (online === "online" && this.#online === "offline") this.live.probe();
    this.#signer = me;
    this.#online = online;
  }

  #grant(key) {
    const { store } = this.#ctx;
    const incident = this.#incident();
    if (incident === undefined) return undefined;
    const { commune, camera } = splitKey(key);
    const isSub = (grant) =>
      isMine(grant, store.get("me")) &&
      grant.commune === commune &&
      grant.granted.some((entry) => entry.camera === camera && entry.state !== "ended" && entry.profile === "sub");
    const sub = this.#askedSub.has(key) ? liveGrants(incident, store.get("grants")).findLast(isSub) : undefined;
    const live = sub ?? grantOf(key, incident, store.get("grants"), store.get("me"));
    if (live) return live;
    // The one that ended, to say why.
    return [...incident.grants]
      .map((id) => store.get("grants").get(id))
      .filter((grant) => grant?.commune === commune && grant.granted.some((entry) => entry.camera === camera))
      .at(-1);
  }

  /** Tiles as the incident has them, streams as grants and eyes allow. */
  follow() {
    const { store } = this.#ctx;
    const keys = (this.#incident()?.cameras ?? []).slice(0, TILES_LIMIT);
    let changed = false;
    for (const key of this.#tiles.keys()) {
      if (keys.includes(key)) continue;
      this.live.remove(key);
      this.#tiles.get(key).element.remove();
      for (const known of [this.#tiles, this.#figures, this.#problems, this.#ends]) known.delete(key);
      this.#askedSub.delete(key);
      changed = true;
    }
    for (const key of keys) {
      if (this.#tiles.has(key)) continue;
      const tile = new Tile(key, this);
      this.#tiles.set(key, tile);
      this.element.append(tile.element);
      this.live.add(key, tile.canvas);
      changed = true;
    }
    if (changed) {
      // As the incident orders them.
      const sorted = keys.map((key) => [key, this.#tiles.get(key)]);
      this.#tiles = new Map(sorted);
      this.place();
    }
    this.#startAndStop(store.get("locked"));
    this.update();
  }

  #startAndStop(locked) {
    for (const key of this.#tiles.keys()) {
      const grant = this.#grant(key);
      const entry = grant?.granted.find(({ camera }) => camera === splitKey(key).camera);
      const runs = grant && !grant.ended && entry && !["ended", "failed"].includes(entry.state);
      const end = this.#ends.get(key);
      // The receiver started anew, say, and knows the grant again in a moment.
      if (runs && end !== undefined && (end.grant !== grant.proof || performance.now() >= end.retryAt))
        this.#ends.delete(key);
      // Another grant may carry what can be decoded.
      if (this.#problems.has(key) && this.#problems.get(key).grant !== grant?.grant) this.#problems.delete(key);
      const wanted = runs && !locked && !this.#paused && !this.#problems.has(key) && !this.#ends.has(key);
      if (wanted) this.live.start(key, grant.grant);
      else this.live.stop(key);
      if (!wanted) this.#figures.delete(key);
    }
  }

  place() {
    const { store } = this.#ctx;
    const keys = [...this.#tiles.keys()];
    const focused = keys.indexOf(store.get("focused"));
    const { clientWidth, clientHeight } = this.element;
    this.#rects = layout(keys.length, focused, clientWidth, clientHeight);
    keys.forEach((key, index) => {
      if (this.#rects[index]) this.#tiles.get(key).place(this.#rects[index], index === focused);
    });
    // The first that is named has its main stream, the others named give way to it. Few
    // pictures may all have theirs; of many only the first is worth it.
    const first = focused >= 0 ? keys[focused] : keys[0];
    this.live.focus(focused >= 0 || keys.length > MAIN_TILES ? [first, ...keys.filter((key) => key !== first)] : []);
  }

  #report({ tiles, scriptMs }) {
    this.scriptMs = scriptMs;
    for (const figures of tiles)
      if (this.#tiles.has(figures.camera) && this.live.isWanted(figures.camera))
        this.#figures.set(figures.camera, figures);
    if (this.#ends.size > 0) this.#startAndStop(this.#ctx.store.get("locked"));
    this.update();
  }

  /** What the browser can't decode falls to the sub-stream once, then says why. */
  #problem({ camera: key, grant, problem, codec }) {
    const { store } = this.#ctx;
    const { actions } = this;
    if (this.#asking.has(key) || this.#grant(key)?.grant !== grant) return;
    const hasSub = store.get("cameras").get(key)?.sub === true;
    if (problem === "codec" && hasSub && !this.#askedSub.has(key) && this.#isMain) {
      this.#askedSub.add(key);
      this.#askSub(key, { reason: problem, codec, grant });
      return;
    }
    this.#problems.set(key, { reason: problem, codec, grant });
    this.#startAndStop(store.get("locked"));
    this.update();
  }

  async #askSub(key, why) {
    this.#asking.add(key);
    const isGranted = await this.actions.askSub(key);
    this.#asking.delete(key);
    if (!isGranted) this.#problems.set(key, why);
    this.#startAndStop(this.#ctx.store.get("locked"));
    this.update();
  }

  #ended({ camera: key, grant, reason, detail }) {
    // The camera goes on under another grant.
    const isOver = this.#grant(key)?.grant === grant;
    if (isOver)
      this.#ends.set(key, { reason, detail, grant: this.#grant(key)?.proof, retryAt: performance.now() + RETRY_AFTER });
    this.#figures.delete(key);
    if (!isOver) this.#startAndStop(this.#ctx.store.get("locked"));
    this.update();
  }

  /** Every tile as it is now. */
  update() {
    const { store, clock, actions } = this.#ctx;
    const now = performance.timeOrigin + performance.now();
    const centreNow = clock.now();
    const tiles = new Map();
    for (const [key, tile] of this.#tiles) {
      const { commune: communeId, camera: cameraId } = splitKey(key);
      const grant = this.#grant(key);
      const entry = grant?.granted.find(({ camera }) => camera === cameraId);
      const commune = store.get("communes").get(communeId);
      const clockOffset = commune?.clock_offset ?? 0;
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
        ended: this.#ends.get(key) ?? null,
        figures,
        problem: this.#problems.get(key) ?? null,
        now,
        centreNow,
        clockOffset,
      });
      view.clockOffset = clockOffset;
      if (!isPictured(view.state) && !["starting", "retrying", "paused"].includes(view.state)) this.live.stop(key);
      const allowed = commune?.agreement?.snapshots === true;
      tile.show({
        camera: store.get("cameras").get(key),
        commune,
        view,
        figures,
        entry,
        codec: this.#problems.get(key)?.codec ?? figures?.codec ?? null,
        leftMs: grant && !grant.ended ? Date.parse(grant.expires) - centreNow : null,
        waitMs: approval ? Date.parse(approval.approve_by) - centreNow : null,
        snapshot: { allowed, text: t(allowed ? "watch.tile.snapshot" : "watch.tile.no_snapshot") },
        reason: this.#reason(view, figures, actions),
      });
      tiles.set(key, {
        state: view.state,
        reason: view.reason,
        profile: entry?.profile ?? null,
        cause: entry?.profile_cause ?? null,
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
    if (this.#isMain) store.set("tiles", tiles);
  }

  #reason(view, figures, actions) {
    if (view.state === "unsupported") return t(`watch.problem.${view.reason}`);
    if (view.reason === null || view.state === "live") return "";
    return actions.problemText?.({ reason: view.reason, detail: view.detail ?? "" }) || t(`desk.reason.${view.reason}`);
  }

  #hidden(isHidden) {
    clearTimeout(this.#hiddenTimer);
    const pause = (paused) => {
      this.#paused = paused;
      this.follow();
    };
    if (!isHidden) pause(false);
    else this.#hiddenTimer = setTimeout(() => pause(true), HIDDEN_AFTER);
  }

  toggleFocus(key) {
    const { store } = this.#ctx;
    store.set("focused", store.get("focused") === key ? null : key);
  }

  removeTile(key) {
    this.actions.removeTile(key);
  }

  snapshot(key) {
    return this.actions.snapshot(key, this.live);
  }

  bookmark(key) {
    this.actions.bookmark(key);
  }

  copyUrl(key) {
    const entry = this.#grant(key)?.granted.find(({ camera }) => camera === splitKey(key).camera);
    if (entry?.rtsp) this.actions.copy(entry.rtsp);
  }

  /** Keys on a tile itself. */
  tileKey(event, tile) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target !== tile.element) return;
    const direction = DIRECTIONS[event.key];
    if (direction && event.shiftKey && tile.isFocused) tile.pan(direction[0] * 0.1, direction[1] * 0.1);
    else if (direction && this.#rects.length > 0) {
      const keys = [...this.#tiles.keys()];
      this.#tiles.get(keys[neighbour(this.#rects, keys.indexOf(tile.key), direction)]).element.focus();
    } else if (event.key === "Enter") this.toggleFocus(tile.key);
    else if (event.key === "Delete") this.removeTile(tile.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The tile that keys are meant for: the one with the keyboard, the focused one, the only one. */
  current() {
    const { store } = this.#ctx;
    const active = this.element.ownerDocument.activeElement?.closest?.(".tile")?.dataset.camera;
    const key = active ?? store.get("focused") ?? (this.#tiles.size === 1 ? [...this.#tiles.keys()][0] : undefined);
    return this.#tiles.get(key);
  }
}

/** A language-neutral summary for whoever measures: frames, drops, script time. */
export function figuresOf(store, mosaic) {
  const tiles = [...store.get("tiles")].map(([camera, tile]) => ({ camera, ...tile }));
  const sum = (name) => tiles.reduce((total, tile) => total + tile[name], 0);
  return {
    frames: sum("frames"),
    dropped: sum("dropped"),
    decodeQueue: sum("queue"),
    scriptMs: mosaic.scriptMs,
    tiles,
    lang: lang(),
  };
}
