/**
 * Times and days as people say them where the reader is.
 *
 * @module page/times
 */

/** Their time zone is that of when they are made. */
const formats = () => ({
  clock: new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' }),
  day: new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' }),
  dayAndYear: new Intl.DateTimeFormat(undefined, { dateStyle: 'full' }),
  whole: new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' }),
});
let format = formats();

/** The reader may be in another time zone than before. */
export function move() {
  format = formats();
}

/** @param {Date} time @returns {string} such as 14:05 */
export const clockTime = (time) => format.clock.format(time);

/** @param {Date} time @returns {string} date and time, to the second */
export const wholeTime = (time) => format.whole.format(time);

/**
 * @param {Date} time
 * @param {Date} [now]
 * @returns {string} "Today", "Yesterday", the day of this year, or the day and its year
 */
export function dayName(time, now = new Date()) {
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (sameDay(time, now)) return 'Today';
  if (sameDay(time, yesterday)) return 'Yesterday';
  return (time.getFullYear() === now.getFullYear() ? format.day : format.dayAndYear).format(time);
}

/** @param {Date} one @param {Date} other */
export function sameDay(one, other) {
  return one.toDateString() === other.toDateString();
}
