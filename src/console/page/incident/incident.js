// The panel of the intervention that is shown: its grants and their time, waiting requests,
// refusals, its history.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { countdown, dayAndTime, duration, timeOfDay, utcTimeOfDay } from "/page/core/time_text.js";
import { choose, confirm } from "/page/widget/dialog.js";
import { englishDetails } from "/page/widget/details.js";
import { refill, steady } from "/page/widget/redraw.js";
import { openNote, openRecord } from "/page/record/dialog.js";
import { lineText, reasonText } from "/page/state/line_text.js";
import { cameraName, communeName, groundsLabel, groundsLabels } from "/page/state/names.js";
import { historyOf } from "/page/state/record.js";
import { openIncidentDialog, openPresentDialog, openTakeOverDialog } from "/page/incident/open_dialog.js";
import {
  DURATIONS,
  DEFAULT_DURATION,
  ENDS_SOON,
  isMine,
  liveGrants,
  openIncidents,
  splitKey,
  grantsOf,
  shownIncident,
} from "/page/state/rules.js";

/** @typedef {import("/page/core/dom.js").Child} Child */
/** @typedef {{allLines: boolean, head: string}} PanelView whether all lines are shown, and the head that is drawn */

/** Lines of history shown; the rest on demand. */
const LINES = 40;
/** Ended grants shown. */
const ENDED = 8;

/**
 * Puts the panel into `element`.
 * @param {HTMLElement} element
 * @param {DeskContext} ctx
 */
export function mountIncident(element, ctx) {
  const { store } = ctx;
  const [head, body] = [h("div", { class: "panel-body incident-place" }), h("div", { class: "panel-body" })];
  element.append(head, body);
  const view = { allLines: false, head: "" };
  const draw = steady(() => {
    const incident = shownIncident(store);
    drawHead(ctx, incident, { head, view });
    refill(body, ...(incident === undefined ? nothingOpen(ctx) : content(ctx, incident, view, draw)));
    tick(body, ctx);
  });
  const shown = /** @type {const} */ (["incident", "incidents", "grants", "approvals", "communes", "cameras"]);
  store.watch([...shown, "records", "outbox", "lang", "me", "online"], draw);
  setInterval(() => tick(body, ctx), 500);
}

/**
 * The head is drawn again only if it changed: an open list would close.
 * @param {DeskContext} ctx
 * @param {Incident|undefined} incident
 * @param {{head: HTMLElement, view: PanelView}} of
 */
function drawHead(ctx, incident, { head, view }) {
  const { ref, grounds, allGrounds = [], present, place, closedAt, duration: chosen } = incident ?? {};
  const labels = allGrounds.map((one) => groundsLabel(ctx.store, one));
  const shown = JSON.stringify([ref, grounds, labels, present, place, closedAt, chosen, lang()]);
  if (shown === view.head) return;
  view.head = shown;
  head.hidden = incident === undefined;
  refill(
    head,
    ...(incident === undefined
      ? []
      : [heading(ctx, incident), incident.closedAt === null ? durationChoice(ctx, incident) : null]),
  );
}

/** @param {DeskContext} ctx */
function nothingOpen(ctx) {
  return [
    h(
      "div",
      { class: "empty stack" },
      h("h2", { text: t("desk.none.title") }),
      h("p", { class: "quiet", text: t("desk.none.text") }),
      h(
        "button",
        { class: "primary", "data-focus": "new", on: { click: () => openIncidentDialog(ctx) } },
        t("desk.open.title"),
      ),
    ),
    section("desk.unit", [unitList(ctx.store, (ref) => ctx.desk.showIncident(ref))]),
  ];
}

/**
 * The unit's interventions that others hold, to look at or take over.
 * @param {PageStore} store
 * @param {(ref: string) => void} show
 */
