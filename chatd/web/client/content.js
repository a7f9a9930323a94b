/** What the server would refuse, judged here: nothing that cannot be stored is ever queued. */

import { ChatError } from './errors.js';

/**
 * @typedef {import('./types.js').Limits} Limits
 * @typedef {import('./types.js').Unsent} Unsent
 */

/** Objects and arrays within one another in `data`. */
const DEPTH = 100;

/** @param {unknown} value @param {number} levels @returns {boolean} */
function deeper(value, levels) {
  return typeof value === 'object' && value !== null
    && (levels === 0 || Object.values(value).some((inner) => deeper(inner, levels - 1)));
}

/** @param {string} text @returns {number} bytes of UTF-8 */
function size(text) {
  return new TextEncoder().encode(text).length;
}

/** Halves of surrogate pairs, of which UTF-8 has none. A pair matches neither half (ECMA-262,
 * 22.2.2.9: code points with the flag u). */
const HALF = /\p{Cs}/u;

/** @param {string} text @param {unknown} [cause] */
function bad(text, cause) {
  return new ChatError('bad_request', text, undefined, cause);
}

/**
 * A copy of `data` as JSON carries it. Throws a ChatError for what JSON cannot carry (circles,
 * BigInt), what is no object, and what is too deep.
 *
 * @param {Record<string, unknown> | undefined} data
 */
export function copy(data) {
  if (data === undefined) return undefined;
  /** @type {string | undefined} */
  let json;
  let cause;
  try {
    json = JSON.stringify(data);
  } catch (error) {
    cause = error;
  }
  if (!json?.startsWith('{')) throw bad('Data is a JSON object.', cause);
  const copied = JSON.parse(json);
  if (deeper(copied, DEPTH)) throw bad(`Data is nested at most ${DEPTH} levels deep.`);
  return copied;
}

/**
 * The name of a room as the server takes it. Throws a ChatError for what no request can carry, so
 * that no answer would name it.
 *
 * @param {string} name
 */
export function roomName(name) {
  const normal = String(name).normalize();
  if (!normal || HALF.test(normal)) throw bad('The name of a room is a string of Unicode, not empty.');
  return normal;
}

/**
 * Throw a ChatError for a message that the server would refuse.
 *
 * @param {Unsent} unsent
 * @param {Partial<Limits>} limits as far as the server has told them
 */
export function check({ room, id, text, data }, limits) {
  if (typeof text !== 'string' || HALF.test(text)) throw bad('A text is a string of Unicode.');
  if (typeof id !== 'string' || !/^[!-~]{1,64}$/.test(id)) {
    throw bad('An id is 1 to 64 visible ASCII characters.');
  }
  const bytes = size(text);
  const more = data ? size(JSON.stringify(data)) : 0;
  const frame = size(JSON.stringify({ type: 'message', room, id, text, data }));
  for (const [what, length, most] of /** @type {[string, number, number | undefined][]} */ ([
    ['A text is', bytes, limits.text], ['Text and data are', bytes + more, limits.content],
    ['A message as sent is', frame, limits.frame]])) {
    if (most && length > most) {
      throw new ChatError('too_large', `${what} at most ${most} bytes of UTF-8, not ${length}.`);
    }
  }
}
