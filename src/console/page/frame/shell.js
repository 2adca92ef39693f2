// The page's frame: header, three panels that fold, tabs in their place where it is narrow.

import { h } from "/page/core/dom.js";
import { recall, remember } from "/page/core/storage.js";
import { t } from "/page/core/text.js";
import { makeBanner } from "/page/frame/ends_soon.js";
import { makeHeader } from "/page/frame/header.js";
import { problemText } from "/page/state/line_text.js";

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
  shell.append(...skip, makeHeader(ctx, { lock, sounds }), offline, makeBanner(ctx), tabs, frame);
  store.watch(["lang"], () => {
    PANELS.forEach((name, index) => {
      skip[index].textContent = t(`desk.skip.${name}`);
      buttons[name].textContent = t(`desk.panel.${name}`);
      panels[name].setAttribute("aria-label", t(`desk.panel.${name}`));
    });
  });
  store.watch(["online", "offlineBecause", "lang"], () => {
    const problem = store.get("offlineBecause");
    const isOffline = store.get("online") === "offline";
    offline.hidden = !isOffline;
    // The receiver may also have refused, or the signer be away.
    const why =
      problem === null || problem.reason === "centre_unreachable"
        ? t("desk.offline")
        : t("desk.offline_why", { why: problemText(problem) });
    const text = isOffline ? why : "";
    if (offline.textContent !== text) offline.textContent = text;
  });
  return {
    panels,
    show: (/** @type {PanelName} */ name) => {
      show(name);
      unfold(name);
    },
  };
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
