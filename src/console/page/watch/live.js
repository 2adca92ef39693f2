// The page's end of the worker: its socket's life, its orders and its reports.

import { h } from "/page/core/dom.js";
import { backoff } from "/page/core/events.js";

const WORKER = "/page/watch/worker.js";
/**
 * A new token goes to the socket this long before the old one's end, in ms: later than the API
 * signs one (`TOKEN_MARGIN`), and with time for a second try.
 */
const RENEW_BEFORE = 45_000;
/** Shortest wait before a token is sent again, in ms. */
const RENEW_PAUSE = 5_000;

/** The one script address that may become a worker (Trusted Types, where the browser has them). */
const policy = window.trustedTypes?.createPolicy("fanal", {
  createScriptURL: (url) => {
    if (url !== WORKER) throw new TypeError("no worker of this page");
    return url;
  },
});
const script = policy?.createScriptURL(WORKER) ?? WORKER;

/** An element for pictures: the one that shows the most in this browser. */
export function screen() {
  if (!("MediaStreamTrackGenerator" in globalThis))
    return h("canvas", { width: 640, height: 360, "aria-hidden": "true" });
  const video = h("video", { "aria-hidden": "true", tabindex: "-1" });
  return Object.assign(video, { muted: true, autoplay: true, playsInline: true, disablePictureInPicture: true });
}

/**
 * @typedef {object} LiveListeners
 * @property {(report: FiguresReport) => void} figures four times a second
 * @property {() => void} state a camera's state changed
 * @property {(problem: StreamProblem) => void} problem the browser can't show a camera
 * @property {(end: CameraEnd & {camera: string}) => void} end a camera's pictures ended
 * @property {(connected: boolean, reason?: string) => void} connection with why the receiver closed it
 */

/** One WebSocket for all cameras of a page, open while any is wanted. */
export class Live {
  #worker = new Worker(script, { type: "module" });
  #ctx;
  #told;
  /** Grants by camera. @type {Map<string, string>} */
  #wanted = new Map();
  /** @type {"closed"|"opening"|"open"|"ended"} */
  #state = "closed";
  #attempt = 0;
  /** @type {number|undefined} */
  #timer;
  /** @type {number|undefined} */
  #renewal;
  #connection = 0;
  #focus = "";
  /** @type {Map<number, {resolve: (still: Still) => void, reject: (error: Error) => void}>} */
  #snapshots = new Map();
  #next = 0;

  /**
   * @param {Context} ctx
   * @param {LiveListeners} told
   */
  constructor(ctx, told) {
    this.#ctx = ctx;
    this.#told = told;
    this.#worker.onmessage = ({ data }) => this.#heard(data);
  }

