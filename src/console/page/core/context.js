// What every page begins with: its store, its server's API and clock.

import { Api, answerOf, fetchOf } from "/page/core/api.js";
import { Clock } from "/page/core/clock.js";
import { Store } from "/page/core/store.js";

/** @returns {Pick<Context, "store"|"api"|"clock">} */
export function makeContext() {
  const store = new Store({
    lang: "fr",
    theme: "dark",
    locked: false,
    online: "connecting",
    me: null,
    console: null,
    offlineBecause: null,
    communes: new Map(),
    cameras: new Map(),
    grants: new Map(),
    approvals: new Map(),
    incidents: new Map(),
    records: new Map(),
    recordList: [],
    outbox: [],
    incident: null,
    focused: null,
    current: null,
    goTo: null,
    silent: new Map(),
    alerts: new Map(),
    tiles: new Map(),
  });
  /** @type {Api} */
  const api = new Api(
    () => clock.now(),
    () => clock.measure(),
  );
  const clock = new Clock(
    async () => (await answerOf(await fetchOf(api.url("time"), { headers: api.headers({}), timeout: 5_000 }))).unix_ms,
  );
  return { store, api, clock };
}
