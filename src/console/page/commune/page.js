// The commune's page once somebody has signed in: who watches, what waits, cuts, health, journal.

import { Problem } from "/page/core/api.js";
import { h } from "/page/core/dom.js";
import { Events } from "/page/core/events.js";
import { t } from "/page/core/text.js";
import { timeOfDay } from "/page/core/time_text.js";
import { Alert } from "/page/commune/alert.js";
import { mountHealth } from "/page/commune/health.js";
import { mountJournal } from "/page/commune/journal.js";
import { mountWaiting } from "/page/commune/waiting.js";
import { mountWatching } from "/page/commune/watching.js";
import { attestedTexts } from "/page/commune/words.js";
import { switchLang, switchTheme } from "/page/frame/settings.js";
import { Lock } from "/page/sign/lock.js";
import { problemText } from "/page/state/line_text.js";
import { refill, steady } from "/page/widget/redraw.js";
import { toast } from "/page/widget/toasts.js";

/** How often health and attestation are asked for again, in ms. */
const [HEALTH_EVERY, ATTESTATION_EVERY] = [30_000, 30 * 60_000];

/**
 * What the parts of the page share. `changed` calls what was given to `watch`; `onEntries` is told
 * of new entries in the journal.
 * @typedef {Pick<Context, "store"|"api"|"clock"> & {
 *   view: CommuneView, rates: Record<string, number>, health: CommuneHealth|null,
 *   attestations: JournalRow[], alert: Alert,
 *   nameOf: (camera: string) => string,
 *   watch: (draw: () => void) => void,
 *   onEntries: (told: () => void) => void,
 *   decide: (method: "POST"|"DELETE", path: string, decided: DecisionClaims) => Promise<any>,
 * }} Shared
 */

/**
 * Builds the page and follows the gateway.
 * @param {Pick<Context, "store"|"api"|"clock">} ctx
 * @param {{shell: HTMLElement, lockPlace: HTMLElement, signer: Signer}} of
 */
export function runPage(ctx, { shell, lockPlace, signer }) {
  /** @type {(() => void)[]} */
  const draws = [];
  /** @type {(() => void)[]} */
  const readers = [];
  const changed = () => draws.forEach((draw) => draw());
  /** @type {Shared} */
  const shared = {
    ...ctx,
    view: { relays: [], left_out: 0, waiting: [], cuts: [], links: [] },
    rates: {},
    health: null,
    attestations: [],
    alert: new Alert(),
    nameOf: (camera) =>
      shared.health?.cameras.find((known) => known.camera === camera)?.name ??
      shared.view.relays.find((known) => known.camera === camera)?.name ??
      camera,
    watch: (draw) => {
      const redraw = steady(draw);
      draws.push(redraw);
      ctx.store.watch(["lang"], redraw);
    },
    onEntries: (told) => readers.push(told),
    async decide(method, path, decided) {
      try {
        return await ctx.api.decide(method, path, decided);
      } catch (error) {
        const problem = Problem.of(error);
        toast({ level: "bad", key: `desk.reason.${problem.reason}`, detail: problemText(problem) });
        return null;
      }
    },
  };
  take(signer);
  const lock = new Lock(ctx, { element: lockPlace, unlocked: resume });
  const skip = h("a", { class: "skip", href: "#watching" });
  const offline = h("p", { class: "offline-line", role: "alert", "data-testid": "offline", hidden: true });
  const attested = h("div", { class: "attested", "data-testid": "attested" });
  const part = (/** @type {string} */ id, /** @type {string} */ name) =>
    h("section", { id, class: `part ${name}`, "data-testid": id, tabindex: "-1", "aria-labelledby": `${id}-title` });
  const waiting = part("waiting", "asks");
  const watching = part("watching", "watches");
  const health = part("health", "health");
  const journal = part("journal", "journal");
  skip.addEventListener("click", (event) => {
    event.preventDefault();
    watching.focus();
  });
  shell.append(
    skip,
    makeTop(shared, lock),
    offline,
    h("main", {}, attested, h("div", { class: "commune-parts" }, waiting, watching, health, journal)),
  );
  mountWaiting(waiting, shared);
  mountWatching(watching, shared);
  mountHealth(health, shared);
  mountJournal(journal, shared);
  shared.watch(() => {
    skip.textContent = t("commune.skip");
    const told = attestedTexts(shared.attestations, shared.health);
    attested.className = told.some(({ isBad }) => isBad) ? "attested bad" : "attested";
    refill(attested, ...told.map(({ text }) => h("p", { text })));
    shared.alert.show(shared.view.waiting.length);
  });
  ctx.store.watch(["online", "offlineBecause", "lang"], () => {
    const problem = ctx.store.get("offlineBecause");
    const isOffline = ctx.store.get("online") === "offline";
    offline.hidden = !isOffline;
    const why =
      problem === null || problem.reason === "centre_unreachable"
        ? t("desk.offline")
        : t("desk.offline_why", { why: problemText(problem) });
    offline.textContent = isOffline ? why : "";
  });
  let events = follow(shared, changed, readers);

  /** @param {Signer} next */
  function take(next) {
    ctx.api.signer = next;
    ctx.store.set("me", next.me);
  }

  /**
   * Unlocked, by the same person or by the next one.
   * @param {Signer} next
   */
  function resume(next) {
    const [from, to] = [ctx.store.get("me"), next.me];
    // The same certificate: the connection remains valid.
    if (from?.number === to.number && from.unit === to.unit && from.notAfter === to.notAfter) return;
    take(next);
    events.stop();
    events = follow(shared, changed, readers);
  }

  setInterval(() => events.load.health(), HEALTH_EVERY);
  setInterval(() => events.load.attestation(), ATTESTATION_EVERY);
}

