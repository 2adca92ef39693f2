// Positions as people paste them. Pure.

const DECIMAL = /^\s*([+-]?\d{1,3}(?:[.,]\d+)?)\s*[°\s,;/]+\s*([+-]?\d{1,3}(?:[.,]\d+)?)\s*°?\s*$/;
/** Degrees, then minutes, then seconds, the last of them with decimals. */
const PART = String.raw`(\d{1,3}(?:[.,]\d+)?)\s*(?:[°d]\s*(?:([0-5]?\d(?:[.,]\d+)?)\s*['′’m]\s*(?:([0-5]?\d(?:[.,]\d+)?)\s*(?:"|″|”|''|s))?)?)?`;
const SIDE = "([NSEWO])";
const BEHIND = new RegExp(String.raw`^${PART}\s*${SIDE}\s*[,;/]?\s*${PART}\s*${SIDE}$`, "i");
const BEFORE = new RegExp(String.raw`^${SIDE}\s*${PART}\s*[,;/]?\s*${SIDE}\s*${PART}$`, "i");
/** The position of a link's mark, before that of its view. */
const LINKS = [
  /!3d(-?\d{1,2}(?:\.\d+)?)!4d(-?\d{1,3}(?:\.\d+)?)/,
  /[?&]mlat=(-?\d{1,2}(?:\.\d+)?)&mlon=(-?\d{1,3}(?:\.\d+)?)/,
  /[?&](?:q|ll|query|center)=(-?\d{1,2}(?:\.\d+)?),\+?(-?\d{1,3}(?:\.\d+)?)/,
  /^geo:(-?\d{1,2}(?:\.\d+)?),(-?\d{1,3}(?:\.\d+)?)/i,
  /@(-?\d{1,2}\.\d+),(-?\d{1,3}\.\d+)/,
  /#map=\d+(?:\.\d+)?\/(-?\d{1,2}(?:\.\d+)?)\/(-?\d{1,3}(?:\.\d+)?)/,
];

/** @param {string} text */
function number(text) {
  return Number(text.replace(",", "."));
}

/**
 * @param {number} latitude
 * @param {number} longitude
 * @returns {Position|null}
 */
function position(latitude, longitude) {
  const is =
    Number.isFinite(latitude) && Number.isFinite(longitude) && Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180;
  return is ? [latitude, longitude] : null;
}

/**
 * The position in a typed or pasted text: decimal degrees (`43.4745, 5.1692`,
 * `43,4745 5,1692`), degrees, minutes and seconds (`43°28'28"N 5°10'9"E`; O for west too), a
 * `geo:` URI (RFC 5870), a map's link (its mark, else the middle of its view).
 * @param {string} text
 * @returns {Position|null} `null` where it is no position
 */
export function readPosition(text) {
  if (text.length > 2_048) return null;
  const plain = text.trim().replace(/%2C/gi, ",");
  for (const link of LINKS) {
    const found = link.exec(plain);
    if (found !== null) return position(Number(found[1]), Number(found[2]));
  }
  const decimal = DECIMAL.exec(plain);
  // `12, 4` is a house number; a position has decimals.
  if (decimal !== null && /[.,]\d{2}/.test(decimal[1]) && /[.,]\d{2}/.test(decimal[2]))
    return position(number(decimal[1]), number(decimal[2]));
  const halves = partsBehind(plain) ?? partsBefore(plain);
  if (halves === null) return null;
  const [one, other] = halves;
  if (one.isNorth === other.isNorth) return null;
  return one.isNorth ? position(one.value, other.value) : position(other.value, one.value);
}

/** @param {string} text */
function partsBehind(text) {
  const found = BEHIND.exec(text);
  return found && [degrees(found[4], found.slice(1, 4)), degrees(found[8], found.slice(5, 8))];
}

/** @param {string} text */
function partsBefore(text) {
  const found = BEFORE.exec(text);
  return found && [degrees(found[1], found.slice(2, 5)), degrees(found[5], found.slice(6, 9))];
}

/**
 * Degrees of one half, and whether it is a latitude.
 * @param {string} letter of its side
 * @param {(string|undefined)[]} parts degrees, minutes, seconds
 */
function degrees(letter, [whole = "0", minutes = "0", seconds = "0"]) {
  const side = letter.toUpperCase();
  const value = number(whole) + number(minutes) / 60 + number(seconds) / 3600;
  return { value: "SWO".includes(side) ? -value : value, isNorth: "NS".includes(side) };
}

/**
 * A position as the page shows it.
 * @param {Position} position
 */
export function positionText([latitude, longitude]) {
  return `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
}
