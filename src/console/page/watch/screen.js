// Where a camera's decoded pictures are shown. Each screen takes the newest picture when it has shown the one
// before, so none falls behind. benches/README.md, "What the page costs", has the figures of the ways to draw.

import { crop } from "/page/watch/units.js";

/** @typedef {VideoFrame|ImageBitmap} Picture */

const schedule =
  globalThis.requestAnimationFrame?.bind(globalThis) ?? ((/** @type {() => void} */ draw) => setTimeout(draw, 16));

/** Screens to be drawn with the next frame. @type {Map<CanvasScreen, () => void>} */
const due = new Map();

function drawDue() {
  const draws = [...due.values()];
  due.clear();
  for (const draw of draws) draw();
}

/** A canvas: in every browser, and slow where no graphics card converts colours. */
export class CanvasScreen {
  size = { width: 640, height: 360 };
  #canvas;
  #context;

  /** @param {OffscreenCanvas} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    const context = canvas.getContext("2d", { alpha: false, desynchronized: true });
    if (context === null) throw new Error("the canvas has no 2D context");
    this.#context = context;
    this.clear();
  }

  /**
   * Shows what `picture` gives when it is time.
   * @param {() => Shown|null} picture
   */
  show(picture) {
    if (due.size === 0) schedule(drawDue);
    due.set(this, () => {
      const shown = picture();
      if (shown !== null) this.#draw(shown);
    });
  }

  /** @param {Shown} shown */
  #draw({ picture, view, width, height, drawn }) {
    const { size } = this;
    // As many pixels as the tile shows, no more than the picture has.
    const scale = Math.min(1, Math.max(size.width / width, size.height / height));
    const [w, h] = [Math.max(2, Math.round(width * scale)), Math.max(2, Math.round(height * scale))];
    if (this.#canvas.width !== w || this.#canvas.height !== h) Object.assign(this.#canvas, { width: w, height: h });
    this.#context.drawImage(picture, ...crop(view, width, height), 0, 0, w, h);
    drawn();
  }

  /** Nothing is shown from now on. A canvas is shown as it was drawn when a frame ends: also an empty one. */
  clear() {
    due.delete(this);
    this.#context.fillStyle = "#000";
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  end() {
    this.clear();
  }
}

/** A track of a video element: Chromium's, which shows three times as many pictures without a graphics card. */
export class TrackScreen {
  size = { width: 640, height: 360 };
  /** @type {WritableStreamDefaultWriter<VideoFrame>} */
  #writer;
  #busy = false;
  /** What is shown once the element has taken the one before. @type {(() => Shown|null)|null} */
  #next = null;

  /** @param {WritableStream<VideoFrame>} writable */
  constructor(writable) {
    this.#writer = writable.getWriter();
    this.clear();
  }

  /** @param {() => Shown|null} picture */
  show(picture) {
    if (this.#busy) {
      this.#next = picture;
      return;
    }
    const shown = picture();
    if (shown === null) return;
    const zoomed = shown.view.zoom > 1 && { visibleRect: part(shown) };
    this.#write(new VideoFrame(shown.picture, { timestamp: now(), ...zoomed }));
    shown.drawn();
  }

  /** @param {VideoFrame} frame */
  async #write(frame) {
    this.#busy = true;
    // The element is gone: so will be the stream.
    await this.#writer.write(frame).catch(() => frame.close());
    this.#busy = false;
    const next = this.#next;
    this.#next = null;
    if (next !== null) this.show(next);
  }

  /** Nothing is shown from now on. */
  clear() {
    this.#next = null;
    const black = new OffscreenCanvas(16, 16);
    black.getContext("2d", { alpha: false })?.fillRect(0, 0, 16, 16);
    this.#write(new VideoFrame(black, { timestamp: now() }));
  }

  end() {
    this.#next = null;
    this.#writer.close().catch(() => {});
  }
}

/**
 * What a view shows of a picture, in the picture's own pixels: those of some cameras are not square.
 * @param {Shown} shown
 * @returns {DOMRectInit}
 */
function part(shown) {
  const whole = "visibleRect" in shown.picture ? shown.picture.visibleRect : null;
  const { x: left, y: top, width, height } = whole ?? new DOMRect(0, 0, shown.width, shown.height);
  // Colours have half the pixels: the edges are even.
  const [x, y, w, h] = crop(shown.view, width, height).map((edge) => 2 * Math.floor(edge / 2));
  return { x: left + x, y: top + y, width: Math.max(2, w), height: Math.max(2, h) };
}

/** A track's pictures go on in time, whatever the camera's do. µs. */
function now() {
  return Math.round((performance.timeOrigin + performance.now()) * 1000);
}
