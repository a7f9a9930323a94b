/**
 * What outlives the page. Browsers may forbid storage; then nothing is remembered.
 *
 * @module page/storage
 */

/** @param {'localStorage' | 'sessionStorage'} kind @returns {Storage | undefined} */
function open(kind) {
  try {
    return globalThis[kind];
  } catch {
    return undefined;
  }
}

/** For all windows of this browser, for good. */
export const lasting = open('localStorage');

/** For this window, over reloads. */
export const passing = open('sessionStorage');

/**
 * @param {Storage | undefined} storage @param {string} key @param {string} value
 */
export function keep(storage, key, value) {
  try {
    storage?.setItem(key, value);
  } catch {
    // It is full: what is remembered is a convenience.
  }
}
