/** What is looked after while a link is up: silence, and the token. */

import { LONGEST_TIMER, sleep } from './timing.js';

/**
 * @typedef {object} Link What is looked after.
 * @property {number} idle ms since something was heard
 * @property {() => void} renew the wire has a new token
 */

/**
 * Look now and then whether it is still there.
 *
 * @param {Link} link @param {number} silence ms @param {() => void} check called after so long
 * @param {AbortSignal} over ends it
 */
export async function watch(link, silence, check, over) {
  while (await sleep(silence / 4, over)) if (link.idle > silence) check();
}

/**
 * Have a new token before each expires.
 *
 * @param {Link} link @param {import('./wire.js').Wire} wire
 * @param {(error: unknown) => void} failed none could be had; asked for again in a while
 * @param {AbortSignal} over ends it
 */
export async function renew(link, wire, failed, over) {
  while (wire.renewal < Infinity
    && await sleep(Math.min(wire.renewal - Date.now(), LONGEST_TIMER), over)) {
    try {
      // A timer may be a little early: the time is not looked at again.
      await wire.authenticate(true);
      link.renew();
    } catch (error) {
      failed(error);
      wire.renewal = Date.now() + 5000 + Math.random() * 5000;
    }
  }
}
