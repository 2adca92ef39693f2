// The line at the top: centre, open interventions, signer, time.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { age, duration, timeOfDay, utcTimeOfDay } from "/page/core/time_text.js";
import { openDialog } from "/page/widget/dialog.js";
import { openHelp } from "/page/frame/help.js";
import { refill, steady } from "/page/widget/redraw.js";
import { switchLang, switchTheme } from "/page/frame/settings.js";
import { unitList } from "/page/incident/incident.js";
import { openIncidentDialog } from "/page/incident/open_dialog.js";
import { openRecords } from "/page/record/dialog.js";
import { groundsLabel } from "/page/state/names.js";
import { ENDS_SOON, isMine, isOver, liveGrants, openIncidents } from "/page/state/rules.js";
import { DESIGNATION_ENDS_SOON } from "/page/sign/sign_in.js";

/** Below this the end of the designation is a warning, in ms. */
const DESIGNATION_ENDS = 3_600_000;
/** The page warns of a workstation's clock that is off by this much, in ms. */
const CLOCK_OFF = 60_000;

/**
 * The header.
 * @param {DeskContext} ctx
 * @param {{lock: () => void, sounds: import("/page/frame/sounds.js").Sounds}} of `lock` hides the page
 */
export function makeHeader(ctx, { lock, sounds }) {
  const { store, clock } = ctx;
  const time = h("time", { class: "mono clock", "data-testid": "clock" });
  const expiry = h("span", { class: "chip", "data-testid": "designation-ends", hidden: true });
  const brand = h("div", { class: "brand row" });
  const tabs = h("nav", { class: "incidents row grow" });
  const tools = h("div", { class: "tools row" });
  const element = h("header", { class: "top" }, brand, tabs, tools);

  store.watch(["console", "lang"], () => {
    const settings = store.get("console");
    refill(
      brand,
      h("img", { src: "/page/style/icon.svg", alt: "", width: 24, height: 24 }),
      h("h1", { class: "name", text: "fanal" }),
      h("span", { class: "quiet centre", text: settings?.name ?? settings?.centre ?? "" }),
    );
  });
  store.watch(
    ["incidents", "incident", "grants", "me", "lang", "alerts"],
    steady(() => {
      tabs.setAttribute("aria-label", t("desk.incidents"));
      refill(tabs, ...incidentTabs(ctx));
    }),
  );
  store.watch(
    ["me", "online", "lang", "theme"],
    steady(() => refill(tools, ...toolButtons(ctx, { lock, sounds, time, expiry }))),
  );
  const tick = () => {
    showTime(time, clock);
    showExpiry(expiry, store.get("me"), clock.now());
    showEnding(tabs, ctx);
  };
  setInterval(tick, 500);
  tick();
  return element;
}

/** @param {DeskContext} ctx */
function incidentTabs(ctx) {
  const { store, desk } = ctx;
  const { mine, unit } = openIncidents(store.get("incidents"), store.get("grants"));
  const shown = unit.filter(({ ref }) => ref === store.get("incident"));
  const open = [...mine, ...shown];
  /** @param {Incident} incident */
  const tab = (incident) => {
    const live = liveGrants(incident, store.get("grants"));
    const other = live.find((grant) => !isMine(grant, store.get("me")));
    const alerts = store.get("alerts").get(incident.ref) ?? 0;
    return h(
      "button",
      {
        class: "tab",
        "data-testid": "incident-tab",
        "data-focus": `tab-${incident.ref}`,
        dataset: { ref: incident.ref },
        "aria-current": incident.ref === store.get("incident") ? "true" : null,
        title: incident.allGrounds.map((one) => groundsLabel(store, one)).join(", "),
        on: { click: () => desk.showIncident(incident.ref) },
      },
      h("span", { class: "mono", text: incident.ref }),
      live.length > 0
        ? h("span", { class: "count", "aria-label": t("desk.grants_n", { n: live.length }), text: live.length })
        : null,
      alerts > 0
        ? h("span", { class: "alert-count", "aria-label": t("desk.alerts", { n: alerts }), text: `! ${alerts}` })
        : null,
      other ? h("span", { class: "small quiet", text: other.operator.name }) : null,
    );
  };
  return [
    h("div", { class: "tab-list" }, ...open.map(tab)),
    h(
      "button",
      {
        class: open.length === 0 ? "primary" : "plain",
        "data-testid": "new-incident",
        "data-focus": "new-incident",
        on: { click: () => openIncidentDialog(ctx) },
      },
      open.length === 0 ? t("desk.open.title") : t("desk.new_short"),
    ),
    unit.length > shown.length
      ? h(
          "button",
          {
            class: "plain quiet",
            "data-testid": "unit-incidents",
            "data-focus": "unit-incidents",
            on: { click: () => openUnit(ctx) },
          },
          t("desk.unit_n", { n: unit.length }),
        )
      : null,
    h(
      "button",
      {
        class: "plain quiet",
        "data-testid": "records",
        "data-focus": "records",
        title: `${t("record.list.title")} (H)`,
        on: { click: () => openRecords(ctx, desk.keeper) },
      },
      t("record.open"),
    ),
  ];
}

