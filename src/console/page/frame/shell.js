// The page's frame: header, three panels that fold, tabs in their place where it is narrow.

import { fill, h } from "/page/core/dom.js";
import { recall, remember } from "/page/core/storage.js";
import { lang, t } from "/page/core/text.js";
import { when } from "/page/core/time_text.js";
import { makeBanner } from "/page/frame/ends_soon.js";
import { makeHeader } from "/page/frame/header.js";
import { problemText } from "/page/state/line_text.js";
import { isOver } from "/page/state/rules.js";

/** @typedef {"find"|"watch"|"incident"} PanelName */

/** @type {PanelName[]} */
const PANELS = ["find", "watch", "incident"];

/**
 * Builds the frame into `shell`: gives the panels' elements by name, and what shows one.
 * @param {HTMLElement} shell
 * @param {DeskContext} ctx
 * @param {{lock: () => void, sounds: import("/page/frame/sounds.js").Sounds}} of `lock` hides the page
 */
export function makeShell(shell, ctx, { lock, sounds }) {
  const { store } = ctx;
  const panel = (/** @type {PanelName} */ name) => h("section", { id: name, class: "panel", tabindex: "-1" });
  const panels = { find: panel("find"), watch: panel("watch"), incident: panel("incident") };
  const frame = h("main", { class: "frame", dataset: { panel: "watch" } });
  const tabs = h("nav", { class: "panel-tabs" });
  const skip = PANELS.map((name) =>
    h("a", { class: "skip", href: `#${name}`, on: { click: (event) => goTo(event, name) } }),
  );
  const button = (/** @type {PanelName} */ name) =>
    h("button", { class: "tab", "data-testid": `panel-${name}`, on: { click: () => show(name) } });
  const buttons = { find: button("find"), watch: button("watch"), incident: button("incident") };
  const show = (/** @type {PanelName} */ name) => {
    frame.dataset.panel = name;
    for (const other of PANELS) buttons[other].setAttribute("aria-pressed", String(other === name));
  };
  /**
   * @param {Event} event
   * @param {PanelName} name
   */
  const goTo = (event, name) => {
    // The fragment is the session's, not the page's.
    event.preventDefault();
    show(name);
    unfold(name);
    panels[name].focus();
  };
  /** @type {Partial<Record<PanelName, (folded: boolean) => void>>} */
  const folds = {};
  const unfold = (/** @type {PanelName} */ name) => folds[name]?.(false);
  for (const name of PANELS) {
    tabs.append(buttons[name]);
    if (name === "watch") frame.append(panels[name]);
    else frame.append(foldable(name, panels[name], frame, folds, store));
  }
  show("watch");
  const offline = h("p", { class: "offline-line", role: "alert", "data-testid": "offline", hidden: true });
  const expired = h("div", { class: "offline-line", role: "alert", "data-testid": "expired", hidden: true });
  shell.append(...skip, makeHeader(ctx, { lock, sounds }), expired, offline, makeBanner(ctx), tabs, frame);
  const showExpired = () => {
    const [me, now] = [store.get("me"), ctx.clock.now()];
    const isOut = me !== null && isOver(me, now);
    const shown = isOut ? `${me.notAfter} ${store.get("lang")}` : "";
    if ((expired.dataset.shown ?? "") === shown) return;
    expired.dataset.shown = shown;
    expired.hidden = !isOut;
    fill(expired, ...(isOut ? expiredWords(me, now, lock) : []));
    showOffline();
  };
  store.watch(["lang"], () => {
    PANELS.forEach((name, index) => {
      skip[index].textContent = t(`desk.skip.${name}`);
      buttons[name].textContent = t(`desk.panel.${name}`);
      panels[name].setAttribute("aria-label", t(`desk.panel.${name}`));
    });
  });
  const showOffline = () => {
    const isOffline = store.get("online") === "offline" && expired.hidden;
    offline.hidden = !isOffline;
    const text = isOffline ? whyOffline(store) : "";
    if (offline.textContent !== text) offline.textContent = text;
  };
  store.watch(["me", "lang"], showExpired);
  setInterval(showExpired, 1_000);
  store.watch(["online", "offlineBecause", "lang"], showOffline);
  return {
    panels,
    show: (/** @type {PanelName} */ name) => {
      show(name);
      unfold(name);
    },
  };
}

/**
 * Why the page is cut off: the receiver may be away or have refused, or `fanal console`, which serves
 * the page, be away or another one by now.
 * @param {PageStore} store
 */
function whyOffline(store) {
  const problem = store.get("offlineBecause");
  const isLocal = store.get("me")?.mode === "local";
  if (isLocal && problem?.reason === "token_invalid") return t("desk.console_restarted");
  const isAway = problem === null || problem.reason === "centre_unreachable";
  if (isLocal && isAway && problem?.status === 0) return t("desk.console_away");
  return isAway ? t("desk.offline") : t("desk.offline_why", { why: problemText(problem) });
}

/**
 * What an ended designation means, and what is to be done.
 * @param {Me} me
 * @param {number} now ms
 * @param {() => void} lock leads to the form that takes the next one
 */
function expiredWords({ notAfter, mode }, now, lock) {
  const since = when("since", notAfter, now, lang());
  return [
    h(
      "div",
      { class: "stack" },
      h("p", { text: t("desk.expired", { since }) }),
      h("p", { text: t(mode === "local" ? "desk.expired_local" : "desk.expired_here") }),
    ),
    mode === "receiver"
      ? h("button", { "data-testid": "expired-renew", on: { click: lock } }, t("desk.expired_renew"))
      : null,
  ];
}

/**
 * A panel with the button that folds it.
 * @param {PanelName} name
 * @param {HTMLElement} panel
 * @param {HTMLElement} frame
 * @param {Partial<Record<PanelName, (folded: boolean) => void>>} folds
 * @param {PageStore} store
 */
function foldable(name, panel, frame, folds, store) {
  const key = `fanal-folded-${name}`;
  const button = h("button", { class: "fold plain icon", "aria-controls": name, "data-testid": `fold-${name}` });
  const fold = (/** @type {boolean} */ folded) => {
    frame.toggleAttribute(`data-folded-${name}`, folded);
    panel.hidden = folded;
    button.setAttribute("aria-expanded", String(!folded));
    const points = (name === "find") === folded ? "›" : "‹";
    button.textContent = points;
    button.setAttribute("aria-label", t(folded ? "desk.unfold" : "desk.fold", { panel: t(`desk.panel.${name}`) }));
    remember("session", key, folded ? "1" : null);
  };
  button.addEventListener("click", () => fold(!panel.hidden));
  folds[name] = fold;
  store.watch(["lang"], () => fold(recall("session", key) !== null));
  return h("div", { class: `side side-${name}` }, button, panel);
}
