// How links and cameras are.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { refill } from "/page/widget/redraw.js";

/**
 * @param {HTMLElement} element
 * @param {import("/page/commune/page.js").Shared} shared
 */
export function mountHealth(element, shared) {
  const title = h("h2", { id: "health-title" });
  const rows = h("ul", { class: "health-rows" });
  const summary = h("summary", {});
  const cameras = h("ul", { class: "health-rows small" });
  element.append(title, rows, h("details", { "data-testid": "cameras" }, summary, cameras));
  shared.watch(() => {
    const { health, view } = shared;
    title.textContent = t("commune.health");
    const bad = health?.checks.filter(({ state }) => state !== "ok") ?? [];
    refill(
      rows,
      ...view.links.map(({ centre, up, transport }) =>
        h(
          "li",
          { "data-testid": "link", dataset: { centre, up: String(up) } },
          h("span", { class: `chip online ${up ? "online" : "offline"}`, text: centre }),
          h("span", {
            text: t(up ? "commune.link_up" : "commune.link_down", { transport: (transport ?? "").toUpperCase() }),
          }),
        ),
      ),
      ...bad.map(({ name, state, detail, remedy }) =>
        h(
          "li",
          { class: state === "failed" ? "bad" : "warn", "data-testid": "check" },
          [name, detail, remedy].filter(Boolean).join(" : "),
        ),
      ),
      health !== null && bad.length === 0 ? h("li", { class: "quiet", text: t("commune.all_well") }) : null,
    );
    const known = health?.cameras ?? [];
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const { state } of known) counts.set(state, (counts.get(state) ?? 0) + 1);
    const states = [...counts].map(([state, count]) => `${count} ${t(`commune.state.${state}`)}`).join(", ");
    summary.textContent = t("commune.cameras_n", { n: known.length, states });
    refill(
      cameras,
      ...known.map(({ name, state, detail }) =>
        h(
          "li",
          { dataset: { state } },
          h("span", { class: "grow", text: name }),
          h("span", {
            class: ["invalid", "failed"].includes(state) ? "bad" : "quiet",
            text: [t(`commune.state.${state}`), detail].filter(Boolean).join(" : "),
          }),
        ),
      ),
    );
  });
}
