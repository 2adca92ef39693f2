// The banner of the last two minutes.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { countdown } from "/page/core/time_text.js";
import { refill, steady } from "/page/widget/redraw.js";
import { communeName } from "/page/state/names.js";
import { ENDS_SOON, isMine } from "/page/state/rules.js";

/**
 * The signer's grants of all interventions that end within two minutes, soonest first.
 * @param {Map<string, Grant>} grants
 * @param {Me|null} me
 * @param {number} now ms
 */
export function endingSoon(grants, me, now) {
  const left = (/** @type {Grant} */ grant) => Date.parse(grant.expires) - now;
  return [...grants.values()]
    .filter((grant) => !grant.ended && isMine(grant, me) && left(grant) < ENDS_SOON && left(grant) > 0)
    .sort((one, other) => left(one) - left(other));
}

/**
 * The banner; empty while nothing ends.
 * @param {DeskContext} ctx
 */
export function makeBanner(ctx) {
  const { store, desk, clock } = ctx;
  const time = h("strong", { class: "mono" });
  const element = h("div", { class: "banner-place" });
  let shown = "";
  const draw = () => {
    const soon = endingSoon(store.get("grants"), store.get("me"), clock.now());
    const name = `${store.get("lang")} ${soon.map(({ grant }) => grant).join(" ")}`;
    if (soon.length > 0) time.textContent = countdown(Date.parse(soon[0].expires) - clock.now());
    if (name === shown) return;
    shown = name;
    if (soon.length === 0) {
      refill(element);
      return;
    }
    const renew = () => new Set(soon.map(({ incident }) => incident)).forEach((ref) => desk.renewAll(ref));
    refill(
      element,
      h(
        "div",
        { class: "banner", role: "alert", "data-testid": "ends-soon" },
        h("span", {
          text: t("desk.ends_soon", {
            n: soon.length,
            commune: communeName(store, soon[0].commune),
            ref: soon[0].incident,
          }),
        }),
        time,
        h(
          "button",
          { class: "primary", "data-focus": "banner-renew", on: { click: renew } },
          t("desk.renew"),
          " ",
          h("kbd", { text: "R" }),
        ),
      ),
    );
  };
  setInterval(steady(draw), 500);
  store.watch(["grants", "me", "lang"], steady(draw));
  return element;
}
