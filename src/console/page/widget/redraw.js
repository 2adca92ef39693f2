// Redrawing while somebody works with it: the focus stays, and no press is lost.

import { fill } from "/page/core/dom.js";

/** What is held down: a button of the mouse or a finger, the space bar. @type {Set<"pointer"|"space">} */
const held = new Set();
/** @type {Set<() => void>} */
const waiting = new Set();

function letGo() {
  // After the click, which reaches the pressed element only while that is in the page.
  setTimeout(() => {
    if (held.size > 0) return;
    const due = [...waiting];
    waiting.clear();
    for (const draw of due) draw();
  });
}

addEventListener("pointerdown", ({ button }) => button === 0 && held.add("pointer"), true);
for (const event of ["pointerup", "pointercancel"])
  addEventListener(
    event,
    () => {
      held.delete("pointer");
      letGo();
    },
    true,
  );
// A button acts when the space bar is let go.
addEventListener("keydown", ({ key }) => key === " " && held.add("space"), true);
addEventListener(
  "keyup",
  ({ key }) => {
    if (key === " " && held.delete("space")) letGo();
  },
  true,
);
// The window's own: an element's comes with each press on another one.
addEventListener("blur", ({ target }) => {
  if (target !== window) return;
  held.clear();
  letGo();
});

/**
 * `draw`, put off while a mouse button, a finger or the space bar is down.
 * @param {() => void} draw
 */
export function steady(draw) {
  return () => {
    if (held.size > 0) waiting.add(draw);
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