/**
 * The list of the unit's other interventions.
 * @param {DeskContext} ctx
 */
function openUnit({ store, desk }) {
  return openDialog({ title: t("desk.unit") }, (close) => [
    unitList(store, (ref) => {
      desk.showIncident(ref);
      close();
    }),
  ]);
}

/**
 * @param {HTMLElement} tabs
 * @param {Context} ctx
 */
function showEnding(tabs, { store, clock }) {
  for (const tab of /** @type {NodeListOf<HTMLElement>} */ (tabs.querySelectorAll("[data-ref]"))) {
    const [soonest] = liveGrants(store.get("incidents").get(tab.dataset.ref ?? ""), store.get("grants"));
    tab.classList.toggle("ends-soon", soonest !== undefined && Date.parse(soonest.expires) - clock.now() < ENDS_SOON);
  }
}

/**
 * @param {Context} ctx
 * @param {{lock: () => void, sounds: import("/page/frame/sounds.js").Sounds, time: HTMLElement, expiry: HTMLElement}} of
 */
function toolButtons(ctx, { lock, sounds, time, expiry }) {
  const { store } = ctx;
  const me = store.get("me");
  const online = store.get("online");
  const dark = store.get("theme") === "dark";
  return [
    h(
      "span",
      { class: `chip online ${online}`, "data-testid": "online", dataset: { online }, role: "status" },
      t(online === "offline" && isOver(me, ctx.clock.now()) ? "desk.designation_over" : `desk.online.${online}`),
    ),
    time,
    expiry,
    h(
      "span",
      {
        class: "who",
        "data-testid": "sign-in-name",
        title: [me?.name, me?.number, me?.unit].filter(Boolean).join(" · "),
      },
      me?.name ?? "",
    ),
    h(
      "button",
      {
        class: "plain",
        "data-testid": "lang",
        "data-focus": "lang",
        "aria-label": t("desk.other_lang"),
        on: { click: () => switchLang(store) },
      },
      lang() === "fr" ? "EN" : "FR",
    ),
    h(
      "button",
      {
        class: "plain icon",
        "data-testid": "theme",
        "data-focus": "theme",
        "aria-label": t(dark ? "desk.theme_light" : "desk.theme_dark"),
        title: t(dark ? "desk.theme_light" : "desk.theme_dark"),
        on: { click: () => switchTheme(store) },
      },
      dark ? "☀" : "☾",
    ),
    h(
      "button",
      {
        class: "plain icon",
        "data-testid": "help",
        "data-focus": "help",
        "aria-label": t("desk.help.title"),
        title: t("desk.help.title"),
        on: { click: () => openHelp(ctx, sounds) },
      },
      "?",
    ),
    h(
      "button",
      { "data-testid": "lock", "data-focus": "lock", title: `${t("desk.key.shift")}+L`, on: { click: lock } },
      t("desk.lock"),
    ),
  ];
}

/**
 * The centre's time in the workstation's zone, marked where the workstation's clock is far off.
 * @param {HTMLTimeElement} element
 * @param {Context["clock"]} clock
 */
function showTime(element, clock) {
  const now = clock.now();
  element.textContent = timeOfDay(now);
  element.dateTime = new Date(now).toISOString();
  const off = clock.workstationAhead;
  const told = Math.abs(off) > CLOCK_OFF ? `\n${t("desk.clock_off", clockOff(clock))}` : "";
  element.title = `${t("desk.centre_time")} · ${utcTimeOfDay(now)}${told}`;
  element.classList.toggle("off", told !== "");
}

/**
 * How far the workstation's clock is off, and which way, for `desk.clock_off`.
 * @param {Context["clock"]} clock
 */
export function clockOff(clock) {
  const off = clock.workstationAhead;
  return { off: age(Math.abs(off), lang()), way: t(off > 0 ? "desk.clock_ahead" : "desk.clock_behind") };
}

/**
 * Whether the workstation's clock is off far enough for a warning.
 * @param {Context["clock"]} clock
 */
export function isClockOff(clock) {
  return clock.known && Math.abs(clock.workstationAhead) > CLOCK_OFF;
}

/**
 * @param {HTMLElement} element
 * @param {Me|null} me
 * @param {number} now
 */
function showExpiry(element, me, now) {
  const left = (me?.notAfter ?? Number.POSITIVE_INFINITY) - now;
  element.hidden = left >= DESIGNATION_ENDS_SOON;
  if (element.hidden) return;
  element.className = `chip ${left < DESIGNATION_ENDS ? "bad" : "warn"}`;
  const words = duration(left / 1000, lang());
  element.textContent = left <= 0 ? t("desk.designation_over") : t("desk.designation_ends", { left: words });
  element.title = left <= 0 ? "" : t("desk.sign.ends_soon", { left: words });
}
