// Whether a camera can be watched now, and the words for why not.

import { lang, t } from "/page/core/text.js";
import { age, when } from "/page/core/time_text.js";
import { isUsable } from "/page/state/rules.js";

/**
 * Whether the camera itself could be shown now; communes come and go by events.
 * @param {Context} ctx
 * @param {Camera} camera
 */
export function isAvailable({ store, clock }, camera) {
  return isUsable(camera, clock.now()) && (store.get("communes").get(camera.commune)?.online ?? camera.online);
}

/**
 * The obstacle, unless it is only that no intervention is open.
 * @param {Required<Sentence>|null} obstacle
 */
export function realObstacle(obstacle) {
  return obstacle?.key === "desk.ask.no_incident" ? null : obstacle;
}

/**
 * Since when a camera or its commune is away; empty where that is not known.
 * @param {Context} ctx
 * @param {Camera} camera
 */
export function sinceText({ store, clock }, camera) {
  const commune = store.get("communes").get(camera.commune);
  const since = commune?.online === false ? commune.since : camera.unusable?.since;
  if (!since) return "";
  return ` (${when("since", Date.parse(since), clock.now(), lang())})`;
}

/**
 * That nothing comes from a camera's commune any more, though nobody said why; else empty.
 * @param {Context} ctx
 * @param {Camera} camera
 */
export function silenceText({ store }, camera) {
  const last = store.get("silent").get(camera.commune);
  if (last === undefined) return "";
  const silent = performance.timeOrigin + performance.now() - last;
  return t("desk.silent", { commune: camera.commune_name, age: age(silent, lang()) });
}
