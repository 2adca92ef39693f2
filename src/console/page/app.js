// Where the page begins: settings, signing in, then the frame and its parts.

import { Api, Problem, answerOf, fetchOf } from "/page/core/api.js";
import { Clock } from "/page/core/clock.js";
import { h, fill } from "/page/core/dom.js";
import { Events, backoff } from "/page/core/events.js";
import { readFragment, withoutSession } from "/page/core/fragment.js";
import { Shortcuts } from "/page/core/shortcuts.js";
import { Store } from "/page/core/store.js";
import { t } from "/page/core/text.js";
import { duration } from "/page/core/time_text.js";
import { isClockOff } from "/page/desk/header.js";
import { openHelp } from "/page/desk/help.js";
import { followSettings, switchLang, switchTheme } from "/page/desk/settings.js";
import { makeShell } from "/page/desk/shell.js";
import { makeToasts } from "/page/desk/toasts.js";
import { endingSoon } from "/page/desk/ends_soon.js";
import { Desk } from "/page/incident/desk.js";
import { mountIncident } from "/page/incident/incident.js";
import { openIncidentDialog } from "/page/incident/open_dialog.js";
import { grantOf, isMine, isReference, liveGrants, openIncidents, readPresent } from "/page/incident/rules.js";
import { Lock } from "/page/sign/lock.js";
import { signInForm } from "/page/sign/sign_in.js";
import { LocalSigner, demoSigner } from "/page/sign/signers.js";

const SESSION = "fanal-session";

const store = new Store({
  lang: "fr",
  theme: "dark",
  locked: false,
  online: "connecting",
  me: null,
  console: null,
  offlineBecause: null,
  communes: new Map(),
  cameras: new Map(),
  grants: new Map(),
  approvals: new Map(),
  incidents: new Map(),
  incident: null,
  focused: null,
  tiles: new Map(),
});
followSettings(store);

const clock = new Clock(
  async () => (await answerOf(await fetchOf(`${location.origin}/api/v1/time`, { timeout: 5_000 }))).unix_ms,
);
const ctx = { store, api: new Api(() => clock.now()), clock, signer: null, actions: {}, shortcuts: new Shortcuts() };
const fragment = readFragment(location.hash);

const shell = h("div", { id: "shell" });
const lockPlace = h("main", { id: "lock", "data-testid": "lock-screen" });
const toasts = makeToasts();
document.body.append(shell, lockPlace, toasts.element);

start();

/** The centre first, then who signs, then everything else. */
async function start() {
  if (fragment.session !== null) {
    sessionStorage.setItem(SESSION, fragment.session);
    history.replaceState(null, "", location.pathname + withoutSession(location.hash));
  }
  const settings = await centre();
  store.set("console", settings);
  await clock.start();
  try {
    const signer = await ownSigner(settings);
    if (signer !== null) run(signer);
    else showSignIn(settings);
  } catch (error) {
    showFailure(error);
  }
}

/** What the receiver says of itself; asked for until it answers. */
async function centre() {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await ctx.api.get("console");
    } catch (error) {
      card(
        h("h1", { text: "fanal" }),
        h("p", { role: "alert", "data-testid": "no-centre", text: problemSentence(error) }),
        h("p", { class: "quiet small", text: t("desk.trying") }),
      );
      await new Promise((resolve) => {
        setTimeout(resolve, backoff(attempt, Math.random()));
      });
    }
  }
}

/** Who signs where nobody needs to be asked; `null` on the receiver's own page. */
async function ownSigner(settings) {
  if (globalThis.crypto?.subtle === undefined && settings.mode !== "local") throw new Error(t("desk.sign.insecure"));
  if (settings.mode === "local") {
    const secret = sessionStorage.getItem(SESSION);
    if (secret === null) throw new Error(t("desk.sign.no_session"));
    return LocalSigner.open(secret);
  }
  if (fragment.demo !== null) return demoSigner(fragment.demo, () => clock.now(), settings.centre);
  return null;
}

function problemSentence(error) {
  if (!(error instanceof Problem)) return error.message;
  const sentence = (store.get("lang") === "fr" ? error.title_fr : error.title) || error.detail || error.message;
  return `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}.`;
}

/** The page before anybody has signed in. */
function card(...children) {
  const lang = h(
    "button",
    {
      class: "plain",
      "data-testid": "lang",
      on: {
        click: () => {
          switchLang(store);
          location.reload();
        },
      },
    },
    store.get("lang") === "fr" ? "EN" : "FR",
  );
  fill(
    lockPlace,
    h(
      "div",
      { class: "card stack", "data-testid": "sign-in" },
      ...children,
      h("div", { class: "row card-foot" }, h("span", { class: "grow" }), lang),
    ),
  );
}

function showSignIn(settings) {
  const done = (signer, person) => {
    signer.me.person = person.id;
    run(signer);
  };
  card(
    h("h1", { text: "fanal" }),
    h("p", { class: "quiet", text: settings.name ?? settings.centre }),
    h("p", { class: "notice small", text: t("desk.sign.trial") }),
    signInForm({ api: ctx.api, clock, console: settings, done }),
  );
}

