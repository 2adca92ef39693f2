// Distances and directions as people read them. Pure.

/**
 * `80 m`, `1,2 km`.
 * @param {number} metres
 * @param {Lang} language
 */
export function distanceText(metres, language) {
  if (metres < 995) return `${Math.round(metres / 5) * 5} m`;
  const km = metres < 9_950 ? (metres / 1000).toFixed(1) : String(Math.round(metres / 1000));
  return `${language === "fr" ? km.replace(".", ",") : km} km`;
}

/**
 * An arrow that points so many degrees from north.
 * @param {number} degrees
 */
export function arrow(degrees) {
  return ["↑", "↗", "→", "↘", "↓", "↙", "←", "↖"][Math.round(degrees / 45) % 8];
}
