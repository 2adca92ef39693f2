// Elements without markup: what comes from outside is only ever text.

/**
 * Makes an element.
 * @param {string} name its tag; `svg:NAME` for SVG
 * @param {object} [attributes] `class`, `text`, `on: {event: listener}`, `dataset: {…}`,
 *   `aria-…` and all others as attributes; `true` sets an empty one, `null`, `undefined`
 *   and `false` none
 * @param {...(Node|string|null|undefined|false)} children strings become text
 */
export function h(name, attributes = {}, ...children) {
  const element = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key === "on")
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else if (key === "value" && "value" in element) element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Puts these children in the place of all that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
