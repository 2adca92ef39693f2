// What must not be missed: a sound, a mark on the intervention's tab, a number before the title.

import { lang } from "/page/core/text.js";
import { duration } from "/page/core/time_text.js";
import { endingSoon } from "/page/frame/ends_soon.js";
import { toast } from "/page/widget/toasts.js";

/** @typedef {import("/page/frame/sounds.js").Sound} Sound */

/** Lines of history that are heard. @type {Record<string, Sound|undefined>} */
const HEARD = {
  "desk.history.camera_retrying": "lost",
  "desk.history.camera_failed": "lost",
  "desk.history.commune_lost": "lost",
  "desk.history.camera_ended": "ended",
  "desk.history.ended": "ended",
  "desk.history.ended_by": "ended",
  "desk.history.taken_over": "ended",
  "desk.history.refused": "refused",
  "desk.history.renew_refused": "refused",
  "desk.toast.approved": "approved",
};
/** The end of a designation is announced so long before it, in ms. */
const ANNOUNCED = [30, 10, 5].map((minutes) => minutes * 60_000);

/**
 * Follows the store from now on: what was before is no news.
 * @param {Context} ctx
 * @param {import("/page/frame/sounds.js").Sounds} sounds
 */
export function followAlerts({ store, clock }, sounds) {
  let since = clock.now();
  /** Grants whose end was told. @type {Set<string>} */
  const told = new Set();
  /** @type {number|null} */
  let left = null;

  const isLookedAt = (/** @type {string} */ ref) =>
    store.get("incident") === ref && !document.hidden && !store.get("locked");

  const lines = () => {
    const alerts = store.get("alerts");
    let newest = since;
    /** @type {Sound|undefined} */
    let sound;
    for (const incident of store.get("incidents").values()) {
      for (const line of incident.history.slice(-20)) {
        const heard = HEARD[line.key];
        if (line.at <= since || heard === undefined) continue;
        newest = Math.max(newest, line.at);
        // What the signer did himself is no news to him.
        if (line.level === "info" && heard !== "approved") continue;
        sound = heard;
        if (!isLookedAt(incident.ref)) alerts.set(incident.ref, (alerts.get(incident.ref) ?? 0) + 1);
      }
    }
    since = newest;
    if (sound === undefined) return;
    sounds.play(sound);
    store.touch("alerts");
  };
  const seen = () => {
    const alerts = store.get("alerts");
    const shown = store.get("incident");
    if (shown !== null && isLookedAt(shown) && alerts.delete(shown)) store.touch("alerts");
  };
  const soon = () => {
    const ending = endingSoon(store.get("grants"), store.get("me"), clock.now()).filter(
      ({ grant }) => !told.has(grant),
    );
    if (ending.length === 0) return;
    for (const { grant, expires } of ending) {
      told.add(grant);
      // A renewal gives it another end, of which there is news again.
      setTimeout(() => told.delete(grant), Math.max(0, Date.parse(expires) - clock.now()));
    }
    sounds.play("soon");
  };
  const designation = () => {
    const before = left;
    const now = (store.get("me")?.notAfter ?? Number.POSITIVE_INFINITY) - clock.now();
    left = now;
    const passed = ANNOUNCED.some((limit) => now > 0 && now <= limit && (before === null || before > limit));
    if (!passed) return;
    toast({ level: "bad", key: "desk.designation_soon", params: { left: duration(now / 1000, lang()) } });
    sounds.play("soon");
  };
  store.watch(["incidents"], lines);
  store.watch(["incident", "locked", "alerts"], seen);
  store.watch(["me"], () => {
    left = null;
  });
  document.addEventListener("visibilitychange", seen);
  setInterval(() => {
    soon();
    designation();
  }, 1_000);
}
