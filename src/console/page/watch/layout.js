// Where tiles go. Pure.

const RATIO = 16 / 9;
/** Height of a tile's own lines, in pixels. */
const LINES = 52;
/** Part of the room that the focused picture gets at most, and at least. */
const [FOCUS, FOCUS_LEAST] = [0.76, 0.5];

/**
 * Columns and rows that make `n` tiles of 16:9 largest in a room.
 * @param {number} n
 * @param {number} width
 * @param {number} height
 * @returns {{columns: number, rows: number}}
 */
export function gridOf(n, width, height) {
  let best = { columns: 1, rows: n, size: 0 };
  for (let columns = 1; columns <= n; columns += 1) {
    const rows = Math.ceil(n / columns);
    const size = Math.min(width / columns, Math.max(height / rows - LINES, 1) * RATIO);
    if (size > best.size) best = { columns, rows, size };
  }
  return { columns: best.columns, rows: best.rows };
}

/**
 * @param {number} n
 * @param {Rect} room
 * @param {number} gap
 */
function grid(n, { left, top, width, height }, gap) {
  const { columns, rows } = gridOf(n, width, height);
  const w = (width - gap * (columns - 1)) / columns;
  const h = (height - gap * (rows - 1)) / rows;
  return Array.from({ length: n }, (_, index) => ({
    left: left + (index % columns) * (w + gap),
    top: top + Math.floor(index / columns) * (h + gap),
    width: w,
    height: h,
  }));
}

/**
 * A rectangle for each tile, in CSS pixels. The focused one is large; the others are beside
 * or below it, where they are larger.
 * @param {number} n
 * @param {number} focused its index, -1: none
 * @param {number} width
 * @param {number} height
 */
export function layout(n, focused, width, height, gap = 4) {
  if (n === 0 || width <= 0 || height <= 0) return [];
  const room = { left: 0, top: 0, width, height };
  if (focused < 0 || n === 1) return grid(n, room, gap);
  const beside = width / height > RATIO;
  // No larger than its picture: the rest of the room makes the others larger.
  /**
   * @param {number} whole
   * @param {number} picture
   */
  const part = (whole, picture) => Math.min(whole * FOCUS, Math.max(whole * FOCUS_LEAST, picture));
  const main = beside
    ? { ...room, width: part(width, (height - LINES) * RATIO) }
    : { ...room, height: part(height, width / RATIO + LINES) };
  const rest = beside
    ? { left: main.width + gap, top: 0, width: width - main.width - gap, height }
    : { left: 0, top: main.height + gap, width, height: height - main.height - gap };
  const others = grid(n - 1, rest, gap);
  others.splice(focused, 0, main);
  return others;
}

/**
 * The next tile in a direction, by its index; the same where there is none.
 * @param {Rect[]} rects
 * @param {number} from
 * @param {Point} direction
 */
export function neighbour(rects, from, [dx, dy]) {
  /**
   * @param {Rect} rect
   * @returns {Point}
   */
  const middle = ({ left, top, width, height }) => [left + width / 2, top + height / 2];
  const [x, y] = middle(rects[from]);
  let best = { index: from, distance: Infinity };
  rects.forEach((rect, index) => {
    const [ox, oy] = middle(rect);
    const along = (ox - x) * dx + (oy - y) * dy;
    if (index === from || along <= 1) return;
    const distance = along + 3 * Math.abs((ox - x) * dy + (oy - y) * dx);
    if (distance < best.distance) best = { index, distance };
  });
  return best.index;
}
