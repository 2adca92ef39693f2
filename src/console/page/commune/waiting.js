// Requests that wait for the commune: who, what, why, for how long; approve or refuse.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { countdown, duration } from "/page/core/time_text.js";
import { personText } from "/page/commune/words.js";
import { reasonText } from "/page/state/line_text.js";
import { confirm } from "/page/widget/dialog.js";
import { refill } from "/page/widget/redraw.js";
import { toast } from "/page/widget/toasts.js";

/**
 * @param {HTMLElement} element
 * @param {import("/page/commune/page.js").Shared} shared
 */
export function mountWaiting(element, shared) {
  const title = h("h2", { id: "waiting-title" });
  const list = h("div", { class: "entries" });
  // Read out as it comes: nobody may be looking.
  const said = h("p", { class: "visually-hidden", "aria-live": "assertive" });
  element.append(title, said, list);
  const tick = () => {
    /** @type {NodeListOf<HTMLElement>} */
    const times = list.querySelectorAll("[data-until]");
    for (const time of times) {
      const left = Number(time.dataset.until) - shared.clock.now();
      time.textContent = t("commune.waiting_left", { left: countdown(left) });
    }
  };
  shared.watch(() => {
    const { waiting } = shared.view;
    element.hidden = waiting.length === 0;
    title.textContent = t("commune.waiting");
    const words = waiting.length === 0 ? "" : t("commune.title_waiting", { n: waiting.length });
    if (said.textContent !== words) said.textContent = words;
    refill(list, ...waiting.map((one) => card(one, shared)));
    tick();
  });
  setInterval(tick, 1_000);
}

/**
 * @param {CommuneWaiting} one
 * @param {import("/page/commune/page.js").Shared} shared
 */
function card(one, shared) {
  const { request, operator, incident, present, agreement, centre } = one;
  const cameras = one.cameras.map(shared.nameOf).join(", ");
  const who = personText(operator);
  const lasts = duration(one.duration, lang());
  /** @param {"approve"|"refuse"} decision */
  const decide = async (decision) => {
    const isSure = await confirm({
      title: t(`commune.${decision}_title`),
      text: t(`commune.${decision}_text`, { who, cameras, duration: lasts }),
      action: t(`commune.${decision}`),
      testid: `${decision}-dialog`,
    });
    if (!isSure) return;
    const done = await shared.decide("POST", `waiting/${request}`, { request, decision });
    if (done !== null) toast({ key: decision === "approve" ? "commune.approved" : "commune.refused", params: { who } });
  };
  const left = one.refused.map(({ camera, reason }) => `${shared.nameOf(camera)} (${reasonText(reason ?? null)})`);
  const fact = (/** @type {string} */ key, /** @type {string} */ text) =>
    text === "" ? [] : [h("dt", { text: t(key) }), h("dd", { text })];
  return h(
    "article",
    { class: "entry waiting", "data-testid": "waiting-request", dataset: { request } },
    h(
      "h3",
      {},
      h("span", { text: who }),
      h("span", {
        class: "time-left warn",
        "data-testid": "time-left",
        dataset: { until: String(Date.parse(one.approve_by)) },
      }),
    ),
    h(
      "dl",
      { class: "facts" },
      ...fact("commune.cameras", cameras),
      ...fact("commune.grounds", (lang() === "fr" ? one.grounds_fr : one.grounds_en) || one.grounds),
      ...fact("commune.incident", incident),
      ...fact("commune.duration", lasts),
      ...fact("commune.present", present.join(", ")),
      ...fact("commune.centre", centre),
      ...fact("commune.agreement", agreement),
    ),
    one.renews ? h("p", { class: "small", text: t("commune.renews") }) : null,
    left.length > 0 ? h("p", { class: "small", text: t("commune.not_covered", { cameras: left.join(", ") }) }) : null,
    h(
      "div",
      { class: "decisions" },
      h(
        "button",
        {
          class: "primary",
          "data-testid": "approve",
          "data-focus": `approve-${request}`,
          on: { click: () => decide("approve") },
        },
        t("commune.approve"),
      ),
      h(
        "button",
        {
          class: "danger",
          "data-testid": "refuse",
          "data-focus": `refuse-${request}`,
          on: { click: () => decide("refuse") },
        },
        t("commune.refuse"),
      ),
    ),
  );
}
