// Takes grants, communes and cameras into the store: loaded on each connection, then by events.
// Every change is told in the intervention's history.

import { Problem } from "/page/core/api.js";
import { t } from "/page/core/text.js";
import { contactText, detailText, problemText } from "/page/state/line_text.js";
import { cameraName, communeName } from "/page/state/names.js";
import { note } from "/page/state/records.js";
import { changes, grantOf, isMine, liveGrants, newIncident } from "/page/state/rules.js";
import { toast } from "/page/widget/toasts.js";

/** Most cameras that one call fetches (the API's own bound). */
const CAMERAS_MOST = 10_000;

/** A grant that began longer ago than this is not one that this page just heard of, in ms. */
const HEARD_AT_ONCE = 10_000;

/** Takes the receiver's answers and events into the store. */
export class Ledger {
  #ctx;
  #release;
  /** @type {Set<string>} */
  #loadedCommunes = new Set();

  /**
   * @param {Context} ctx
   * @param {{release: (grant: string) => Promise<boolean>}} on gives a grant back
   */
  constructor(ctx, { release }) {
    this.#ctx = ctx;
    this.#release = release;
  }

  /** Loads communes and grants; on each connection, and when events were missed. */
  async load() {
    const { api, store } = this.#ctx;
    /** @type {[Commune[], Grant[]]} */
    const [communes, grants] = await Promise.all([api.get("communes"), api.get("grants")]);
    const before = store.get("communes");
    store.set("communes", new Map(communes.map((commune) => [commune.commune, named(commune, before)])));
    const live = new Set(grants.map(({ grant }) => grant));
    for (const grant of grants) this.takeGrant(grant);
    // Grants that ended meanwhile are no longer in the list; their ends are told one by one.
    const gone = [...store.get("grants").values()].filter(({ grant, ended }) => !ended && !live.has(grant));
    await Promise.all(gone.map((grant) => this.#reload(grant)));
    for (const commune of store.get("communes").values()) this.#tellCommune(before.get(commune.commune), commune);
  }

  /** @param {Grant} grant */
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

  /**
   * Takes an event of the receiver.
   * @param {string} name
   * @param {any} body
   */
  takeEvent(name, body) {
    const { store } = this.#ctx;
    if (name === "grant") this.takeGrant(body);
    if (name !== "commune") return;
    const communes = store.get("communes");
    const before = communes.get(body.commune);
    const commune = named(body, communes);
    communes.set(body.commune, commune);
    store.touch("communes");
    this.#loadedCommunes.delete(body.commune);
    this.#tellCommune(before, commune);
  }

  /**
   * Tells that a commune is lost or back, where it concerns an intervention.
   * @param {Commune|undefined} before
   * @param {Commune} now
   */
  #tellCommune(before, { commune, name, online }) {
    if (before === undefined || before.online === online) return;
    const { store } = this.#ctx;
    const key = online ? "desk.history.commune_back" : "desk.history.commune_lost";
    const level = online ? "info" : "bad";
    let concerned = false;
    for (const incident of store.get("incidents").values()) {
      if (!liveGrants(incident, store.get("grants")).some((grant) => grant.commune === commune)) continue;
      concerned = true;
      note(this.#ctx, incident.ref, { level, key, params: { commune: name } });
    }
    if (concerned) toast({ level, key, params: { commune: name } });
  }

  /**
   * Takes a grant that answers a request, unless an event, which is faster, brought it already.
   * @param {Grant} grant
   */
  takeAnswer(grant) {
    const known = this.#ctx.store.get("grants").get(grant.grant);
    if (known === undefined || known.proof !== grant.proof) this.takeGrant(grant);
  }

  /**
   * Takes the newest view of a grant: into the store, its intervention, history.
   * @param {Grant} grant
   */
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
      const openedAt = grant.start === undefined ? clock.now() : Date.parse(grant.start);
      incident = newIncident({ ref: grant.incident, grounds: grant.grounds, present: grant.present, openedAt });
      incident.history = history;
      incidents.set(grant.incident, incident);
    }
    if (incident === undefined) return;
    // After a reload the grant is only new to the store: its history is there.
    const isKnown = before === undefined && incident.history.some(({ params }) => params?.grant === grant.grant);
    incident.grants.add(grant.grant);
    if (!incident.allGrounds.includes(grant.grounds)) incident.allGrounds.push(grant.grounds);
    if (isMine(grant, me) && incident.closedAt === null) {
      incident.mine = true;
      // What a colleague held is watched from now on, also where its tile was closed here before.
      if (before !== undefined && !isMine(before, me))
        for (const { camera } of grant.granted) incident.removed.delete(`${grant.commune}/${camera}`);
      this.#showCameras(incident, grant);
    }
    const names = new Map(grant.granted.map(({ camera, name }) => [`${grant.commune}/${camera}`, name]));
    // What began long before this page heard of it has the time of its start.
    const began = Date.parse(grant.start ?? "");
    const at = before === undefined && clock.now() - began > HEARD_AT_ONCE ? began : undefined;
    for (const note of isKnown ? [] : changes(before, grant, (key) => names.get(key) ?? cameraName(store, key)))
      this.#tell(incident, grant, note.key === "desk.history.granted" ? { ...note, at } : note);
    store.touch("grants");
    store.touch("incidents");
    this.#loadCameras(grant.commune);
  }

