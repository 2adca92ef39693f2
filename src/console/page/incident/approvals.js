// Requests that wait for their commune's approval, and what becomes of them.

import { Problem } from "/page/core/api.js";

/** How long after a commune's time to approve it is asked what became of it, in ms. */
const GRACE = 3_000;

/** Follows requests that were answered with 202. */
export class Approvals {
  #ctx;
  #ledger;
  #timers = new Map();

  /** @param {import("/page/incident/ledger.js").Ledger} ledger takes the grant or the refusal */
  constructor(ctx, ledger) {
    this.#ctx = ctx;
    this.#ledger = ledger;
  }

  /** Keeps a request that waits for its commune. */
  wait(ref, commune, cameras, { request, approve_by: approveBy }) {
    const { store } = this.#ctx;
    store.get("approvals").set(request, { request, commune, approve_by: approveBy, incident: ref, cameras });
    store.touch("approvals");
    this.#ledger.note(ref, {
      level: "info",
      key: "desk.history.waiting",
      params: { commune: this.#ledger.communeName(commune), n: cameras.length },
    });
    // Its answer may have come before this one.
    this.resolve(request);
  }

  #watch(request) {
    const { store, clock } = this.#ctx;
    const waiting = store.get("approvals").get(request);
    clearTimeout(this.#timers.get(request));
    if (waiting === undefined) return;
    const left = Math.max(0, Date.parse(waiting.approve_by) - clock.now()) || 0;
    this.#timers.set(
      request,
      setTimeout(() => this.resolve(request), left + GRACE),
    );
  }

  /** What became of a request that waited. */
  async resolve(request) {
    const { api, store } = this.#ctx;
    const waiting = store.get("approvals").get(request);
    if (waiting === undefined) return;
    try {
      const answer = await api.get(`requests/${request}`);
      if (answer.grant === undefined) {
        this.#watch(request);
        return;
      }
      this.#settle(request);
      this.#ledger.takeAnswer(answer);
      this.#ctx.actions.toast({
        level: "info",
        key: "desk.toast.approved",
        params: { commune: this.#ledger.communeName(waiting.commune) },
      });
    } catch (error) {
      const problem = Problem.of(error);
      // No answer is no refusal: it is asked again when the receiver is back.
      if (problem.status === 0 || ["internal", "shutting_down", "token_expired"].includes(problem.reason)) return;
      this.#settle(request);
      const incident = store.get("incidents").get(waiting.incident);
      if (incident)
        this.#ledger.tellRefused(
          incident,
          waiting.commune,
          waiting.cameras.map((camera) => ({ camera })),
          problem,
        );
    }
  }

  /** The same of all, after a connection. */
  resolveAll() {
    return Promise.all([...this.#ctx.store.get("approvals").keys()].map((request) => this.resolve(request)));
  }

  #settle(request) {
    clearTimeout(this.#timers.get(request));
    this.#timers.delete(request);
    this.#ctx.store.get("approvals").delete(request);
    this.#ctx.store.touch("approvals");
  }
}
