// The list of cameras and places that were found.

import { arrow, distanceText } from "/page/core/distance_text.js";
import { h } from "/page/core/dom.js";
import { digitOf } from "/page/core/shortcuts.js";
import { lang, t } from "/page/core/text.js";
import { isAvailable, realObstacle, silenceText, sinceText } from "/page/find/availability.js";
import { refill, steady } from "/page/widget/redraw.js";

/**
 * @typedef {{place: Place} | {camera: import("/page/find/lookup.js").FoundCamera}} Result
 */

/**
 * @typedef {object} ListListeners
 * @property {(key: string, grounds?: string) => void} choose a camera, under these grounds
 * @property {(key: string) => void} toggle its mark
 * @property {(place: Place) => void} go to a place
 * @property {() => void} leave the list upwards
 */

/**
 * @typedef {object} Shown all that the list shows
 * @property {Result[]} results
 * @property {Set<string>} marked cameras, by key
 * @property {Set<string>} watched cameras that are in the mosaic
 * @property {boolean} numbered whether digits choose rows: they are then drawn
 */

/** Rows that a digit can choose. */
const DIGITS = 9;

/** The camera that each gateway draws itself, for drills. */
const TEST_CAMERA = "fanal-test";

/** A list whose rows are reached by arrows, and by the digits that are drawn on them. */
export class ResultList {
  #ctx;
  #on;
  /** @type {Shown} */
  #shown = { results: [], marked: new Set(), watched: new Set(), numbered: false };
  #draw = steady(() => this.#fill());
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
    this.#rows()[0]?.focus();
  }

  /**
   * Shows results. A press that has begun is not lost, and the row with the focus keeps it.
   * @param {Shown} shown
   */
  show(shown) {
    this.#shown = shown;
    this.#draw();
  }

  #fill() {
    const { results, marked, watched, numbered } = this.#shown;
    this.element.classList.toggle("numbered", numbered);
    const rows = results.map((result, index) => {
      if ("place" in result) return this.#placeRow(result.place, index);
      // The newest view of it, with the distance of this look-up.
      const { away, towards, key } = result.camera;
      const known = this.#ctx.store.get("cameras").get(key);
      return this.#cameraRow(known ? { ...known, away, towards } : result.camera, index, {
        isMarked: marked.has(key),
        isWatched: watched.has(key),
      });
    });
    refill(this.element, ...rows);
  }

  /** @returns {HTMLButtonElement[]} */
  #rows() {
    return [.../** @type {NodeListOf<HTMLButtonElement>} */ (this.element.querySelectorAll("button.result"))];
  }

  /** @param {number} index */
  #digit(index) {
    const isDrawn = this.#shown.numbered && index < DIGITS;
    return isDrawn ? h("kbd", { class: "result-digit", text: index + 1 }) : null;
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
          "data-focus": `place-${place.label}`,
          "data-testid": "place-result",
          on: { click: () => this.#on.go(place), keydown },
        },
        h("span", { class: "result-mark result-place", "aria-hidden": "true" }),
        h("span", { class: "result-name", text: place.label }),
        h("span", { class: "result-side quiet small", text: t("find.place") }),
      ),
    );
  }

  /**
   * @param {import("/page/find/lookup.js").FoundCamera} camera
   * @param {number} index
   * @param {{isMarked: boolean, isWatched: boolean}} of
   */
  #cameraRow(camera, index, { isMarked, isWatched }) {
    const { key } = camera;
    const { desk } = this.#ctx;
    const obstacle = isWatched ? null : realObstacle(desk.mayAsk(key));
    const isBlocked = obstacle !== null;
    const why = isBlocked
      ? t(obstacle.key, obstacle.params) + sinceText(this.#ctx, camera)
      : silenceText(this.#ctx, camera);
    const needs = isWatched || isBlocked ? null : desk.approvalNeeded(key);
    const sign = isMarked ? "☑" : isWatched ? "▶" : !isBlocked ? "●" : isAvailable(this.#ctx, camera) ? "▲" : "■";
    const state = isWatched ? "watched" : isBlocked ? "blocked" : "usable";
    const away = camera.away === undefined ? "" : `${arrow(camera.towards ?? 0)} ${distanceText(camera.away, lang())}`;
    const side = [isWatched ? t("find.watched") : "", away].filter(Boolean).join(" ");
    /** @param {MouseEvent} event */
    const click = (event) => (event.shiftKey || event.ctrlKey ? this.#on.toggle(key) : this.#on.choose(key));
    /** @param {KeyboardEvent} event */
    const keydown = (event) => this.#key(event, index, key);
    const offers = isWatched ? [] : desk.otherGrounds(key);
    const isTest = camera.camera === TEST_CAMERA;
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
          "data-state": state,
          "data-focus": `camera-${key}`,
          on: { click, keydown },
        },
        h("span", { class: "result-mark", "aria-hidden": "true" }, sign),
        h(
          "span",
          { class: "result-name" },
          this.#digit(index),
          camera.name,
          h("span", { class: "quiet small" }, ` ${camera.commune_name ?? camera.commune}`),
          h("span", { class: "visually-hidden" }, `, ${t(`find.state.${state}`)}`),
        ),
        h("span", { class: "result-side small", text: side }),
        why ? h("span", { class: "result-why small", text: why }) : null,
        needs === null ? null : h("span", { class: "result-why small", text: t("find.approval", needs) }),
        !isWatched && !isBlocked && camera.failed
          ? h("span", { class: "result-why small", text: t("find.failed") })
          : null,
        isTest ? h("span", { class: "result-side quiet small", text: t("find.test") }) : null,
      ),
      offers.length === 0
        ? null
        : h(
            "div",
            { class: "result-offers small" },
            h("span", { class: "quiet", text: t("find.other_grounds") }),
            ...offers.map(({ id, label }) =>
              h(
                "button",
                {
                  "data-testid": "ask-grounds",
                  "data-camera": key,
                  "data-grounds": id,
                  "data-focus": `grounds-${id}-${key}`,
                  "aria-label": `${camera.name} : ${t("desk.grounds.ask", { grounds: label })}`,
                  on: { click: () => this.#on.choose(key, id) },
                },
                label,
              ),
            ),
          ),
    );
  }

  /**
   * @param {KeyboardEvent} event
   * @param {number} index
   * @param {string|null} key of the row's camera
   */
  #key(event, index, key) {
    const rows = this.#rows();
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const digit = digitOf(event);
    if (event.key === "ArrowDown") rows[Math.min(index + 1, rows.length - 1)]?.focus();
    else if (event.key === "ArrowUp" && index === 0) this.#on.leave();
    else if (event.key === "ArrowUp") rows[index - 1]?.focus();
    else if (event.key === " " && key !== null) this.#on.toggle(key);
    // A digit means a row only where it is drawn on it; else it is that of a tile.
    else if (digit !== null && digit > 0 && this.#shown.numbered) {
      if (event.repeat) return;
      rows[digit - 1]?.click();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
