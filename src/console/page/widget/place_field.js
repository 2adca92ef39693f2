// A field for an address or a position, with what the receiver knows of it.

import { positionText, readPosition } from "/page/core/coordinates.js";
import { fill, h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { field } from "/page/widget/dialog.js";

/** Pause after a key before the text is looked up, in ms. */
const PAUSE = 150;
/** Addresses offered. */
const MOST = 5;

/** @typedef {{at: Position, place: string|null}|null} Found a place with its address; null: none given */

/**
 * The field. `found` gives the place of what it holds: the one that was chosen, else the first that
 * the receiver knows; throws a `RangeError` where there is none.
 * @param {Pick<Context, "api">} ctx
 * @param {{label: string, hint: string, given: Found, text?: string}} of `text`: an address to look up
 */
export function placeField({ api }, { label, hint, given, text: written = "" }) {
  let chosen = given;
  let asked = 0;
  /** @type {number|undefined} */
  let timer;
  const list = h("ul", { class: "place-list", hidden: true, "aria-label": label });
  const input = h("input", {
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 128,
    "data-testid": "incident-place",
    value: given === null ? written : (given.place ?? positionText(given.at)),
    on: { input: () => typed(), keydown: (event) => key(event) },
  });
  const made = field({ label, hint, input });
  made.element.append(list);

  /** @param {string} text */
  const lookUp = async (text) => {
    /** @type {{places: Place[]}} */
    const { places } = await api.get(`places?q=${encodeURIComponent(text)}&limit=${MOST}`);
    return places;
  };
  const typed = () => {
    chosen = null;
    made.say(null);
    clearTimeout(timer);
    const text = input.value.trim();
    asked += 1;
    const own = asked;
    if (text === "" || readPosition(text) !== null) return show([]);
    timer = setTimeout(() => {
      lookUp(text).then(
        (places) => own === asked && show(places),
        () => show([]),
      );
    }, PAUSE);
  };
  /** @param {Place[]} places */
  const show = (places) => {
    list.hidden = places.length === 0;
    fill(
      list,
      ...places.map((place) =>
        h("li", {}, h("button", { type: "button", class: "plain", on: { click: () => take(place) } }, place.label)),
      ),
    );
  };
  /** @param {Place} place */
  const take = ({ label: text, position }) => {
    chosen = { at: position, place: text };
    input.value = text;
    show([]);
    input.focus();
  };
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    if (event.key === "ArrowDown" && !list.hidden) list.querySelector("button")?.focus();
    else if (event.key === "Escape" && !list.hidden) show([]);
    else return;
    event.preventDefault();
  };
  list.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")];
    const at = buttons.findIndex((button) => button === document.activeElement);
    if (event.key === "ArrowDown") buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
    else if (event.key === "ArrowUp") (at > 0 ? buttons[at - 1] : input).focus();
    else return;
    event.preventDefault();
  });

  /** @returns {Promise<Found>} */
  const found = async () => {
    const text = input.value.trim();
    if (text === "" || chosen !== null) return text === "" ? null : chosen;
    const at = readPosition(text);
    if (at !== null) return { at, place: null };
    const [first] = await lookUp(text);
    if (first === undefined) throw new RangeError(t("desk.open.place_unknown"));
    return { at: first.position, place: first.label };
  };
  return { ...made, found };
}
