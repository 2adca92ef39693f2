// What the page knows, by name; whoever shows something is told of its changes.

/**
 * One place for what several parts of the page share.
 *
 * Values are replaced, not changed in place, except for maps and sets, whose changes are
 * told by `touch`. Listeners run once per animation frame at most, however much changes:
 * a hidden page costs nothing.
 */
export class Store {
  #values = new Map();
  #listeners = new Map();
  #changed = new Set();
  #scheduled = false;

  /** @param {object} values what is known at first */
  constructor(values) {
    for (const [key, value] of Object.entries(values)) this.#values.set(key, value);
  }

  get(key) {
    return this.#values.get(key);
  }

  /** Sets a value and tells its listeners, if it is another one. */
  set(key, value) {
    if (Object.is(this.#values.get(key), value)) return;
    this.#values.set(key, value);
    this.touch(key);
  }

  /** Tells that something inside the value changed. */
  touch(key) {
    this.#changed.add(key);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A hidden page has no animation frames; it must still hear of ends.
    if (document.hidden) setTimeout(() => this.#tell(), 50);
    else requestAnimationFrame(() => this.#tell());
  }

  /**
   * Calls `listener` at once and after changes of any of these keys.
   * @param {string[]} keys
   * @param {() => void} listener
   * @returns {() => void} stops it
   */
  watch(keys, listener) {
    for (const key of keys) {
      if (!this.#listeners.has(key)) this.#listeners.set(key, new Set());
      this.#listeners.get(key).add(listener);
    }
    listener();
    return () => keys.forEach((key) => this.#listeners.get(key)?.delete(listener));
  }

  #tell() {
    this.#scheduled = false;
    const changed = [...this.#changed];
    this.#changed.clear();
    const due = new Set();
    for (const key of changed) for (const listener of this.#listeners.get(key) ?? []) due.add(listener);
    for (const listener of due) listener();
  }
}
