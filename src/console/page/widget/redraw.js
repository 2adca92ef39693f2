// Redrawing while somebody works with it: the focus stays, and no press is lost.

import { fill } from "/page/core/dom.js";

let isPressed = false;
/** @type {Set<() => void>} */
const waiting = new Set();

addEventListener(
  "pointerdown",
  () => {
    isPressed = true;
  },
  true,
);
for (const event of ["pointerup", "pointercancel", "blur"])
  addEventListener(
    event,
    () => {
      isPressed = false;
      // After the click, which reaches the pressed element only while that is in the page.
      setTimeout(() => {
        if (isPressed) return;
        const due = [...waiting];
        waiting.clear();
        for (const draw of due) draw();
      });
    },
    true,
  );

/**
 * `draw`, put off while a mouse button or finger is down.
 * @param {() => void} draw
 */
export function steady(draw) {
  return () => {
    if (isPressed) waiting.add(draw);
    else draw();
  };
}

/**
 * Replaces an element's children. The child with the focus keeps it (found by `data-focus`), and
 * the element stays scrolled as it was.
 * @param {HTMLElement} element
 * @param {...import("/page/core/dom.js").Child} children
 */
export function refill(element, ...children) {
  const active = element.contains(document.activeElement) ? document.activeElement : null;
  const name = active instanceof HTMLElement ? active.dataset.focus : undefined;
  const top = element.scrollTop;
  fill(element, ...children);
  element.scrollTop = top;
  if (name !== undefined)
    /** @type {HTMLElement|null} */ (element.querySelector(`[data-focus="${CSS.escape(name)}"]`))?.focus({
      preventScroll: true,
    });
}