/**
 * Follows the gateway as the person who signs now.
 * @param {Shared} shared
 * @param {() => void} changed
 * @param {(() => void)[]} readers are told of new entries
 */
function follow(shared, changed, readers) {
  const { api, store, clock } = shared;
  /**
   * What cannot be had now is asked for again later: the parts show what they have.
   * @param {() => Promise<void>} load
   */
  const ask = (load) => load().then(changed, () => {});
  const loadHealth = () =>
    ask(async () => {
      shared.health = await api.get("health");
    });
  const loadAttestation = () =>
    ask(async () => {
      shared.attestations = (await api.get("attestation")).attestations;
    });
  const events = new Events(api, () => clock.now(), {
    ready: async () => {
      loadHealth();
      loadAttestation();
    },
    event: (name, body) => {
      if (name === "state") {
        const before = states(shared.view);
        shared.view = body;
        if (before !== states(body)) loadHealth();
      } else if (name === "rates") shared.rates = body;
      else if (name === "journal") return readers.forEach((told) => told());
      else return;
      changed();
    },
    state: (state, problem) => {
      store.set("offlineBecause", problem ?? null);
      store.set("online", state);
    },
  });
  events.run();
  return { stop: () => events.stop(), load: { health: loadHealth, attestation: loadAttestation } };
}

/**
 * What health depends on.
 * @param {CommuneView} view
 */
function states({ links, relays }) {
  return JSON.stringify([links, relays.map(({ camera, state }) => [camera, state])]);
}

/**
 * @param {Shared} shared
 * @param {Lock} lock
 */
function makeTop({ store, clock, alert }, lock) {
  const time = h("time", { class: "mono clock", "data-testid": "clock" });
  const brand = h("div", { class: "brand row grow" });
  const tools = h("div", { class: "tools row" });
  const draw = steady(() => {
    const settings = store.get("console");
    refill(
      brand,
      h("img", { src: "/page/style/icon.svg", alt: "", width: 24, height: 24 }),
      h("h1", { class: "name", text: settings?.name ?? "fanal" }),
    );
    const online = store.get("online");
    time.setAttribute("aria-label", t("commune.time"));
    refill(
      tools,
      h("span", {
        class: `chip online ${online}`,
        "data-testid": "online",
        dataset: { online },
        text: t(`desk.online.${online}`),
      }),
      time,
      h("span", { class: "who", "data-testid": "sign-in-name", text: store.get("me")?.name ?? "" }),
      h(
        "button",
        {
          class: "plain",
          "data-testid": "sound",
          "data-focus": "sound",
          "aria-pressed": String(alert.isOn),
          on: {
            click: () => {
              alert.isOn = !alert.isOn;
              draw();
            },
          },
        },
        t(alert.isOn ? "commune.sound_on" : "commune.sound_off"),
      ),
      h(
        "button",
        { class: "plain", "data-testid": "lock", "data-focus": "lock", on: { click: () => lock.lock() } },
        t("desk.lock"),
      ),
      h(
        "button",
        {
          class: "plain",
          "data-testid": "theme",
          "data-focus": "theme",
          on: { click: () => switchTheme(store) },
        },
        t(store.get("theme") === "dark" ? "desk.theme_light" : "desk.theme_dark"),
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
        store.get("lang") === "fr" ? "EN" : "FR",
      ),
    );
  });
  store.watch(["console", "online", "me", "lang", "theme"], draw);
  const tick = () => {
    time.textContent = timeOfDay(clock.now());
  };
  setInterval(tick, 500);
  tick();
  return h("header", { class: "top" }, brand, tools);
}
