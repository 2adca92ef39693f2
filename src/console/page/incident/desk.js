// What the desk does: opens and closes interventions, asks, renews, releases, and follows
// what becomes of it. No elements here; the store tells those who show it.

import { Problem } from "/page/core/api.js";
import { lang, t } from "/page/core/text.js";
import * as records from "/page/incident/records.js";
import { byCommune, changes, durationFor, grantOf, isMine, isReference, liveGrants, newIncident, obstacle, splitKey } from "/page/incident/rules.js";

/** Media type of a request. */
const JOSE = "application/jose";
/** How long after a commune's time to approve it is asked what became of it, in ms. */
const APPROVAL_GRACE = 3_000;
/** Most cameras that one call fetches (the API's own bound). */
const CAMERAS_MOST = 10_000;

/** The desk's actions and what feeds them. */
export class Desk {
  #ctx;
  #loadedCommunes = new Set();
  #approvalTimers = new Map();

  constructor(ctx) {
    this.#ctx = ctx;
    const { store } = ctx;
    this.#recall(records.load());
    records.keep(store);
    const names = ["openIncident", "closeIncident", "ask", "renew", "release", "note", "mayAsk", "problemText", "takeOver", "showIncident", "dismissRefusal", "groundsLabel", "communeName", "cameraName"];
    for (const name of names) ctx.actions[name] = this[name].bind(this);
  }

