// The neighbours of a camera at the edges of its picture: where each lies, whose it is, and
// whether it may be asked for.

import { distanceText } from "/page/core/distance_text.js";
import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { splitKey } from "/page/state/rules.js";
import { refill, steady } from "/page/widget/redraw.js";

/** Neighbours at one edge. */
const AT_EDGE = 2;
/** What was loaded counts for this long, in ms. */
const LIFE = 60_000;

/** @typedef {"ahead"|"right"|"behind"|"left"} Edge */
/**
 * @typedef {{key: string, name: string, commune: string, away: string, state: string, why: string}} Next
 *   a neighbour in words
 */

/** @type {Record<Edge, string>} */
const ARROWS = { ahead: "↑", right: "→", behind: "↓", left: "←" };

/**
 * The edge of the picture towards which a direction lies.
 * @param {number} direction degrees from north
 * @param {number|null|undefined} bearing of the camera; north is up where it is not known
 * @returns {Edge}
 */
export function edgeOf(direction, bearing) {
  const turned = (direction - (bearing ?? 0) + 720) % 360;
  return /** @type {const} */ (["ahead", "right", "behind", "left"])[Math.round(turned / 90) % 4];
}

/**
 * The nearest neighbours of each edge.
 * @param {CameraAnswer[]} found the nearest first
 * @param {number|null|undefined} bearing
 */
export function byEdge(found, bearing) {
  /** @type {Map<Edge, CameraAnswer[]>} */
  const edges = new Map();
  for (const camera of found) {
    if (camera.direction === undefined) continue;
    const edge = edgeOf(camera.direction, bearing);
    const known = edges.get(edge) ?? [];
    if (known.length < AT_EDGE) edges.set(edge, [...known, camera]);
  }
  return edges;
}

/** Loads neighbours and draws them. */
export class Nearby {
  #ctx;
  #told;
  /** @type {Map<string, {at: number, found: CameraAnswer[]|null}>} */
  #known = new Map();
  /** What each place shows, so that nothing is drawn twice. @type {WeakMap<HTMLElement, string>} */
  #drawn = new WeakMap();

  /**
   * @param {DeskContext} ctx
   * @param {{go: (key: string) => void, loaded: () => void}} told is called with the one that was pressed
   */
  constructor(ctx, told) {
    this.#ctx = ctx;
    this.#told = told;
  }

  /**
   * Shows the neighbours of a camera in `place`; none of `null`.
   * @param {HTMLElement} place
   * @param {string|null} key
   */
  show(place, key) {
    const found = key === null ? [] : this.#load(key);
    const bearing = this.#ctx.store.get("cameras").get(key ?? "")?.bearing;
    const rows = [...byEdge(found, bearing)].map(([edge, cameras]) => ({
      edge,
      cameras: cameras.map((one) => this.#of(one, splitKey(key ?? "").commune)),
    }));
    const drawn = JSON.stringify([rows, lang()]);
    if ((this.#drawn.get(place) ?? "[[],null]") === drawn || (rows.length === 0 && !this.#drawn.has(place))) return;
    this.#drawn.set(place, drawn);
    steady(() => this.#draw(place, rows))();
  }

  /** @param {string} key */
  #load(key) {
    const known = this.#known.get(key);
    if (known !== undefined && performance.now() - known.at < LIFE) return known.found ?? [];
    const kept = { at: performance.now(), found: known?.found ?? null };
    this.#known.set(key, kept);
    this.#ctx.api.get(`cameras?neighbours=${key}`).then(
      (found) => {
        kept.found = found;
        this.#told.loaded();
      },
      () => {
        // Asked for again after its time.
      },
    );
    return kept.found ?? [];
  }

  /**
   * @param {CameraAnswer} camera
   * @param {string} own commune of the picture
   * @returns {Next}
   */
  #of(camera, own) {
    const { store, desk } = this.#ctx;
    const key = `${camera.commune}/${camera.camera}`;
    const isWatched = desk.isWatched(key);
    const obstacle = isWatched ? null : desk.mayAsk(key);
    const needs = isWatched || obstacle !== null ? null : desk.approvalNeeded(key);
    const [offered] = isWatched ? [] : desk.otherGrounds(key);
    return {
      key,
      name: camera.name,
      // The next commune is named: crossing into it changes whom one asks.
      commune:
        camera.commune === own
          ? ""
          : (camera.commune_name ?? store.get("communes").get(camera.commune)?.name ?? camera.commune),
      away: camera.distance === undefined ? "" : distanceText(camera.distance, lang()),
      state: isWatched ? "watched" : obstacle === null ? "usable" : "blocked",
      why:
        offered !== undefined
          ? t("watch.next.grounds", { grounds: offered.label })
          : obstacle !== null
            ? t(obstacle.key, obstacle.params)
            : needs === null
              ? ""
              : t("watch.next.approval"),
    };
  }

  /**
   * @param {HTMLElement} place
   * @param {{edge: Edge, cameras: Next[]}[]} rows
   */
  #draw(place, rows) {
    refill(
      place,
      ...rows.map(({ edge, cameras }) =>
        h(
          "div",
          { class: `tile-edge ${edge}` },
          ...cameras.map(({ key, name, commune, away, state, why }) =>
            h(
              "button",
              {
                class: "tile-next",
                "data-testid": "next-camera",
                "data-camera": key,
                "data-state": state,
                "data-focus": `next-${key}`,
                title: [name, commune, why].filter(Boolean).join("\n"),
                on: { click: () => this.#told.go(key) },
              },
              h("span", { "aria-hidden": "true", text: ARROWS[edge] }),
              h("span", { class: "visually-hidden", text: t(`watch.next.${edge}`) }),
              h("span", { class: "tile-next-name", text: name }),
              h("span", { class: "tile-next-side", text: [commune, away].filter(Boolean).join(" · ") }),
              why ? h("span", { class: "tile-next-why", text: why }) : null,
            ),
          ),
        ),
      ),
    );
  }
}
