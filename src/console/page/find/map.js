// The map: cameras and their directions, on a plain ground or on tiles, without internet.

import { h } from "/page/core/dom.js";
import { distanceText } from "/page/core/distance_text.js";
import { lang, t } from "/page/core/text.js";
import { cluster, distance, fit, metresPerPixel, project, roundLength, unproject } from "/page/find/geometry.js";
import { TileCache } from "/page/find/tiles.js";

const [LEAST_ZOOM, MOST_ZOOM] = [4, 19];
/** Cameras nearer to each other than this are one mark, in pixels. */
const CLUSTER = 26;
/** How far from a mark a click still means it, in pixels. */
const REACH = 14;
/** Longest side of a shape's polygon. */
const CORNERS = 256;

/**
 * @typedef {Camera & {position: Position, state: "watched"|"usable"|"blocked"|"unusable", marked: boolean, title: string}} Mark
 *   a camera on the map
 */
/** @typedef {Mark & {x: number, y: number}} Spot a mark, in pixels of the canvas */
/** @typedef {{items: Spot[], x: number, y: number}} Cluster marks that are drawn as one */
/** @typedef {CanvasRenderingContext2D} Paint */

/** A map of cameras. */
export class CameraMap {
  #ctx;
  #told;
  /** @type {Position} */
  #middle = [43.47, 5.17];
  #zoom = 12;
  /** @type {Mark[]} */
  #marks = [];
  /** @type {Cluster[]} */
  #clusters = [];
  /** @type {{kind: "polygon"|"circle", points: Position[]}|null} */
  #drawing = null;
  #scheduled = false;
  #tiles;
  #moved = false;
  /** @type {Record<string, string>} */
  #colours = {};
  /** The place that is marked. @type {Position|null} */
  place = null;
  /** The shape that was drawn. @type {Shape|null} */
  shape = null;

