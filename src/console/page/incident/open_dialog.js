// The form that opens an intervention.

import { messageOf } from "/page/core/api.js";
import { h } from "/page/core/dom.js";
import { digitOf } from "/page/core/shortcuts.js";
import { lang, t } from "/page/core/text.js";
import { dayAndTime } from "/page/core/time_text.js";
import { field, openDialog } from "/page/widget/dialog.js";
import { communeName, groundsLabel } from "/page/state/names.js";
import { agreementsOf, groundsOf, isMine, isReference, liveGrants, readPresent, splitKey } from "/page/state/rules.js";
import { placeField } from "/page/widget/place_field.js";

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
  const place = placeField(ctx, {
    label: t("desk.open.place"),
    hint: t(ctx.store.get("console")?.places ? "desk.open.place_hint" : "desk.open.place_hint_positions"),
    given: given.at ? { at: given.at, place: given.place ?? null } : null,
    text: given.address ?? "",
  });
  const known = h("p", { class: "notice small", role: "status", "data-testid": "incident-known", hidden: true });
  const submitButton = h("button", { class: "primary", "data-testid": "incident-open" });
  /** An open intervention has this reference: which of its grounds are meant is said before the press. */
  const showKnown = () => {
    const open = ctx.store.get("incidents").get(reference.input.value.trim());
    const isOpen = open !== undefined && open.closedAt === null;
    known.hidden = !isOpen;
    if (isOpen && motive.input.value === "") motive.input.value = open.grounds;
    const isOther = isOpen && motive.input.value !== "" && motive.input.value !== open.grounds;
    submitButton.textContent = t(isOther ? "desk.open.add_grounds" : isOpen ? "desk.open.show" : "desk.open.submit");
    if (isOpen)
      known.textContent = t("desk.open.known", {
        ref: open.ref,
        grounds: open.allGrounds.map((one) => groundsLabel(ctx.store, one)).join(", "),
      });
  };
  reference.input.addEventListener("input", showKnown);
  const reach = h("p", { class: "quiet small", role: "status" });
  const showReach = () => {
    reach.textContent = reachText(grounds, communes, motive.input.value);
  };
  motive.input.addEventListener("change", () => {
    showReach();
    showKnown();
  });
  showReach();
  showKnown();
  if (communes.length > 0 && grounds.length === 0) motive.say(t("desk.open.no_grounds"));

  /** @param {SubmitEvent} event */
  const submit = async (event) => {
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
    submitButton.disabled = true;
    try {
      const { at = null, place: label = null } = (await place.found()) ?? {};
      ctx.desk.openIncident({ ref, grounds: motive.input.value, present: names, at, place: label });
      close(ref);
    } catch (error) {
      place.say(messageOf(error));
      place.input.focus();
    } finally {
      submitButton.disabled = false;
    }
  };
  return [
    h(
      "form",
      { class: "stack", novalidate: true, on: { submit } },
      reference.element,
      motive.element,
      reach,
      place.element,
      present.element,
      known,
      h(
        "div",
        { class: "row dialog-actions" },
        h("button", { type: "button", on: { click: () => close() } }, t("desk.cancel")),
        submitButton,
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

/**
 * Takes over what colleagues hold of an intervention: says what, and asks who is present; the names
 * that their requests had are there already.
 * @param {DeskContext} ctx
 * @param {Incident} incident
 */
export function openTakeOverDialog(ctx, incident) {
  const { store } = ctx;
  const others = liveGrants(incident, store.get("grants")).filter((grant) => !isMine(grant, store.get("me")));
  if (others.length === 0) return Promise.resolve(null);
  const me = store.get("me");
  const names = new Set([...incident.present, ...others.flatMap(({ present = [] }) => present)]);
  names.delete(me?.name ?? "");
  const line = (/** @type {Grant} */ grant) =>
    t("desk.take_over_line", {
      commune: communeName(store, grant.commune),
      cameras: grant.granted.map(({ camera, name }) => name ?? camera).join(", "),
      name: grant.operator.name,
      time: dayAndTime(Date.parse(grant.start ?? grant.expires), ctx.clock.now(), lang()),
    });
  const title = t("desk.take_over_title", { ref: incident.ref });
  return openDialog({ title, testid: "take-over-dialog" }, (close) => {
    const present = presentField([...names]);
    /** @param {SubmitEvent} event */
    const submit = (event) => {
      event.preventDefault();
      const read = readPresent(present.input.value);
      present.say(read.problem && t(read.problem));
      if (read.problem !== null) return present.input.focus();
      ctx.desk.setPresent(incident.ref, read.names);
      ctx.desk.takeOver(incident.ref);
      close();
    };
    return [
      h(
        "form",
        { class: "stack", novalidate: true, on: { submit } },
        h("ul", { class: "lines small" }, ...others.map((grant) => h("li", { text: line(grant) }))),
        h("p", { class: "quiet small", text: t("desk.take_over_text") }),
        present.element,
        h(
          "div",
          { class: "row dialog-actions" },
          h("button", { type: "button", on: { click: () => close() } }, t("desk.cancel")),
          h(
            "button",
            { class: "primary", "data-testid": "take-over-submit", "data-autofocus": true },
            t("desk.take_over"),
          ),
        ),
      ),
    ];
  });
}

/**
 * Asks on which grounds a camera is meant, where its commune's agreement lacks those in use.
 * @param {DeskContext} ctx
 * @param {string} key
 * @param {Grounds[]} offered
 */
export function openGroundsDialog(ctx, key, offered) {
  const commune = communeName(ctx.store, splitKey(key).commune);
  return openDialog({ title: t("desk.grounds.title", { commune }), testid: "grounds-dialog" }, (close) => {
    /** @param {string} grounds */
    const choose = (grounds) => {
      close();
      ctx.desk.choose(key, grounds);
    };
    const buttons = offered.map(({ id, ...label }, index) =>
      h(
        "button",
        { class: "row", "data-grounds": id, "data-autofocus": index === 0, on: { click: () => choose(id) } },
        index < 9 ? h("kbd", { text: index + 1 }) : null,
        t("desk.grounds.ask", { grounds: label[lang()] }),
      ),
    );
    const list = h("div", { class: "stack" }, ...buttons);
    list.addEventListener("keydown", (event) => {
      const button = buttons[(digitOf(event) ?? 0) - 1];
      if (button === undefined || event.repeat) return;
      event.preventDefault();
      button.click();
    });
    return [h("p", { class: "small", text: t("desk.grounds.text") }), list];
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
  const without = communes.filter((one) => agreementsOf(one).length > 0 && !found.communes.includes(one.commune));
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
