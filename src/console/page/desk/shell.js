// The page's frame: header, three panels that fold, tabs in their place where it is narrow.

import { h } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { makeBanner } from "/page/desk/ends_soon.js";
import { makeHeader } from "/page/desk/header.js";

const PANELS = ["find", "watch", "incident"];

/** Builds the frame into `shell` and gives back the panels' elements by name. */
export function makeShell(shell, ctx, lock) {
  const { store } = ctx;
  const panels = {};
  const frame = h("main", { class: "frame", dataset: { panel: "watch" } });
  const tabs = h("nav", { class: "panel-tabs" });
  const skip = PANELS.map((name) =>
    h("a", { class: "skip", href: `#${name}`, on: { click: (event) => goTo(event, name) } }),
  );
  const buttons = {};
  const show = (name) => {
    frame.dataset.panel = name;
    for (const other of PANELS) buttons[other].setAttribute("aria-pressed", String(other === name));
  };
  const goTo = (event, name) => {
    // The fragment is the session's, not the page's.
    event.preventDefault();
    show(name);
    unfold(name);
    panels[name].focus();
  };
  const folds = {};
  const unfold = (name) => folds[name]?.(false);
  for (const name of PANELS) {
    panels[name] = h("section", { id: name, class: "panel", tabindex: "-1" });
    buttons[name] = h("button", { class: "tab", "data-testid": `panel-${name}`, on: { click: () => show(name) } });
    tabs.append(buttons[name]);
    if (name === "watch") frame.append(panels[name]);
    else frame.append(foldable(name, panels[name], frame, folds, store));
  }
  show("watch");
  const offline = h("p", { class: "offline-line", role: "alert", "data-testid": "offline", hidden: true });
  shell.append(...skip, makeHeader(ctx, lock), offline, makeBanner(ctx), tabs, frame);
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
    // A refusal and a silent signer are not a silent receiver.
    const why =
      problem === null || problem.reason === "centre_unreachable"
        ? t("desk.offline")
        : t("desk.offline_why", { why: ctx.actions.problemText(problem) });
    const text = isOffline ? why : "";
    if (offline.textContent !== text) offline.textContent = text;
  });
  return {
    panels,
    show: (name) => {
      show(name);
      unfold(name);
    },
  };
}

/** A panel with the button that folds it. */
function foldable(name, panel, frame, folds, store) {
  const key = `fanal-folded-${name}`;
  const button = h("button", { class: "fold plain icon", "aria-controls": name, "data-testid": `fold-${name}` });
  const fold = (folded) => {
    frame.toggleAttribute(`data-folded-${name}`, folded);
    panel.hidden = folded;
    button.setAttribute("aria-expanded", String(!folded));
    const points = (name === "find") === folded ? "›" : "‹";
    button.textContent = points;
    button.setAttribute("aria-label", t(folded ? "desk.unfold" : "desk.fold", { panel: t(`desk.panel.${name}`) }));
    if (folded) sessionStorage.setItem(key, "1");
    else sessionStorage.removeItem(key);
  };
  button.addEventListener("click", () => fold(!panel.hidden));
  folds[name] = fold;
  store.watch(["lang"], () => fold(sessionStorage.getItem(key) !== null));
  return h("div", { class: `side side-${name}` }, button, panel);
}
