// Redrawing under somebody's hands: the focus stays, and no press is lost.

import { fill } from "/page/core/dom.js";

let isPressed = false;
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
      // After the click, which goes to where the press began only if that is still there.
      setTimeout(() => {
        if (isPressed) return;
        const due = [...waiting];
        waiting.clear();
        for (const draw of due) draw();
      });
    },
    true,
  );

/** `draw`, put off while a mouse button or finger is down. */
export function steady(draw) {
  return () => {
    if (isPressed) waiting.add(draw);
    else draw();
  };
}

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
