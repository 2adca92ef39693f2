// The operator's actions: opens and closes interventions, asks, renews, takes over, releases. No
// elements here; the store tells those who show it.

import { Problem } from "/page/core/api.js";
import { lang, t } from "/page/core/text.js";
import { Approvals } from "/page/incident/approvals.js";
import { Keeper } from "/page/incident/keeper.js";
import { Ledger } from "/page/incident/ledger.js";
import { detailText, problemText } from "/page/state/line_text.js";
import { communeName, groundsLabel, groundsLabels } from "/page/state/names.js";
import { keep, load, note } from "/page/state/records.js";
import {
  agreementFor,
  agreementsOf,
  byCommune,
  durationFor,
  grantOf,
  groundsFor,
  groundsOffered,
  isMine,
  isOver,
  isReference,
  liveGrants,
  newIncident,
  obstacle,
  openIncidents,
  shownIncident,
  splitKey,
} from "/page/state/rules.js";
import { toast } from "/page/widget/toasts.js";

/** @typedef {{commune: string, grant?: Grant, problem?: Problem, waiting?: Waiting}} Outcome of one request */

/** The operator's actions, and the receiver's answers to them. */
export class Desk {
  #ctx;
  #ledger;
  #approvals;
  #lookAt;
  #chooseGrounds;
  /** Cameras and grants whose request is under way: a second press asks nothing. */
  /** @type {Set<string>} */
  #underWay = new Set();

  /**
   * @param {Context} ctx
   * @param {{lookAt: (where: Where) => void, chooseGrounds: (key: string, offered: Grounds[]) => void}} on
   *   show a place in the finder, and the grounds on which a camera may be asked for
   */
  constructor(ctx, { lookAt, chooseGrounds }) {
    this.#ctx = ctx;
    this.#lookAt = lookAt;
    this.#chooseGrounds = chooseGrounds;
    this.#ledger = new Ledger(ctx, { release: (id) => this.release(id) });
    this.#approvals = new Approvals(ctx, this.#ledger);
    /** The records at the centre. */
    this.keeper = new Keeper(ctx);
    this.#recall(load());
    keep(ctx.store);
  }

