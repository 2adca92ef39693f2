// Elements without markup: text from outside never becomes markup.

/** @typedef {Node|string|null|undefined|false} Child none of the last three is shown */
/** @typedef {{[E in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[E]) => void}} Listeners */

/**
 * Makes an element.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name its tag
 * @param {{text?: string|number, on?: Listeners, dataset?: Record<string, string>, [name: string]: unknown}} [attributes]
 *   the first three as named, `value` as it is shown, all others as attributes; `true` sets an
 *   empty one, `null`, `undefined` and `false` none
 * @param {...Child} children strings become text
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = String(value);
    else if (key === "on")
      for (const [event, listener] of Object.entries(value))
        element.addEventListener(event, /** @type {EventListener} */ (listener));
    else if (key === "dataset") Object.assign(element.dataset, value);
    else if (key === "value" && "value" in element) element.value = String(value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...shown(children));
  return element;
}

/**
 * Puts these children in the place of all that an element has.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...shown(children));
  return element;
}

/** @param {Child[]} children */
function shown(children) {
  return children.filter((child) => child !== null && child !== undefined && child !== false);
}
