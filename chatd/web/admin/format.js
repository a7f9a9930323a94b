/**
 * Numbers and ages, short enough for a table.
 *
 * @module admin/format
 */

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });

const SIZES = /** @type {const} */ ([['GB', 1024 ** 3], ['MB', 1024 ** 2], ['KB', 1024]]);

const UNITS = /** @type {const} */ ([
  [86_400, 'd'], [3600, 'h'], [60, 'min'], [1, 's'],
]);

/** @param {number | null} value @returns {string} such as 1,204, or 12.3M */
export function count(value) {
  if (value === null) return '–';
  return (value < 1_000_000 ? whole : short).format(value);
}

/** @param {number | null} value @returns {string} such as 0.4, or 1,204 */
export function rate(value) {
  if (value === null) return '–';
  return (value < 100 ? tenths : whole).format(value);
}

/** @param {number} seconds @returns {string} such as 4 min, in its largest unit */
export function age(seconds) {
  const [unit, name] = UNITS.find(([size]) => seconds >= size) ?? [1, 's'];
  return `${whole.format(Math.floor(seconds / unit))} ${name}`;
}

/**
 * @param {string | null} time RFC 3339
 * @param {string} now the server's time, also RFC 3339
 * @returns {string}
 */
export function since(time, now) {
  if (!time) return '–';
  const seconds = (Date.parse(now) - Date.parse(time)) / 1000;
  return seconds < 2 ? 'now' : `${age(seconds)} ago`;
}

/**
 * A figure of the broker: bytes in the units of chatd's options, anything else as a number.
 *
 * @param {string} name @param {number} value
 */
export function figure(name, value) {
  if (!name.endsWith('_bytes')) return count(value);
  const [unit, size] = SIZES.find(([, least]) => value >= least) ?? ['bytes', 1];
  return `${tenths.format(value / size)} ${unit}`;
}