  /** What outlived a reload; grants come from the receiver. */
  #recall({ incidents, approvals }) {
    const { store } = this.#ctx;
    for (const kept of incidents) store.get("incidents").set(kept.ref, { ...newIncident(kept), ...kept });
    for (const waiting of approvals) {
      store.get("approvals").set(waiting.request, waiting);
      store.get("incidents").get(waiting.incident)?.cameras.push(...waiting.cameras.map((camera) => `${waiting.commune}/${camera}`));
    }
  }

  /** Opens an intervention, or shows it if it is open. */
  openIncident({ ref, grounds, present = [], at = null }) {
    const { store, clock } = this.#ctx;
    if (!isReference(ref)) throw new RangeError("a reference has 1 to 64 of A-Z a-z 0-9 . _ / -");
    const incidents = store.get("incidents");
    const known = incidents.get(ref);
    if (known === undefined || known.closedAt !== null) {
      const incident = newIncident({ ref, grounds, present, at, openedAt: clock.now() });
      incident.history = known?.history ?? [];
      incidents.set(ref, incident);
      this.note(ref, { level: "info", key: "desk.history.opened", params: { grounds: this.#groundsLabels(grounds) } });
    }
    store.touch("incidents");
    this.showIncident(ref);
    if (at !== null) this.#ctx.actions.lookAt?.({ at });
    return incidents.get(ref);
  }

  /** Shows an intervention. */
  showIncident(ref) {
    const { store } = this.#ctx;
    if (store.get("incident") === ref) return;
    store.set("focused", null);
    store.set("incident", ref);
  }

  /** Releases all that the signer holds for an intervention and closes it; whoever calls has asked. */
  async closeIncident(ref) {
    const { store, clock } = this.#ctx;
    const incident = store.get("incidents").get(ref);
    if (incident === undefined) return;
    const own = liveGrants(incident, store.get("grants")).filter((grant) => isMine(grant, store.get("me")));
    const released = await Promise.all(own.map(({ grant }) => this.release(grant)));
    if (released.includes(false)) {
      this.#ctx.actions.toast({ level: "bad", key: "desk.toast.close_failed", params: { ref } });
      return;
    }
    incident.closedAt = clock.now();
    incident.cameras = [];
    this.note(ref, { level: "info", key: "desk.history.closed", params: {} });
    const open = [...store.get("incidents").values()].filter(({ closedAt }) => closedAt === null);
    store.set("incident", open.at(-1)?.ref ?? null);
    store.set("focused", null);
  }

  /** What stands in the way of asking for a camera now; see `rules.obstacle`. */
  mayAsk(key) {
    const { store } = this.#ctx;
    return obstacle({
      incident: store.get("incidents").get(store.get("incident")) ?? null,
      commune: store.get("communes").get(splitKey(key).commune),
      camera: store.get("cameras").get(key),
      online: store.get("online"),
      groundsLabel: (id) => this.groundsLabel(id),
      reason: (code) => t(`desk.reason.${code}`),
    });
  }

  /**
   * Asks for cameras: one signed request per commune, all at once.
   * @returns {Promise<{commune: string, grant?: object, problem?: Problem, waiting?: object}[]>}
   */
  async ask(keys, { duration = null, profile = "auto" } = {}) {
    const { store } = this.#ctx;
    const incident = store.get("incidents").get(store.get("incident"));
    if (incident === undefined || incident.closedAt !== null) {
      this.#ctx.actions.toast({ level: "warn", key: "desk.ask.no_incident", params: {} });
      return [];
    }
    const [me, grants] = [store.get("me"), store.get("grants")];
    const wanted = keys.filter((key) => grantOf(key, incident, grants, me) === undefined);
    for (const key of keys) {
      incident.refusals.delete(key);
      if (!incident.cameras.includes(key)) incident.cameras.push(key);
    }
    store.touch("incidents");
    const wish = duration ?? incident.duration;
    return Promise.all(byCommune(wanted).map((part) => this.#askCommune(incident, part, wish, profile)));
  }

  async #askCommune(incident, { commune, cameras }, wish, profile) {
    const { store } = this.#ctx;
    const seconds = durationFor(store.get("communes").get(commune)?.agreement, wish);
    const asked = { aud: commune, cameras, grounds: incident.grounds, incident: incident.ref, duration: seconds, profile, present: incident.present };
    try {
      const answer = await this.#send(asked);
      if (answer.grant === undefined) {
        this.#wait(incident.ref, commune, cameras, answer);
        return { commune, waiting: answer };
      }
      this.#takeAnswer(answer);
      this.#tellRefused(incident, commune, answer.refused);
      return { commune, grant: answer };
    } catch (error) {
      const problem = asProblem(error);
      const named = new Map(problem.cameras.map((entry) => [entry.camera, entry]));
      this.#tellRefused(incident, commune, cameras.map((camera) => ({ camera, problem, ...named.get(camera) })), problem);
      return { commune, problem };
    }
  }

  async #send(asked) {
    const { signer, api } = this.#ctx;
    return api.post("requests", await signer.request(asked), JOSE);
  }

  /** Cameras that were not granted leave the mosaic; why stays with the intervention. */
  #tellRefused(incident, commune, refused, problem = null) {
    if (refused.length === 0) return;
    const { store, clock } = this.#ctx;
    for (const { camera, reason, detail } of refused) {
      const key = `${commune}/${camera}`;
      const why = problem === null ? { reason, detail } : { reason: reason ?? problem.reason, detail: detail ?? problem.detail };
      incident.refusals.set(key, { ...why, at: clock.now() });
      incident.cameras = incident.cameras.filter((other) => other !== key);
    }
    const { reason } = problem ?? refused[0];
    const cameras = refused.map(({ camera }) => this.cameraName(`${commune}/${camera}`)).join(", ");
    const params = { commune: this.communeName(commune), cameras, reason, n: refused.length };
    this.note(incident.ref, { level: "bad", key: "desk.history.refused", params });
    this.#ctx.actions.toast({ level: "bad", key: "desk.history.refused", params, detail: problem ? this.problemText(problem) : "" });
    store.touch("incidents");
  }

  /** Renews a grant, also a colleague's: same id, URLs and credentials. */
  async renew(id, { quiet = false } = {}) {
    const { store } = this.#ctx;
    const grant = store.get("grants").get(id);
    const incident = grant && store.get("incidents").get(grant.incident);
    if (incident === undefined || grant.ended) return false;
    const cameras = grant.granted.filter(({ state }) => state !== "ended").map(({ camera }) => camera);
    const seconds = durationFor(store.get("communes").get(grant.commune)?.agreement, incident.duration);
    const asked = { aud: grant.commune, cameras, grounds: grant.grounds, incident: grant.incident, duration: seconds, profile: "auto", present: incident.present, renews: id };
    try {
      const answer = await this.#send(asked);
      if (answer.grant === undefined) {
        this.#wait(incident.ref, grant.commune, cameras, answer);
        return true;
      }
      this.#takeAnswer(answer);
      this.#tellRefused(incident, grant.commune, answer.refused.filter(({ camera }) => cameras.includes(camera)));
      if (!quiet) this.#ctx.actions.toast({ level: "info", key: "desk.toast.renewed", params: { commune: this.communeName(grant.commune) } });
      return true;
    } catch (error) {
      const problem = asProblem(error);
      const params = { commune: this.communeName(grant.commune), reason: problem.reason };
      this.note(incident.ref, { level: "bad", key: "desk.history.renew_refused", params });
      this.#ctx.actions.toast({ level: "bad", key: "desk.history.renew_refused", params, detail: this.problemText(problem) });
      return false;
    }
  }

  /** Takes over all of an intervention's grants that others hold. */
  async takeOver(ref) {
    const { store } = this.#ctx;
    const incident = store.get("incidents").get(ref);
    const others = liveGrants(incident, store.get("grants")).filter((grant) => !isMine(grant, store.get("me")));
    if (others.length === 0) return;
    const taken = await Promise.all(others.map(({ grant }) => this.renew(grant, { quiet: true })));
    const n = taken.filter(Boolean).length;
    if (n > 0) this.#ctx.actions.toast({ level: "info", key: "desk.toast.taken_over", params: { n, ref } });
  }

  /** Gives a grant back; whether it is over. */
  async release(id) {
    try {
      this.takeGrant(await this.#ctx.api.delete(`grants/${id}`));
      return true;
    } catch (error) {
      const problem = asProblem(error);
      // It is over already.
      if (problem.reason === "grant_unknown" || problem.status === 404) return true;
      this.#ctx.actions.toast({ level: "bad", key: "desk.toast.release_failed", params: {}, detail: this.problemText(problem) });
      return false;
    }
  }

  /** Adds a line to an intervention's history. */
  note(ref, { level, key, params }) {
    const { store, clock } = this.#ctx;
    const incident = store.get("incidents").get(ref);
    if (incident === undefined) return;
    records.addLine(incident, { at: clock.now(), level, key, params });
    store.touch("incidents");
  }

  /** Forgets why a camera was refused. */
  dismissRefusal(ref, key) {
    this.#ctx.store.get("incidents").get(ref)?.refusals.delete(key);
    this.#ctx.store.touch("incidents");
  }

  /** What a problem means and what to do, in the page's language. */
  problemText({ title, title_fr: french, detail, reason }) {
    const sentence = (lang() === "fr" ? french : title) || t(`desk.reason.${reason}`);
    const text = sentence.charAt(0).toUpperCase() + sentence.slice(1);
    return detail && detail !== title ? `${text} (${detail})` : `${text}.`;
  }

  /** The label of grounds in the page's language. */
  groundsLabel(id) {
    return this.#groundsLabels(id)[lang()];
  }

  #groundsLabels(id) {
    for (const { agreement } of this.#ctx.store.get("communes").values()) {
      const found = agreement?.grounds.find((grounds) => grounds.id === id);
      if (found) return { fr: found.fr, en: found.en };
    }
    return { fr: id, en: id };
  }

  /** A commune's name, its id while that is not known. */
  communeName(id) {
    return this.#ctx.store.get("communes").get(id)?.name ?? id;
  }

  /** A camera's name, its id while that is not known. */
  cameraName(key) {
    return this.#ctx.store.get("cameras").get(key)?.name ?? splitKey(key).camera;
  }

  /** Loads communes and grants; on each connection, and when events were missed. */
  async load() {
    const { api, store } = this.#ctx;
    const [communes, grants] = await Promise.all([api.get("communes"), api.get("grants")]);
    const before = store.get("communes");
    store.set("communes", new Map(communes.map((commune) => [commune.commune, named(commune, before)])));
    const live = new Set(grants.map(({ grant }) => grant));
    for (const grant of grants) this.takeGrant(grant);
    // What ended meanwhile is no longer in the list; its end is told one by one.
    const gone = [...store.get("grants").values()].filter(({ grant, ended }) => !ended && !live.has(grant));
    await Promise.all(gone.map((grant) => this.#reload(grant)));
    for (const commune of store.get("communes").values()) this.#tellCommune(before.get(commune.commune), commune);
    await Promise.all([...store.get("approvals").keys()].map((request) => this.#resolve(request)));
    if (store.get("incident") === null) this.#showSome();
  }

  #showSome() {
    const { store } = this.#ctx;
    const open = [...store.get("incidents").values()].filter(({ closedAt }) => closedAt === null);
    const own = open.filter((incident) => liveGrants(incident, store.get("grants")).some((grant) => isMine(grant, store.get("me"))));
    store.set("incident", (own.at(-1) ?? open.at(-1))?.ref ?? null);
  }

  async #reload(grant) {
    const { api, clock } = this.#ctx;
    try {
      this.takeGrant(await api.get(`grants/${grant.grant}`));
    } catch (error) {
      if (asProblem(error).reason !== "grant_unknown") return;
      const at = new Date(clock.now()).toISOString();
      const reason = Date.parse(grant.expires) <= clock.now() ? "grant_expired" : "grant_unknown";
      this.takeGrant({ ...grant, ended: { reason, detail: "", at } });
    }
  }

  /** Takes an event of the receiver. */
  takeEvent(name, body) {
    const { store } = this.#ctx;
    if (name === "grant") this.takeGrant(body);
    if (name === "request") this.#resolve(body.request);
    if (name !== "commune") return;
    const communes = store.get("communes");
    const before = communes.get(body.commune);
    communes.set(body.commune, named(body, communes));
    store.touch("communes");
    this.#loadedCommunes.delete(body.commune);
    this.#tellCommune(before, communes.get(body.commune));
  }

  /** Tells that a commune is lost or back, where it concerns an intervention. */
  #tellCommune(before, { commune, name, online }) {
    if (before === undefined || before.online === online) return;
    const { store } = this.#ctx;
    const [key, level] = online ? ["desk.history.commune_back", "info"] : ["desk.history.commune_lost", "bad"];
    let concerned = false;
    for (const incident of store.get("incidents").values()) {
      if (!liveGrants(incident, store.get("grants")).some((grant) => grant.commune === commune)) continue;
      concerned = true;
      this.note(incident.ref, { level, key, params: { commune: name } });
    }
    if (concerned) this.#ctx.actions.toast({ level, key, params: { commune: name } });
  }

  /** Takes a grant that answers a request, unless events, which are faster, told of it already. */
  #takeAnswer(grant) {
    const known = this.#ctx.store.get("grants").get(grant.grant);
    if (known === undefined || known.proof !== grant.proof) this.takeGrant(grant);
  }

  /** Takes the newest view of a grant: into the store, its intervention, history. */
  takeGrant(grant) {
    const { store, clock } = this.#ctx;
    const [grants, incidents, me] = [store.get("grants"), store.get("incidents"), store.get("me")];
    const before = grants.get(grant.grant);
    grants.set(grant.grant, grant);
    let incident = incidents.get(grant.incident);
    // One that was closed here comes back only by a new grant.
    const isNew = incident === undefined || (incident.closedAt !== null && !incident.grants.has(grant.grant));
    if (isNew && !grant.ended) {
      const history = incident?.history ?? [];
      incident = newIncident({ ref: grant.incident, grounds: grant.grounds, openedAt: clock.now() });
      incident.history = history;
      incidents.set(grant.incident, incident);
    }
    if (incident === undefined) return;
    // After a reload the grant is not new, only known anew: its history is there.
    const isKnown = before === undefined && incident.history.some(({ params }) => params?.grant === grant.grant);
    incident.grants.add(grant.grant);
    if (isMine(grant, me) && incident.closedAt === null) this.#showCameras(incident, grant);
    for (const note of isKnown ? [] : changes(before, grant, (key) => this.cameraName(key))) this.#tell(incident, grant, note);
    store.touch("grants");
    store.touch("incidents");
    this.#loadCameras(grant.commune);
  }

  #showCameras(incident, grant) {
    for (const { camera, state } of grant.granted) {
      const key = `${grant.commune}/${camera}`;
      if (state === "ended" || grant.ended) continue;
      incident.refusals.delete(key);
      if (!incident.cameras.includes(key)) incident.cameras.push(key);
    }
  }

  #tell(incident, grant, { level, key, params }) {
    const told = { ...params, commune: this.communeName(params.commune ?? grant.commune), grant: grant.grant };
    this.note(incident.ref, { level, key, params: told });
    if (level === "bad") this.#ctx.actions.toast({ level, key, params: told, detail: `${t("desk.incident")} ${incident.ref}` });
  }

  /** A commune's cameras with their names, once; again after it said that something changed. */
  async #loadCameras(commune) {
    if (this.#loadedCommunes.has(commune)) return;
    this.#loadedCommunes.add(commune);
    const { api, store } = this.#ctx;
    try {
      const found = await api.get(`cameras?commune=${encodeURIComponent(commune)}&limit=${CAMERAS_MOST}`);
      const cameras = store.get("cameras");
      for (const camera of found) cameras.set(`${camera.commune}/${camera.camera}`, { ...camera, key: `${camera.commune}/${camera.camera}` });
      store.touch("cameras");
    } catch {
      this.#loadedCommunes.delete(commune);
    }
  }

  /** Keeps a request that waits for its commune. */
  #wait(ref, commune, cameras, { request, approve_by: approveBy }) {
    const { store } = this.#ctx;
    store.get("approvals").set(request, { request, commune, approve_by: approveBy, incident: ref, cameras });
    store.touch("approvals");
    this.note(ref, { level: "info", key: "desk.history.waiting", params: { commune: this.communeName(commune), n: cameras.length } });
    // Its answer may have come before this one.
    this.#resolve(request);
  }

  #watchApproval(request) {
    const { store, clock } = this.#ctx;
    const waiting = store.get("approvals").get(request);
    clearTimeout(this.#approvalTimers.get(request));
    if (waiting === undefined) return;
    const left = Math.max(0, Date.parse(waiting.approve_by) - clock.now()) || 0;
    this.#approvalTimers.set(request, setTimeout(() => this.#resolve(request), left + APPROVAL_GRACE));
  }

  /** What became of a request that waited. */
  async #resolve(request) {
    const { api, store } = this.#ctx;
    const waiting = store.get("approvals").get(request);
    if (waiting === undefined) return;
    try {
      const answer = await api.get(`requests/${request}`);
      if (answer.grant === undefined) {
        this.#watchApproval(request);
        return;
      }
      this.#settle(request);
      this.#takeAnswer(answer);
      this.#ctx.actions.toast({ level: "info", key: "desk.toast.approved", params: { commune: this.communeName(waiting.commune) } });
    } catch (error) {
      const problem = asProblem(error);
      // No answer is no refusal: it is asked again when the receiver is back.
      if (problem.status === 0 || ["internal", "shutting_down", "token_expired"].includes(problem.reason)) return;
      this.#settle(request);
      const incident = store.get("incidents").get(waiting.incident);
      if (incident) this.#tellRefused(incident, waiting.commune, waiting.cameras.map((camera) => ({ camera })), problem);
    }
  }

  #settle(request) {
    clearTimeout(this.#approvalTimers.get(request));
    this.#approvalTimers.delete(request);
    this.#ctx.store.get("approvals").delete(request);
    this.#ctx.store.touch("approvals");
  }
}

/** A commune by the name it had: a receiver that starts anew knows its id alone until it calls. */
function named(commune, before) {
  const known = before.get(commune.commune)?.name;
  return commune.name === commune.commune && known ? { ...commune, name: known } : commune;
}

/** A `Problem`, also of what broke in the page or the signer. */
function asProblem(error) {
  return error instanceof Problem ? error : new Problem({ status: 0, detail: String(error?.message ?? error) });
}
