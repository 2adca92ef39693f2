// What is known of grants, communes and cameras, and how it comes into the store: loaded on
// each connection, then by events. Whatever changes is told in the intervention's history.

import { Problem } from "/page/core/api.js";
import { lang, t } from "/page/core/text.js";
import * as records from "/page/incident/records.js";
import { changes, grantOf, isMine, liveGrants, newIncident, splitKey } from "/page/incident/rules.js";

/** Most cameras that one call fetches (the API's own bound). */
const CAMERAS_MOST = 10_000;

/** Takes what the receiver says into the store. */
export class Ledger {
  #ctx;
  #loadedCommunes = new Set();

  constructor(ctx) {
    this.#ctx = ctx;
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
    return this.groundsLabels(id)[lang()];
  }

  /** Its labels in both languages; the id where no agreement has it. */
  groundsLabels(id) {
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
  }

  async #reload(grant) {
    const { api, clock } = this.#ctx;
    try {
      this.takeGrant(await api.get(`grants/${grant.grant}`));
    } catch (error) {
      if (Problem.of(error).reason !== "grant_unknown") return;
      const at = new Date(clock.now()).toISOString();
      const reason = Date.parse(grant.expires) <= clock.now() ? "grant_expired" : "grant_unknown";
      this.takeGrant({ ...grant, ended: { reason, detail: "", at } });
    }
  }

  /** Takes an event of the receiver. */
  takeEvent(name, body) {
    const { store } = this.#ctx;
    if (name === "grant") this.takeGrant(body);
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
  takeAnswer(grant) {
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
    if (before === undefined && this.#comesTooLate(incident, grant)) return;
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
    if (isMine(grant, me) && incident.closedAt === null) {
      incident.mine = true;
      this.#showCameras(incident, grant);
    }
    for (const note of isKnown ? [] : changes(before, grant, (key) => this.cameraName(key)))
      this.#tell(incident, grant, note);
    store.touch("grants");
    store.touch("incidents");
    this.#loadCameras(grant.commune);
  }

  /** Approved after the intervention was closed here: given back at once. */
  #comesTooLate(incident, grant) {
    const { store, actions } = this.#ctx;
    if (!incident?.closedAt || grant.ended || !isMine(grant, store.get("me"))) return false;
    const waited = [...store.get("approvals").values()].some(
      (one) => one.incident === grant.incident && one.commune === grant.commune,
    );
    if (!waited) return false;
    incident.grants.add(grant.grant);
    this.note(incident.ref, {
      level: "info",
      key: "desk.history.too_late",
      params: { commune: this.communeName(grant.commune), grant: grant.grant },
    });
    actions.release(grant.grant);
    return true;
  }

  #showCameras(incident, grant) {
    for (const { camera, state } of grant.granted) {
      const key = `${grant.commune}/${camera}`;
      if (state === "ended" || grant.ended || incident.removed.has(key)) continue;
      incident.refusals.delete(key);
      if (!incident.cameras.includes(key)) incident.cameras.push(key);
    }
    if (incident.order.length > 0)
      incident.cameras.sort((one, other) => rank(incident.order, one) - rank(incident.order, other));
  }

  #tell(incident, grant, { level, key, params }) {
    const told = { ...params, commune: this.communeName(params.commune ?? grant.commune), grant: grant.grant };
    this.note(incident.ref, { level, key, params: told });
    const isLost = key === "desk.history.taken_over" && !isMine(grant, this.#ctx.store.get("me"));
    if (level === "bad" || isLost)
      this.#ctx.actions.toast({
        level: isLost ? "warn" : level,
        key,
        params: told,
        detail: `${t("desk.incident")} ${incident.ref}`,
      });
  }

  /** A commune's cameras with their names, once; again after it said that something changed. */
  async #loadCameras(commune) {
    if (this.#loadedCommunes.has(commune)) return;
    this.#loadedCommunes.add(commune);
    const { api, store } = this.#ctx;
    try {
      const found = await api.get(`cameras?commune=${encodeURIComponent(commune)}&limit=${CAMERAS_MOST}`);
      const cameras = store.get("cameras");
      for (const camera of found)
        cameras.set(`${camera.commune}/${camera.camera}`, { ...camera, key: `${camera.commune}/${camera.camera}` });
      store.touch("cameras");
    } catch {
      this.#loadedCommunes.delete(commune);
    }
  }

  /** Cameras that were not granted leave the mosaic; why stays with the intervention. */
  tellRefused(incident, commune, refused, problem = null) {
    if (refused.length === 0) return;
    const { store, clock } = this.#ctx;
    for (const { camera, reason, detail } of refused) {
      const key = `${commune}/${camera}`;
      const why =
        problem === null ? { reason, detail } : { reason: reason ?? problem.reason, detail: detail ?? problem.detail };
      incident.refusals.set(key, { ...why, at: clock.now() });
      // A refused renewal leaves what runs.
      const runs = grantOf(key, incident, store.get("grants"), store.get("me")) !== undefined;
      if (!runs) incident.cameras = incident.cameras.filter((other) => other !== key);
    }
    const { reason } = problem ?? refused[0];
    const cameras = refused.map(({ camera }) => this.cameraName(`${commune}/${camera}`)).join(", ");
    const params = { commune: this.communeName(commune), cameras, reason, n: refused.length };
    this.note(incident.ref, { level: "bad", key: "desk.history.refused", params });
    this.#ctx.actions.toast({
      level: "bad",
      key: "desk.history.refused",
      params,
      detail: problem ? this.problemText(problem) : "",
    });
    store.touch("incidents");
  }
}

/** Where a camera stood before the seat changed hands; new ones follow. */
function rank(order, key) {
  const at = order.indexOf(key);
  return at < 0 ? order.length : at;
}

/** A commune by the name it had: a receiver that starts anew knows its id alone until it calls. */
function named(commune, before) {
  const known = before.get(commune.commune)?.name;
  return commune.name === commune.commune && known ? { ...commune, name: known } : commune;
}
