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
 * `45 s`, `15 min`, `1 h`, `1 h 30`, `3 d` (`3 j` in French).
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
    return minutes === 0 ? hours : `${hours} ${String(minutes).padStart(2, "0")}`;
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
 * Hours and minutes, with the day before it where that is not `now`'s.
 * @param {number} ms
 * @param {number} now ms
 * @param {Lang} language
 */
export function dayAndTime(ms, now, language) {
  const time = timeOfDay(ms).slice(0, 5);
  const sameDay = new Date(ms).toDateString() === new Date(now).toDateString();
  if (sameDay) return time;
  const day = new Date(ms).toLocaleDateString(language === "fr" ? "fr-FR" : "en-GB", {
    day: "numeric",
    month: "short",
  });
  return `${day} ${time}`;
}
