// The start of the page: settings, signing in, then the frame and its parts.

import { Api, Problem, answerOf, fetchOf, messageOf } from "/page/core/api.js";
import { Clock } from "/page/core/clock.js";
import { h, fill } from "/page/core/dom.js";
import { backoff } from "/page/core/events.js";
import { readFragment, withoutSession } from "/page/core/fragment.js";
import { Shortcuts } from "/page/core/shortcuts.js";
import { recall, remember } from "/page/core/storage.js";
import { Store } from "/page/core/store.js";
import { t } from "/page/core/text.js";
import { run } from "/page/frame/run.js";
import { followSettings, switchLang } from "/page/frame/settings.js";
import { signInForm } from "/page/sign/sign_in.js";
import { LocalSigner, demoSigner } from "/page/sign/signers.js";
import { toastPlace } from "/page/widget/toasts.js";

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
  current: null,
  goTo: null,
  silent: new Map(),
  alerts: new Map(),
  tiles: new Map(),
});
followSettings(store);

/** @type {Api} */
const api = new Api(
  () => clock.now(),
  () => clock.measure(),
);
const clock = new Clock(
  async () => (await answerOf(await fetchOf(api.url("time"), { headers: api.headers({}), timeout: 5_000 }))).unix_ms,
);
const ctx = { store, api, clock, shortcuts: new Shortcuts() };
const fragment = readFragment(location.hash);

const shell = h("div", { id: "shell" });
const lockPlace = h("main", { id: "lock", "data-testid": "lock-screen" });
document.body.append(shell, lockPlace, toastPlace());

start();

/** The centre first, then the signer, then everything else. */
async function start() {
  if (fragment.session !== null) {
    remember("session", SESSION, fragment.session);
    history.replaceState(null, "", location.pathname + withoutSession(location.hash));
  }
  api.session = recall("session", SESSION) ?? fragment.session;
  try {
    const settings = await centre();
    store.set("console", settings);
    await clock.start();
    const signer = await ownSigner(settings);
    if (signer !== null) signedIn(signer);
    else showSignIn(settings);
  } catch (error) {
    showFailure(error);
  }
}

/**
 * The receiver's settings for the page; asked for until it answers.
 * @returns {Promise<ConsoleSettings>}
 * @throws {Error} where `fanal console` serves the page, and its secret is missing or another's
 */
async function centre() {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await ctx.api.get("console");
    } catch (error) {
      if (error instanceof Problem && error.reason === "token_invalid") throw new Error(t("desk.sign.no_session"));
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

/**
 * The signer where nobody needs to be asked; `null` on the receiver's own page.
 * @param {ConsoleSettings} settings
 */
async function ownSigner(settings) {
  if (globalThis.crypto?.subtle === undefined && settings.mode !== "local") throw new Error(t("desk.sign.insecure"));
  if (settings.mode === "local") {
    if (api.session === null) throw new Error(t("desk.sign.no_session"));
    return LocalSigner.open(api.session);
  }
  // On any other page a link would sign its reader in as somebody else.
  if (settings.mode === "demo" && fragment.demo !== null)
    return demoSigner(fragment.demo, () => clock.now(), settings.centre);
  return null;
}

/** @param {unknown} error */
function problemSentence(error) {
  if (!(error instanceof Problem)) return messageOf(error);
  const sentence = (store.get("lang") === "fr" ? error.title_fr : error.title) || error.detail || error.message;
  return `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}.`;
}

/**
 * The page before anybody has signed in.
 * @param {...HTMLElement} children
 */
function card(...children) {
  const change = () => {
    switchLang(store);
    location.reload();
  };
  const lang = h(
    "button",
    { class: "plain", "data-testid": "lang", on: { click: change } },
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

/** @param {ConsoleSettings} settings */
function showSignIn(settings) {
  /**
   * @param {Signer} signer
   * @param {{id: string}} person
   */
  const done = (signer, person) => {
    signer.me.person = person.id;
    signedIn(signer);
  };
  card(
    h("h1", { text: "fanal" }),
    h("p", { class: "quiet", text: settings.name ?? settings.centre }),
    h("p", { class: "notice small", text: t("desk.sign.trial") }),
    signInForm({ api: ctx.api, clock, console: settings, done }),
  );
}

/** @param {unknown} error */
function showFailure(error) {
  card(
    h("h1", { text: "fanal" }),
    h("p", { class: "bad", role: "alert", text: problemSentence(error) }),
    h("button", { class: "primary", on: { click: () => location.reload() } }, t("desk.retry")),
  );
}

/** @param {Signer} signer */
function signedIn(signer) {
  fill(lockPlace);
  run(ctx, { shell, lockPlace, fragment, signer });
}
