// Socket, decoders and screens of all cameras, away from the page's own thread.
//
// All queues are bounded: a decoder's (`QUEUE_LIMIT`; above it pictures are dropped up to the next
// key frame), the decoded pictures (the newest of each camera), the socket's (the receiver skips
// pictures while it is not read).

import { drawMark } from "/page/watch/mark.js";
import { Pace } from "/page/watch/flow.js";
import { CanvasScreen, TrackScreen } from "/page/watch/screen.js";
import { codecFamily, decoderConfig, readMessage, readUnit } from "/page/watch/units.js";

/** Pictures in a decoder's queue above which the rest of the group is dropped: a second. */
const QUEUE_LIMIT = 25;
/** The same while the decoder catches up with a kept group, which comes at once. */
const KEPT_LIMIT = 400;
/** So many failures without a picture between, and no decoder is tried again. */
const FAILURES = 3;
/** Pictures whose times are remembered until they are decoded. */
const TIMES_LIMIT = 600;
/** Between two reports to the page, in ms. */
const REPORT = 250;
/** How long opening may take, in ms. */
const OPENING = 15_000;
/** A socket that received nothing for this long, in ms, is dead while the receiver answers. */
const SILENT = 5_000;

/** @typedef {{socket: WebSocket, isReady: boolean, lost: (event?: {code?: number, reason?: string}) => void}} Connection */

/** A configuration of each family of codecs that a decoder must have. */
const FAMILIES = { h264: "avc1.42E01F", h265: "hvc1.1.6.L93.B0" };

/** Streams by camera. @type {Map<string, Stream>} */
const streams = new Map();
/** Streams by the receiver's tag. @type {Map<number|null, Stream>} */
const byTag = new Map();
/** @type {Connection|null} */
let connection = null;
/** The codecs that this browser decodes; null: it has no decoder that could be asked. */
const decoders = decodable();
/** What subscriptions say of them; null: the receiver does not ask. @type {string[]|null} */
let decodes = null;
/** @type {string[]} */
let focus = [];
let scriptMs = 0;
let lastHeard = 0;

/** One camera: its decoder, its screen, its counters. */
class Stream {
  active = false;
  /** The grant that the page named. @type {string|null} */
  grant = null;
  /** @type {View} */
  view = { zoom: 1, x: 0.5, y: 0.5 };
  counts = { received: 0, frames: 0, drawn: 0, dropped: 0, skipped: 0 };
  pace = new Pace();
  /** The receiver's number for the subscription, and the grant that it used. @type {number|null} */
  tag = null;
  /** @type {string|null} */
  tagGrant = null;
  /** The newest picture. @type {VideoFrame|ImageBitmap|null} */
  last = null;
  /** @type {number|null} */
  captured = null;
  /** Whether that picture is of the kept group. */
  kept = false;
  /** @type {number|null} */
  shownAt = null;
  /** @type {string|null} */
  codec = null;
  width = 0;
  height = 0;
  failures = 0;
  /** @type {VideoDecoder|null} */
  decoder = null;
  /** @type {LiveConfiguration|null} */
  config = null;
  /** Codecs of which a decoder that seemed to be there made nothing. @type {Set<string>} */
  cannot = new Set();
  /** The codec that came and can't be decoded, while the camera's other stream is awaited. @type {AwaitedStream|null} */
  awaited = null;
  /** What comes is the camera's other stream. */
  isOther = false;
  needsKey = true;
  catchingUp = false;
  /** Of the pictures that are decoded, by timestamp. @type {Map<number, Pick<Unit, "captured"|"kept">>} */
  times = new Map();
  /** @type {{busy: boolean, next: Unit|null}} */
  jpeg = { busy: false, next: null };

  /**
   * @param {string} camera
   * @param {CanvasScreen|TrackScreen} screen
   */
  constructor(camera, screen) {
    this.camera = camera;
    this.screen = screen;
  }

  /** Clears all that was seen. */
  forget() {
    this.tag = null;
    this.tagGrant = null;
    this.stop();
    this.last?.close();
    this.last = null;
    this.captured = null;
    this.shownAt = null;
    this.codec = null;
    this.width = 0;
    this.height = 0;
    this.failures = 0;
    this.awaited = null;
    this.screen.clear();
  }

