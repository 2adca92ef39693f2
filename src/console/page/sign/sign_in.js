// Signing in on the receiver's own page: the person, the passphrase, the designation.

import { messageOf } from "/page/core/api.js";
import { h, fill } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { fromPem, toPem } from "/page/core/encoding.js";
import { duration, when } from "/page/core/time_text.js";
import { field } from "/page/widget/dialog.js";
import { readChain, readDesignation } from "/page/sign/certificate.js";
import { KeySigner } from "/page/sign/signers.js";
import * as vault from "/page/sign/vault.js";

/** @typedef {import("/page/sign/vault.js").Person} Person */

/**
 * @typedef {object} Steps of the form, one after another
 * @property {(chosen?: string) => Promise<void>} choose
 * @property {() => void} add
 * @property {(person: Person, note?: string) => void} designation
 * @property {(person: Person, passphrase: string) => Promise<void>} signIn
 * @property {(person: Person) => Promise<Person>} refresh
 * @property {() => number} now
 * @property {boolean} fetches
 */

/** The page warns of a designation's end from this long before it, in ms. */
export const DESIGNATION_ENDS_SOON = 24 * 3_600_000;
/** Longest part of a name, as everywhere (interfaces.md 2). */
const TEXT_LIMIT = 128;

/**
 * The form; calls `done` with a `KeySigner`.
 * @param {Pick<Context, "api"|"clock"> & {console: ConsoleSettings, wanted?: string,
 *   done: (signer: KeySigner, person: Person) => void}} of `wanted` = id of the person to choose first
 */
export function signInForm({ api, clock, console: settings, wanted, done }) {
  const element = h("div", { class: "stack sign-in-form" });
  /** @type {Steps} */
  const steps = {
    async choose(chosen = wanted) {
      const people = await vault.people();
      if (people.length === 0) steps.add();
      else fill(element, ...choosing(people, chosen, steps));
    },
    add: () => fill(element, ...adding(steps)),
    designation: (person, note) => fill(element, ...designating(person, note, steps)),
    async signIn(person, passphrase) {
      const key = await vault.unlock(person, passphrase);
      const newest = await fetchDesignation(api, settings, person);
      if (state(newest, clock.now()) !== "valid") {
        steps.designation(newest);
        return;
      }
      done(
        new KeySigner({ key, chain: newest.chain, mode: "receiver", now: () => clock.now(), centre: settings.centre }),
        newest,
      );
    },
    refresh: (person) => fetchDesignation(api, settings, person),
    now: () => clock.now(),
    fetches: settings.designations === true,
  };
  steps
    .choose()
    .catch((error) =>
      fill(element, h("p", { class: "bad", text: t("desk.sign.no_store", { error: messageOf(error) }) })),
    );
  return element;
}

/**
 * State of a person's designation.
 * @param {Person} person
 * @param {number} now
 * @returns {"none"|"expired"|"early"|"valid"}
 */
function state(person, now) {
  if (person.chain.length === 0) return "none";
  const { notBefore, notAfter } = readDesignation(person.chain[0]);
  if (now >= notAfter) return "expired";
  return now < notBefore ? "early" : "valid";
}

/**
 * The person with the newest designation that the receiver has for the key.
 * @param {Context["api"]} api
 * @param {ConsoleSettings} settings
 * @param {Person} person
 */
async function fetchDesignation(api, settings, person) {
  if (settings.designations !== true) return person;
  try {
    const response = await fetch(api.url(`designations/${person.id}`), { cache: "no-store", credentials: "omit" });
    return response.ok ? await vault.designate(person, readChain(await response.text())) : person;
  } catch {
    // The designation that is here may be valid.
    return person;
  }
}

/**
 * @param {Person[]} people
 * @param {string|undefined} chosen
 * @param {Steps} steps
 */