function showFailure(error) {
  card(
    h("h1", { text: "fanal" }),
    h("p", { class: "bad", role: "alert", text: problemSentence(error) }),
    h("button", { class: "primary", on: { click: () => location.reload() } }, t("desk.retry")),
  );
}

let events = null;
let desk = null;
let isAsked = false;

/** Somebody signed in: the frame, once, and what the receiver knows. */
function run(signer) {
  fill(lockPlace);
  take(signer);
  ctx.actions.toast = toasts.toast;
  desk = new Desk(ctx);
  const lock = new Lock(ctx, { element: lockPlace, unlocked: resume });
  const { panels, show } = makeShell(shell, ctx, () => lock.lock());
  ctx.actions.showPanel = show;
  mountIncident(panels.incident, ctx);
  addShortcuts(lock);
  const parts = [
    mount(panels.find, async () => (await import("/page/find/find.js")).mountFind),
    mount(panels.watch, async () => (await import("/page/watch/watch.js")).mountWatch),
  ];
  // `#incident=…&at=…` and the first grants find their places.
  Promise.all(parts).then(follow);
  store.watch(["incident", "locked"], () => {
    const shown = store.get("locked") ? null : store.get("incident");
    document.title = shown === null ? "fanal" : `${shown} · fanal`;
  });
  if (isClockOff(clock)) {
    const off = duration(Math.abs(clock.workstationAhead) / 1000, store.get("lang"));
    ctx.actions.toast({ level: "warn", key: "desk.clock_off", params: { off } });
  }
  addEventListener("hashchange", () => store.get("locked") || openAsked(readFragment(location.hash)));
}

/** Mounts a part; one that is broken leaves the others whole, and says so. */
async function mount(panel, load) {
  try {
    (await load())(panel, ctx);
  } catch (error) {
    fill(panel, h("p", { class: "notice bad", role: "alert", text: t("desk.part_broken", { error: error.message }) }));
  }
}

function take(signer) {
  ctx.signer = signer;
  ctx.api.signer = signer;
  store.set("me", signer.me);
}

/** Unlocked: by the same person, or by the next one, who then may take over. */
function resume(signer) {
  const [from, to] = [store.get("me"), signer.me];
  const isOther = from.number !== to.number || from.unit !== to.unit;
  // The same person with the same designation: nothing has to be opened anew.
  if (!isOther && from.notAfter === to.notAfter) return;
  take(signer);
  if (isOther) desk.changeSeat(from, to);
  follow();
}

/** Follows the receiver's events as whoever signs now. */
function follow() {
  events?.stop();
  const ready = async () => {
    await desk.load();
    if (isAsked) return;
    isAsked = true;
    // One that was closed in this tab stays closed after a reload.
    if (!store.get("incidents").get(fragment.incident)?.closedAt) openAsked(fragment);
  };
  events = new Events(ctx.api, () => clock.now(), {
    ready,
    event: (name, body) => desk.takeEvent(name, body),
    state: (state, problem = null) => {
      store.set("offlineBecause", problem);
      store.set("online", state);
    },
  });
  events.run();
}

/** Opens what a dispatch tool asks for; asks the person only for what lacks. */
function openAsked({ incident, grounds, at, present }) {
  if (incident === null) return;
  if (store.get("incidents").get(incident)?.closedAt === null) {
    ctx.actions.showIncident(incident);
    if (at !== null) ctx.actions.lookAt?.({ at });
    return;
  }
  const known = [...store.get("communes").values()].some(({ agreement }) =>
    agreement?.grounds.some(({ id }) => id === grounds),
  );
  const { names, problem } = readPresent(present.join("\n"));
  if (isReference(incident) && known && problem === null)
    ctx.actions.openIncident({ ref: incident, grounds, present: names, at });
  else openIncidentDialog(ctx, { ref: incident, grounds, present, at });
}

function addShortcuts(lock) {
  const { shortcuts, actions } = ctx;
  const shown = () => store.get("incidents").get(store.get("incident"));
  const renew = () => {
    const [grants, me] = [store.get("grants"), store.get("me")];
    const focused = store.get("focused");
    const watched = focused !== null && shown() ? grantOf(focused, shown(), grants, me) : undefined;
    const soon = endingSoon(grants, me, clock.now());
    const due = watched
      ? [watched]
      : soon.length > 0
        ? soon
        : liveGrants(shown(), grants)
            .filter((grant) => isMine(grant, me))
            .slice(0, 1);
    for (const { grant } of due) actions.renew(grant);
  };
  const next = () => {
    const { mine: open } = openIncidents(store.get("incidents"), store.get("grants"));
    const at = open.findIndex(({ ref }) => ref === store.get("incident"));
    if (open.length > 0) actions.showIncident(open[(at + 1) % open.length].ref);
  };
  shortcuts.on("n", "desk.key.new", () => openIncidentDialog(ctx));
  shortcuts.on("i", "desk.key.next", next);
  shortcuts.on("r", "desk.key.renew", renew);
  shortcuts.on("t", "desk.key.take_over", () => shown() && actions.takeOver(shown().ref));
  shortcuts.on("Shift+L", "desk.key.lock", () => lock.lock());
  shortcuts.on("Shift+T", "desk.key.theme", () => switchTheme(store));
  shortcuts.on("?", "desk.key.help", () => openHelp(ctx));
}
