// Socket, decoders and canvases of all cameras, away from the page's own thread.
//
// What waits is bounded: a decoder's queue (`QUEUE_LIMIT`), then pictures are left out up to
// the next key frame; one decoded picture of each camera, the newest; the socket itself
// (the receiver skips where it is not read).

import { crop, decoderConfig, readMessage, readUnit } from "/page/watch/units.js";

/** Pictures in a decoder's queue above which the rest of the group is left out: a second. */
const QUEUE_LIMIT = 25;
/** The same while a kept group, which comes at once, is being caught up with. */
const KEPT_LIMIT = 400;
/** Decoders that fail so often without a picture between are given up. */
const FAILURES = 3;
/** Pictures whose times are remembered until they are decoded. */
const TIMES_LIMIT = 600;
/** Between two reports to the page, in ms. */
const REPORT = 250;
/** How long opening may take, in ms. */
const OPENING = 15_000;
/** A socket that said nothing for this long, in ms, is dead where the receiver is known to answer. */
const SILENT = 5_000;

const streams = new Map();
const byTag = new Map();
let socket = null;
let focus = [];
let scriptMs = 0;
let lastHeard = 0;
let drawing = false;
const dirty = new Set();

const schedule = globalThis.requestAnimationFrame?.bind(globalThis) ?? ((draw) => setTimeout(draw, 16));

/** One camera: its decoder, its canvas, its counters. */
class Stream {
  constructor(camera, canvas) {
    this.camera = camera;
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false, desynchronized: true });
    this.active = false;
    this.grant = null;
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.size = { width: 640, height: 360 };
    this.counts = { received: 0, frames: 0, drawn: 0, dropped: 0 };
    this.forget();
  }

  /** Nothing of what was seen stays. */
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
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    // A canvas is shown as it was drawn when a frame ends: also an empty one.
    dirty.delete(this);
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

  configure(message) {
    this.stop();
    this.codec = message.codec;
    this.config = message;
    if (message.codec === "jpeg") return;
    if (globalThis.VideoDecoder === undefined) return this.giveUp("no_webcodecs");
    this.start();
  }

  start() {
    const decoder = new VideoDecoder({
      output: (frame) => this.show(frame, this.times.get(frame.timestamp)),
      error: (error) => {
        if (decoder === this.decoder) this.failed(error);
      },
    });
    this.decoder = decoder;
    this.needsKey = true;
    try {
      decoder.configure(decoderConfig(this.config));
    } catch (error) {
      this.failed(error);
    }
  }

  failed(error) {
    this.failures += 1;
    this.decoder = null;
    if (error.name === "NotSupportedError" || error.name === "TypeError" || this.failures >= FAILURES)
      this.giveUp("codec");
    else this.start();
  }

  giveUp(problem) {
    this.decoder = null;
    postMessage({ type: "problem", camera: this.camera, grant: this.tagGrant, problem, codec: this.codec });
  }

  take(unit) {
    this.counts.received += 1;
    if (this.codec === "jpeg") return this.takeJpeg(unit);
    if (this.decoder === null || this.decoder.state !== "configured") return;
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
      // What waits is older than what is there now.
      this.counts.dropped += this.decoder.decodeQueueSize;
      this.decoder.reset();
      this.decoder.configure(decoderConfig(this.config));
    }
    this.needsKey = false;
    if (this.times.size > TIMES_LIMIT) this.times.clear();
    this.times.set(unit.timestamp, unit.captured);
    const { timestamp, data } = unit;
    try {
      this.decoder.decode(new EncodedVideoChunk({ type: unit.key ? "key" : "delta", timestamp, data }));
    } catch (error) {
      this.failed(error);
    }
  }

  /** The newest picture only: each stands for itself. */
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
      if (jpeg === this.jpeg) this.show(bitmap, unit.captured);
      else bitmap.close();
    } catch {
      this.counts.dropped += 1;
    }
    jpeg.busy = false;
    const next = jpeg.next;
    jpeg.next = null;
    if (next !== null && jpeg === this.jpeg) this.takeJpeg(next);
  }

  show(frame, captured) {
    this.times.delete(frame.timestamp);
    this.failures = 0;
    this.last?.close();
    this.last = frame;
    this.counts.frames += 1;
    this.captured = captured ?? this.captured;
    this.shownAt = performance.timeOrigin + performance.now();
    this.width = frame.displayWidth ?? frame.width;
    this.height = frame.displayHeight ?? frame.height;
    this.redraw();
  }

  redraw() {
    if (this.last === null) return;
    dirty.add(this);
    if (drawing) return;
    drawing = true;
    schedule(drawAll);
  }

  draw() {
    if (this.last === null) return;
    const { canvas, width, height, size } = this;
    // As many pixels as are seen, no more than there are.
    const scale = Math.min(1, Math.max(size.width / width, size.height / height));
    const [w, h] = [Math.max(2, Math.round(width * scale)), Math.max(2, Math.round(height * scale))];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    this.context.drawImage(this.last, ...crop(this.view, width, height), 0, 0, w, h);
    this.counts.drawn += 1;
  }

  report() {
    const { camera, captured, shownAt, width, height, codec, counts } = this;
    return { camera, captured, shownAt, width, height, codec, queue: this.decoder?.decodeQueueSize ?? 0, ...counts };
  }
}

