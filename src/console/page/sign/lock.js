// The locked page: no picture, no name of a place, while the relays continue.

import { h, fill } from "/page/core/dom.js";
import { t } from "/page/core/text.js";
import { timeOfDay } from "/page/core/time_text.js";
import { signInForm } from "/page/sign/sign_in.js";
import { isMine, liveGrants } from "/page/state/rules.js";

/** How often the page checks for idleness, in ms. */
const LOOK = 5_000;

/**
 * Locks and unlocks the page.
 */
export class Lock {
  #ctx;
  #element;
  #unlocked;
  #lastActive;
  #lockedAt = 0;

  /**
   * @param {Pick<Context, "store"|"api"|"clock">} ctx
   * @param {{element: HTMLElement, unlocked: (signer: Signer) => void}} of `unlocked` gets the
   *   signer of the person who unlocked it (the same one where there is only one person)
   */
  constructor(ctx, { element, unlocked }) {
    this.#ctx = ctx;
    this.#element = element;
    this.#unlocked = unlocked;
    this.#lastActive = ctx.clock.now();
    const active = () => {
      this.#lastActive = this.#ctx.clock.now();
    };
    for (const event of ["keydown", "pointerdown", "pointermove", "wheel"])
      addEventListener(event, active, { passive: true, capture: true });
    setInterval(() => this.#look(), LOOK);
    ctx.store.watch(["lang"], () => this.#ctx.store.get("locked") && this.#draw());
  }

  /** Hides everything now. */
  lock() {
    const { store, clock } = this.#ctx;
    if (store.get("locked") || store.get("me") === null) return;
    for (const dialog of openDialogs()) dialog.close();
    this.#lockedAt = clock.now();
    document.documentElement.toggleAttribute("data-locked", true);
    store.set("locked", true);
    this.#draw();
  }

  #look() {
    const { store, clock } = this.#ctx;
    const after = store.get("console")?.lock_after;
    if (typeof after === "number" && clock.now() - this.#lastActive > after * 1000) this.lock();
  }

  /** @param {Signer} signer */
  #unlock(signer) {
    this.#lastActive = this.#ctx.clock.now();
    document.documentElement.toggleAttribute("data-locked", false);
    this.#ctx.store.set("locked", false);
    fill(this.#element);
    this.#unlocked(signer);
  }

  #draw() {
    const { store, api, clock } = this.#ctx;
    const [me, settings, signer] = [store.get("me"), store.get("console"), api.signer];
    if (me === null || settings === null || signer === null) return;
    const running = [...store.get("incidents").values()].reduce(
      (sum, incident) => sum + liveGrants(incident, store.get("grants")).filter((grant) => isMine(grant, me)).length,
      0,
    );
    const how =
      me.mode === "receiver"
        ? signInForm({
            api,
            clock,
            console: settings,
            wanted: me.person,
            done: (signer) => this.#unlock(signer),
          })
        : h(
            "button",
            {
              class: "primary",
              "data-testid": "unlock",
              "data-autofocus": true,
              on: { click: () => this.#unlock(signer) },
            },
            t("desk.unlock"),
          );
    fill(
      this.#element,
      h(
        "div",
        { class: "card stack" },
        h("h1", { text: t("desk.locked") }),
        h("p", { text: t("desk.locked_by", { name: me.name, time: timeOfDay(this.#lockedAt).slice(0, 5) }) }),
        h("p", { class: "quiet small", text: t("desk.locked_running", { n: running }) }),
        how,
        me.mode === "receiver" ? h("p", { class: "quiet small", text: t("desk.locked_other") }) : null,
      ),
    );
    /** @type {HTMLElement|null} */
    const first = this.#element.querySelector("[data-autofocus], input[type=password]");
    first?.focus();
  }
}

/** @returns {NodeListOf<HTMLDialogElement>} */
function openDialogs() {
  return document.querySelectorAll("dialog[open]");
}
