// Requests that wait for their commune's approval, and their outcome.

import { Problem } from "/page/core/api.js";
import { problemText } from "/page/state/line_text.js";
import { communeName } from "/page/state/names.js";
import { note } from "/page/state/records.js";
import { grantOf } from "/page/state/rules.js";
import { toast } from "/page/widget/toasts.js";

/** The page asks for a request's outcome this long after the commune's time to approve it, in ms. */
const GRACE = 3_000;

/** Follows requests that were answered with 202. */
export class Approvals {
  #ctx;
  #ledger;
  /** @type {Map<string, number>} */
  #timers = new Map();

  /**
   * @param {Context} ctx
   * @param {import("/page/incident/ledger.js").Ledger} ledger takes the grant or the refusal
   */
  constructor(ctx, ledger) {
    this.#ctx = ctx;
    this.#ledger = ledger;
  }

  /**
   * Keeps a request that waits for its commune.
   * @param {string} ref
   * @param {string} commune
   * @param {string[]} cameras
   * @param {Waiting} answer
   */
  wait(ref, commune, cameras, { request, approve_by: approveBy }) {
    const { store } = this.#ctx;
    store.get("approvals").set(request, { request, commune, approve_by: approveBy, incident: ref, cameras });
    store.touch("approvals");
    note(this.#ctx, ref, {
      level: "info",
      key: "desk.history.waiting",
      params: { commune: communeName(store, commune), n: cameras.length },
    });
    // Its answer may have come before this one.
    this.resolve(request);
  }

  /** @param {string} request */
  #watch(request) {
    const { store, clock } = this.#ctx;
    const waiting = store.get("approvals").get(request);
    clearTimeout(this.#timers.get(request));
    if (waiting === undefined) return;
    const left = Math.max(0, Date.parse(waiting.approve_by ?? "") - clock.now()) || 0;
    this.#timers.set(
      request,
      setTimeout(() => this.resolve(request), left + GRACE),
    );
  }

  /**
   * Asks for the outcome of a request that waited.
   * @param {string} request
   */
  async resolve(request) {
    const { api, store } = this.#ctx;
    const waiting = store.get("approvals").get(request);
    if (waiting === undefined) return;
    try {
      /** @type {Grant|Waiting} */
      const answer = await api.get(`requests/${request}`);
      if (answer.grant === undefined) {
        this.#watch(request);
        return;
      }
      this.#settle(request);
      this.#ledger.takeAnswer(answer);
      /** @type {Note} */
      const approved = {
        level: "info",
        key: "desk.toast.approved",
        params: { commune: communeName(store, waiting.commune) },
      };
      note(this.#ctx, waiting.incident, approved);
      toast(approved);
    } catch (error) {
      const problem = Problem.of(error);
      // No answer is no refusal: it is asked again when the receiver is back.
      if (problem.status === 0 || ["internal", "shutting_down", "token_expired"].includes(problem.reason)) return;
      this.#settle(request);
      const incident = store.get("incidents").get(waiting.incident);
      // Given up here, or in another tab.
      if (incident && problem.reason !== "request_cancelled")
        this.#ledger.tellRefused(
          incident,
          waiting.commune,
          waiting.cameras.map((camera) => ({ camera })),
          problem,
        );
    }
  }

  /**
   * Gives a request up that waits for its commune.
   * @param {string} request
   */
  async cancel(request) {
    const { api, store } = this.#ctx;
    const waiting = store.get("approvals").get(request);
    if (waiting === undefined) return;
    try {
      await api.delete(`requests/${request}`);
    } catch (error) {
      const problem = Problem.of(error);
      // Answered in this moment: that is told.
      if (problem.status === 404 || problem.status === 403) {
        await this.resolve(request);
        return;
      }
      toast({ level: "bad", key: "desk.toast.cancel_failed", params: {}, detail: problemText(problem) });
      return;
    }
    this.#settle(request);
    const incident = store.get("incidents").get(waiting.incident);
    if (incident === undefined) return;
    const keys = new Set(waiting.cameras.map((camera) => `${waiting.commune}/${camera}`));
    const [grants, me] = [store.get("grants"), store.get("me")];
    // A renewal that is given up leaves what runs.
    incident.cameras = incident.cameras.filter(
      (key) => !keys.has(key) || grantOf(key, incident, grants, me) !== undefined,
    );
    const params = { commune: communeName(store, waiting.commune), n: waiting.cameras.length };
    note(this.#ctx, waiting.incident, { level: "info", key: "desk.history.cancelled", params });
  }

  /** Asks for the outcome of all of them, after each connection. */
  resolveAll() {
    return Promise.all([...this.#ctx.store.get("approvals").keys()].map((request) => this.resolve(request)));
  }

  /** @param {string} request */
  #settle(request) {
    clearTimeout(this.#timers.get(request));
    this.#timers.delete(request);
    this.#ctx.store.get("approvals").delete(request);
    this.#ctx.store.touch("approvals");
  }
}