  /**
   * Whether it was approved after the intervention was closed here; then it is given back at once.
   * @param {Incident|undefined} incident
   * @param {Grant} grant
   */
  #comesTooLate(incident, grant) {
    const { store } = this.#ctx;
    if (!incident?.closedAt || grant.ended || !isMine(grant, store.get("me"))) return false;
    const waited = [...store.get("approvals").values()].some(
      (one) => one.incident === grant.incident && one.commune === grant.commune,
    );
    if (!waited) return false;
    incident.grants.add(grant.grant);
    note(this.#ctx, incident.ref, {
      level: "info",
      key: "desk.history.too_late",
      params: { commune: communeName(this.#ctx.store, grant.commune), grant: grant.grant },
    });
    this.#release(grant.grant);
    return true;
  }

  /**
   * @param {Incident} incident
   * @param {Grant} grant
   */
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

  /**
   * @param {Incident} incident
   * @param {Grant} grant
   * @param {Note} line
   */
  #tell(incident, grant, { level, key, params, at }) {
    const told = { ...params, commune: communeName(this.#ctx.store, grant.commune), grant: grant.grant };
    const isLost = key === "desk.history.taken_over" && !isMine(grant, this.#ctx.store.get("me"));
    // That a person ended what he holds no longer concerns him alone.
    const isOthers = key === "desk.history.ended_by" && !isMine(grant, this.#ctx.store.get("me"));
    note(this.#ctx, incident.ref, { level: isOthers ? "info" : isLost ? "warn" : level, key, params: told, at });
    if (isOthers) return;
    if (level === "bad" || isLost)
      toast({
        level: isLost ? "warn" : level,
        key,
        params: told,
        detail: `${t("desk.incident")} ${incident.ref}`,
      });
  }

  /**
   * Loads a commune's cameras with their names, once; again after the commune reports a change.
   * @param {string} commune
   */
  async #loadCameras(commune) {
    if (this.#loadedCommunes.has(commune)) return;
    this.#loadedCommunes.add(commune);
    const { api, store } = this.#ctx;
    try {
      /** @type {CameraAnswer[]} */
      const found = await api.get(`cameras?commune=${encodeURIComponent(commune)}&limit=${CAMERAS_MOST}`);
      const cameras = store.get("cameras");
      for (const camera of found)
        cameras.set(`${camera.commune}/${camera.camera}`, { ...camera, key: `${camera.commune}/${camera.camera}` });
      store.touch("cameras");
    } catch {
      this.#loadedCommunes.delete(commune);
    }
  }

  /**
   * Cameras that were not granted leave the mosaic; the reasons stay with the intervention.
   * @param {Incident} incident
   * @param {string} commune
   * @param {RefusedCamera[]} refused
   * @param {Problem|null} [problem] with all of them
   */
  tellRefused(incident, commune, refused, problem = null) {
    if (refused.length === 0) return;
    const { store, clock } = this.#ctx;
    for (const { camera, reason, detail } of refused) {
      const key = `${commune}/${camera}`;
      const why =
        problem === null
          ? { reason: reason ?? null, detail }
          : { reason: reason ?? problem.reason, detail: detail ?? problem.detail };
      incident.refusals.set(key, { ...why, at: clock.now() });
      // A refused renewal leaves a camera that runs.
      const runs = grantOf(key, incident, store.get("grants"), store.get("me")) !== undefined;
      if (!runs) incident.cameras = incident.cameras.filter((other) => other !== key);
    }
    const { reason } = problem ?? refused[0];
    const cameras = refused.map(({ camera }) => cameraName(this.#ctx.store, `${commune}/${camera}`)).join(", ");
    const params = { commune: communeName(this.#ctx.store, commune), cameras, reason, n: refused.length };
    note(this.#ctx, incident.ref, { level: "bad", key: "desk.history.refused", params });
    toast({
      level: "bad",
      key: "desk.history.refused",
      params,
      detail: [problem ? problemText(problem) : "", contactText(store.get("communes").get(commune), reason ?? "")]
        .filter(Boolean)
        .join(" "),
      english: problem ? detailText(problem) : "",
    });
    store.touch("incidents");
  }
}

/**
 * A camera's place before another person signed in; new ones follow.
 * @param {string[]} order
 * @param {string} key
 */
function rank(order, key) {
  const at = order.indexOf(key);
  return at < 0 ? order.length : at;
}

/**
 * A commune by the name it had: a restarted receiver knows only its id until the commune connects.
 * @param {Commune} commune
 * @param {Map<string, Commune>} before
 */
function named(commune, before) {
  const known = before.get(commune.commune)?.name;
  return commune.name === commune.commune && known ? { ...commune, name: known } : commune;
}