  stop() {
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
    this.config = null;
    this.needsKey = true;
    this.catchingUp = false;
    this.times = new Map();
    this.jpeg = { busy: false, next: null };
  }

  /** @param {LiveConfiguration} message */
  configure(message) {
    this.stop();
    this.codec = message.codec;
    this.config = message;
    this.isOther = this.awaited !== null;
    this.awaited = null;
    if (message.codec === "jpeg") return;
    if (globalThis.VideoDecoder === undefined) return this.giveUp("no_webcodecs");
    this.start(message);
  }

  /** @param {LiveConfiguration} config */
  start(config) {
    const decoder = new VideoDecoder({
      output: (frame) => {
        const unit = this.times.get(frame.timestamp);
        this.times.delete(frame.timestamp);
        this.show(frame, unit, frame.displayWidth, frame.displayHeight);
      },
      error: (error) => {
        if (decoder === this.decoder) this.failed(error);
      },
    });
    this.decoder = decoder;
    this.needsKey = true;
    try {
      decoder.configure(decoderConfig(config));
    } catch (error) {
      this.failed(error);
    }
  }

  /** @param {unknown} error */
  failed(error) {
    this.failures += 1;
    this.decoder = null;
    const name = error instanceof Error ? error.name : "";
    const isHopeless = name === "NotSupportedError" || name === "TypeError" || this.failures >= FAILURES;
    if (isHopeless || this.config === null) this.giveUp("codec");
    else this.start(this.config);
  }

  /** @param {string} problem */
  giveUp(problem) {
    this.decoder = null;
    const family = codecFamily(this.codec ?? "");
    if (problem === "codec" && decodes?.includes(family) && !this.cannot.has(family)) {
      // The camera's other stream may do.
      this.cannot.add(family);
      subscribe(this);
    } else tell({ type: "problem", camera: this.camera, grant: this.tagGrant, problem, codec: this.codec });
  }

  /** @param {Extract<LiveMessage, {type: "undecodable"}>} message */
  await({ codec, reason, waits }) {
    this.awaited = { codec, reason };
    if (waits) return;
    this.codec = codec;
    tell({ type: "problem", camera: this.camera, grant: this.tagGrant, problem: "codec", codec, reason });
  }

  /** @param {Unit} unit */
  take(unit) {
    this.counts.received += 1;
    this.pace.take(unit.timestamp);
    if (this.codec === "jpeg") return this.takeJpeg(unit);
    if (this.decoder === null || this.config === null || this.decoder.state !== "configured") return;
    const queue = this.decoder.decodeQueueSize;
    if (unit.kept) this.catchingUp = true;
    else if (queue <= 2) this.catchingUp = false;
    if (queue > (this.catchingUp ? KEPT_LIMIT : QUEUE_LIMIT) && !unit.key) this.needsKey = true;
    if (unit.lossBefore && !unit.key) this.needsKey = true;
    if (this.needsKey && !unit.key) {
      this.counts.dropped += 1;
      return;
    }
    if (unit.key && this.needsKey && this.decoder.decodeQueueSize > 0) {
      // The waiting pictures are older than this one.
      this.counts.dropped += this.decoder.decodeQueueSize;
      this.decoder.reset();
      this.decoder.configure(decoderConfig(this.config));
    }
    this.needsKey = false;
    if (this.times.size > TIMES_LIMIT) this.times.clear();
    this.times.set(unit.timestamp, { captured: unit.captured, kept: unit.kept });
    const { timestamp, data } = unit;
    try {
      this.decoder.decode(new EncodedVideoChunk({ type: unit.key ? "key" : "delta", timestamp, data }));
    } catch (error) {
      this.failed(error);
    }
  }

  /**
   * Decodes the newest picture only: each is complete in itself.
   * @param {Unit} unit
   */
  async takeJpeg(unit) {
    if (this.jpeg.busy) {
      if (this.jpeg.next !== null) this.counts.dropped += 1;
      this.jpeg.next = unit;
      return;
    }
    const { jpeg } = this;
    jpeg.busy = true;
    try {
      const bitmap = await createImageBitmap(new Blob([unit.data], { type: "image/jpeg" }));
      if (jpeg === this.jpeg) this.show(bitmap, unit, bitmap.width, bitmap.height);
      else bitmap.close();
    } catch {
      this.counts.dropped += 1;
    }
    jpeg.busy = false;
    const next = jpeg.next;
    jpeg.next = null;
    if (next !== null && jpeg === this.jpeg) this.takeJpeg(next);
  }