export function unitList(store, show) {
  const grants = store.get("grants");
  const { unit } = openIncidents(store.get("incidents"), grants);
  if (unit.length === 0) return h("p", { class: "quiet small", text: t("desk.unit_none") });
  /** @param {Incident} incident */
  const line = (incident) =>
    h(
      "li",
      {},
      h(
        "button",
        {
          class: "unit-incident",
          "data-testid": "unit-incident",
          dataset: { ref: incident.ref, focus: `unit-${incident.ref}` },
          on: { click: () => show(incident.ref) },
        },
        h("strong", { class: "mono", text: incident.ref }),
        h("span", {
          class: "small quiet",
          text: [
            ...incident.allGrounds.map((one) => groundsLabel(store, one)),
            ...new Set(liveGrants(incident, grants).map(({ operator }) => operator.name)),
          ].join(" · "),
        }),
      ),
    );
  return h("ul", { class: "stack" }, ...unit.map(line));
}

/**
 * @param {DeskContext} ctx
 * @param {Incident} incident
 * @param {PanelView} view
 * @param {() => void} draw
 */
function content(ctx, incident, view, draw) {
  const { store } = ctx;
  const all = grantsOf(incident, store.get("grants"));
  const live = liveGrants(incident, store.get("grants"));
  const ended = all
    .flatMap(({ ended, ...grant }) => (ended ? [{ ...grant, ended }] : []))
    .sort((one, other) => Date.parse(other.ended.at) - Date.parse(one.ended.at));
  const waiting = [...store.get("approvals").values()].filter((one) => one.incident === incident.ref);
  return [
    handover(ctx, incident, live),
    section(
      "desk.grants",
      [
        ...groups(live).map((grants) => grantRow(ctx, grants)),
        ...waiting.map((one) => waitingRow(ctx, one)),
        live.length + waiting.length === 0 ? h("p", { class: "quiet small", text: t("desk.grants_none") }) : null,
      ],
      renewAll(ctx, live),
    ),
    incident.refusals.size > 0
      ? section(
          "desk.refused",
          [...incident.refusals].map((entry) => refusalRow(ctx, incident, entry)),
        )
      : null,
    ended.length > 0
      ? section(
          "desk.ended",
          ended.slice(0, ENDED).map((grant) => endedRow(ctx, grant)),
        )
      : null,
    history(ctx, incident, view, draw),
  ];
}

/**
 * @param {string} titleKey
 * @param {Child[]} children
 * @param {Child} [action]
 */
function section(titleKey, children, action = null) {
  return h(
    "section",
    { class: "block" },
    h("div", { class: "block-head" }, h("h3", { text: t(titleKey) }), action),
    ...children,
  );
}

/**
 * @param {DeskContext} ctx
 * @param {Incident} incident
 */
function heading(ctx, incident) {
  const now = ctx.clock.now();
  const change = h(
    "button",
    {
      class: "plain link",
      "data-testid": "change-present",
      "data-focus": "present",
      "aria-label": t("desk.change_present"),
      on: { click: () => openPresentDialog(ctx, incident) },
    },
    t("desk.change"),
  );
  /** @type {[string, Child[]][]} */
  const facts = [
    [t("desk.fact.grounds"), [groundsChoice(ctx, incident)]],
    ...(incident.place === null ? [] : [/** @type {[string, Child[]]} */ ([t("desk.fact.place"), [incident.place]])]),
    [t("desk.fact.opened"), [dayAndTime(incident.openedAt, now, lang())]],
    [
      t("desk.fact.present"),
      [incident.present.join(", ") || t("desk.fact.nobody"), " ", incident.closedAt === null ? change : null],
    ],
  ];
  return h(
    "header",
    { class: "incident-head" },
    h(
      "div",
      { class: "row" },
      h("h2", { class: "grow mono", text: incident.ref }),
      incident.closedAt === null
        ? h(
            "button",
            {
              "data-testid": "close-incident",
              "data-focus": "close",
              on: { click: () => closeAfterAsking(ctx, incident) },
            },
            t("desk.close_incident"),
          )
        : h("span", { class: "chip", text: t("desk.closed") }),
    ),
    h(
      "dl",
      { class: "facts small" },
      ...facts.flatMap(([term, parts]) => [h("dt", { text: term }), h("dd", {}, ...parts)]),
    ),
  );
}

