// What is relayed although nobody has looked at it here for a while: offered for release.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { refill, steady } from "/page/widget/redraw.js";
import { cameraName } from "/page/state/names.js";
import { isMine } from "/page/state/rules.js";

/** Not looked at for this long, in ms. */
const LONG = 600_000;
/** Between two looks, in ms. */
const LOOK = 5_000;
/** Names in the offer. */
const NAMED = 3;

/**
 * The signer's cameras of this page's own requests: a person who watches by a player asked by another way.
 * @param {PageStore} store
 * @returns {{grant: string, key: string}[]}
 */
function ownCameras(store) {
  const asked = new Set([...store.get("incidents").values()].flatMap((incident) => [...incident.asked]));
  return [...store.get("grants").values()]
    .filter((grant) => !grant.ended && asked.has(grant.grant) && isMine(grant, store.get("me")))
    .flatMap((grant) =>
      grant.granted
        .filter(({ state }) => state !== "ended")
        .map(({ camera }) => ({ grant: grant.grant, key: `${grant.commune}/${camera}` })),
    );
}

/** Since when cameras are not looked at. Pure. */
export class Unwatched {
  /** @type {Map<string, number>} */
  #since = new Map();

  /**
   * Those that nobody has looked at for long.
   * @param {string[]} keys that are relayed
   * @param {(key: string) => boolean} isWatched
   * @param {number} now ms
   */
  look(keys, isWatched, now) {
    for (const key of this.#since.keys()) if (!keys.includes(key)) this.#since.delete(key);
    for (const key of keys) if (isWatched(key) || !this.#since.has(key)) this.#since.set(key, now);
    return keys.filter((key) => now - (this.#since.get(key) ?? now) >= LONG);
  }

  /**
   * They are kept: nothing is offered for as long again.
   * @param {number} now
   */
  keep(now) {
    for (const key of this.#since.keys()) this.#since.set(key, now);
  }
}

/**
 * The offer; empty while everything is watched.
 * @param {DeskContext} ctx
 * @param {import("/page/watch/mosaic.js").Mosaic} mosaic
 */
export function makeUnwatched({ store, desk }, mosaic) {
  const element = h("div", { class: "banner-place" });
  const unwatched = new Unwatched();
  let shown = "";
  const draw = () => {
    const own = ownCameras(store);
    const keys = [...new Set(own.map(({ key }) => key))];
    const found = unwatched.look(keys, (key) => mosaic.live.isWanted(key), performance.now());
    const name = `${store.get("lang")} ${found.join()}`;
    if (name === shown) return;
    shown = name;
    if (found.length === 0) return refill(element);
    const end = async () => {
      for (const { grant, key } of own.filter(({ key }) => found.includes(key)))
        await desk.endCamera(grant, key.slice(key.indexOf("/") + 1));
    };
    const keep = () => {
      unwatched.keep(performance.now());
      draw();
    };
    const names = found.slice(0, NAMED).map((key) => cameraName(store, key));
    const text = t("watch.unwatched", { n: found.length, names: names.join(", ") + (found.length > NAMED ? "…" : "") });
    refill(
      element,
      h(
        "div",
        { class: "banner", role: "status", "data-testid": "unwatched" },
        h("span", { text }),
        h(
          "button",
          { "data-testid": "unwatched-end", "data-focus": "unwatched-end", on: { click: end } },
          t("watch.unwatched.end"),
        ),
        h("button", { class: "plain", "data-focus": "unwatched-keep", on: { click: keep } }, t("watch.unwatched.keep")),
      ),
    );
  };
  setInterval(steady(draw), LOOK);
  store.watch(["grants", "lang"], steady(draw));
  return element;
}
