// The address's fragment: what a dispatch tool, `fanal console` or `fanal demo` asks of the page. A
// fragment never leaves the browser.

import { fromBase64 } from "/page/core/encoding.js";

/** Longest fragment that is looked at, in characters. */
const LIMIT = 32 * 1024;
/** Longest address, in characters. */
const ADDRESS = 128;

/**
 * Reads `#incident=REF&grounds=G&at=LAT,LON&address=TEXT&present=NAME&session=SECRET&demo=…`.
 *
 * Unreadable members are left out: a dispatch tool's mistake must not keep anyone from the page.
 * @param {string} fragment with or without its `#`
 * @returns {Fragment}
 */
export function readFragment(fragment) {
  const text = fragment.replace(/^#/, "");
  const members = new URLSearchParams(text.length > LIMIT ? "" : text);
  return {
    incident: members.get("incident"),
    grounds: members.get("grounds"),
    at: position(members.get("at")),
    address: (members.get("address") ?? "").trim().slice(0, ADDRESS) || null,
    present: members
      .getAll("present")
      .map((name) => name.trim())
      .filter((name) => name !== ""),
    session: members.get("session"),
    demo: demo(members.get("demo")),
  };
}

/**
 * The fragment without `session`, which must not stay in the address; empty if that was all.
 * @param {string} fragment
 */
export function withoutSession(fragment) {
  const rest = fragment
    .replace(/^#/, "")
    .split("&")
    .filter((member) => member !== "" && !member.startsWith("session="));
  return rest.length === 0 ? "" : `#${rest.join("&")}`;
}

/**
 * @param {string|null} text
 * @returns {Position|null}
 */
function position(text) {
  const found = /^\s*(-?\d{1,2}(?:\.\d+)?)\s*,\s*(-?\d{1,3}(?:\.\d+)?)\s*$/.exec(text ?? "");
  if (found === null) return null;
  const [latitude, longitude] = [Number(found[1]), Number(found[2])];
  return Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180 ? [latitude, longitude] : null;
}

/**
 * @param {string|null} text
 * @returns {Fragment["demo"]}
 */
function demo(text) {
  if (text === null) return null;
  try {
    const { key, chain } = JSON.parse(new TextDecoder().decode(fromBase64(text)));
    return { key: fromBase64(key), chain: chain.slice(0, 4).map(fromBase64) };
  } catch {
    return null;
  }
}
