/**
 * Web addresses in a text. The text is a stranger's: the work is linear in its length, whatever
 * it consists of, and the number and length of links are bounded.
 *
 * @module page/links
 */

import { make } from './dom.js';

/** Longer ones stay text; browsers and servers stop at about as much. */
const LONGEST = 2048;
/** Links in one text; what comes after them stays text. */
const MOST = 50;
/** Quotes, what Chinese and Japanese set without a space after it, and what turns the direction of
 * writing, so that an address would look like another one, end an address. */
const ADDRESS = /https?:\/\/[^\s<>"'`“”、。，；：！？「」『』（）《》【】\p{Bidi_Control}]+/giu;
/** What ends a sentence rather than an address. */
const STOPS = new Set('.,;:!?…');
const BRACKETS = /** @type {Record<string, string>} */ ({ ')': '(', ']': '[', '}': '{' });

/**
 * `text` with its web addresses made links.
 *
 * @param {string} text
 * @returns {(string | HTMLAnchorElement)[]}
 */
export function linked(text) {
  const parts = [];
  let done = 0;
  let links = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    if (links === MOST) break;
    const address = found.slice(0, end(found));
    if (address.length > LONGEST || !isValid(address)) continue;
    parts.push(text.slice(done, index), link(address));
    done = index + address.length;
    links += 1;
  }
  parts.push(text.slice(done));
  return parts.filter((part) => part !== '');
}

/**
 * Where an address ends: before the punctuation that follows it. A closing bracket belongs to
 * the address if it opens one.
 *
 * @param {string} found
 */
function end(found) {
  /** @type {Record<string, number>} */
  const count = {};
  for (const c of found) count[c] = (count[c] ?? 0) + 1;
  let length = found.length;
  for (; length > 0; length -= 1) {
    const c = found[length - 1];
    const opening = BRACKETS[c];
    const open = opening !== undefined && (count[opening] ?? 0) < count[c];
    if (!STOPS.has(c) && !open) break;
    count[c] -= 1;
  }
  return length;
}

/** @param {string} address */
function isValid(address) {
  try {
    return Boolean(new URL(address));
  } catch {
    return false;
  }
}

/** @param {string} address */
function link(address) {
  const element = make('a', '', address);
  element.href = address;
  element.rel = 'noopener noreferrer nofollow';
  element.target = '_blank';
  return element;
}