/**
 * The grounds of the intervention; of several, the list that says which are in use.
 * @param {DeskContext} ctx
 * @param {Incident} incident
 */
function groundsChoice(ctx, incident) {
  const { ref, grounds, allGrounds, closedAt } = incident;
  if (allGrounds.length < 2 || closedAt !== null)
    return allGrounds.map((one) => groundsLabel(ctx.store, one)).join(", ");
  const options = allGrounds.map((one) =>
    h("option", { value: one, text: groundsLabel(ctx.store, one), selected: one === grounds }),
  );
  const change = () => ctx.desk.useGrounds(ref, select.value);
  const select = h(
    "select",
    {
      "data-testid": "grounds-in-use",
      "data-focus": "grounds",
      "aria-label": t("desk.grounds.in_use"),
      title: t("desk.grounds.in_use"),
      on: { change },
    },
    ...options,
  );
  return select;
}

/**
 * Asks once, then releases all.
 * @param {DeskContext} ctx
 * @param {Incident} incident
 */
async function closeAfterAsking(ctx, incident) {
  const live = liveGrants(incident, ctx.store.get("grants"));
  const me = ctx.store.get("me");
  const own = live.filter((grant) => isMine(grant, me));
  const others = live.length - own.length;
  const lines = own.map((grant) =>
    t("desk.close_line", { commune: communeName(ctx.store, grant.commune), n: openCameras(grant).length }),
  );
  if (others > 0) lines.push(t("desk.close_others", { n: others }));
  const { answer, sure } = await choose({
    title: t("desk.close_title", { ref: incident.ref }),
    text: own.length > 0 ? t("desk.close_text", { n: own.length }) : t("desk.close_text_none"),
    lines: [...lines, t("record.close_kept")],
    action: t("desk.close_incident"),
    other: t("record.close_export"),
    testid: "close-dialog",
  });
  if (sure && (await ctx.desk.closeIncident(incident.ref)) && answer === "other")
    openRecord(ctx, ctx.desk.keeper, incident.ref);
}

/**
 * The grants that a colleague holds, and the button that takes them over.
 * @param {DeskContext} ctx
 * @param {Incident} incident
 * @param {Grant[]} live
 */
function handover(ctx, incident, live) {
  const others = live.filter((grant) => !isMine(grant, ctx.store.get("me")));
  if (others.length === 0) return null;
  const names = [...new Set(others.map(({ operator }) => operator.name))].join(", ");
  return h(
    "div",
    { class: "notice" },
    h("p", { text: t("desk.handover", { n: others.length, names }) }),
    h(
      "button",
      {
        class: "primary",
        "data-testid": "take-over",
        "data-focus": "take-over",
        on: { click: () => openTakeOverDialog(ctx, incident) },
      },
      t("desk.take_over"),
      " ",
      h("kbd", { text: "T" }),
    ),
  );
}

/**
 * One button for all communes, where there are several.
 * @param {DeskContext} ctx
 * @param {Grant[]} live
 */
function renewAll(ctx, live) {
  const own = live.filter((grant) => isMine(grant, ctx.store.get("me")));
  if (groups(own).length < 2) return null;
  return h(
    "button",
    {
      class: "small",
      "data-testid": "renew-all",
      "data-focus": "renew-all",
      on: { click: () => ctx.desk.renewAll(own[0].incident) },
    },
    t("desk.renew_all"),
  );
}

/**
 * @param {DeskContext} ctx
 * @param {Incident} incident
 */