function choosing(people, chosen, steps) {
  let person = people.find(({ id }) => id === chosen) ?? people[0];
  const said = h("p", { class: "small", role: "status" });
  const say = () => {
    const { text, level } = standing(person, steps.now());
    said.textContent = text;
    said.className = `small ${level}`;
  };
  /** @param {Person} one */
  const choice = (one) =>
    h(
      "label",
      { class: "person" },
      h("input", {
        type: "radio",
        name: "person",
        value: one.id,
        checked: one === person,
        on: {
          change: () => {
            person = one;
            say();
          },
        },
      }),
      h(
        "span",
        { class: "grow" },
        h("strong", { text: one.name }),
        h("span", { class: "quiet small", text: ` ${one.number} · ${one.unit}` }),
      ),
    );
  const passphrase = field({
    label: t("desk.sign.passphrase"),
    input: passphraseInput("current-password", "passphrase"),
  });
  const button = h("button", { class: "primary", "data-testid": "sign-in-submit" }, t("desk.sign.submit"));
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    passphrase.say(null);
    try {
      await steps.signIn(person, passphrase.input.value);
    } catch (error) {
      passphrase.say(error instanceof vault.WrongPassphrase ? t("desk.sign.wrong_passphrase") : messageOf(error));
      passphrase.input.select();
    } finally {
      button.disabled = false;
    }
  };
  say();
  return [
    h(
      "form",
      { class: "stack", on: { submit } },
      h(
        "fieldset",
        { class: "people" },
        h("legend", { class: "small quiet", text: t("desk.sign.who") }),
        ...people.map(choice),
      ),
      said,
      passphrase.element,
      button,
    ),
    h(
      "div",
      { class: "row" },
      h("button", { class: "plain small", on: { click: () => steps.add() } }, t("desk.sign.other")),
      h(
        "button",
        { class: "plain small", "data-testid": "designation", on: { click: () => steps.designation(person) } },
        t("desk.sign.designation"),
      ),
    ),
  ];
}

/**
 * A sentence on a person's designation.
 * @param {Person} person
 * @param {number} now
 */
function standing(person, now) {
  const found = state(person, now);
  if (found === "none") return { text: t("desk.sign.no_designation"), level: "warn" };
  const { notBefore, notAfter } = readDesignation(person.chain[0]);
  if (found === "expired")
    return { text: t("desk.sign.expired", { since: when("since", notAfter, now, lang()) }), level: "bad" };
  if (found === "early")
    return { text: t("desk.sign.early", { from: when("from", notBefore, now, lang()) }), level: "warn" };
  const left = notAfter - now;
  if (left < DESIGNATION_ENDS_SOON)
    return { text: t("desk.sign.ends_soon", { left: duration(left / 1000, lang()) }), level: "warn" };
  return { text: t("desk.sign.valid_until", { until: when("until", notAfter, now, lang()) }), level: "quiet" };
}

/**
 * @param {AutoFill} autocomplete
 * @param {string} testid
 */
function passphraseInput(autocomplete, testid) {
  return h("input", { type: "password", autocomplete, "data-testid": testid, required: true });
}

/** @param {Steps} steps */
function adding(steps) {
  /**
   * @param {string} label
   * @param {string} testid
   * @param {string} [hint]
   */
  const text = (label, testid, hint) =>
    field({
      label,
      hint,
      input: h("input", { "data-testid": testid, required: true, maxlength: TEXT_LIMIT, autocomplete: "off" }),
    });
  const name = text(t("desk.sign.name"), "person-name");
  const number = text(t("desk.sign.number"), "person-number");
  const unit = text(t("desk.sign.unit"), "person-unit", t("desk.sign.unit_hint"));
  const first = field({
    label: t("desk.sign.new_passphrase"),
    hint: t("desk.sign.passphrase_hint", { n: vault.PASSPHRASE_LENGTH }),
    input: passphraseInput("new-password", "new-passphrase"),
  });
  const second = field({ label: t("desk.sign.again"), input: passphraseInput("new-password", "new-passphrase-again") });
  const button = h("button", { class: "primary", "data-testid": "person-add" }, t("desk.sign.make_key"));
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    for (const one of [name, number, unit]) one.say(one.input.value.trim() === "" ? t("desk.sign.needed") : null);
    first.say(
      [...first.input.value].length < vault.PASSPHRASE_LENGTH
        ? t("desk.sign.too_short", { n: vault.PASSPHRASE_LENGTH })
        : null,
    );
    second.say(first.input.value === second.input.value ? null : t("desk.sign.differ"));
    const wrong = [name, number, unit, first, second].find(({ input }) => input.hasAttribute("aria-invalid"));
    if (wrong) {
      wrong.input.focus();
      return;
    }
    button.disabled = true;
    try {
      const person = {
        name: name.input.value.trim(),
        number: number.input.value.trim(),
        unit: unit.input.value.trim(),
      };
      steps.designation(await vault.addPerson(person, first.input.value));
    } catch (error) {
      second.say(t("desk.sign.no_store", { error: messageOf(error) }));
      button.disabled = false;
    }
  };
  return [
    h("h2", { text: t("desk.sign.new_person") }),
    h("p", { class: "quiet small", text: t("desk.sign.new_person_text") }),
    h(
      "form",
      { class: "stack", novalidate: true, on: { submit } },
      name.element,
      number.element,
      unit.element,
      first.element,
      second.element,
      h(
        "div",
        { class: "row" },
        button,
        h("button", { type: "button", class: "plain", on: { click: () => steps.choose() } }, t("desk.cancel")),
      ),
    ),
  ];
}

