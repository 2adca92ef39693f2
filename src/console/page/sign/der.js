// The part of DER (X.690) that certificates and certificate requests need. Bounded: elements that
// are too long, or not DER, are refused.

/** Tags of the universal class. */
export const Tag = {
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OBJECT_IDENTIFIER: 0x06,
  UTF8_STRING: 0x0c,
  PRINTABLE_STRING: 0x13,
  TELETEX_STRING: 0x14,
  IA5_STRING: 0x16,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  BMP_STRING: 0x1e,
  SEQUENCE: 0x30,
  SET: 0x31,
};

/** Largest element that is read, in bytes. */
const LIMIT = 64 * 1024;

/** One element: its tag, its content, and itself with tag and length. */
export class Element {
  /**
   * @param {number} tag
   * @param {Bytes} content
   * @param {Bytes} whole
   */
  constructor(tag, content, whole) {
    this.tag = tag;
    this.content = content;
    this.whole = whole;
  }

  /** The elements inside, in their order. */
  children() {
    const found = [];
    for (let at = 0; at < this.content.length;) {
      const element = readAt(this.content, at);
      found.push(element);
      at += element.whole.length;
    }
    return found;
  }

  /**
   * This, if it has that tag.
   * @param {number} tag
   */
  as(tag) {
    if (this.tag !== tag) throw new RangeError(`tag ${this.tag} where ${tag} is expected`);
    return this;
  }
}

/**
 * Reads one element that fills the bytes.
 * @param {Bytes} bytes
 */
export function read(bytes) {
  const element = readAt(bytes, 0);
  if (element.whole.length !== bytes.length) throw new RangeError("bytes follow the element");
  return element;
}

/**
 * @param {Bytes} bytes
 * @param {number} at
 */
function readAt(bytes, at) {
  const tag = bytes[at];
  if (tag === undefined || (tag & 0x1f) === 0x1f) throw new RangeError("no tag, or one of several bytes");
  let length = bytes[at + 1];
  let start = at + 2;
  if (length === undefined || length === 0x80 || length > 0x83)
    throw new RangeError("no length, or an indefinite or huge one");
  if (length > 0x80) {
    const count = length & 0x7f;
    length = 0;
    for (let index = 0; index < count; index += 1) length = length * 256 + (bytes[start + index] ?? Number.NaN);
    start += count;
    if (!(length >= 0x80) || (count > 1 && length < 256 ** (count - 1)))
      throw new RangeError("a length that is not the shortest");
  }
  const end = start + length;
  if (length > LIMIT || end > bytes.length) throw new RangeError("longer than what is there");
  return new Element(tag, bytes.subarray(start, end), bytes.subarray(at, end));
}

/**
 * An object identifier in dotted decimals.
 * @param {Bytes} content
 */
export function oidText(content) {
  const numbers = [];
  let number = 0;
  for (const byte of content) {
    number = number * 128 + (byte & 0x7f);
    if (number > Number.MAX_SAFE_INTEGER / 256) throw new RangeError("an object identifier is too large");
    if ((byte & 0x80) === 0) {
      numbers.push(number);
      number = 0;
    }
  }
  const [first = 0, ...rest] = numbers;
  const root = Math.min(2, Math.floor(first / 40));
  return [root, first - root * 40, ...rest].join(".");
}

/**
 * The text of a string of any of X.509's types.
 * @param {Element} element
 */
export function stringText({ tag, content }) {
  switch (tag) {
    case Tag.UTF8_STRING:
      return new TextDecoder("utf-8", { fatal: true }).decode(content);
    case Tag.PRINTABLE_STRING:
    case Tag.IA5_STRING:
    case Tag.TELETEX_STRING:
      return new TextDecoder("latin1").decode(content);
    case Tag.BMP_STRING:
      return new TextDecoder("utf-16be", { fatal: true }).decode(content);
    default:
      throw new RangeError(`tag ${tag} is no string`);
  }
}

/**
 * UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 restricts them, ms since the epoch.
 * @param {Element} element
 */
export function timeValue({ tag, content }) {
  const text = new TextDecoder("latin1").decode(content);
  const [, year, rest] = (tag === Tag.UTC_TIME ? /^(\d{2})(\d{10})Z$/ : /^(\d{4})(\d{10})Z$/).exec(text) ?? [];
  if (year === undefined || (tag !== Tag.UTC_TIME && tag !== Tag.GENERALIZED_TIME)) throw new RangeError("no time");
  const century = tag === Tag.UTC_TIME ? (Number(year) >= 50 ? 1900 : 2000) : 0;
  const [month, day, hour, minute, second] = (rest.match(/\d{2}/g) ?? []).map(Number);
  return Date.UTC(century + Number(year), month - 1, day, hour, minute, second);
}

/**
 * An element of this tag around the parts.
 * @param {number} tag
 * @param {...Uint8Array} parts
 */
export function write(tag, ...parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length > LIMIT) throw new RangeError("too long");
  const head = [tag];
  if (length < 0x80) head.push(length);
  else if (length < 0x100) head.push(0x81, length);
  else head.push(0x82, length >> 8, length & 0xff);
  const whole = new Uint8Array(head.length + length);
  whole.set(head);
  let at = head.length;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * An object identifier from dotted decimals.
 * @param {string} text
 */
export function writeOid(text) {
  const [root, second, ...rest] = text.split(".").map(Number);
  const bytes = [];
  for (const number of [root * 40 + second, ...rest]) {
    const digits = [number & 0x7f];
    for (let left = Math.floor(number / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return write(Tag.OBJECT_IDENTIFIER, Uint8Array.from(bytes));
}