  /**
   * Takes what outlived a reload; grants come from the receiver.
   * @param {ReturnType<typeof load>} kept
   */
  #recall({ incidents, approvals }) {
    const { store } = this.#ctx;
    for (const kept of incidents) store.get("incidents").set(kept.ref, { ...newIncident(kept), ...kept });
    for (const waiting of approvals) {
      store.get("approvals").set(waiting.request, waiting);
      store
        .get("incidents")
        .get(waiting.incident)
        ?.cameras.push(...waiting.cameras.map((camera) => `${waiting.commune}/${camera}`));
    }
  }

  /**
   * Opens an intervention; one that is open is shown, and these grounds are those in use.
   * @param {{ref: string, grounds: string, present?: string[], at?: Position|null, place?: string|null}} of
   */
  openIncident({ ref, grounds, present = [], at = null, place = null }) {
    const { store, clock } = this.#ctx;
    if (!isReference(ref)) throw new RangeError("a reference has 1 to 64 of A-Z a-z 0-9 . _ / -");
    const incidents = store.get("incidents");
    const known = incidents.get(ref);
    const isOpen = known?.closedAt === null;
    const incident = isOpen ? known : newIncident({ ref, grounds, present, at, place, openedAt: clock.now() });
    incident.mine = true;
    if (!isOpen) {
      incident.history = known?.history ?? [];
      incidents.set(ref, incident);
      note(this.#ctx, ref, {
        level: "info",
        key: "desk.history.opened",
        params: { grounds: groundsLabels(store, grounds) },
      });
      this.keeper.turn(ref, "open", grounds);
    } else this.useGrounds(ref, grounds);
    store.touch("incidents");
    this.showIncident(ref);
    if (at === null) return;
    if (isOpen) this.setPlace(ref, { label: place, position: at });
    this.#lookAt({ at, label: place });
  }

  /**
   * The grounds of the next requests; those that were asked under remain the intervention's.
   * @param {string} ref
   * @param {string} grounds
   */
  useGrounds(ref, grounds) {
    const { store } = this.#ctx;
    const incident = store.get("incidents").get(ref);
    if (incident === undefined || incident.grounds === grounds) return;
    incident.grounds = grounds;
    if (!incident.allGrounds.includes(grounds)) incident.allGrounds.push(grounds);
    note(this.#ctx, ref, {
      level: "info",
      key: "desk.history.grounds",
      params: { grounds: groundsLabels(store, grounds) },
    });
  }

  /**
   * Where an intervention takes place.
   * @param {string} ref
   * @param {{label: string|null, position: Position}} place
   */
  setPlace(ref, { label, position }) {
    const { store } = this.#ctx;
    const incident = store.get("incidents").get(ref);
    if (incident === undefined) return;
    [incident.at, incident.place] = [position, label];
    store.touch("incidents");
  }

  /**
   * Shows an intervention.
   * @param {string} ref
   */
  showIncident(ref) {
    const { store } = this.#ctx;
    if (store.get("incident") === ref) return;
    store.set("focused", null);
    store.set("incident", ref);
  }

  /**
   * Who else is present from now on: the next requests and renewals name them.
   * @param {string} ref
   * @param {string[]} names
   */
  setPresent(ref, names) {
    const incident = this.#ctx.store.get("incidents").get(ref);
    if (incident === undefined || incident.present.join() === names.join()) return;
    incident.present = names;
    note(this.#ctx, ref, {
      level: "info",
      key: names.length > 0 ? "desk.history.present" : "desk.history.present_none",
      params: { names: names.join(", ") },
    });
  }

  /**
   * Releases all that the signer holds for an intervention and closes it; the caller has asked. Whether
   * it is closed.
   * @param {string} ref
   */
  async closeIncident(ref) {
    const { store, clock } = this.#ctx;
    const incident = store.get("incidents").get(ref);
    if (incident === undefined) return false;
    const own = liveGrants(incident, store.get("grants")).filter((grant) => isMine(grant, store.get("me")));
    const released = await Promise.all(own.map(({ grant }) => this.release(grant)));
    if (released.includes(false)) {
      toast({ level: "bad", key: "desk.toast.close_failed", params: { ref } });
      return false;
    }
    incident.closedAt = clock.now();
    incident.cameras = [];
    note(this.#ctx, ref, { level: "info", key: "desk.history.closed", params: {} });
    this.keeper.turn(ref, "closed");
    store.set("focused", null);
    store.set("incident", null);
    this.#showSome();
    return true;
  }

  /**
   * Why a camera cannot be asked for now; see `obstacle`.
   * @param {string} key
   */
  mayAsk(key) {
    const { store, clock } = this.#ctx;
    if (isOver(store.get("me"), clock.now())) return { key: "desk.ask.expired", params: {} };
    return obstacle({
      incident: shownIncident(store),
      commune: store.get("communes").get(splitKey(key).commune),
      camera: store.get("cameras").get(key),
      now: clock.now(),
      online: store.get("online"),
      groundsLabel: (id) => groundsLabel(store, id),
      reason: (code) => t(`desk.reason.${code}`),
    });
  }

  /**
   * Grounds on which a camera may be asked for where only those of the intervention are in the way;
   * with their labels in the page's language.
   * @param {string} key
   */
  otherGrounds(key) {
    const { store, clock } = this.#ctx;
    const of = {
      commune: store.get("communes").get(splitKey(key).commune),
      camera: store.get("cameras").get(key),
      now: clock.now(),
    };
    return groundsOffered(this.mayAsk(key), of).map((one) => ({ ...one, label: one[lang()] }));
  }

  /**
   * Whose approval a camera needs before it is shown; `null`: nobody's.
   * @param {string} key
   */
  approvalNeeded(key) {
    const { store } = this.#ctx;
    const commune = store.get("communes").get(splitKey(key).commune);
    const incident = shownIncident(store);
    const grounds = incident === undefined ? null : groundsFor(incident, commune);
    const agreement = grounds === null ? agreementsOf(commune)[0] : agreementFor(commune, grounds);
    const isExempt = agreement?.approval_exempt?.includes(grounds ?? "") ?? false;
    return agreement?.approval === true && !isExempt ? { commune: commune?.name ?? "" } : null;
  }

  /**
   * Whether a camera of the intervention is shown, or on its way.
   * @param {string} key
   */
  isWatched(key) {
    const { store } = this.#ctx;
    const incident = shownIncident(store);
    if (incident === undefined) return false;
    return this.#isAsked(incident, key) || grantOf(key, incident, store.get("grants"), store.get("me")) !== undefined;
  }

  /**
   * One press on a camera: asks for it; where it can't be asked for, says why, or asks on which
   * other grounds. Whether it was asked for.
   * @param {string} key
   * @param {string} [grounds] others than those in use
   */
  choose(key, grounds) {
    const obstacle = this.mayAsk(key);
    if (obstacle === null || (grounds !== undefined && obstacle.key === "desk.ask.grounds")) {
      this.ask([key], { grounds });
      return true;
    }
    const offered = this.otherGrounds(key);
    if (offered.length > 0) this.#chooseGrounds(key, offered);
    else toast({ level: "warn", ...obstacle });
    return false;
  }

  /**
   * Whether a request for a camera is under way or waits.
   * @param {Incident} incident
   * @param {string} key
   */
  #isAsked(incident, key) {
    const { commune, camera } = splitKey(key);
    return (
      this.#underWay.has(`${incident.ref} ${key}`) ||
      [...this.#ctx.store.get("approvals").values()].some(
        (one) => one.incident === incident.ref && one.commune === commune && one.cameras.includes(camera),
      )
    );
  }

  /**
   * Asks for cameras: one signed request per commune, all at once. Cameras that are granted
   * already are left out.
   * @param {string[]} keys
   * @param {{duration?: number|null, grounds?: string}} [options]
   *   `grounds`: others than those that the intervention has for the commune
   * @returns {Promise<Outcome[]>}
   */
  async ask(keys, { duration = null, grounds } = {}) {
    const { store } = this.#ctx;
    const incident = shownIncident(store);
    if (incident === undefined || incident.closedAt !== null) {
      toast({ level: "warn", key: "desk.ask.no_incident", params: {} });
      return [];
    }
    const [me, grants] = [store.get("me"), store.get("grants")];
    const wanted = keys.filter(
      (key) => !this.#isAsked(incident, key) && grantOf(key, incident, grants, me) === undefined,
    );
    for (const key of keys) {
      incident.refusals.delete(key);
      incident.removed.delete(key);
      if (!incident.cameras.includes(key)) incident.cameras.push(key);
    }
    store.touch("incidents");
    const wish = duration ?? incident.duration;
    const names = wanted.map((key) => `${incident.ref} ${key}`);
    for (const name of names) this.#underWay.add(name);
    try {
      return await Promise.all(byCommune(wanted).map((part) => this.#askCommune(incident, part, { wish, grounds })));
    } finally {
      for (const name of names) this.#underWay.delete(name);
    }
  }

  /**
   * @param {Incident} incident
   * @param {{commune: string, cameras: string[]}} part
   * @param {{wish: number|null, grounds: string|undefined}} how
   * @returns {Promise<Outcome>}
   */
  async #askCommune(incident, { commune, cameras }, { wish, grounds: chosen }) {
    const { store } = this.#ctx;
    const known = store.get("communes").get(commune);
    const grounds = chosen ?? groundsFor(incident, known) ?? incident.grounds;
    const agreement = agreementFor(known, grounds);
    const seconds = durationFor(agreement, wish);
    this.#tellGrounds(incident, commune, grounds);
    if (wish !== null && seconds < wish) this.#tellShorter(incident, commune, seconds);
    /** @type {RequestClaims} */
    const asked = {
      aud: commune,
      cameras,
      grounds,
      incident: incident.ref,
      duration: seconds,
      profile: "auto",
      present: incident.present,
    };
    try {
      const answer = await this.#ctx.api.request(asked);
      if (answer.grant === undefined) {
        this.#approvals.wait(incident.ref, commune, cameras, answer);
        return { commune, waiting: answer };
      }
      incident.asked.add(answer.grant);
      this.#ledger.takeAnswer(answer);
      this.#ledger.tellRefused(incident, commune, answer.refused);
      return { commune, grant: answer };
    } catch (error) {
      const problem = Problem.of(error);
      const named = new Map(problem.cameras.map((entry) => [entry.camera, entry]));
      this.#ledger.tellRefused(
        incident,
        commune,
        cameras.map((camera) => ({ camera, ...named.get(camera) })),
        problem,
      );
      return { commune, problem };
    }
  }

  /**
   * A commune is asked on other grounds than those in use: said once in the history.
   * @param {Incident} incident
   * @param {string} commune
   * @param {string} grounds
   */
  #tellGrounds(incident, commune, grounds) {
    if (incident.allGrounds.includes(grounds)) return;
    const { store } = this.#ctx;
    incident.allGrounds.push(grounds);
    note(this.#ctx, incident.ref, {
      level: "info",
      key: "desk.history.other_grounds",
      params: { commune: communeName(store, commune), grounds: groundsLabels(store, grounds) },
    });
  }

  /**
   * The agreement allows less time than was chosen.
   * @param {Incident} incident
   * @param {string} commune
   * @param {number} seconds
   */
  #tellShorter(incident, commune, seconds) {
    const params = { commune: communeName(this.#ctx.store, commune), seconds };
    toast({ level: "warn", key: "desk.toast.shorter", params });
    note(this.#ctx, incident.ref, { level: "info", key: "desk.toast.shorter", params });
  }

  /**
   * Renews a grant, also a colleague's: same id, URLs and credentials. Whether it was done.
   * @param {string} id
   */
  async renew(id, { quiet = false } = {}) {
    const { store } = this.#ctx;
    const grant = store.get("grants").get(id);
    const incident = grant && store.get("incidents").get(grant.incident);
    if (grant === undefined || incident === undefined || grant.ended || this.#underWay.has(id)) return false;
    this.#underWay.add(id);
    try {
      return await this.#renew(incident, grant, { quiet });
    } finally {
      this.#underWay.delete(id);
    }
  }

  /**
   * @param {Incident} incident
   * @param {Grant} grant
   * @param {{quiet: boolean, cameras?: string[], seconds?: number}} how all its cameras, and as long as
   *   was chosen, unless said otherwise
   */
  async #renew(incident, grant, { quiet, cameras = openCameras(grant), seconds: given }) {
    const { store } = this.#ctx;
    const agreement = agreementFor(store.get("communes").get(grant.commune), grant.grounds);
    const seconds = given ?? durationFor(agreement, incident.duration);
    // A sub-stream that was asked for by name, from a shell for example, is kept.
    const isSub = grant.granted.some(({ profile, profile_cause: cause }) => profile === "sub" && cause === "asked");
    const profile = isSub ? "sub" : "auto";
    /** @type {RequestClaims} */
    const asked = {
      aud: grant.commune,
      cameras,
      grounds: grant.grounds,
      incident: grant.incident,
      duration: seconds,
      profile,
      present: incident.present,
      renews: grant.grant,
    };
    try {
      const answer = await this.#ctx.api.request(asked);
      if (answer.grant === undefined) {
        this.#approvals.wait(incident.ref, grant.commune, cameras, answer);
        return true;
      }
      this.#ledger.takeAnswer(answer);
      this.#ledger.tellRefused(
        incident,
        grant.commune,
        answer.refused.filter(({ camera }) => cameras.includes(camera)),
      );
      if (!quiet)
        toast({
          level: "info",
          key: "desk.toast.renewed",
          params: { commune: communeName(this.#ctx.store, grant.commune) },
        });
      return true;
    } catch (error) {
      const problem = Problem.of(error);
      const params = { commune: communeName(this.#ctx.store, grant.commune), reason: problem.reason };
      note(this.#ctx, incident.ref, { level: "bad", key: "desk.history.renew_refused", params });
      toast({
        level: "bad",
        key: "desk.history.renew_refused",
        params,
        detail: problemText(problem),
        english: detailText(problem),
      });
      return false;
    }
  }

  /**
   * Renews all grants that the signer holds for an intervention: they end together again.
   * @param {string} ref
   */
  async renewAll(ref) {
    const { store } = this.#ctx;
    const live = liveGrants(store.get("incidents").get(ref), store.get("grants"));
    const own = live.filter((grant) => isMine(grant, store.get("me")));
    const done = await Promise.all(own.map(({ grant }) => this.renew(grant, { quiet: true })));
    const n = done.filter(Boolean).length;
    if (n > 0) toast({ level: "info", key: "desk.toast.renewed_all", params: { n } });
  }

  /**
   * Gives one camera of a grant back: a renewal without it, for no longer than the grant has; the
   * grant itself with its last camera.
   * @param {string} id
   * @param {string} camera
   */
  async endCamera(id, camera) {
    const { store, clock } = this.#ctx;
    const grant = store.get("grants").get(id);
    const incident = grant && store.get("incidents").get(grant.incident);
    if (grant === undefined || incident === undefined) return;
    const rest = grant.granted.filter((entry) => entry.state !== "ended" && entry.camera !== camera);
    const seconds = Math.floor((Date.parse(grant.expires) - clock.now()) / 1000);
    if (rest.length === 0) await this.release(id);
    else if (seconds > 0)
      await this.#renew(incident, grant, { quiet: true, cameras: rest.map((entry) => entry.camera), seconds });
  }

  /**
   * Another person signed in: nobody watches under another's name, so all tiles go. They come
   * back in their order with the grants that are taken over.
   * @param {Operator} from
   * @param {Operator} to
   */
  changeSeat(from, to) {
    const { store } = this.#ctx;
    for (const incident of store.get("incidents").values()) {
      if (incident.closedAt !== null) continue;
      incident.order = incident.cameras;
      incident.cameras = [];
      note(this.#ctx, incident.ref, {
        level: "info",
        key: "desk.history.seat",
        params: { from: from.name, to: to.name },
      });
    }
    store.set("focused", null);
  }

  /**
   * Takes over all of an intervention's grants that others hold.
   * @param {string} ref
   */
  async takeOver(ref) {
    const { store } = this.#ctx;
    const incident = store.get("incidents").get(ref);
    const others = liveGrants(incident, store.get("grants")).filter((grant) => !isMine(grant, store.get("me")));
    if (others.length === 0) return;
    const taken = await Promise.all(others.map(({ grant }) => this.renew(grant, { quiet: true })));
    const n = taken.filter(Boolean).length;
    if (n > 0) toast({ level: "info", key: "desk.toast.taken_over", params: { n, ref } });
  }

  /**
   * Gives up a request that waits for its commune's approval.
   * @param {string} request
   */
  cancel(request) {
    return this.#approvals.cancel(request);
  }

  /**
   * Closes a camera that waits for its commune: gives up the request that is for it alone. Whether one
   * was.
   * @param {string} ref
   * @param {string} key
   */
  cancelCamera(ref, key) {
    const { commune, camera } = splitKey(key);
    const waiting = [...this.#ctx.store.get("approvals").values()].find(
      (one) => one.incident === ref && one.commune === commune && one.cameras.join() === camera,
    );
    if (waiting !== undefined) this.cancel(waiting.request);
    return waiting !== undefined;
  }

  /**
   * Gives a grant back; whether it is over.
   * @param {string} id
   */
  async release(id) {
    try {
      this.#ledger.takeGrant(await this.#ctx.api.delete(`grants/${id}`));
      return true;
    } catch (error) {
      const problem = Problem.of(error);
      // It is over already.
      if (problem.reason === "grant_unknown" || problem.status === 404) return true;
      toast({
        level: "bad",
        key: "desk.toast.release_failed",
        params: {},
        detail: problemText(problem),
        english: detailText(problem),
      });
      return false;
    }
  }

  /** Loads all that the receiver knows; on each connection, and when events were missed. */
  async load() {
    await this.#ledger.load();
    await this.#approvals.resolveAll();
    await this.keeper.load();
    if (this.#ctx.store.get("incident") === null) this.#showSome();
  }

  /**
   * Forgets why a camera was refused.
   * @param {string} ref
   * @param {string} key
   */
  dismissRefusal(ref, key) {
    const { store } = this.#ctx;
    store.get("incidents").get(ref)?.refusals.delete(key);
    store.touch("incidents");
  }

  /**
   * Takes an event of the receiver.
   * @param {string} name
   * @param {any} body
   */
  takeEvent(name, body) {
    if (name === "request") this.#approvals.resolve(body.request);
    else if (name === "incident") this.keeper.takeEvent(body.incident);
    else this.#ledger.takeEvent(name, body);
  }

  #showSome() {
    const { store } = this.#ctx;
    const { mine } = openIncidents(store.get("incidents"), store.get("grants"));
    store.set("incident", mine.at(-1)?.ref ?? null);
  }
}

/**
 * Ids of the cameras of a grant that did not end.
 * @param {Grant} grant
 */
function openCameras(grant) {
  return grant.granted.filter(({ state }) => state !== "ended").map(({ camera }) => camera);
}
