// Who watches, faintly over the picture: a photo of the screen names its author.

/** Marks in a row and rows of them. */
export const MARKS = { across: 3, down: 4 };
/** How the rows lean, in degrees. */
const LEANS = -18;

/**
 * What is written over pictures.
 * @param {Me|null} me
 */
export function markText(me) {
  return me === null ? "" : `${me.number} · ${me.unit}`;
}

/**
 * Draws it into a still. It is read on bright and on dark ground alike.
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} width of the picture
 * @param {number} height
 */
export function drawMark(context, text, width, height) {
  const size = Math.max(12, Math.round(height / 30));
  Object.assign(context, { font: `600 ${size}px sans-serif`, textAlign: "center", textBaseline: "middle" });
  Object.assign(context, { globalAlpha: 0.3, fillStyle: "#fff", strokeStyle: "#000", lineWidth: size / 10 });
  for (let row = 0; row < MARKS.down; row += 1)
    for (let column = 0; column < MARKS.across; column += 1) {
      context.setTransform(
        new DOMMatrix()
          .translateSelf(((column + 0.5) * width) / MARKS.across, ((row + 0.5) * height) / MARKS.down)
          .rotateSelf(LEANS),
      );
      context.strokeText(text, 0, 0);
      context.fillText(text, 0, 0);
    }
  context.setTransform(new DOMMatrix());
  context.globalAlpha = 1;
}
