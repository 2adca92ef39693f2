// The way into a page: the server first, then who signs.

import { Problem, messageOf } from "/page/core/api.js";
import { h, fill } from "/page/core/dom.js";
import { backoff } from "/page/core/events.js";
import { withoutSession } from "/page/core/fragment.js";
import { recall, remember } from "/page/core/storage.js";
import { offer } from "/page/core/tabs.js";
import { t } from "/page/core/text.js";
import { signInForm } from "/page/sign/sign_in.js";
import { LocalSigner, demoSigner } from "/page/sign/signers.js";

/** Under which name the tab keeps the session's secret. */
export const SESSION = "fanal-session";

/**
 * Asks the server for its settings and the person for the key; then calls `done`.
 * @param {Pick<Context, "store"|"api"|"clock">} ctx
 * @param {{place: HTMLElement, fragment: Fragment, switchLang: () => void,
 *   done: (signer: Signer) => void}} on `place` shows what is asked
 */
export async function enter(ctx, { place, fragment, switchLang, done }) {
  const { store, api, clock } = ctx;
  const entrance = new Entrance(ctx, place, switchLang);
  const isNew = fragment.session === null && recall("session", SESSION) === null;
  if (isNew && fragment.demo === null && fragment.incident !== null) {
    // Another program opened it: it is for the tab that is signed in.
    const { incident, grounds, at, address, present } = fragment;
    if (await offer("incident", { incident, grounds, at, address, present })) return entrance.showHandedOver();
  }
  if (fragment.session !== null) {
    remember("session", SESSION, fragment.session);
    history.replaceState(null, "", location.pathname + withoutSession(location.hash));
  }
  // A tab whose `fanal console` was started again goes on with its pictures.
  if (fragment.session !== null && (await offer("session", { session: fragment.session })))
    return entrance.showHandedOver();
  api.session = recall("session", SESSION) ?? fragment.session;
  /** @param {Signer} signer */
  const enters = (signer) => {
    fill(place);
    done(signer);
  };
  let signer = null;
  try {
    const settings = await entrance.settings();
    store.set("console", settings);
    await clock.start();
    signer = await ownSigner(ctx, settings, fragment);
    if (signer === null) entrance.ask(settings, enters);
  } catch (error) {
    entrance.showFailure(error);
  }
  // A fault of the page itself is one for its console.
  if (signer !== null) enters(signer);
}

/**
 * The signer where nobody needs to be asked; `null` on the server's own page.
 * @param {Pick<Context, "api"|"clock">} ctx
 * @param {ConsoleSettings} settings
 * @param {Fragment} fragment
 */
async function ownSigner({ api, clock }, settings, fragment) {
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

class Entrance {
  #ctx;
  #place;
  #switchLang;

  /**
   * @param {Pick<Context, "store"|"api"|"clock">} ctx
   * @param {HTMLElement} place
   * @param {() => void} switchLang
   */
  constructor(ctx, place, switchLang) {
    this.#ctx = ctx;
    this.#place = place;
    this.#switchLang = switchLang;
  }

  /**
   * The server's settings for the page; asked for until it answers. A commune's page says for which
   * commune its tokens are: to the signer that is as a centre.
   * @returns {Promise<ConsoleSettings>}
   * @throws {Error} where `fanal console` serves the page, and its secret is missing or another's
   */
  async settings() {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const settings = await this.#ctx.api.get("console");
        return { ...settings, centre: settings.centre ?? settings.commune };
      } catch (error) {
        if (error instanceof Problem && error.reason === "token_invalid") throw new Error(t("desk.sign.no_session"));
        this.#card(
          h("h1", { text: "fanal" }),
          h("p", { role: "alert", "data-testid": "no-centre", text: this.#sentence(error) }),
          h("p", { class: "quiet small", text: t("desk.trying") }),
        );
        await new Promise((resolve) => {
          setTimeout(resolve, backoff(attempt, Math.random()));
        });
      }
    }
  }

  /**
   * @param {ConsoleSettings} settings
   * @param {(signer: Signer) => void} done
   */
  ask(settings, done) {
    const { api, clock } = this.#ctx;
    this.#card(
      h("h1", { text: "fanal" }),
      h("p", { class: "quiet", text: settings.name ?? settings.centre }),
      h("p", { class: "notice small", text: t("desk.sign.trial") }),
      signInForm({
        api,
        clock,
        console: settings,
        done: (signer, person) => {
          signer.me.person = person.id;
          done(signer);
        },
      }),
    );
  }

  /** Another tab has it now. */
  showHandedOver() {
    this.#card(
      h("h1", { text: "fanal" }),
      h("p", { role: "status", "data-testid": "handed-over", text: t("desk.sign.handed_over") }),
      h("button", { on: { click: () => window.close() } }, t("desk.close")),
    );
  }

  /** @param {unknown} error */
  showFailure(error) {
    // The new address of `fanal console`, pasted here.
    addEventListener("hashchange", () => location.reload(), { once: true });
    this.#card(
      h("h1", { text: "fanal" }),
      h("p", { class: "bad", role: "alert", text: this.#sentence(error) }),
      h("button", { class: "primary", on: { click: () => location.reload() } }, t("desk.retry")),
    );
  }

  /** @param {unknown} error */
  #sentence(error) {
    if (!(error instanceof Problem)) return messageOf(error);
    const isFrench = this.#ctx.store.get("lang") === "fr";
    const sentence = (isFrench ? error.title_fr : error.title) || error.detail || error.message;
    return `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}.`;
  }

  /** @param {...HTMLElement} children */
  #card(...children) {
    const change = () => {
      this.#switchLang();
      location.reload();
    };
    const lang = h(
      "button",
      { class: "plain", "data-testid": "lang", on: { click: change } },
      this.#ctx.store.get("lang") === "fr" ? "EN" : "FR",
    );
    fill(
      this.#place,
      h(
        "div",
        { class: "card stack", "data-testid": "sign-in" },
        ...children,
        h("div", { class: "row card-foot" }, h("span", { class: "grow" }), lang),
      ),
    );
  }
}