  /**
   * @param {VideoFrame|ImageBitmap} frame
   * @param {Pick<Unit, "captured"|"kept">|undefined} unit
   * @param {number} width
   * @param {number} height
   */
  show(frame, unit, width, height) {
    this.failures = 0;
    this.last?.close();
    this.last = frame;
    this.counts.frames += 1;
    this.captured = unit?.captured ?? this.captured;
    this.kept = unit?.kept ?? this.kept;
    this.shownAt = performance.timeOrigin + performance.now();
    this.width = width;
    this.height = height;
    this.redraw();
  }

  redraw() {
    if (this.last !== null) this.screen.show(this.#newest);
  }

  /** What is on the screen: the newest picture when its turn comes. @returns {Shown|null} */
  #newest = () => {
    const { last, view, width, height } = this;
    if (last === null) return null;
    const began = performance.now();
    const drawn = () => {
      this.counts.drawn += 1;
      scriptMs += performance.now() - began;
    };
    return { picture: last, view, width, height, drawn };
  };

  /** @returns {StreamFigures} */
  report() {
    const { camera, captured, kept, shownAt, width, height, codec, counts, awaited } = this;
    return {
      camera,
      awaited,
      isOther: this.isOther,
      captured,
      kept,
      shownAt,
      width,
      height,
      codec,
      queue: this.decoder?.decodeQueueSize ?? 0,
      rate: this.pace.rate,
      ...counts,
    };
  }
}

/**
 * Tells the page.
 * @param {WorkerReport} report
 * @param {Transferable[]} [transfer]
 */
function tell(report, transfer = []) {
  postMessage(report, { transfer });
}

/**
 * @param {OffscreenCanvas} canvas
 * @param {CanvasRenderingContext2DSettings} settings
 */
function context2d(canvas, settings) {
  const context = canvas.getContext("2d", settings);
  if (context === null) throw new Error("the canvas has no 2D context");
  return context;
}

/** @param {object} message */
function send(message) {
  if (connection?.isReady && connection.socket.readyState === WebSocket.OPEN)
    connection.socket.send(JSON.stringify(message));
}

/** @param {{url: string, protocols: string[], token: string}} order */
function open({ url, protocols, token }) {
  close();
  const socket = new WebSocket(url, protocols);
  socket.binaryType = "arraybuffer";
  /** @type {Connection} */
  const opened = {
    socket,
    isReady: false,
    lost: ({ code = 0, reason = "" } = {}) => {
      clearTimeout(limit);
      if (connection !== opened) return;
      close();
      for (const stream of streams.values()) stream.tag = null;
      tell({ type: "closed", code, reason });
    },
  };
  connection = opened;
  const limit = setTimeout(() => opened.isReady || opened.lost(), OPENING);
  socket.onopen = () => socket.send(JSON.stringify({ token }));
  socket.onmessage = ({ data }) => {
    if (connection !== opened) return;
    const began = performance.now();
    lastHeard = began;
    if (typeof data === "string") heard(opened, data);
    else {
      const unit = readUnit(data);
      if (unit !== null) byTag.get(unit.tag)?.take(unit);
    }
    scriptMs += performance.now() - began;
  };
  socket.onclose = opened.lost;
}

function close() {
  const closing = connection;
  connection = null;
  byTag.clear();
  closing?.socket.close();
}

/**
 * @param {Connection} from
 * @param {string} text
 */
function heard(from, text) {
  const message = readMessage(text);
  if (message === null) return;
  if (message.type === "ready") {
    decoders.then((found) => {
      if (connection !== from) return;
      decodes = message.codecs === undefined ? null : found;
      from.isReady = true;
      tell({ type: "ready" });
      for (const stream of streams.values()) if (stream.active) subscribe(stream);
      send({ type: "focus", cameras: focus });
    });
    return;
  }
  const stream = streams.get(message.camera ?? "");
  switch (message.type) {
    case "subscribed":
      if (stream === undefined) break;
      byTag.delete(stream.tag);
      stream.tag = message.tag;
      stream.tagGrant = message.grant;
      byTag.set(message.tag, stream);
      break;
    case "configuration":
      if (stream?.tag === message.tag) stream.configure(message);
      break;
    case "undecodable":
      if (stream?.tag === message.tag) stream.await(message);
      break;
    case "skipped":
      if (stream === undefined) break;
      stream.needsKey = true;
      stream.counts.skipped += 1;
      break;
    case "state":
      tell({ type: "camera_state", camera: message.camera });
      break;
    case "end":
      if (stream?.tag === message.tag) byTag.delete(message.tag);
      // It was said with its codec.
      if (stream?.awaited && message.reason === "codec_unsupported") break;
      tell({ ...message, grant: stream?.tagGrant ?? stream?.grant, type: "camera_end" });
      break;
    case "error":
      tell({ ...message, grant: stream?.tagGrant ?? stream?.grant, type: "camera_error" });
      break;
  }
}