function durationChoice(ctx, incident) {
  const chosen = incident.duration ?? DEFAULT_DURATION;
  const options = DURATIONS.map((seconds) =>
    h("option", { value: seconds, text: duration(seconds, lang()), selected: seconds === chosen }),
  );
  const change = () => {
    incident.duration = Number(select.value);
    ctx.store.touch("incidents");
  };
  const select = h("select", { "data-testid": "duration", "data-focus": "duration", on: { change } }, ...options);
  return h(
    "label",
    { class: "row small inline-field" },
    h("span", { class: "quiet", text: t("desk.ask_for") }),
    select,
  );
}

/** @param {Grant} grant */
function openCameras(grant) {
  return grant.granted.filter(({ state }) => state !== "ended");
}

/**
 * Live grants by commune and by holder: each group is renewed and released together.
 * @param {Grant[]} live
 */
function groups(live) {
  const found = Map.groupBy(live, ({ commune, operator }) => `${commune} ${operator.number} ${operator.unit}`);
  return [...found.values()];
}

/**
 * The grants of one commune, the one that ends soonest first.
 * @param {DeskContext} ctx
 * @param {Grant[]} grants
 */
function grantRow(ctx, grants) {
  const { store, desk } = ctx;
  const [soonest] = grants;
  const mine = isMine(soonest, store.get("me"));
  const commune = store.get("communes").get(soonest.commune);
  const name = communeName(store, soonest.commune);
  const count = t("desk.cameras", { n: grants.reduce((sum, grant) => sum + openCameras(grant).length, 0) });
  /** @param {(grant: string) => unknown} act */
  const each = (act) => () => grants.forEach(({ grant }) => act(grant));
  const id = soonest.grant;
  return h(
    "article",
    {
      class: "grant",
      "data-testid": "grant",
      dataset: {
        grant: grants.map(({ grant }) => grant).join(" "),
        commune: soonest.commune,
        expires: soonest.expires,
      },
    },
    h(
      "div",
      { class: "row" },
      h("h4", { class: "grow", text: name }),
      commune && !commune.online ? h("span", { class: "chip bad", text: t("desk.link_lost") }) : null,
      h("span", {
        class: "time-left",
        "data-testid": "time-left",
        title: t("desk.ends_at", { time: timeOfDay(Date.parse(soonest.expires)) }),
      }),
    ),
    h("p", { class: "small quiet", text: mine ? count : `${count} · ${soonest.operator.name}` }),
    h("p", {
      class: "small",
      "data-testid": "grant-cameras",
      text: grants.flatMap((grant) => namesOf(store, grant)).join(", "),
    }),
    cameraStates(ctx, grants),
    h(
      "div",
      { class: "row" },
      h(
        "button",
        {
          "data-testid": "renew",
          "data-focus": `renew-${id}`,
          "aria-label": `${t(mine ? "desk.renew" : "desk.take_over")} ${name}`,
          on: {
            click: mine ? each((grant) => desk.renew(grant)) : () => takeOver(ctx, soonest.incident),
          },
        },
        t(mine ? "desk.renew" : "desk.take_over"),
      ),
      mine
        ? null
        : h(
            "button",
            {
              "data-testid": "watch-also",
              "data-focus": `also-${id}`,
              "aria-label": `${t("desk.watch_also")} ${name}`,
              on: { click: () => desk.ask(grants.flatMap(keysOf)) },
            },
            t("desk.watch_also"),
          ),
      h(
        "button",
        {
          class: "plain",
          "data-testid": "release",
          "data-focus": `release-${id}`,
          "aria-label": `${t("desk.release")} ${name}`,
          on: { click: mine ? each((grant) => desk.release(grant)) : () => endAfterAsking(ctx, grants) },
        },
        t("desk.release"),
      ),
    ),
  );
}

/**
 * Keys of a grant's cameras that did not end.
 * @param {Grant} grant
 */
function keysOf(grant) {
  return openCameras(grant).map(({ camera }) => `${grant.commune}/${camera}`);
}

/**
 * Their names.
 * @param {PageStore} store
 * @param {Grant} grant
 */
