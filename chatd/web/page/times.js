/**
 * Times and days as people say them where the reader is.
 *
 * @module page/times
 */

const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const dayAndYear = new Intl.DateTimeFormat(undefined, { dateStyle: 'full' });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

/** @param {Date} time @returns {string} such as 14:05 */
export const clockTime = (time) => clock.format(time);

/** @param {Date} time @returns {string} date and time, to the second */
export const wholeTime = (time) => whole.format(time);

/**
 * @param {Date} time
 * @param {Date} [now]
 * @returns {string} "Today", "Yesterday", the day of this year, or the day and its year
 */
export function dayName(time, now = new Date()) {
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (sameDay(time, now)) return 'Today';
  if (sameDay(time, yesterday)) return 'Yesterday';
  return (time.getFullYear() === now.getFullYear() ? day : dayAndYear).format(time);
}

/** @param {Date} one @param {Date} other */
export function sameDay(one, other) {
  return one.toDateString() === other.toDateString();
}
