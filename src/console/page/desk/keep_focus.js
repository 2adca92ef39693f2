// Redrawing without losing one's place.

import { fill } from "/page/core/dom.js";

/**
 * Puts these children in place of what an element has. Whoever had the focus in it has it
 * again, found by `data-focus`, and what was scrolled stays so.
 */
export function refill(element, ...children) {
  const active = element.contains(document.activeElement) ? document.activeElement : null;
  const name = active?.dataset.focus;
  const top = element.scrollTop;
  fill(element, ...children);
  element.scrollTop = top;
  if (name !== undefined) element.querySelector(`[data-focus="${CSS.escape(name)}"]`)?.focus({ preventScroll: true });
}