function namesOf(store, grant) {
  return openCameras(grant).map(({ camera, name }) => name ?? cameraName(store, `${grant.commune}/${camera}`));
}

/**
 * @param {DeskContext} ctx
 * @param {string} ref
 */
function takeOver(ctx, ref) {
  const incident = ctx.store.get("incidents").get(ref);
  if (incident !== undefined) openTakeOverDialog(ctx, incident);
}

/**
 * Ends a colleague's grants after a question that names him.
 * @param {DeskContext} ctx
 * @param {Grant[]} grants of one commune and holder
 */
async function endAfterAsking(ctx, grants) {
  const [{ operator, commune }] = grants;
  const sure = await confirm({
    title: t("desk.end_other_title", { name: operator.name }),
    text: t("desk.end_other_text", { commune: communeName(ctx.store, commune) }),
    lines: grants.flatMap((grant) => namesOf(ctx.store, grant)),
    action: t("desk.release"),
    testid: "end-other",
  });
  if (sure) for (const { grant } of grants) ctx.desk.release(grant);
}

/**
 * Cameras that are neither live nor starting, with the reason.
 * @param {DeskContext} ctx
 * @param {Grant[]} grants
 */
function cameraStates(ctx, grants) {
  const odd = grants
    .flatMap((grant) => grant.granted.map((entry) => ({ ...entry, key: `${grant.commune}/${entry.camera}` })))
    .filter(({ state }) => state !== "live" && state !== "starting");
  if (odd.length === 0) return null;
  return h(
    "ul",
    { class: "lines small" },
    ...odd.map(({ key, state, reason, detail }) =>
      h(
        "li",
        { class: state === "late" || state === "retrying" ? "warn" : "bad", title: detail ?? "" },
        h("strong", { text: cameraName(ctx.store, key) }),
        ` ${t(`desk.state.${state}`)}${reason ? ` (${reasonText(reason)})` : ""}`,
      ),
    ),
  );
}

/**
 * @param {DeskContext} ctx
 * @param {Approval} approval
 */
function waitingRow(ctx, { request, commune, cameras, approve_by: by }) {
  return h(
    "article",
    { class: "grant waiting", "data-testid": "approval", dataset: { request, expires: by ?? "" } },
    h(
      "div",
      { class: "row" },
      h("h4", { class: "grow", text: communeName(ctx.store, commune) }),
      h("span", { class: "time-left" }),
    ),
    h("p", { class: "small", text: t("desk.waits", { n: cameras.length }) }),
    h(
      "button",
      {
        "data-testid": "cancel-wait",
        "data-focus": `cancel-${request}`,
        "aria-label": `${t("desk.cancel_wait")} ${communeName(ctx.store, commune)}`,
        on: { click: () => ctx.desk.cancel(request) },
      },
      t("desk.cancel_wait"),
    ),
  );
}

/**
 * @param {DeskContext} ctx
 * @param {Incident} incident
 * @param {[string, Why]} refusal
 */
function refusalRow(ctx, incident, [key, { reason, detail }]) {
  const name = cameraName(ctx.store, key);
  return h(
    "article",
    { class: "grant refused", "data-testid": "refusal", dataset: { camera: key, reason: String(reason) } },
    h(
      "div",
      { class: "row" },
      h("h4", { class: "grow", text: name }),
      h("span", { class: "quiet small", text: communeName(ctx.store, splitKey(key).commune) }),
    ),
    h("p", { class: "small", text: reasonText(reason) }),
    englishDetails(detail ?? ""),
    h(
      "div",
      { class: "row" },
      h(
        "button",
        {
          "data-focus": `again-${key}`,
          "aria-label": `${t("desk.again")} ${name}`,
          on: { click: () => ctx.desk.ask([key]) },
        },
        t("desk.again"),
      ),
      h(
        "button",
        {
          class: "plain",
          "data-focus": `dismiss-${key}`,
          "aria-label": `${t("desk.dismiss")} ${name}`,
          on: { click: () => ctx.desk.dismissRefusal(incident.ref, key) },
        },
        t("desk.dismiss"),
      ),
    ),
  );
}

