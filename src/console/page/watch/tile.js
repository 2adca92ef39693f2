// One camera's tile: its picture, its name, its age, its buttons.

import { h, fill } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { age, countdown, timeOfDay, utcTimeOfDay } from "/page/core/time_text.js";
import { splitKey } from "/page/state/rules.js";
import { screen } from "/page/watch/live.js";
import { MARKS } from "/page/watch/mark.js";
import { TAKEN_OVER, isPictured } from "/page/watch/tile_state.js";
import { codecName, panned, zoomed } from "/page/watch/units.js";

const WHOLE = { zoom: 1, x: 0.5, y: 0.5 };
const ZOOM_STEP = 1.25;
/** Height of the lines above and below the picture, in CSS pixels. */
const LINES = 52;

/**
 * Sets text only where it differs: a change costs a layout.
 * @param {HTMLElement} element
 * @param {string} text
 */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {HTMLElement} element
 * @param {string} name
 * @param {string} value
 */
function set(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** @typedef {"focus"|"snapshot"|"bookmark"|"pin"|"hide"|"close"} ButtonName */

/** What is dragged when a tile is. */
const DRAGGED = "application/x-fanal-tile";

/**
 * @typedef {object} Shown all that a tile shows
 * @property {Camera|undefined} camera
 * @property {Commune|undefined} commune
 * @property {TileView} view
 * @property {StreamFigures|undefined} figures
 * @property {GrantedCamera|undefined} entry
 * @property {string|null} profile which of the camera's streams is shown
 * @property {string|null} cause why that one
 * @property {string|null} codec
 * @property {number|null} leftMs until the grant ends
 * @property {number|null} waitMs until the commune's time to approve is over
 * @property {{allowed: boolean, text: string}} snapshot
 * @property {string} reason
 * @property {string} mark who watches, where that is written over the picture
 * @property {string} address of its pictures for players, where it is offered
 * @property {boolean} isPinned
 * @property {boolean} isPaged there are more tiles than one page has
 */

/** A tile of a mosaic. */
export class Tile {
  /** The newest frame that the beat showed, and its step. @type {number|undefined} */
  #seen;
  #beats = 0;
  /** The state that the label was last set for. */
  #spoken = "";
  #spokenAgain = "";

  /**
   * @param {string} key
   * @param {import("/page/watch/mosaic.js").Mosaic} mosaic shows it and acts on its buttons
   */
  constructor(key, mosaic) {
    this.key = key;
    this.mosaic = mosaic;
    /** @type {View} */
    this.view = WHOLE;
    this.screen = screen();
    this.name = h("span", { class: "tile-name" });
    this.commune = h("span", { class: "tile-commune quiet" });
    this.profile = h("span", { class: "tile-profile small" });
    this.word = h("p", { class: "tile-word" });
    this.hint = h("p", { class: "tile-hint small" });
    this.url = h("button", { class: "tile-url small", hidden: true, on: { click: () => mosaic.copyUrl(key) } });
    this.address = h("code", { class: "tile-address small", hidden: true });
    this.beat = h("span", { class: "tile-beat", "aria-hidden": "true" });
    this.clock = h("time", { class: "tile-clock" });
    this.age = h("span", { class: "tile-age" });
    this.left = h("span", { class: "tile-left", "data-testid": "tile-left" });
    /**
     * @param {ButtonName} name
     * @param {string} sign
     * @param {() => void} act
     */
    const button = (name, sign, act) => {
      /** @param {Event} event */
      const click = (event) => {
        event.stopPropagation();
        act();
      };
      return h("button", { class: "plain icon", "data-testid": `tile-${name}`, on: { click } }, sign);
    };
    this.buttons = {
      focus: button("focus", "⤢", () => mosaic.toggleFocus(key)),
      snapshot: button("snapshot", "◉", () => mosaic.snapshot(key)),
      bookmark: button("bookmark", "⚑", () => mosaic.bookmark(key)),
      pin: button("pin", "⊙", () => mosaic.pin(key)),
      hide: button("hide", "–", () => mosaic.removeTile(key, false)),
      close: button("close", "✕", () => mosaic.removeTile(key, true)),
    };
    this.number = h("span", { class: "tile-number mono", "aria-hidden": "true" });
    /** The neighbours, at the picture's edges. */
    this.edges = h("div", { class: "tile-edges" });
    this.ask = h("button", {
      class: "tile-again",
      hidden: true,
      "data-testid": "tile-again",
      on: { click: () => mosaic.again(key) },
    });
    this.watermark = h("div", { class: "tile-mark", "aria-hidden": "true" });
    this.picture = h(
      "div",
      { class: "tile-picture" },
      this.screen,
      this.watermark,
      h("div", { class: "tile-hatch", "aria-hidden": "true" }),
    );
    this.element = h(
      "figure",
      {
        class: "tile",
        tabindex: "0",
        role: "group",
        "data-testid": "tile",
        dataset: { camera: key, state: "asked", frames: "0", dropped: "0" },
      },
      this.picture,
      h("div", { class: "tile-middle" }, this.word, this.hint, this.ask, this.address, this.url),
      this.edges,
      h(
        "figcaption",
        { class: "tile-top", draggable: "true" },
        this.number,
        h("span", { class: "tile-dot", "aria-hidden": "true" }),
        h("span", { class: "tile-names grow" }, this.name, " ", this.commune),
      ),
      h("div", { class: "tile-buttons" }, ...Object.values(this.buttons)),
      h(
        "div",
        { class: "tile-bottom" },
        this.beat,
        this.clock,
        this.age,
        h("span", { class: "grow" }),
        this.profile,
        this.left,
      ),
    );
    this.#listen();
    this.words();
  }

  #listen() {
    const { element, picture, mosaic, key } = this;
    element.addEventListener("dblclick", (event) => {
      if (!(event.target instanceof Element && event.target.closest("button"))) mosaic.toggleFocus(key);
    });
    element.addEventListener("dragstart", (event) => {
      event.dataTransfer?.setData(DRAGGED, key);
      if (event.dataTransfer) event.dataTransfer.effectAllowed = "move";
    });
    element.addEventListener("dragover", (event) => {
      if (event.dataTransfer?.types.includes(DRAGGED)) event.preventDefault();
    });
    element.addEventListener("drop", (event) => {
      const dragged = event.dataTransfer?.getData(DRAGGED);
      if (!dragged) return;
      event.preventDefault();
      mosaic.move(dragged, key);
    });
    for (const event of ["pointerdown", "focusin"]) element.addEventListener(event, () => mosaic.touch(key));
    element.addEventListener("keydown", (event) => mosaic.tileKey(event, this));
    picture.addEventListener(
      "wheel",
      (event) => {
        if (!this.isFocused) return;
        event.preventDefault();
        const { left, top, width, height } = picture.getBoundingClientRect();
        this.zoom(
          event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP,
          (event.clientX - left) / width,
          (event.clientY - top) / height,
        );
      },
      { passive: false },
    );
    picture.addEventListener("pointerdown", (event) => {
      if (!this.isFocused || this.view.zoom === 1) return;
      picture.setPointerCapture(event.pointerId);
      /** @param {PointerEvent} event */
      const move = ({ movementX, movementY }) =>
        this.pan(-movementX / picture.clientWidth, -movementY / picture.clientHeight);
      picture.addEventListener("pointermove", move);
      picture.addEventListener("lostpointercapture", () => picture.removeEventListener("pointermove", move), {
        once: true,
      });
    });
  }

  /** Keys are meant for it, or not. @param {boolean} isCurrent */
  mark(isCurrent) {
    if (this.element.classList.contains("current") === isCurrent) return;
    this.element.classList.toggle("current", isCurrent);
    if (isCurrent) set(this.element, "aria-current", "true");
    else this.element.removeAttribute("aria-current");
  }

  /** Whether its pictures ended, so that they may be asked for again. */
  get isOver() {
    return !this.ask.hidden;
  }

  get isFocused() {
    return this.element.classList.contains("focused");
  }

  /**
   * @param {number} factor 0: the whole picture
   * @param {number} [px] 0 to 1 of the tile
   * @param {number} [py]
   */
  zoom(factor, px, py) {
    this.#look(factor === 0 ? WHOLE : zoomed(this.view, factor, px, py));
  }

  /**
   * @param {number} dx
   * @param {number} dy
   */
  pan(dx, dy) {
    this.#look(panned(this.view, dx, dy));
  }

  /** @param {View} view */
  #look(view) {
    this.view = view;
    this.element.classList.toggle("zoomed", view.zoom > 1);
    this.mosaic.live.view(this.key, view);
  }

  /**
   * Its rectangle in the mosaic.
   * @param {Rect} rect
   * @param {{isFocused: boolean, number: number}} of `number` is the key that shows it large
   */
  place({ left, top, width, height }, { isFocused, number }) {
    say(this.number, String(number));
    Object.assign(this.element.style, {
      left: `${left}px`,
      top: `${top}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
    this.element.classList.toggle("focused", isFocused);
    this.element.classList.toggle("tight", width < 300);
    if (!isFocused && this.view.zoom !== 1) this.zoom(0);
    set(this.buttons.focus, "aria-pressed", String(isFocused));
    const scale = globalThis.devicePixelRatio || 1;
    this.mosaic.live.size(this.key, Math.round(width * scale), Math.round(Math.max(1, height - LINES) * scale));
  }

  /** Words that change with the language alone. */
  words() {
    for (const name of /** @type {ButtonName[]} */ (["focus", "bookmark", "pin", "hide", "close"])) {
      set(this.buttons[name], "aria-label", t(`watch.tile.${name}`));
      set(this.buttons[name], "title", t(`watch.tile.${name}`));
    }
    say(this.url, t("watch.tile.copy_url"));
    this.#spokenAgain = "";
  }

  /** @param {Shown} now */
  show({ camera, commune, view, figures, profile, cause, codec, leftMs, snapshot, waitMs, reason, ...also }) {
    const { element } = this;
    say(this.name, camera?.name ?? splitKey(this.key).camera);
    say(this.commune, commune?.name ?? splitKey(this.key).commune);
    set(element, "data-state", view.state);
    set(element, "data-frames", String(figures?.frames ?? 0));
    set(element, "data-dropped", String(figures?.dropped ?? 0));
    say(this.profile, profile && isPictured(view.state) ? t(`watch.profile.${profile}`) : "");
    set(this.profile, "title", cause ? t(`watch.cause.${cause}`) : "");
    // A picture may have been old when it came: its own time counts.
    const old = age(Math.max(view.silentMs ?? 0, view.ageMs ?? 0), lang());
    const params = { age: old, codec: codecName(codec ?? ""), left: countdown(waitMs ?? 0) };
    const fps = Math.round(view.stutter?.fps ?? 0);
    const word = view.stutter && view.state === "live" ? t("watch.state.stutter", { n: fps }) : "";
    say(this.word, view.state === "live" ? word : t(`watch.state.${view.state}`, params));
    set(element, "data-stutter", view.stutter?.by ?? "");
    this.#showMark(also.mark);
    set(this.buttons.pin, "aria-pressed", String(also.isPinned));
    this.buttons.pin.hidden = !also.isPaged;
    say(this.hint, reason);
    this.ask.hidden = view.state !== "ended" && view.state !== "failed";
    const again = t(view.reason === TAKEN_OVER ? "watch.tile.go_on" : "desk.again");
    if (this.#spokenAgain !== again) fill(this.ask, again, " ", h("kbd", { text: t("desk.key.enter") }));
    this.#spokenAgain = again;
    this.url.hidden = also.address === "";
    this.address.hidden = also.address === "";
    say(this.address, also.address);
    this.#times(view, figures);
    say(this.left, leftMs === null ? "" : countdown(leftMs));
    this.left.classList.toggle("soon", leftMs !== null && leftMs < 120_000);
    // Not `disabled`: its title says why it can't be used.
    set(this.buttons.snapshot, "aria-disabled", String(!snapshot.allowed || !isPictured(view.state)));
    set(this.buttons.snapshot, "aria-label", snapshot.text);
    set(this.buttons.snapshot, "title", snapshot.text);
    const state = word || t(`watch.state.${view.state}`, params);
    const label = [this.name.textContent, this.commune.textContent, state].join(", ");
    // Else a screen reader would read each second of a frozen picture.
    const spoken = `${view.state}${word !== ""}${lang()}${this.name.textContent}`;
    if (this.#spoken !== spoken) {
      this.#spoken = spoken;
      set(element, "aria-label", label);
    }
  }

  /** @param {string} text */
  #showMark(text) {
    if (this.watermark.dataset.text === text) return;
    this.watermark.dataset.text = text;
    const marks = text === "" ? 0 : MARKS.across * MARKS.down;
    fill(this.watermark, ...Array.from({ length: marks }, () => h("span", { text })));
  }

  /**
   * @param {TileView} view
   * @param {StreamFigures|undefined} figures
   */
  #times(view, figures) {
    const captured = isPictured(view.state) ? figures?.captured : null;
    say(this.clock, captured ? timeOfDay(captured - (view.clockOffset ?? 0) * 1000) : "");
    if (captured) set(this.clock, "title", utcTimeOfDay(captured));
    say(
      this.age,
      captured
        ? t("watch.age", { s: ((view.ageMs ?? 0) / 1000).toFixed(1).replace(".", lang() === "fr" ? "," : ".") })
        : "",
    );
    // Moves by a step with each report in which there were new pictures, and only then.
    if (captured && figures && figures.frames !== this.#seen) {
      this.#beats = (this.#beats + 1) % 4;
      set(this.beat, "data-step", String(this.#beats));
      this.#seen = figures.frames;
    }
  }
}
