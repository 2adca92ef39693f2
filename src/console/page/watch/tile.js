// One camera's tile: its picture, what it is, how old it is, and what can be done with it.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { countdown, timeOfDay, utcTimeOfDay } from "/page/core/time_text.js";
import { isPictured } from "/page/watch/tile_state.js";
import { codecName, panned, zoomed } from "/page/watch/units.js";

const WHOLE = { zoom: 1, x: 0.5, y: 0.5 };
const ZOOM_STEP = 1.25;
/** Height of the lines above and below the picture, in CSS pixels. */
const LINES = 52;

/** Sets text only where it differs: a change costs a layout. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function set(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A tile; `mosaic` is who shows it and does what its buttons say. */
export class Tile {
  constructor(key, mosaic) {
    this.key = key;
    this.mosaic = mosaic;
    this.view = WHOLE;
    this.canvas = h("canvas", { width: 640, height: 360, "aria-hidden": "true" });
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
    this.buttons = {};
    const button = (name, sign, act) => {
      this.buttons[name] = h(
        "button",
        {
          class: "plain icon",
          "data-testid": `tile-${name}`,
          on: {
            click: (event) => {
              event.stopPropagation();
              act();
            },
          },
        },
        sign,
      );
      return this.buttons[name];
    };
    this.picture = h(
      "div",
      { class: "tile-picture" },
      this.canvas,
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
      h("div", { class: "tile-middle" }, this.word, this.hint, this.address, this.url),
      h(
        "figcaption",
        { class: "tile-top" },
        h("span", { class: "tile-dot", "aria-hidden": "true" }),
        this.name,
        this.commune,
        h("span", { class: "grow" }),
        this.profile,
        button("focus", "⤢", () => mosaic.toggleFocus(key)),
        button("snapshot", "◉", () => mosaic.snapshot(key)),
        button("bookmark", "⚑", () => mosaic.bookmark(key)),
        button("close", "✕", () => mosaic.removeTile(key)),
      ),
      h("div", { class: "tile-bottom" }, this.beat, this.clock, this.age, h("span", { class: "grow" }), this.left),
    );
    this.#listen();
    this.words();
  }

  #listen() {
    const { element, picture, mosaic, key } = this;
    element.addEventListener("dblclick", () => mosaic.toggleFocus(key));
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
      const move = ({ movementX, movementY }) =>
        this.pan(-movementX / picture.clientWidth, -movementY / picture.clientHeight);
      picture.addEventListener("pointermove", move);
      picture.addEventListener("lostpointercapture", () => picture.removeEventListener("pointermove", move), {
        once: true,
      });
    });
  }

  get isFocused() {
    return this.element.classList.contains("focused");
  }

  zoom(factor, px, py) {
    this.#look(factor === 0 ? WHOLE : zoomed(this.view, factor, px, py));
  }

  pan(dx, dy) {
    this.#look(panned(this.view, dx, dy));
  }

  #look(view) {
    this.view = view;
    this.element.classList.toggle("zoomed", view.zoom > 1);
    this.mosaic.live.view(this.key, view);
  }

  /** Its rectangle in the mosaic. */
  place({ left, top, width, height }, isFocused) {
    Object.assign(this.element.style, {
      left: `${left}px`,
      top: `${top}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
    this.element.classList.toggle("focused", isFocused);
    this.element.classList.toggle("tight", width < 260);
    if (!isFocused && this.view.zoom !== 1) this.zoom(0);
    set(this.buttons.focus, "aria-pressed", String(isFocused));
    const scale = globalThis.devicePixelRatio || 1;
    this.mosaic.live.size(this.key, Math.round(width * scale), Math.round(Math.max(1, height - LINES) * scale));
  }

  /** Words that change with the language alone. */
  words() {
    for (const name of ["focus", "bookmark", "close"]) {
      set(this.buttons[name], "aria-label", t(`watch.tile.${name}`));
      set(this.buttons[name], "title", t(`watch.tile.${name}`));
    }
    say(this.url, t("watch.tile.copy_url"));
  }

  /** Shows what is so now. */
  show({ camera, commune, view, figures, entry, codec, leftMs, snapshot, waitMs, reason }) {
    const { element } = this;
    say(this.name, camera?.name ?? this.key.split("/")[1]);
    say(this.commune, commune?.name ?? this.key.split("/")[0]);
    set(element, "data-state", view.state);
    set(element, "data-frames", String(figures?.frames ?? 0));
    set(element, "data-dropped", String(figures?.dropped ?? 0));
    say(this.profile, entry && isPictured(view.state) ? t(`watch.profile.${entry.profile}`) : "");
    if (entry) set(this.profile, "title", entry.profile_cause ? t(`watch.cause.${entry.profile_cause}`) : "");
    const seconds = Math.floor((view.silentMs ?? 0) / 1000);
    const params = { s: seconds, codec: codecName(codec ?? ""), left: countdown(waitMs ?? 0) };
    say(this.word, view.state === "live" ? "" : t(`watch.state.${view.state}`, params));
    say(this.hint, reason);
    const address = view.state === "unsupported" ? (entry?.rtsp ?? "") : "";
    this.url.hidden = address === "";
    this.address.hidden = address === "";
    say(this.address, address);
    this.#times(view, figures);
    say(this.left, leftMs === null ? "" : countdown(leftMs));
    this.left.classList.toggle("soon", leftMs !== null && leftMs < 120_000);
    // Not `disabled`: why it can't be used must be reachable.
    set(this.buttons.snapshot, "aria-disabled", String(!snapshot.allowed || !isPictured(view.state)));
    set(this.buttons.snapshot, "aria-label", snapshot.text);
    set(this.buttons.snapshot, "title", snapshot.text);
    const label = [this.name.textContent, this.commune.textContent, t(`watch.state.${view.state}`, params)].join(", ");
    // The seconds of a frozen picture would be read out anew each time.
    if (this.spoken !== `${view.state}${lang()}${this.name.textContent}`) {
      this.spoken = `${view.state}${lang()}${this.name.textContent}`;
      set(element, "aria-label", label);
    }
  }

  #times(view, figures) {
    const pictured = isPictured(view.state) && figures?.captured;
    say(this.clock, pictured ? timeOfDay(figures.captured - (view.clockOffset ?? 0) * 1000) : "");
    if (pictured) set(this.clock, "title", utcTimeOfDay(figures.captured));
    say(
      this.age,
      pictured
        ? t("watch.age", { s: ((view.ageMs ?? 0) / 1000).toFixed(1).replace(".", lang() === "fr" ? "," : ".") })
        : "",
    );
    // Moves by a step with each report in which there were new pictures, and only then.
    if (pictured && figures.frames !== this.seen) {
      this.beats = ((this.beats ?? 0) + 1) % 4;
      set(this.beat, "data-step", String(this.beats));
      this.seen = figures.frames;
    }
  }
}
