// The page once somebody has signed in: builds its parts and connects them.

import { Problem, messageOf } from "/page/core/api.js";
import { h, fill } from "/page/core/dom.js";
import { Events } from "/page/core/events.js";
import { readFragment, withoutSession } from "/page/core/fragment.js";
import { t } from "/page/core/text.js";
import { remember } from "/page/core/storage.js";
import { takeOffers } from "/page/core/tabs.js";
import { followAlerts } from "/page/frame/alerts.js";
import { endingSoon } from "/page/frame/ends_soon.js";
import { clockOff, isClockOff } from "/page/frame/header.js";
import { openHelp } from "/page/frame/help.js";
import { switchTheme } from "/page/frame/settings.js";
import { makeShell } from "/page/frame/shell.js";
import { Sounds } from "/page/frame/sounds.js";
import { Desk } from "/page/incident/desk.js";
import { mountIncident } from "/page/incident/incident.js";
import { openGroundsDialog, openIncidentDialog, openTakeOverDialog } from "/page/incident/open_dialog.js";
import { openNote, openRecords } from "/page/record/dialog.js";
import { SESSION } from "/page/sign/entrance.js";
import { Lock } from "/page/sign/lock.js";
import { LocalSigner } from "/page/sign/signers.js";
import { problemText } from "/page/state/line_text.js";
import { groundsOf, isReference, openIncidents, readPresent, shownIncident } from "/page/state/rules.js";
import { toast } from "/page/widget/toasts.js";

/** How often the next designation is looked for, and from how long before the end of this one, in ms. */
const [DESIGNATION_LOOK, DESIGNATION_ENDS] = [5_000, 30 * 60_000];

/**
 * @param {Context} context
 * @param {{shell: HTMLElement, lockPlace: HTMLElement, fragment: Fragment, signer: Signer}} of
 */
export function run(context, { shell, lockPlace, fragment, signer }) {
  const { store, api, clock } = context;
  const sounds = new Sounds();
  take(signer);

  /** Loaded after the desk. @type {import("/page/find/find.js").Finder|undefined} */
  let finder;
  /** @param {Where} where */
  const lookAt = (where) => finder?.lookAt(where);
  const desk = new Desk(context, { lookAt, chooseGrounds: (key, offered) => openGroundsDialog(ctx, key, offered) });
  /** @type {DeskContext} */
  const ctx = { ...context, desk };

  const lock = new Lock(context, { element: lockPlace, unlocked: resume });
  const { panels, show } = makeShell(shell, ctx, { lock: () => lock.lock(), sounds });
  mountIncident(panels.incident, ctx);
  addShortcuts(ctx, lock, sounds);
  const parts = [
    mount(panels.find, async () => {
      const { mountFind } = await import("/page/find/find.js");
      finder = mountFind(panels.find, ctx, { showPanel: show });
    }),
    mount(panels.watch, async () => {
      const { mountWatch } = await import("/page/watch/watch.js");
      mountWatch(panels.watch, ctx);
    }),
  ];
  // The finder and the mosaic must be there for `#incident=…&at=…` and the first grants.
  Promise.all(parts).then(follow);
  followAlerts(context, sounds);
  store.watch(["incident", "locked", "alerts"], () => {
    const shown = store.get("locked") ? null : store.get("incident");
    const alerts = [...store.get("alerts").values()].reduce((sum, n) => sum + n, 0);
    const number = alerts > 0 ? `(${alerts}) ` : "";
    document.title = number + (shown === null ? "fanal" : `${shown} · fanal`);
  });
  if (!remember("session", "fanal-try", null)) toast({ level: "warn", key: "desk.no_storage" });
  if (isClockOff(clock)) {
    toast({ level: "warn", key: "desk.clock_off", params: clockOff(clock) });
  }
  addEventListener("hashchange", () => {
    const asked = readFragment(location.hash);
    if (asked.session !== null) {
      history.replaceState(null, "", location.pathname + withoutSession(location.hash));
      takeSession(asked.session);
    }
    if (!store.get("locked")) openAsked(asked);
  });
  const isCutOff = () => store.get("me")?.mode === "local" && store.get("offlineBecause")?.reason === "token_invalid";
  takeOffers({
    can: (kind) => (kind === "session" ? isCutOff() : !store.get("locked") && store.get("online") === "online"),
    take: (kind, what) => (kind === "session" ? takeSession(what.session) : askFor(what)),
  });
  setInterval(followDesignation, DESIGNATION_LOOK);

  /** @param {Signer} next */
  function take(next) {
    api.signer = next;
    store.set("me", next.me);
  }

  /**
   * Unlocked: by the same person, or by the next one, who then may take over.
   * @param {Signer} next
   */
  function resume(next) {
    const [from, to] = [store.get("me"), next.me];
    const isOther = from === null || !isSame(from, to);
    // The same person with the same designation: the connections remain valid.
    if (!isOther && from.notAfter === to.notAfter) return;
    take(next);
    if (isOther && from) desk.changeSeat(from, to);
    follow();
  }

  /**
   * `fanal console` was started again: its new secret, with the pictures and interventions as they are.
   * @param {string} session
   */
  async function takeSession(session) {
    if (store.get("me")?.mode !== "local") return;
    try {
      const next = await LocalSigner.open(session);
      const from = store.get("me");
      remember("session", SESSION, session);
      api.session = session;
      take(next);
      if (from !== null && !isSame(from, next.me)) desk.changeSeat(from, next.me);
      toast({ level: "info", key: "desk.session_taken", params: {} });
      follow();
    } catch (error) {
      const problem = Problem.of(error);
      toast({ level: "bad", key: "desk.session_wrong", params: {}, detail: problemText(problem) });
    }
  }

  /** A designation that ends is followed by the next one as soon as `fanal console` has it. */
  async function followDesignation() {
    const [me, session] = [store.get("me"), api.session];
    if (me?.mode !== "local" || session === null || me.notAfter - clock.now() > DESIGNATION_ENDS) return;
    try {
      const next = await LocalSigner.open(session);
      if (next.me.notAfter <= me.notAfter || !isSame(me, next.me)) return;
      resume(next);
      toast({ level: "info", key: "desk.designation_taken", params: {} });
    } catch {
      // `fanal console` is away: that is told already.
    }
  }

  /**
   * Another program asks for an intervention: the person opens it.
   * @param {Fragment} asked
   */
  function askFor(asked) {
    const { incident, grounds, at, address, present } = asked;
    toast({ level: "info", key: "desk.asked_outside", params: { ref: incident ?? "" } });
    if (store.get("incidents").get(incident ?? "")?.closedAt === null) openAsked(asked);
    else if (incident !== null)
      openIncidentDialog(ctx, { ref: incident, grounds, present, at, place: address, address });
  }

  /** @type {Events|undefined} */
  let events;
  let isAsked = false;

  /** Follows the receiver's events as the person who signs now. */
  function follow() {
    events?.stop();
    events = new Events(api, () => clock.now(), {
      ready,
      event: (name, body) => desk.takeEvent(name, body),
      state: (state, problem) => {
        store.set("offlineBecause", problem ?? null);
        store.set("online", state);
      },
    });
    events.run();
  }

  async function ready() {
    await desk.load();
    if (isAsked) return;
    isAsked = true;
    // An intervention that was closed in this tab remains closed after a reload.
    if (!store.get("incidents").get(fragment.incident ?? "")?.closedAt) openAsked(fragment);
  }

  /**
   * Opens the intervention that a dispatch tool asks for; asks the person only for what is missing.
   * @param {Fragment} asked
   */
  function openAsked({ incident, grounds, at, address, present }) {
    if (incident === null) return;
    const open = store.get("incidents").get(incident);
    if (open?.closedAt === null) {
      desk.showIncident(incident);
      if (at !== null) desk.setPlace(incident, { label: address, position: at });
      if (at !== null) lookAt({ at });
      // Other grounds than those in use: the person says which are meant.
      if (grounds !== null && !open.allGrounds.includes(grounds))
        openIncidentDialog(ctx, { ref: incident, grounds, present: open.present, at: open.at, place: open.place });
      return;
    }
    const known = groundsOf(store.get("communes").values()).some(({ id }) => id === grounds);
    const { names, problem } = readPresent(present.join("\n"));
    const isFound = address === null || at !== null;
    if (isReference(incident) && grounds !== null && known && problem === null && isFound)
      desk.openIncident({ ref: incident, grounds, present: names, at, place: address });
    else openIncidentDialog(ctx, { ref: incident, grounds, present, at, place: address, address });
  }
}

