// Times and durations as people read them. Pure: the time is an argument.

/**
 * `4:09` or `1:02:05` of milliseconds, never below zero.
 * @param {number} ms
 */
export function countdown(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  /** @param {number} number */
  const two = (number) => String(number).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/**
 * `45 s`, `15 min`, `1 h`, `1 h 30 min`, `3 d` (`3 j` in French).
 * @param {number} seconds
 * @param {Lang} language
 */
export function duration(seconds, language) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 48 * 3600) {
    const minutes = Math.floor(whole / 60) % 60;
    const hours = `${Math.floor(whole / 3600)} h`;
    return minutes === 0 ? hours : `${hours} ${minutes} min`;
  }
  return `${Math.floor(whole / 86_400)} ${language === "fr" ? "j" : "d"}`;
}

/**
 * Hours, minutes and seconds of the workstation's time zone.
 * @param {number} ms
 */
export function timeOfDay(ms) {
  const at = new Date(ms);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((number) => String(number).padStart(2, "0")).join(":");
}

/**
 * `HH:MM:SS UTC`.
 * @param {number} ms
 */
export function utcTimeOfDay(ms) {
  return `${new Date(ms).toISOString().slice(11, 19)} UTC`;
}

/**
 * How long ago, to the second below an hour: `5 s`, `5 min 12`, `1 h 5 min`.
 * @param {number} ms
 * @param {Lang} language
 */
export function age(ms, language) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60 || seconds >= 3600) return duration(seconds, language);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")}`;
}

/**
 * Hours and minutes, with the day before it where that is not `now`'s: `14 h 05`,
 * `7 déc. à 1 h 25`; in English `14:05`, `7 Dec 01:25`.
 * @param {number} ms
 * @param {number} now ms
 * @param {Lang} language
 */
export function dayAndTime(ms, now, language) {
  const at = new Date(ms);
  const [hours, minutes] = timeOfDay(ms).split(":");
  // No line breaks within the hour.
  const time = language === "fr" ? `${Number(hours)}\u00a0h\u00a0${minutes}` : `${hours}:${minutes}`;
  if (at.toDateString() === new Date(now).toDateString()) return time;
  const day = at.toLocaleDateString(language === "fr" ? "fr-FR" : "en-GB", {
    day: "numeric",
    month: "short",
    year: at.getFullYear() === new Date(now).getFullYear() ? undefined : "numeric",
  });
  return language === "fr" ? `${day} à ${time}` : `${day} ${time}`;
}

/** @type {Record<Lang, Record<"until"|"since"|"from", [time: string, day: string]>>} */
const WHEN = {
  fr: { until: ["jusqu'à", "jusqu'au"], since: ["depuis", "depuis le"], from: ["à partir de", "à partir du"] },
  en: { until: ["until", "until"], since: ["since", "since"], from: ["from", "from"] },
};

/**
 * A point in time in a sentence: `jusqu'à 14 h 05`, `depuis le 7 déc. à 1 h 25`.
 * @param {"until"|"since"|"from"} kind
 * @param {number} ms
 * @param {number} now ms
 * @param {Lang} language
 */
export function when(kind, ms, now, language) {
  const isToday = new Date(ms).toDateString() === new Date(now).toDateString();
  return `${WHEN[language][kind][isToday ? 0 : 1]} ${dayAndTime(ms, now, language)}`;
}
