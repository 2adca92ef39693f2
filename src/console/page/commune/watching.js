// Who watches which camera, since when, until when, why; cuts, and their end.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { countdown, duration } from "/page/core/time_text.js";
import { moment, personText, rateText, scopeText } from "/page/commune/words.js";
import { reasonText } from "/page/state/line_text.js";
import { confirm, openDialog } from "/page/widget/dialog.js";
import { refill } from "/page/widget/redraw.js";
import { toast } from "/page/widget/toasts.js";

/** For how long a cut may hold, in seconds; the first is the usual one. */
const BLOCKS = [900, 3_600, 8 * 3_600, 24 * 3_600];

/** @typedef {import("/page/commune/page.js").Shared} Shared */

/**
 * @param {HTMLElement} element
 * @param {Shared} shared
 */
export function mountWatching(element, shared) {
  const head = h("div", { class: "part-head" });
  const list = h("div", { class: "entries" });
  const cuts = h("div", { class: "entries" });
  element.append(head, list, cuts);
  const tick = () => {
    /** @type {NodeListOf<HTMLElement>} */
    const times = list.querySelectorAll("[data-until]");
    for (const time of times) time.textContent = countdown(Number(time.dataset.until) - shared.clock.now());
  };
  shared.watch(() => {
    const { relays, left_out: leftOut } = shared.view;
    const centres = [...new Set(relays.map(({ centre }) => centre))];
    refill(
      head,
      h("h2", { id: "watching-title", text: t("commune.watching") }),
      h(
        "div",
        { class: "row" },
        ...centres.map((centre) =>
          cutButton(shared, `centre:${centre}`, t("commune.cut_centre", { centre }), "cut-centre"),
        ),
        cutButton(shared, "all", t("commune.cut_all"), "cut-all"),
      ),
    );
    const grants = [...new Set(relays.map(({ grant }) => grant))];
    refill(
      list,
      relays.length === 0 ? h("p", { class: "quiet", "data-testid": "nobody", text: t("commune.nobody") }) : null,
      ...grants.map((grant) =>
        grantCard(
          relays.filter((relay) => relay.grant === grant),
          shared,
        ),
      ),
      leftOut > 0 ? h("p", { class: "warn", text: t("commune.left_out", { n: leftOut }) }) : null,
    );
    refill(cuts, ...cutCards(shared));
    tick();
  });
  setInterval(tick, 1_000);
}

/**
 * A grant with its cameras.
 * @param {CommuneRelay[]} relays
 * @param {Shared} shared
 */
function grantCard(relays, shared) {
  const [first] = relays;
  const who = personText(first.operator);
  const fact = (/** @type {string} */ key, /** @type {string} */ text) => [
    h("dt", { text: t(key) }),
    h("dd", { text }),
  ];
  return h(
    "article",
    { class: "entry", "data-testid": "grant", dataset: { grant: first.grant } },
    h(
      "h3",
      {},
      h("span", { text: who }),
      h("span", { class: "time-left", dataset: { until: String(Date.parse(first.until)) } }),
    ),
    h(
      "dl",
      { class: "facts" },
      ...fact("commune.grounds", (lang() === "fr" ? first.grounds_fr : first.grounds_en) || first.grounds),
      ...fact("commune.incident", first.incident),
      ...fact("commune.centre", first.centre),
      ...fact("commune.since", moment(first.since)),
      ...fact("commune.ends", moment(first.until)),
    ),
    h(
      "ul",
      { class: "cameras" },
      ...relays.map(({ camera, name, state, reason }) =>
        h(
          "li",
          { "data-testid": "relay", dataset: { camera, state } },
          h("span", { text: name }),
          h("span", {
            class: state === "live" ? "small quiet" : "small warn",
            text: [t(`commune.state.${state}`), reason ? reasonText(reason) : "", rateText(shared.rates[camera])]
              .filter((part) => part !== "")
              .join(" · "),
          }),
          cutButton(
            shared,
            `camera:${camera}`,
            t("commune.cut_camera"),
            "cut-camera",
            t("commune.cut_camera_named", { camera: name }),
          ),
        ),
      ),
    ),
    cutButton(
      shared,
      `grant:${first.grant}`,
      t("commune.cut_grant"),
      "cut-grant",
      t("commune.cut_grant_named", { who }),
    ),
  );
}