/**
 * The request to hand over, and the designation that comes back.
 * @param {Person} person
 * @param {string|undefined} note
 * @param {Steps} steps
 */
function designating(person, note, steps) {
  const request = toPem("CERTIFICATE REQUEST", person.request);
  const answer = h("p", { class: "small", role: "status", text: note ?? "" });
  /**
   * @param {string} level
   * @param {string} text
   */
  const say = (level, text) => {
    answer.className = `small ${level}`;
    answer.textContent = text;
  };
  /** @param {string|Bytes} given */
  const take = async (given) => {
    try {
      const designated = await vault.designate(person, readChain(given));
      if (state(designated, steps.now()) === "expired") say("bad", standing(designated, steps.now()).text);
      else await steps.choose(person.id);
    } catch (error) {
      say(
        "bad",
        t(
          error instanceof vault.OtherKey
            ? "desk.sign.other_key"
            : isRequest(given)
              ? "desk.sign.is_request"
              : "desk.sign.no_certificate",
        ),
      );
    }
  };
  const refresh = async () => {
    const designated = await steps.refresh(person);
    if (state(designated, steps.now()) === "valid") await steps.choose(person.id);
    else say("warn", t("desk.sign.none_there"));
  };
  const pasted = field({
    label: t("desk.sign.paste"),
    input: h("textarea", { rows: 4, class: "mono small", spellcheck: "false", "data-testid": "designation-text" }),
  });
  const file = field({
    label: t("desk.sign.file"),
    input: h("input", { type: "file", accept: ".pem,.crt,.cer,.der", "data-testid": "designation-file" }),
  });
  file.input.addEventListener("change", async () => {
    const [chosen] = file.input.files ?? [];
    if (chosen && chosen.size < 64 * 1024) await take(new Uint8Array(await chosen.arrayBuffer()));
    else if (chosen) say("bad", t("desk.sign.no_certificate"));
  });
  const copy = async () => {
    await navigator.clipboard.writeText(request);
    copyButton.textContent = t("desk.sign.copied");
  };
  const copyButton = h("button", { on: { click: copy } }, t("desk.sign.copy"));
  const removeButton = h(
    "button",
    {
      class: "plain",
      "data-testid": "person-remove",
      on: { click: () => removeOnSecondPress(removeButton, person, steps) },
    },
    t("desk.sign.remove"),
  );
  return [
    h("h2", { text: t("desk.sign.designation_of", { name: person.name }) }),
    h("p", { class: "small", text: standing(person, steps.now()).text }),
    h("p", {
      class: "quiet small",
      text: t(steps.fetches ? "desk.sign.request_text_fetched" : "desk.sign.request_text"),
    }),
    h("textarea", {
      class: "mono small",
      readonly: true,
      rows: 6,
      "aria-label": t("desk.sign.request"),
      "data-testid": "certificate-request",
      value: request,
    }),
    h(
      "p",
      { class: "small quiet" },
      t("desk.sign.thumbprint"),
      " ",
      h("code", { text: (person.id.match(/.{8}/g) ?? []).join(" ") }),
    ),
    h(
      "div",
      { class: "row" },
      copyButton,
      h(
        "a",
        {
          class: "button",
          download: `${person.number}.csr`,
          href: URL.createObjectURL(new Blob([request], { type: "application/pkcs10" })),
        },
        t("desk.sign.download"),
      ),
    ),
    steps.fetches
      ? h(
          "button",
          { class: "primary", "data-testid": "designation-fetch", on: { click: refresh } },
          t("desk.sign.fetch"),
        )
      : null,
    file.element,
    pasted.element,
    h(
      "div",
      { class: "row" },
      h(
        "button",
        {
          class: steps.fetches ? "" : "primary",
          "data-testid": "designation-take",
          on: { click: () => take(pasted.input.value) },
        },
        t("desk.sign.take"),
      ),
      h("button", { class: "plain", on: { click: () => steps.choose(person.id) } }, t("desk.back")),
      removeButton,
    ),
    answer,
  ];
}

/**
 * Removing a key can't be undone: the first press asks.
 * @param {HTMLButtonElement} button
 * @param {Person} person
 * @param {Steps} steps
 */
async function removeOnSecondPress(button, person, steps) {
  if (button.dataset.sure === undefined) {
    button.dataset.sure = "1";
    button.className = "danger";
    button.textContent = t("desk.sign.remove_sure");
    return;
  }
  await vault.removePerson(person.id);
  await steps.choose();
}

/** @param {string|Bytes} given */
function isRequest(given) {
  return typeof given === "string" && fromPem("CERTIFICATE REQUEST", given).length > 0;
}