  /**
   * @param {Context} ctx
   * @param {{pick: (key: string, event: PointerEvent) => void, place: (position: Position) => void,
   *   shape: (shape: Shape) => void}} told is called for a camera, a place or a shape that is chosen
   */
  constructor(ctx, told) {
    this.#ctx = ctx;
    this.#told = told;
    this.canvas = h("canvas", { class: "map-canvas", tabindex: "0", role: "application", "data-testid": "map" });
    this.tip = h("p", { class: "map-tip small", hidden: true });
    this.credit = h("p", { class: "map-credit" });
    /**
     * @param {string} name
     * @param {string} sign
     * @param {() => void} act
     */
    const button = (name, sign, act) => h("button", { class: "icon", "data-map": name, on: { click: act } }, sign);
    this.buttons = [
      button("in", "+", () => this.zoomBy(1)),
      button("out", "−", () => this.zoomBy(-1)),
      button("all", "⤢", () => this.showAll()),
      button("polygon", "⬠", () => this.draw("polygon")),
      button("circle", "◯", () => this.draw("circle")),
    ];
    const tools = h("div", { class: "map-tools" }, ...this.buttons);
    this.element = h("div", { class: "map" }, this.canvas, tools, this.tip, this.credit);
    this.#tiles = new TileCache(ctx, () => this.redraw());
    this.#listen();
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  /** @param {Mark[]} marks */
  set marks(marks) {
    const isFirst = this.#marks.length === 0 && marks.length > 0;
    this.#marks = marks;
    if (isFirst && !this.#moved) this.showAll();
    this.redraw();
  }

  words() {
    this.canvas.setAttribute("aria-label", t("find.map.label"));
    for (const button of this.buttons) {
      button.title = t(`find.map.${button.dataset.map}`);
      button.setAttribute("aria-label", button.title);
    }
    this.redraw();
  }

  /**
   * @param {Position} position
   * @param {number} [zoom]
   */
  goTo(position, zoom = 16) {
    this.#moved = true;
    this.place = position;
    this.#middle = position;
    this.#zoom = Math.max(this.#zoom, zoom);
    this.redraw();
  }

  /**
   * Moves so that a position is in sight; stays where it is if it is.
   * @param {Position|null|undefined} position
   */
  follow(position) {
    if (!position) return;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [x, y] = project(position, this.#zoom);
    const [mx, my] = project(this.#middle, this.#zoom);
    if (Math.abs(x - mx) < width * 0.4 && Math.abs(y - my) < height * 0.4) return;
    this.#moved = true;
    this.#middle = position;
    this.redraw();
  }

  showAll() {
    const { width, height } = this.element.getBoundingClientRect();
    const { middle, zoom } = fit(
      this.#marks.map(({ position }) => position),
      width || 320,
      height || 240,
    );
    [this.#middle, this.#zoom] = [middle, zoom];
    this.redraw();
  }

  /**
   * @param {number} steps
   * @param {Point|null} [at] stays where it is
   */
  zoomBy(steps, at = null) {
    const zoom = Math.min(Math.max(this.#zoom + steps, LEAST_ZOOM), MOST_ZOOM);
    if (at !== null) {
      const fixed = this.#positionAt(at);
      const [x, y] = project(fixed, zoom);
      this.#middle = unproject(
        [x - at[0] + this.canvas.clientWidth / 2, y - at[1] + this.canvas.clientHeight / 2],
        zoom,
      );
    }
    this.#zoom = zoom;
    this.#moved = true;
    this.redraw();
  }

  /**
   * Draws a polygon or a circle with the next clicks.
   * @param {"polygon"|"circle"} kind
   */
  draw(kind) {
    this.#drawing = this.#drawing?.kind === kind ? null : { kind, points: [] };
    for (const button of this.buttons)
      button.setAttribute("aria-pressed", String(button.dataset.map === this.#drawing?.kind));
    this.canvas.classList.toggle("drawing", this.#drawing !== null);
    this.#say(this.#drawing === null ? null : t(`find.map.how_${kind}`));
    if (this.#drawing === null) this.shape = null;
    this.redraw();
  }

  #finish() {
    if (this.#drawing === null) return;
    const { kind, points } = this.#drawing;
    const [first, second] = points;
    if (first === undefined || second === undefined) return;
    /** @type {Shape} */
    const shape = kind === "circle" ? { circle: first, radius: distance(first, second) } : { polygon: points };
    this.draw(kind);
    this.shape = shape;
    this.#told.shape(shape);
    this.redraw();
  }

  #listen() {
    const { canvas } = this;
    /**
     * @param {MouseEvent} event
     * @returns {Point}
     */
    const at = (event) => [event.offsetX, event.offsetY];
    /** @type {{x: number, y: number, middle: Position, moved: boolean}|null} */
    let from = null;
    /** @type {Map<number, Point>} */
    const held = new Map();
    /**
     * @param {Point} point
     * @param {boolean} moved
     */
    const grasp = ([x, y], moved) => {
      from = { x, y, middle: this.#middle, moved };
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (held.size === 2) return;
      held.set(event.pointerId, at(event));
      // A second finger pinches: no click follows.
      grasp(at(event), held.size > 1);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (from === null) return this.#hover(at(event));
      if (!held.has(event.pointerId)) return;
      if (held.size === 2) return this.#pinch(held, event.pointerId, at(event));
      const [dx, dy] = [event.offsetX - from.x, event.offsetY - from.y];
      if (Math.hypot(dx, dy) > 4) from.moved = true;
      if (from.moved) this.#pan(from.middle, dx, dy);
    });
    /**
     * @param {PointerEvent} event
     * @param {boolean} isClick
     */
    const release = (event, isClick) => {
      if (!held.delete(event.pointerId)) return;
      if (isClick && held.size === 0 && !from?.moved) this.#click(at(event), event);
      // The remaining finger continues from its place.
      const [rest] = held.values();
      if (rest === undefined) from = null;
      else grasp(rest, true);
    };
    canvas.addEventListener("pointerup", (event) => release(event, true));
    canvas.addEventListener("pointercancel", (event) => release(event, false));
    canvas.addEventListener("pointerleave", () => {
      if (this.#drawing === null) this.#say(null);
    });
    canvas.addEventListener("dblclick", (event) => {
      if (this.#drawing?.kind === "polygon" && this.#drawing.points.length >= 3) this.#finish();
      else if (this.#drawing === null) this.zoomBy(1, at(event));
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.zoomBy(event.deltaY < 0 ? 0.5 : -0.5, at(event));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  /**
   * Zooms by how far two fingers move apart, about the middle between them.
   * @param {Map<number, Point>} held
   * @param {number} moved
   * @param {Point} point
   */
  #pinch(held, moved, point) {
    /** @returns {{apart: number, middle: Point}} */
    const spread = () => {
      const [[ax, ay], [bx, by]] = /** @type {[Point, Point]} */ ([...held.values()]);
      return { apart: Math.max(Math.hypot(ax - bx, ay - by), 1), middle: [(ax + bx) / 2, (ay + by) / 2] };
    };
    const before = spread();
    held.set(moved, point);
    const after = spread();
    this.#pan(this.#middle, after.middle[0] - before.middle[0], after.middle[1] - before.middle[1]);
    this.zoomBy(Math.log2(after.apart / before.apart), after.middle);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = 60;
    /** @type {Record<string, Point|undefined>} */
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const move = moves[event.key];
    if (move) this.#pan(this.#middle, ...move);
    else if (event.key === "+") this.zoomBy(1);
    else if (event.key === "-") this.zoomBy(-1);
    else if (event.key === "Escape" && this.#drawing !== null) this.draw(this.#drawing.kind);
    else if (event.key === "Enter" && this.#drawing?.kind === "polygon" && this.#drawing.points.length >= 3)
      this.#finish();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * @param {Position} middle
   * @param {number} dx
   * @param {number} dy
   */
  #pan(middle, dx, dy) {
    const [x, y] = project(middle, this.#zoom);
    this.#middle = unproject([x - dx, y - dy], this.#zoom);
    this.#moved = true;
    this.redraw();
  }

  /** @param {Point} point */
  #positionAt([x, y]) {
    const [mx, my] = project(this.#middle, this.#zoom);
    return unproject([mx + x - this.canvas.clientWidth / 2, my + y - this.canvas.clientHeight / 2], this.#zoom);
  }

  /** @param {Point} point */
  #nearest([x, y]) {
    const near = this.#clusters
      .map((one) => ({ one, away: Math.hypot(one.x - x, one.y - y) }))
      .filter(({ away }) => away <= REACH);
    return near.sort((a, b) => a.away - b.away)[0]?.one;
  }

  /** @param {Point} point */
  #hover(point) {
    if (this.#drawing !== null) return;
    const found = this.#nearest(point);
    this.canvas.classList.toggle("over", found !== undefined);
    this.#say(
      found === undefined
        ? null
        : found.items.length === 1
          ? found.items[0].title
          : t("find.map.cluster", { n: found.items.length }),
    );
  }

  /** @param {string|null} text */
  #say(text) {
    this.tip.hidden = text === null;
    if (text !== null && this.tip.textContent !== text) this.tip.textContent = text;
  }

  /**
   * @param {Point} point
   * @param {PointerEvent} event
   */
  #click(point, event) {
    if (this.#drawing !== null) {
      const corner = this.#positionAt(point);
      // The second half of a double click is no corner of its own.
      const last = this.#drawing.points.at(-1);
      const isNew = last === undefined || distance(last, corner) > metresPerPixel(corner[0], this.#zoom) * 3;
      if (isNew && this.#drawing.points.length < CORNERS) this.#drawing.points.push(corner);
      if (this.#drawing.kind === "circle" && this.#drawing.points.length === 2) this.#finish();
      return this.redraw();
    }
    const found = this.#nearest(point);
    if (found === undefined) return this.#told.place(this.#positionAt(point));
    if (found.items.length === 1) return this.#told.pick(found.items[0].key, event);
    this.#middle = this.#positionAt([found.x, found.y]);
    this.zoomBy(2);
  }

  redraw() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#paint();
    });
  }

  #paint() {
    const { canvas } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (width === 0 || height === 0) return;
    const scale = globalThis.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    }
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ground", "line", "text", "text-quiet", "accent", "live", "late", "bad", "panel"])
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    const paint = canvas.getContext("2d");
    if (paint === null) return;
    paint.setTransform(scale, 0, 0, scale, 0, 0);
    paint.fillStyle = this.#colours.ground;
    paint.fillRect(0, 0, width, height);
    const [mx, my] = project(this.#middle, this.#zoom);
    /** @type {Point} */
    const origin = [mx - width / 2, my - height / 2];
    this.#ground(paint, origin, width, height);
    const points = this.#marks
      .map((mark) => {
        const [x, y] = project(mark.position, this.#zoom);
        return { ...mark, x: x - origin[0], y: y - origin[1] };
      })
      .filter(({ x, y }) => x > -80 && y > -80 && x < width + 80 && y < height + 80);
    this.#clusters =
      this.#zoom >= 17 ? points.map((point) => ({ items: [point], x: point.x, y: point.y })) : cluster(points, CLUSTER);
    this.#shapes(paint, origin);
    for (const one of this.#clusters) this.#mark(paint, one);
    this.#scale(paint, height);
  }

  /**
   * @param {Paint} paint
   * @param {Point} origin
   * @param {number} width
   * @param {number} height
   */
  #ground(paint, origin, width, height) {
    const source = this.#ctx.store.get("console")?.tiles ?? null;
    this.credit.textContent = source?.attribution ?? "";
    if (source !== null) return this.#tiles.paint(paint, { origin, width, height, zoom: this.#zoom, source });
    // A grid of lines some 90 pixels apart.
    const degrees = (360 / 2 ** this.#zoom) * (90 / 256);
    const step = roundLength(degrees * 2);
    const [north, west] = unproject(origin, this.#zoom);
    const [south, east] = unproject([origin[0] + width, origin[1] + height], this.#zoom);
    paint.strokeStyle = this.#colours.line;
    paint.lineWidth = 0.5;
    paint.beginPath();
    for (let at = Math.ceil(west / step) * step; at < east; at += step) {
      const x = project([north, at], this.#zoom)[0] - origin[0];
      paint.moveTo(x, 0);
      paint.lineTo(x, height);
    }
    for (let at = Math.ceil(south / step) * step; at < north; at += step) {
      const y = project([at, west], this.#zoom)[1] - origin[1];
      paint.moveTo(0, y);
      paint.lineTo(width, y);
    }
    paint.stroke();
  }

  /**
   * @param {Paint} paint
   * @param {Cluster} cluster
   */
  #mark(paint, { items, x, y }) {
    const colours = {
      watched: this.#colours.accent,
      usable: this.#colours.live,
      blocked: this.#colours.late,
      unusable: this.#colours.bad,
    };
    const worst = items.some(({ state }) => state === "watched")
      ? "watched"
      : items.some(({ state }) => state === "usable")
        ? "usable"
        : items[0].state;
    paint.fillStyle = colours[worst];
    if (items.length > 1) {
      paint.beginPath();
      paint.arc(x, y, 11, 0, 7);
      paint.fill();
      this.#text(paint, String(items.length), x, y, this.#colours.ground, true);
      return;
    }
    const [one] = items;
    if (one.bearing !== null && one.bearing !== undefined && this.#zoom > 12) {
      const [middle, half] = [((one.bearing - 90) * Math.PI) / 180, (((one.field_of_view ?? 60) / 2) * Math.PI) / 180];
      paint.globalAlpha = 0.3;
      paint.beginPath();
      paint.moveTo(x, y);
      paint.arc(x, y, 34, middle - half, middle + half);
      paint.fill();
      paint.globalAlpha = 1;
    }
    // A shape for each state: colour alone says nothing to some.
    paint.beginPath();
    if (one.state === "unusable") {
      paint.rect(x - 5, y - 5, 10, 10);
    } else if (one.state === "blocked") {
      paint.moveTo(x, y - 7);
      paint.lineTo(x + 7, y + 5);
      paint.lineTo(x - 7, y + 5);
    } else paint.arc(x, y, one.state === "watched" ? 8 : 6, 0, 7);
    paint.fill();
    paint.lineWidth = one.marked ? 3 : 1.5;
    paint.strokeStyle = one.marked ? this.#colours.text : this.#colours.ground;
    paint.stroke();
    if (this.#zoom >= 15) this.#text(paint, one.name, x, y + 16, this.#colours.text, false);
  }

  /**
   * @param {Paint} paint
   * @param {string} text
   * @param {number} x
   * @param {number} y
   * @param {string} colour
   * @param {boolean} bold
   */
  #text(paint, text, x, y, colour, bold) {
    paint.font = `${bold ? "600 " : ""}11px ${getComputedStyle(document.body).fontFamily}`;
    paint.textAlign = "center";
    paint.textBaseline = "middle";
    if (!bold) {
      paint.lineWidth = 3;
      paint.strokeStyle = this.#colours.ground;
      paint.strokeText(text, x, y);
    }
    paint.fillStyle = colour;
    paint.fillText(text, x, y);
  }

  /**
   * @param {Paint} paint
   * @param {Point} origin
   */
  #shapes(paint, origin) {
    /**
     * @param {Position} position
     * @returns {Point}
     */
    const at = (position) => {
      const [x, y] = project(position, this.#zoom);
      return [x - origin[0], y - origin[1]];
    };
    paint.strokeStyle = this.#colours.accent;
    paint.fillStyle = this.#colours.accent;
    paint.lineWidth = 2;
    if (this.place) {
      const [x, y] = at(this.place);
      paint.beginPath();
      paint.arc(x, y, 10, 0, 7);
      paint.moveTo(x - 15, y);
      paint.lineTo(x + 15, y);
      paint.moveTo(x, y - 15);
      paint.lineTo(x, y + 15);
      paint.stroke();
    }
    paint.beginPath();
    const { shape } = this;
    if (shape && "circle" in shape) {
      const [x, y] = at(shape.circle);
      paint.arc(x, y, shape.radius / metresPerPixel(shape.circle[0], this.#zoom), 0, 7);
    } else {
      const corners = this.#drawing?.points ?? shape?.polygon ?? [];
      corners.map(at).forEach(([x, y], index) => (index === 0 ? paint.moveTo(x, y) : paint.lineTo(x, y)));
    }
    if (this.#drawing === null) paint.closePath();
    paint.stroke();
    for (const corner of this.#drawing?.points ?? []) {
      const [x, y] = at(corner);
      paint.fillRect(x - 3, y - 3, 6, 6);
    }
  }

  /**
   * @param {Paint} paint
   * @param {number} height
   */
  #scale(paint, height) {
    const perPixel = metresPerPixel(this.#middle[0], this.#zoom);
    const length = roundLength(perPixel * 90);
    const pixels = length / perPixel;
    paint.strokeStyle = this.#colours["text-quiet"];
    paint.lineWidth = 2;
    paint.beginPath();
    paint.moveTo(10, height - 16);
    paint.lineTo(10, height - 10);
    paint.lineTo(10 + pixels, height - 10);
    paint.lineTo(10 + pixels, height - 16);
    paint.stroke();
    this.#text(paint, distanceText(length, lang()), 10 + pixels / 2, height - 20, this.#colours.text, false);
  }
}