/**
 * @param {Shared} shared
 * @param {string} scope
 * @param {string} text
 * @param {string} testid
 * @param {string} [label] where the text alone does not say what is cut
 */
function cutButton(shared, scope, text, testid, label) {
  return h(
    "button",
    {
      class: "danger",
      "data-testid": testid,
      "data-focus": `cut-${scope}`,
      "aria-label": label ?? null,
      on: { click: () => cut(shared, scope) },
    },
    text,
  );
}

/**
 * @param {Shared} shared
 * @param {string} scope
 */
async function cut(shared, scope) {
  const named = scopeText(scope, shared.nameOf);
  const block = await openDialog({ title: t("commune.cut_title"), testid: "cut-dialog" }, (close) => {
    const choice = (/** @type {number} */ seconds) =>
      h(
        "label",
        { class: "row" },
        h("input", { type: "radio", name: "block", value: seconds, checked: seconds === BLOCKS[0] }),
        h("span", { text: duration(seconds, lang()) }),
      );
    const form = h(
      "form",
      {
        class: "stack",
        on: {
          submit: (event) => {
            event.preventDefault();
            close(Number(new FormData(form).get("block")));
          },
        },
      },
      h("p", {}, h("strong", { text: named.charAt(0).toUpperCase() + named.slice(1) })),
      h("fieldset", { class: "choices" }, h("legend", { text: t("commune.cut_text") }), ...BLOCKS.map(choice)),
      h(
        "div",
        { class: "row dialog-actions" },
        h("button", { type: "button", on: { click: () => close() } }, t("desk.cancel")),
        h("button", { class: "danger", "data-testid": "cut-confirm", "data-autofocus": true }, t("commune.cut")),
      ),
    );
    return [form];
  });
  if (typeof block !== "number") return;
  const done = await shared.decide("POST", "cuts", { scope, block, decision: "cut" });
  if (done !== null) toast({ level: "warn", key: "commune.cut_done", params: { scope: named, n: done.grants } });
}

/** @param {Shared} shared */
function cutCards(shared) {
  const { cuts } = shared.view;
  const allow = async (/** @type {string} */ scope) => {
    const named = scopeText(scope, shared.nameOf);
    const isSure = await confirm({
      title: t("commune.allow_title"),
      text: t("commune.allow_text", { scope: named }),
      action: t("commune.allow"),
      testid: "allow-dialog",
    });
    if (!isSure) return;
    const done = await shared.decide("DELETE", "cuts", { scope, decision: "allow" });
    if (done !== null) toast({ key: "commune.allowed", params: { scope: named } });
  };
  const card = (/** @type {{scope: string, until: string}} */ { scope, until }) =>
    h(
      "article",
      { class: "entry cut", "data-testid": "cut", dataset: { scope } },
      h(
        "h3",
        {},
        h("span", { text: scopeText(scope, shared.nameOf) }),
        h("span", { class: "small", text: t("commune.until", { until: moment(until) }) }),
      ),
      h(
        "button",
        {
          "data-testid": "allow",
          "data-focus": `allow-${scope}`,
          "aria-label": t("commune.allow_named", { scope: scopeText(scope, shared.nameOf) }),
          on: { click: () => allow(scope) },
        },
        t("commune.allow"),
      ),
    );
  return [
    h("h2", { text: t("commune.cuts") }),
    cuts.length === 0 ? h("p", { class: "quiet", "data-testid": "no-cuts", text: t("commune.no_cuts") }) : null,
    ...cuts.map(card),
    cuts.length > 1
      ? h(
          "button",
          { "data-testid": "allow-all", "data-focus": "allow-all", on: { click: () => allow("all") } },
          t("commune.allow_all"),
        )
      : null,
  ];
}
