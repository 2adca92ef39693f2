// Sentences of the commune's page. Pure.

import { lang, t } from "/page/core/text.js";
import { reasonText } from "/page/state/line_text.js";

/**
 * A bit rate as people say it; empty where it is not known.
 * @param {number|null|undefined} bits a second
 */
export function rateText(bits) {
  if (typeof bits !== "number") return "";
  const [value, unit] = bits >= 1_000_000 ? [bits / 1_000_000, "Mbit/s"] : [bits / 1_000, "kbit/s"];
  const digits = unit === "Mbit/s" ? 1 : 0;
  return `${value.toLocaleString(lang() === "fr" ? "fr-FR" : "en-GB", { maximumFractionDigits: digits })} ${unit}`;
}

/**
 * A day and a time, always with the day.
 * @param {string} time RFC 3339
 */
export function moment(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return time;
  return at.toLocaleString(lang() === "fr" ? "fr-FR" : "en-GB", {
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
  });
}

/** @param {Operator} operator */
export function personText({ name, number, unit }) {
  return [name, number, unit].filter((part) => part !== "").join(" · ");
}

/**
 * What a cut covers.
 * @param {string} scope
 * @param {(camera: string) => string} nameOf
 */
export function scopeText(scope, nameOf) {
  const at = scope.indexOf(":");
  const [kind, id] = at < 0 ? [scope, ""] : [scope.slice(0, at), scope.slice(at + 1)];
  return t(`commune.scope.${kind}`, { id: kind === "camera" ? nameOf(id) : id });
}

/**
 * What was counted: the newest attestations, or since when.
 * @param {JournalRow[]} attestations
 * @param {CommuneHealth|null} health
 * @returns {{text: string, isBad: boolean}[]}
 */
export function attestedTexts(attestations, health) {
  const told = attestations.map(({ body }) => {
    const isBad = Number(body.ungranted) > 0;
    const params = { from: moment(body.from), to: moment(body.to), centre: body.centre, bytes: body.ungranted };
    return { text: t(isBad ? "commune.attested_not" : "commune.attested", params), isBad };
  });
  if (health === null) return told.length > 0 ? told : [{ text: t("commune.counted_unknown"), isBad: false }];
  const isBad = health.ungranted_bytes > 0;
  const since = { since: moment(health.since), bytes: health.ungranted_bytes };
  if (isBad) return [{ text: t("commune.counted_not", since), isBad }, ...told];
  return told.length > 0 ? told : [{ text: t("commune.counted", since), isBad }];
}

/**
 * One entry of the journal in a line.
 * @param {JournalRow} row
 * @param {(camera: string) => string} nameOf
 */
export function rowText({ kind, body, cameras = [], incident }, nameOf) {
  const key = `commune.kind.${kind === "grant" && body?.renewal ? "renewal" : kind}`;
  const words = t(key);
  const operator = body?.operator ?? body?.person;
  const by = body?.by ?? body?.wait_ended?.by ?? body?.approved_by;
  return [
    words === key ? kind : words,
    operator ? personText(operator) : "",
    by ? String(by) : "",
    cameras.map(nameOf).join(", "),
    body?.scope && !body.scope.startsWith("camera:") ? scopeText(body.scope, nameOf) : "",
    incident ?? "",
    typeof body?.reason === "string" ? reasonText(body.reason) : "",
    typeof body?.refused?.reason === "string" ? reasonText(body.refused.reason) : "",
  ].filter((part) => part !== "");
}