/**
 * @param {DeskContext} ctx
 * @param {Grant & Required<Pick<Grant, "ended">>} grant
 */
function endedRow(ctx, grant) {
  const { reason, at } = grant.ended;
  const keys = grant.granted.map(({ camera }) => `${grant.commune}/${camera}`);
  const name = communeName(ctx.store, grant.commune);
  return h(
    "article",
    { class: "grant over", "data-testid": "grant-ended", dataset: { grant: grant.grant, reason } },
    h(
      "div",
      { class: "row" },
      h("h4", { class: "grow", text: name }),
      h("span", { class: "quiet small", text: timeOfDay(Date.parse(at)) }),
    ),
    h("p", { class: reason === "grant_released" ? "small quiet" : "small bad", text: reasonText(reason) }),
    h(
      "button",
      {
        class: "plain",
        "data-focus": `reask-${grant.grant}`,
        "aria-label": `${t("desk.again")} ${name}`,
        on: { click: () => ctx.desk.ask(keys) },
      },
      t("desk.again"),
    ),
  );
}

/**
 * @param {DeskContext} ctx
 * @param {Incident} incident
 * @param {PanelView} view
 * @param {() => void} draw
 */
function history(ctx, incident, view, draw) {
  const { store, desk } = ctx;
  const names = {
    camera: (/** @type {string} */ key) => cameraName(store, key),
    commune: (/** @type {string} */ id) => communeName(store, id),
    grounds: (/** @type {string} */ id) => groundsLabels(store, id),
  };
  const record = store.get("records").get(incident.ref);
  const newest = historyOf(incident, record, names, store.get("me")).reverse();
  const shown = view.allLines ? newest : newest.slice(0, LINES);
  const more = newest.length - shown.length;
  const showAll = () => {
    view.allLines = true;
    draw();
  };
  return h(
    "section",
    { class: "block" },
    h(
      "div",
      { class: "block-head row" },
      h("h3", { class: "grow", text: t("desk.history.title") }),
      h(
        "button",
        {
          class: "small",
          "data-testid": "add-note",
          "data-focus": "add-note",
          on: { click: () => openNote(desk.keeper, incident.ref) },
        },
        t("record.note"),
      ),
      h(
        "button",
        {
          class: "small",
          "data-testid": "open-record",
          "data-focus": "open-record",
          on: { click: () => openRecord(ctx, desk.keeper, incident.ref) },
        },
        t("record.open"),
      ),
    ),
    h(
      "ol",
      { class: "history small", "data-testid": "history" },
      ...shown.map((line) =>
        h(
          "li",
          { class: line.level, "data-key": line.key },
          h("time", {
            datetime: new Date(line.at).toISOString(),
            title: utcTimeOfDay(line.at),
            text: timeOfDay(line.at),
          }),
          h("span", { text: lineText(line) }),
        ),
      ),
    ),
    more > 0
      ? h(
          "button",
          { class: "plain", "data-focus": "more", on: { click: showAll } },
          t("desk.history.more", { n: more }),
        )
      : null,
  );
}

/**
 * Only the times: nothing else is redrawn each second.
 * @param {HTMLElement} body
 * @param {DeskContext} ctx
 */
function tick(body, ctx) {
  const now = ctx.clock.now();
  for (const row of /** @type {NodeListOf<HTMLElement>} */ (body.querySelectorAll("[data-expires]"))) {
    const left = Date.parse(row.dataset.expires ?? "") - now;
    const place = row.querySelector(".time-left");
    const text = Number.isFinite(left) ? countdown(left) : "–";
    if (place && place.textContent !== text) place.textContent = text;
    row.classList.toggle("ends-soon", left < ENDS_SOON);
  }
}