  /**
   * @param {WorkerOrder} message
   * @param {Transferable[]} [transfer]
   */
  #post(message, transfer = []) {
    this.#worker.postMessage(message, transfer);
  }

  /**
   * Shows a camera's pictures in an element of `screen`.
   * @param {string} camera
   * @param {HTMLCanvasElement|HTMLVideoElement} element
   */
  add(camera, element) {
    if (element instanceof HTMLCanvasElement) {
      const canvas = element.transferControlToOffscreen();
      this.#post({ type: "add", camera, canvas }, [canvas]);
      return;
    }
    const track = new MediaStreamTrackGenerator({ kind: "video" });
    element.srcObject = new MediaStream([track]);
    const { writable } = track;
    this.#post({ type: "add", camera, writable }, [writable]);
  }

  /** @param {string} camera */
  remove(camera) {
    this.#wanted.delete(camera);
    this.#post({ type: "remove", camera });
  }

  /**
   * Asks for a camera's pictures under this grant.
   * @param {string} camera
   * @param {string} grant
   */
  start(camera, grant) {
    if (this.#wanted.get(camera) === grant) return;
    this.#wanted.set(camera, grant);
    this.#post({ type: "start", camera, grant });
    this.#connect();
  }

  /**
   * Ends a camera's pictures, and clears its canvas.
   * @param {string} camera
   */
  stop(camera) {
    if (!this.#wanted.delete(camera)) return;
    this.#post({ type: "stop", camera });
  }

  /** @param {string} camera */
  isWanted(camera) {
    return this.#wanted.has(camera);
  }

  /**
   * The cameras that are looked at, the closest first.
   * @param {string[]} cameras
   */
  focus(cameras) {
    if (cameras.join() === this.#focus) return;
    this.#focus = cameras.join();
    this.#post({ type: "focus", cameras });
  }

  /**
   * @param {string} camera
   * @param {number} width
   * @param {number} height
   */
  size(camera, width, height) {
    this.#post({ type: "size", camera, width, height });
  }

  /**
   * @param {string} camera
   * @param {View} view
   */
  view(camera, view) {
    this.#post({ type: "view", camera, view });
  }

  /**
   * The newest picture.
   * @param {string} camera
   * @param {string|null} mark what is written over it
   * @returns {Promise<Still>}
   */
  snapshot(camera, mark) {
    this.#next += 1;
    const id = this.#next;
    this.#post({ type: "snapshot", camera, id, mark });
    return new Promise((resolve, reject) => this.#snapshots.set(id, { resolve, reject }));
  }

  /** Opens a new socket, as the person who signs now. */
  reopen() {
    if (this.#state === "ended") return;
    clearTimeout(this.#timer);
    clearTimeout(this.#renewal);
    this.#timer = undefined;
    this.#attempt = 0;
    this.#connection += 1;
    this.#state = "closed";
    this.#post({ type: "close" });
    this.#told.connection(false);
    this.#connect();
  }

  /** The receiver answers again: a silent socket is an old one. */
  probe() {
    if (this.#state === "open") this.#post({ type: "probe" });
    else if (this.#timer !== undefined) this.reopen();
  }

  end() {
    clearTimeout(this.#timer);
    clearTimeout(this.#renewal);
    this.#worker.terminate();
    this.#state = "ended";
  }

  async #connect() {
    if (this.#state !== "closed" || this.#wanted.size === 0 || this.#timer !== undefined) return;
    this.#state = "opening";
    this.#connection += 1;
    const connection = this.#connection;
    try {
      const { token, expires } = await this.#ctx.api.tokenAndEnd();
      if (connection !== this.#connection || this.#state !== "opening") return;
      const { protocols } = this.#ctx.api;
      this.#post({ type: "open", url: this.#ctx.api.url("live").replace(/^http/, "ws"), protocols, token });
      this.#renewBefore(expires);
    } catch {
      if (connection === this.#connection) this.#closed();
    }
  }

  /**
   * The receiver ends the socket with its token: it gets a new one in time, and the pictures go on.
   * @param {number} expires ms of the centre's time
   */
  #renewBefore(expires) {
    const connection = this.#connection;
    const wait = Math.max(RENEW_PAUSE, expires - RENEW_BEFORE - this.#ctx.clock.now());
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(async () => {
      let next = expires;
      try {
        const token = await this.#ctx.api.tokenAndEnd();
        if (connection !== this.#connection) return;
        if (token.expires > expires) this.#post({ type: "token", token: token.token });
        next = token.expires;
      } catch {
        // Nobody signs now: tried again until the socket ends.
      }
      if (connection === this.#connection && this.#state !== "ended") this.#renewBefore(next);
    }, wait);
  }

  /** @param {string} [reason] that the receiver gave */
  #closed(reason) {
    if (this.#state === "ended") return;
    this.#state = "closed";
    clearTimeout(this.#renewal);
    this.#told.connection(false, reason);
    if (this.#wanted.size === 0) return;
    const pause = backoff(this.#attempt, Math.random());
    this.#attempt += 1;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#connect();
    }, pause);
  }

  /** @param {WorkerReport} message */
  #heard(message) {
    switch (message.type) {
      case "ready":
        this.#state = "open";
        this.#attempt = 0;
        this.#told.connection(true);
        break;
      case "closed":
        this.#closed(message.reason || undefined);
        break;
      case "figures":
        this.#told.figures(message);
        break;
      case "camera_state":
        this.#told.state();
        break;
      case "camera_end":
      case "camera_error":
        // Not that of a subscription that was replaced.
        if (message.camera && (message.grant ?? null) === (this.#wanted.get(message.camera) ?? null)) {
          // The mosaic decides whether to ask again.
          this.#wanted.delete(message.camera);
          this.#post({ type: "stop", camera: message.camera });
          this.#told.end({ ...message, camera: message.camera });
        }
        break;
      case "problem":
        this.#told.problem(message);
        break;
      case "snapshot": {
        const waiting = this.#snapshots.get(message.id);
        this.#snapshots.delete(message.id);
        if (message.problem !== undefined) waiting?.reject(new Error(message.problem));
        else waiting?.resolve(message);
        break;
      }
    }
  }
}
