// Positions as people paste them. Pure.

const DECIMAL = /^\s*(-?\d{1,3}(?:[.,]\d+)?)\s*[°\s,;/]+\s*(-?\d{1,3}(?:[.,]\d+)?)\s*°?\s*$/;
const SEXAGESIMAL = /(\d{1,3})\s*[°d]\s*(?:(\d{1,2})\s*['′’m]\s*)?(?:(\d{1,2}(?:[.,]\d+)?)\s*(?:"|″|”|''|s)\s*)?([NSEWO])/gi;

function number(text) {
  return Number(text.replace(",", "."));
}

function position(latitude, longitude) {
  const is = Number.isFinite(latitude) && Number.isFinite(longitude) && Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180;
  return is ? [latitude, longitude] : null;
}

/**
 * A position out of what was typed or pasted: decimal degrees (`43.4745, 5.1692`,
 * `43,4745 5,1692`), degrees, minutes and seconds (`43°28'28"N 5°10'9"E`; O for west too), a
 * `geo:` URI (RFC 5870), a map's link with `@lat,lon` or `q=`, `mlat=`, `#map=`.
 * @returns {[number, number]|null} latitude and longitude, or `null` where it is no position
 */
export function readPosition(text) {
  if (text.length > 2_048) return null;
  const link = /(?:^geo:|@|[?&](?:q|ll|query|center)=)(-?\d{1,2}\.\d+),(-?\d{1,3}\.\d+)/i.exec(text)
    ?? /#map=\d+(?:\.\d+)?\/(-?\d{1,2}\.\d+)\/(-?\d{1,3}\.\d+)/.exec(text);
  if (link !== null) return position(Number(link[1]), Number(link[2]));
  const decimal = DECIMAL.exec(text);
  // `12, 4` is a house number; a position has decimals.
  if (decimal !== null && /[.,]\d{2}/.test(decimal[1]) && /[.,]\d{2}/.test(decimal[2])) return position(number(decimal[1]), number(decimal[2]));
  const parts = [...text.matchAll(SEXAGESIMAL)];
  if (parts.length !== 2) return null;
  const degrees = ([, whole, minutes = "0", seconds = "0", side]) => {
    const value = Number(whole) + Number(minutes) / 60 + number(seconds) / 3600;
    return /[SWO]/i.test(side) ? -value : value;
  };
  const isNorth = ([, , , , side]) => /[NS]/i.test(side);
  const [one, other] = isNorth(parts[0]) ? parts : [parts[1], parts[0]];
  return isNorth(one) && !isNorth(other) ? position(degrees(one), degrees(other)) : null;
}

/** A position as it is shown. */
export function positionText([latitude, longitude]) {
  return `${latitude.toFixed(5)}, ${longitude.toFixed(5)}`;
}
