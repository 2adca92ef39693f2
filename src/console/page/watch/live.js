// The page's end of the worker: its socket's life, orders, and what it tells.

import { backoff } from "/page/core/events.js";

const WORKER = "/page/watch/worker.js";

/** The one script address that may become a worker (Trusted Types). */
const policy = globalThis.trustedTypes?.createPolicy("fanal", {
  createScriptURL: (url) => {
    if (url !== WORKER) throw new TypeError("no worker of this page");
    return url;
  },
}) ?? { createScriptURL: (url) => url };

/** One WebSocket for all cameras of a page, open while any is wanted. */
export class Live {
  #worker = new Worker(policy.createScriptURL(WORKER), { type: "module" });
  #ctx;
  #told;
  #wanted = new Map();
  #state = "closed";
  #attempt = 0;
  #timer = null;
  #connection = 0;
  #focus = "";
  #snapshots = new Map();
  #next = 0;

  /**
   * @param {object} ctx the page's context
   * @param {{figures, state, problem, end, connection}} told is called with what comes
   */
  constructor(ctx, told) {
    this.#ctx = ctx;
    this.#told = told;
    this.#worker.onmessage = ({ data }) => this.#heard(data);
  }

  #post(message, transfer = []) {
    this.#worker.postMessage(message, transfer);
  }

  /** Takes a camera's canvas over. */
  add(camera, canvas) {
    const own = canvas.transferControlToOffscreen();
    this.#post({ type: "add", camera, canvas: own }, [own]);
  }

  remove(camera) {
    this.#wanted.delete(camera);
    this.#post({ type: "remove", camera });
  }

  /** Wants its pictures, under this grant. */
  start(camera, grant) {
    if (this.#wanted.get(camera) === grant) return;
    this.#wanted.set(camera, grant);
    this.#post({ type: "start", camera, grant });
    this.#connect();
  }

  /** Its picture goes from the canvas too. */
  stop(camera) {
    if (!this.#wanted.delete(camera)) return;
    this.#post({ type: "stop", camera });
  }

  isWanted(camera) {
    return this.#wanted.has(camera);
  }

  /** What is looked at, the closest first. */
  focus(cameras) {
    if (cameras.join() === this.#focus) return;
    this.#focus = cameras.join();
    this.#post({ type: "focus", cameras });
  }

  size(camera, width, height) {
    this.#post({ type: "size", camera, width, height });
  }

  view(camera, view) {
    this.#post({ type: "view", camera, view });
  }

  /** The newest picture as PNG; `{png, captured, width, height}`. */
  snapshot(camera) {
    this.#next += 1;
    const id = this.#next;
    this.#post({ type: "snapshot", camera, id });
    return new Promise((resolve, reject) => this.#snapshots.set(id, { resolve, reject }));
  }

  /** Opens the socket anew, as whoever signs now. */
  reopen() {
    if (this.#state === "ended") return;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#attempt = 0;
    this.#connection += 1;
    this.#state = "closed";
    this.#post({ type: "close" });
    this.#told.connection(false);
    this.#connect();
  }

  /** The receiver answers again: a socket that says nothing is of before. */
  probe() {
    if (this.#state === "open") this.#post({ type: "probe" });
    else if (this.#timer !== null) this.reopen();
  }

  end() {
    clearTimeout(this.#timer);
    this.#worker.terminate();
    this.#state = "ended";
  }

  async #connect() {
    if (this.#state !== "closed" || this.#wanted.size === 0 || this.#timer !== null) return;
    this.#state = "opening";
    this.#connection += 1;
    const connection = this.#connection;
    try {
      const token = await this.#ctx.api.token();
      if (connection === this.#connection && this.#state === "opening")
        this.#post({ type: "open", url: `${this.#ctx.api.base.replace(/^http/, "ws")}/api/v1/live`, token });
    } catch {
      if (connection === this.#connection) this.#closed();
    }
  }

  #closed() {
    if (this.#state === "ended") return;
    this.#state = "closed";
    this.#told.connection(false);
    if (this.#wanted.size === 0) return;
    const pause = backoff(this.#attempt, Math.random());
    this.#attempt += 1;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#connect();
    }, pause);
  }

  #heard(message) {
    switch (message.type) {
      case "ready":
        this.#state = "open";
        this.#attempt = 0;
        this.#told.connection(true);
        break;
      case "closed":
        this.#closed();
        break;
      case "figures":
        this.#told.figures(message);
        break;
      case "camera_state":
        this.#told.state(message);
        break;
      case "camera_end":
      case "camera_error":
        // Not of a subscription that another has taken the place of.
        if (message.camera && (message.grant ?? null) === (this.#wanted.get(message.camera) ?? null)) {
          // Wanted again, by its grant's next change: whoever shows it decides.
          this.#wanted.delete(message.camera);
          this.#post({ type: "stop", camera: message.camera });
          this.#told.end(message);
        }
        break;
      case "problem":
        this.#told.problem(message);
        break;
      case "snapshot": {
        const waiting = this.#snapshots.get(message.id);
        this.#snapshots.delete(message.id);
        if (message.problem) waiting?.reject(new Error(message.problem));
        else waiting?.resolve(message);
        break;
      }
    }
  }
}
