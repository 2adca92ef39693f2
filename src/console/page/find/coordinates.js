// Positions as people paste them. Pure.

const DECIMAL = /^\s*([+-]?\d{1,3}(?:[.,]\d+)?)\s*[°\s,;/]+\s*([+-]?\d{1,3}(?:[.,]\d+)?)\s*°?\s*$/;
/** Degrees, then minutes, then seconds, the last of them with decimals. */
const PART = String.raw`(\d{1,3}(?:[.,]\d+)?)\s*(?:[°d]\s*(?:([0-5]?\d(?:[.,]\d+)?)\s*['′’m]\s*(?:([0-5]?\d(?:[.,]\d+)?)\s*(?:"|″|”|''|s))?)?)?`;
const SIDE = "([NSEWO])";
const BEHIND = new RegExp(String.raw`^${PART}\s*${SIDE}\s*[,;/]?\s*${PART}\s*${SIDE}$`, "i");
const BEFORE = new RegExp(String.raw`^${SIDE}\s*${PART}\s*[,;/]?\s*${SIDE}\s*${PART}$`, "i");
/** Where a link's own mark stands, before where its view does. */
const LINKS = [
  /!3d(-?\d{1,2}(?:\.\d+)?)!4d(-?\d{1,3}(?:\.\d+)?)/,
  /[?&]mlat=(-?\d{1,2}(?:\.\d+)?)&mlon=(-?\d{1,3}(?:\.\d+)?)/,
  /[?&](?:q|ll|query|center)=(-?\d{1,2}(?:\.\d+)?),\+?(-?\d{1,3}(?:\.\d+)?)/,
  /^geo:(-?\d{1,2}(?:\.\d+)?),(-?\d{1,3}(?:\.\d+)?)/i,
  /@(-?\d{1,2}\.\d+),(-?\d{1,3}\.\d+)/,
  /#map=\d+(?:\.\d+)?\/(-?\d{1,2}(?:\.\d+)?)\/(-?\d{1,3}(?:\.\d+)?)/,
];

function number(text) {
  return Number(text.replace(",", "."));
}

function position(latitude, longitude) {
  const is =
    Number.isFinite(latitude) && Number.isFinite(longitude) && Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180;
  return is ? [latitude, longitude] : null;
}

/**
 * A position out of what was typed or pasted: decimal degrees (`43.4745, 5.1692`,
 * `43,4745 5,1692`), degrees, minutes and seconds (`43°28'28"N 5°10'9"E`; O for west too), a
 * `geo:` URI (RFC 5870), a map's link (its mark, else the middle of its view).
 * @returns {[number, number]|null} latitude and longitude, or `null` where it is no position
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
  const behind = BEHIND.exec(plain);
  const before = BEFORE.exec(plain);
  if (behind === null && before === null) return null;
  const [one, other] =
    behind !== null
      ? [degrees(behind[4], behind.slice(1, 4)), degrees(behind[8], behind.slice(5, 8))]
      : [degrees(before[1], before.slice(2, 5)), degrees(before[5], before.slice(6, 9))];
  if (one.isNorth === other.isNorth) return null;
  return one.isNorth ? position(one.value, other.value) : position(other.value, one.value);
}

/** Degrees of one half, and whether it is a latitude. */
function degrees(letter, [whole, minutes = "0", seconds = "0"]) {
  const side = letter.toUpperCase();
  const value = number(whole) + number(minutes) / 60 + number(seconds) / 3600;
  return { value: "SWO".includes(side) ? -value : value, isNorth: "NS".includes(side) };
}

/** A position as it is shown. */
export function positionText([latitude, longitude]) {
  return `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
}