function drawAll() {
  const began = performance.now();
  drawing = false;
  for (const stream of dirty) stream.draw();
  dirty.clear();
  scriptMs += performance.now() - began;
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN && socket.isReady) socket.send(JSON.stringify(message));
}

function open({ url, token }) {
  close();
  const opened = new WebSocket(url, "fanal.v1");
  opened.binaryType = "arraybuffer";
  socket = opened;
  opened.onopen = () => opened.send(JSON.stringify({ token }));
  const lost = ({ code = 0, reason = "" } = {}) => {
    clearTimeout(limit);
    if (socket !== opened) return;
    close();
    for (const stream of streams.values()) stream.tag = null;
    postMessage({ type: "closed", code, reason });
  };
  const limit = setTimeout(() => opened.isReady || lost(), OPENING);
  opened.lost = lost;
  opened.onmessage = ({ data }) => {
    if (socket !== opened) return;
    const began = performance.now();
    lastHeard = began;
    if (typeof data === "string") heard(opened, data);
    else {
      const unit = readUnit(data);
      if (unit !== null) byTag.get(unit.tag)?.take(unit);
    }
    scriptMs += performance.now() - began;
  };
  opened.onclose = lost;
}

function close() {
  const closing = socket;
  socket = null;
  byTag.clear();
  closing?.close();
}

function heard(from, text) {
  const message = readMessage(text);
  if (message === null) return;
  if (message.type === "ready") {
    from.isReady = true;
    postMessage({ type: "ready" });
    for (const stream of streams.values()) if (stream.active) subscribe(stream);
    send({ type: "focus", cameras: focus });
    return;
  }
  const stream = streams.get(message.camera);
  if (message.type === "subscribed" && stream) {
    byTag.delete(stream.tag);
    stream.tag = message.tag;
    stream.tagGrant = message.grant;
    byTag.set(message.tag, stream);
  } else if (message.type === "configuration" && stream?.tag === message.tag) stream.configure(message);
  else if (message.type === "skipped" && stream) stream.needsKey = true;
  else if (message.type === "state" || message.type === "end" || message.type === "error") {
    if (message.type === "end" && stream && stream.tag === message.tag) byTag.delete(message.tag);
    postMessage({ ...message, grant: stream?.tagGrant ?? stream?.grant, type: `camera_${message.type}` });
  }
}

function subscribe(stream) {
  send({ type: "subscribe", camera: stream.camera, grant: stream.grant });
}

function unsubscribe(stream) {
  send({ type: "unsubscribe", camera: stream.camera });
  byTag.delete(stream.tag);
}

async function snapshot({ camera, id }) {
  const stream = streams.get(camera);
  try {
    if (!stream?.last) throw new Error("no picture");
    const { width, height, last, captured } = stream;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d", { alpha: false }).drawImage(last, 0, 0, width, height);
    const png = await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer();
    postMessage({ type: "snapshot", id, png, captured, width, height }, [png]);
  } catch (error) {
    postMessage({ type: "snapshot", id, problem: error.message });
  }
}

const orders = {
  open,
  close,
  add: ({ camera, canvas }) => streams.set(camera, new Stream(camera, canvas)),
  remove: ({ camera }) => {
    const stream = streams.get(camera);
    if (stream === undefined) return;
    if (stream.active) unsubscribe(stream);
    stream.forget();
    streams.delete(camera);
  },
  probe: () => {
    if (performance.now() - lastHeard > SILENT) socket?.lost();
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
    stream.size = { width, height };
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

onmessage = ({ data }) => orders[data.type]?.(data);

setInterval(() => {
  postMessage({ type: "figures", tiles: [...streams.values()].map((stream) => stream.report()), scriptMs });
}, REPORT);