/** @param {Stream} stream */
function subscribe(stream) {
  const codecs = decodes?.filter((codec) => !stream.cannot.has(codec));
  send({ type: "subscribe", camera: stream.camera, grant: stream.grant, ...(codecs && { codecs }) });
}

/** @returns {Promise<string[]|null>} */
async function decodable() {
  if (globalThis.VideoDecoder === undefined) return null;
  const found = await Promise.all(
    Object.entries(FAMILIES).map(async ([name, codec]) => {
      const { supported } = await VideoDecoder.isConfigSupported({ codec }).catch(() => ({ supported: false }));
      return supported ? [name] : [];
    }),
  );
  return ["jpeg", ...found.flat()];
}

/** @param {Stream} stream */
function unsubscribe(stream) {
  send({ type: "unsubscribe", camera: stream.camera });
  byTag.delete(stream.tag);
}

/** @param {{camera: string, id: number, mark: string|null}} order */
async function snapshot({ camera, id, mark }) {
  const stream = streams.get(camera);
  try {
    if (!stream?.last || stream.captured === null) throw new Error("no picture");
    const { width, height, last, captured } = stream;
    const canvas = new OffscreenCanvas(width, height);
    const context = context2d(canvas, { alpha: false });
    context.drawImage(last, 0, 0, width, height);
    if (mark !== null) drawMark(context, mark, width, height);
    const png = await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer();
    tell({ type: "snapshot", id, png, captured, width, height }, [png]);
  } catch (error) {
    tell({ type: "snapshot", id, problem: error instanceof Error ? error.message : String(error) });
  }
}

/** @type {{[Type in WorkerOrder["type"]]: (order: Extract<WorkerOrder, {type: Type}>) => void}} */
const orders = {
  open,
  close,
  token: ({ token }) => send({ type: "token", token }),
  add: ({ camera, canvas, writable }) => {
    const screen = writable === undefined ? new CanvasScreen(canvas) : new TrackScreen(writable);
    streams.set(camera, new Stream(camera, screen));
  },
  remove: ({ camera }) => {
    const stream = streams.get(camera);
    if (stream === undefined) return;
    if (stream.active) unsubscribe(stream);
    stream.forget();
    stream.screen.end();
    streams.delete(camera);
  },
  probe: () => {
    if (performance.now() - lastHeard > SILENT) connection?.lost();
  },
  start: ({ camera, grant }) => {
    const stream = streams.get(camera);
    if (stream === undefined) return;
    stream.active = true;
    stream.grant = grant;
    subscribe(stream);
  },
  stop: ({ camera }) => {
    const stream = streams.get(camera);
    if (!stream?.active) return;
    stream.active = false;
    unsubscribe(stream);
    stream.forget();
  },
  focus: ({ cameras }) => {
    focus = cameras;
    send({ type: "focus", cameras });
  },
  size: ({ camera, width, height }) => {
    const stream = streams.get(camera);
    if (stream === undefined) return;
    stream.screen.size = { width, height };
    stream.redraw();
  },
  view: ({ camera, view }) => {
    const stream = streams.get(camera);
    if (stream === undefined) return;
    stream.view = view;
    stream.redraw();
  },
  snapshot,
};

onmessage = ({ data }) => {
  const order = /** @type {WorkerOrder} */ (data);
  // The table's type couples each name with its order.
  const act = /** @type {(order: WorkerOrder) => void} */ (/** @type {unknown} */ (orders[order.type]));
  act(order);
};

setInterval(() => {
  tell({ type: "figures", tiles: [...streams.values()].map((stream) => stream.report()), scriptMs });
}, REPORT);
