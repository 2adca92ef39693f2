// The form that opens an intervention.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { field, openDialog } from "/page/widget/dialog.js";
import { groundsOf, isReference, readPresent } from "/page/state/rules.js";

/**
 * Asks for reference, grounds and who is present, then opens it.
 * @param {DeskContext} ctx
 * @param {GivenIncident} [given] fills in the form
 */
export function openIncidentDialog(ctx, given = {}) {
  return openDialog({ title: t("desk.open.title"), testid: "incident-dialog" }, (close) => form(ctx, given, close));
}

/**
 * @param {DeskContext} ctx
 * @param {GivenIncident} given
 * @param {(value?: unknown) => void} close
 */
function form(ctx, given, close) {
  const communes = [...ctx.store.get("communes").values()];
  const grounds = groundsOf(communes);
  const reference = field({
    label: t("desk.open.ref"),
    hint: t("desk.open.ref_hint"),
    input: h("input", {
      "data-testid": "incident-ref",
      "data-autofocus": true,
      autocomplete: "off",
      spellcheck: "false",
      maxlength: 64,
      value: given.ref ?? "",
    }),
  });
  const motive = field({
    label: t("desk.open.grounds"),
    input: h(
      "select",
      { "data-testid": "incident-grounds" },
      h("option", { value: "", text: t("desk.open.choose") }),
      ...grounds.map((one) => h("option", { value: one.id, text: one[lang()], selected: one.id === given.grounds })),
    ),
  });
  const present = presentField(given.present ?? []);
  const reach = h("p", { class: "quiet small", role: "status" });
  const showReach = () => {
    reach.textContent = reachText(grounds, communes, motive.input.value);
  };
  motive.input.addEventListener("change", showReach);
  showReach();
  if (communes.length > 0 && grounds.length === 0) motive.say(t("desk.open.no_grounds"));

  /** @param {SubmitEvent} event */
  const submit = (event) => {
    event.preventDefault();
    const ref = reference.input.value.trim();
    const { names, problem } = readPresent(present.input.value);
    reference.say(isReference(ref) ? null : t(ref === "" ? "desk.open.ref_missing" : "desk.open.ref_bad"));
    motive.say(motive.input.value === "" ? t("desk.open.grounds_missing") : null);
    present.say(problem && t(problem));
    const wrong = [reference, motive, present].find(({ input }) => input.hasAttribute("aria-invalid"));
    if (wrong) {
      wrong.input.focus();
      return;
    }
    ctx.desk.openIncident({ ref, grounds: motive.input.value, present: names, at: given.at ?? null });
    close(ref);
  };
  return [
    h(
      "form",
      { class: "stack", novalidate: true, on: { submit } },
      reference.element,
      motive.element,
      reach,
      present.element,
      h(
        "div",
        { class: "row dialog-actions" },
        h("button", { type: "button", on: { click: () => close() } }, t("desk.cancel")),
        h("button", { class: "primary", "data-testid": "incident-open" }, t("desk.open.submit")),
      ),
    ),
  ];
}

/**
 * Changes who is present: the requests from now on name them.
 * @param {DeskContext} ctx
 * @param {Incident} incident
 */
export function openPresentDialog(ctx, incident) {
  return openDialog({ title: t("desk.present.title"), testid: "present-dialog" }, (close) => {
    const present = presentField(incident.present);
    /** @param {SubmitEvent} event */
    const submit = (event) => {
      event.preventDefault();
      const { names, problem } = readPresent(present.input.value);
      present.say(problem && t(problem));
      if (problem !== null) return;
      ctx.desk.setPresent(incident.ref, names);
      close();
    };
    return [
      h(
        "form",
        { class: "stack", novalidate: true, on: { submit } },
        h("p", { class: "quiet small", text: t("desk.present.text") }),
        present.element,
        h(
          "div",
          { class: "row dialog-actions" },
          h("button", { type: "button", on: { click: () => close() } }, t("desk.cancel")),
          h("button", { class: "primary", "data-testid": "present-submit" }, t("desk.present.submit")),
        ),
      ),
    ];
  });
}

/** @param {string[]} names */
function presentField(names) {
  return field({
    label: t("desk.open.present"),
    hint: t("desk.open.present_hint"),
    input: h("input", { "data-testid": "incident-present", autocomplete: "off", value: names.join(", ") }),
  });
}

/**
 * Which communes have these grounds in their agreement.
 * @param {ReturnType<typeof groundsOf>} grounds
 * @param {Commune[]} communes
 * @param {string} chosen
 */
function reachText(grounds, communes, chosen) {
  const found = grounds.find(({ id }) => id === chosen);
  if (found === undefined) return "";
  const names = new Map(communes.map(({ commune, name }) => [commune, name]));
  const without = communes.filter(({ commune, agreement }) => agreement && !found.communes.includes(commune));
  /** @param {string[]} ids */
  const list = (ids) =>
    ids
      .slice(0, 8)
      .map((id) => names.get(id))
      .join(", ") + (ids.length > 8 ? ` … (${ids.length})` : "");
  const allowed = t("desk.open.reach", { communes: list(found.communes) });
  if (without.length === 0) return allowed;
  return `${allowed} ${t("desk.open.no_reach", { communes: list(without.map(({ commune }) => commune)) })}`;
}
