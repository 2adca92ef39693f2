// The list of cameras and places that were found.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { isAvailable, realObstacle, sinceText } from "/page/find/availability.js";
import { arrow, distanceText } from "/page/find/geometry.js";

/**
 * @typedef {{place: Place} | {camera: import("/page/find/lookup.js").FoundCamera}} Result
 */

/**
 * @typedef {object} ListListeners
 * @property {(key: string) => void} choose a camera
 * @property {(key: string) => void} toggle its mark
 * @property {(place: Place) => void} go to a place
 * @property {() => void} leave the list upwards
 */

/** A list whose rows are reached by arrows and digits. */
export class ResultList {
  #ctx;
  #on;
  element = h("ul", { id: "find-results", class: "results" });

  /**
   * @param {DeskContext} ctx
   * @param {ListListeners} on
   */
  constructor(ctx, on) {
    this.#ctx = ctx;
    this.#on = on;
  }

  /** Words that change with the language alone. */
  words() {
    this.element.setAttribute("aria-label", t("find.results"));
  }

  /** The query that the list answers, for tests; empty where it answers none. @param {string} text */
  set query(text) {
    this.element.dataset.query = text;
  }

  focus() {
    this.#buttons()[0]?.focus();
  }

  /**
   * Shows results; the row with the focus keeps it.
   * @param {Result[]} results
   * @param {{marked: Set<string>, watched: Set<string>}} of cameras, by key
   */
  show(results, { marked, watched }) {
    const focused = this.#buttons().findIndex((button) => button === document.activeElement);
    const rows = results.map((result, index) => {
      if ("place" in result) return this.#placeRow(result.place, index);
      // The newest view of it, with the distance of this look-up.
      const { away, towards, key } = result.camera;
      const known = this.#ctx.store.get("cameras").get(key);
      return this.#cameraRow(
        known ? { ...known, away, towards } : result.camera,
        index,
        marked.has(key),
        watched.has(key),
      );
    });
    this.element.replaceChildren(...rows);
    this.#buttons()[focused]?.focus();
  }

  #buttons() {
    return [...this.element.querySelectorAll("button")];
  }

  /**
   * @param {Place} place
   * @param {number} index
   */
  #placeRow(place, index) {
    /** @param {KeyboardEvent} event */
    const keydown = (event) => this.#key(event, index, null);
    return h(
      "li",
      {},
      h(
        "button",
        {
          class: "result plain",
          tabindex: index === 0 ? "0" : "-1",
          on: { click: () => this.#on.go(place), keydown },
        },
        h("span", { class: "result-mark", "aria-hidden": "true" }, "⌖"),
        h("span", { class: "result-name", text: place.label }),
        h("span", { class: "result-side quiet small", text: t("find.place") }),
      ),
    );
  }

  /**
   * @param {import("/page/find/lookup.js").FoundCamera} camera
   * @param {number} index
   * @param {boolean} isMarked
   * @param {boolean} isWatched
   */
  #cameraRow(camera, index, isMarked, isWatched) {
    const { key } = camera;
    const { store, desk } = this.#ctx;
    const obstacle = isWatched ? null : realObstacle(desk.mayAsk(key));
    const why = obstacle === null ? "" : t(obstacle.key, obstacle.params) + sinceText(store, camera);
    const isBlocked = why !== "";
    const sign = isMarked ? "☑" : isWatched ? "▶" : !isBlocked ? "●" : isAvailable(this.#ctx, camera) ? "▲" : "■";
    const side = camera.away === undefined ? "" : `${arrow(camera.towards ?? 0)} ${distanceText(camera.away, lang())}`;
    /** @param {MouseEvent} event */
    const click = (event) => (event.shiftKey || event.ctrlKey ? this.#on.toggle(key) : this.#on.choose(key));
    /** @param {KeyboardEvent} event */
    const keydown = (event) => this.#key(event, index, key);
    return h(
      "li",
      { class: isMarked ? "marked" : "" },
      h(
        "button",
        {
          class: "result plain",
          tabindex: index === 0 ? "0" : "-1",
          "aria-pressed": isMarked ? "true" : null,
          "data-testid": "camera-result",
          "data-camera": key,
          "data-state": isWatched ? "watched" : isBlocked ? "blocked" : "usable",
          on: { click, keydown },
        },
        h("span", { class: "result-mark", "aria-hidden": "true" }, sign),
        h(
          "span",
          { class: "result-name" },
          camera.name,
          h("span", { class: "quiet small" }, ` ${camera.commune_name ?? camera.commune}`),
        ),
        h("span", { class: "result-side small", text: isWatched ? t("find.watched") : side }),
        isBlocked ? h("span", { class: "result-why small", text: why }) : null,
      ),
    );
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} index
   * @param {string|null} key of the row's camera
   */
  #key(event, index, key) {
    const rows = this.#buttons();
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "ArrowDown") rows[Math.min(index + 1, rows.length - 1)]?.focus();
    else if (event.key === "ArrowUp" && index === 0) this.#on.leave();
    else if (event.key === "ArrowUp") rows[index - 1]?.focus();
    else if (event.key === " " && key !== null) this.#on.toggle(key);
    else if (/^[1-9]$/.test(event.key)) rows[Number(event.key) - 1]?.click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