/**
 * Whether both are the same person.
 * @param {Me} one
 * @param {Me} other
 */
function isSame(one, other) {
  return one.number === other.number && one.unit === other.unit;
}

/**
 * Mounts a part; one that fails shows its error in its panel and leaves the others whole.
 * @param {HTMLElement} panel
 * @param {() => Promise<void>} load
 */
async function mount(panel, load) {
  try {
    await load();
  } catch (error) {
    const text = t("desk.part_broken", { error: messageOf(error) });
    fill(panel, h("p", { class: "notice bad", role: "alert", text }));
  }
}

/**
 * @param {DeskContext} ctx
 * @param {Lock} lock
 * @param {Sounds} sounds
 */
function addShortcuts(ctx, lock, sounds) {
  const { store, clock, shortcuts, desk } = ctx;
  const renew = () => {
    const shown = shownIncident(store);
    const soon = endingSoon(store.get("grants"), store.get("me"), clock.now());
    for (const ref of new Set([...(shown ? [shown.ref] : []), ...soon.map(({ incident }) => incident)]))
      desk.renewAll(ref);
  };
  const next = () => {
    const { mine: open } = openIncidents(store.get("incidents"), store.get("grants"));
    const at = open.findIndex(({ ref }) => ref === store.get("incident"));
    const following = open[(at + 1) % open.length];
    if (following) desk.showIncident(following.ref);
  };
  const takeOver = () => {
    const shown = shownIncident(store);
    if (shown) openTakeOverDialog(ctx, shown);
  };
  shortcuts.on("n", "desk.key.new", () => openIncidentDialog(ctx));
  shortcuts.on("i", "desk.key.next", next);
  shortcuts.on("r", "desk.key.renew", renew);
  shortcuts.on("t", "desk.key.take_over", takeOver);
  const addNote = () => {
    const shown = shownIncident(store);
    if (shown) openNote(desk.keeper, shown.ref);
  };
  shortcuts.on("h", "record.key.list", () => openRecords(ctx, desk.keeper));
  shortcuts.on("Shift+N", "record.key.note", addNote);
  shortcuts.on("Shift+L", "desk.key.lock", () => lock.lock());
  shortcuts.on("Shift+T", "desk.key.theme", () => switchTheme(store));
  shortcuts.on("?", "desk.key.help", () => openHelp(ctx, sounds));
}
