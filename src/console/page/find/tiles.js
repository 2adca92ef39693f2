// Map tiles from the receiver, as far as it has any.

import { fetchOf } from "/page/core/api.js";

/** Tiles kept, calls at once. */
const [KEPT, CALLS] = [256, 6];
/** Pause after a call that failed, in ms. */
const PAUSE = 5_000;

/** Fetches, keeps and paints raster tiles. */
export class TileCache {
  #ctx;
  #loaded;
  /** By `zoom/x/y`, the newest last. @type {Map<string, {image: ImageBitmap|null}>} */
  #tiles = new Map();
  #calls = 0;
  #isPaused = false;

  /**
   * @param {Context} ctx
   * @param {() => void} loaded is called after each answer
   */
  constructor(ctx, loaded) {
    this.#ctx = ctx;
    this.#loaded = loaded;
  }

  /**
   * Paints the tiles of the window; a coarser one replaces a missing one, which comes later.
   * @param {CanvasRenderingContext2D} paint
   * @param {{origin: Point, width: number, height: number, zoom: number, source: TileSource}} of
   */
  paint(paint, { origin, width, height, zoom, source }) {
    const level = Math.min(Math.max(Math.round(zoom), source.min_zoom), source.max_zoom);
    const size = 256 * 2 ** (zoom - level);
    const last = 2 ** level - 1;
    for (
      let x = Math.max(0, Math.floor(origin[0] / size));
      x <= Math.min(last, Math.floor((origin[0] + width) / size));
      x += 1
    ) {
      for (
        let y = Math.max(0, Math.floor(origin[1] / size));
        y <= Math.min(last, Math.floor((origin[1] + height) / size));
        y += 1
      ) {
        /** @type {[number, number, number, number]} */
        const place = [x * size - origin[0], y * size - origin[1], size, size];
        const own = this.#take(level, x, y);
        if (own) paint.drawImage(own, ...place);
        else this.#coarser(paint, level, x, y, place);
      }
    }
  }

  /**
   * @param {CanvasRenderingContext2D} paint
   * @param {number} level
   * @param {number} x
   * @param {number} y
   * @param {[number, number, number, number]} place
   */
  #coarser(paint, level, x, y, place) {
    for (let up = 1; up <= 4 && level - up >= 0; up += 1) {
      const image = this.#tiles.get(`${level - up}/${x >> up}/${y >> up}`)?.image;
      if (!image) continue;
      const part = image.width / 2 ** up;
      paint.drawImage(image, (x % 2 ** up) * part, (y % 2 ** up) * part, part, part, ...place);
      return;
    }
  }

  /**
   * @param {number} z
   * @param {number} x
   * @param {number} y
   */
  #take(z, x, y) {
    const name = `${z}/${x}/${y}`;
    const known = this.#tiles.get(name);
    if (known !== undefined) {
      // Newest last.
      this.#tiles.delete(name);
      this.#tiles.set(name, known);
      return known.image;
    }
    if (this.#calls < CALLS && !this.#isPaused) this.#fetch(name);
    return null;
  }

  /** @param {string} name */
  async #fetch(name) {
    const { api } = this.#ctx;
    /** @type {{image: ImageBitmap|null}} */
    const tile = { image: null };
    this.#tiles.set(name, tile);
    this.#calls += 1;
    try {
      const answer = await fetchOf(api.url(`tiles/${name}`), {
        headers: api.headers({ authorization: `Bearer ${await api.token()}` }),
      });
      if (answer.ok) tile.image = await createImageBitmap(await answer.blob());
      else if (answer.status !== 404) this.#failed(name);
    } catch {
      this.#failed(name);
    }
    // It was dropped meanwhile: nothing else would free its picture.
    if (this.#tiles.get(name) !== tile) tile.image?.close();
    this.#calls -= 1;
    for (const [old, { image }] of this.#tiles) {
      if (this.#tiles.size <= KEPT) break;
      image?.close();
      this.#tiles.delete(old);
    }
    this.#loaded();
  }

  /**
   * Each paint asks for missing tiles: without a pause an unreachable receiver is called without end.
   * @param {string} name
   */
  #failed(name) {
    this.#tiles.delete(name);
    if (this.#isPaused) return;
    this.#isPaused = true;
    setTimeout(() => {
      this.#isPaused = false;
      this.#loaded();
    }, PAUSE);
  }
}
