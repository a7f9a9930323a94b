/** What is looked after while a link is up: the token, better transports, and silence. */

import { LONGEST_TIMER } from './timing.js';

/**
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').Timer} Timer
 * @typedef {import('./wire.js').Wire} Wire
 *
 * @typedef {object} Link What is looked after.
 * @property {number} idle ms since something was heard
 * @property {() => void} renew the wire has a new token
 *
 * @typedef {object} Duties
 * @property {() => void} check whether the link is still there
 * @property {() => Promise<boolean>} upgrade try better transports; whether one was taken
 * @property {(error: unknown) => void} tokenless no new token could be had
 */

/** The longest time until a better transport is tried again, in ms. */
const UPGRADE_MAX = 30 * 60_000;

/** Timers that run while a link is up. */
export class Upkeep {
  #wire;
  #options;
  #duties;
  #upgradeDelay;
  /** @type {Record<'renew' | 'upgrade' | 'watch', Timer | undefined>} */
  #timers = { renew: undefined, upgrade: undefined, watch: undefined };

  /** @param {Wire} wire @param {Settings} options @param {Duties} duties */
  constructor(wire, options, duties) {
    this.#wire = wire;
    this.#options = options;
    this.#duties = duties;
    this.#upgradeDelay = options.upgrade;
  }

  /** @param {Link} link @param {boolean} isBest whether there is no better transport */
  begin(link, isBest) {
    this.#renewLater(link);
    if (isBest) this.#upgradeDelay = this.#options.upgrade;
    else this.#upgradeLater();
    const { silence } = this.#options;
    const watch = () => {
      if (link.idle > silence) this.#duties.check();
      this.#timers.watch = setTimeout(watch, silence / 4);
    };
    this.#timers.watch = setTimeout(watch, silence / 4);
  }

  end() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = { renew: undefined, upgrade: undefined, watch: undefined };
  }

  /** The network is another one: what did not work may work. @param {boolean} isBest */
  moved(isBest) {
    this.#upgradeDelay = this.#options.upgrade;
    if (!isBest) this.#upgradeLater();
  }

  /** @param {Link} link */
  #renewLater(link) {
    if (this.#wire.renewal === Infinity) return;
    const wait = Math.min(Math.max(0, this.#wire.renewal - Date.now()), LONGEST_TIMER);
    const timer = setTimeout(async () => {
      try {
        // A timer may be a little early: the time is not looked at again.
        await this.#wire.authenticate(true);
        if (timer === this.#timers.renew) link.renew();
      } catch (error) {
        this.#duties.tokenless(error);
        this.#wire.renewal = Date.now() + 5000 + Math.random() * 5000;
      }
      if (timer === this.#timers.renew) this.#renewLater(link);
    }, wait);
    this.#timers.renew = timer;
  }

  #upgradeLater() {
    clearTimeout(this.#timers.upgrade);
    const wait = this.#upgradeDelay * (0.5 + Math.random() / 2);
    this.#upgradeDelay = Math.min(this.#upgradeDelay * 2, UPGRADE_MAX);
    const timer = setTimeout(async () => {
      if (!await this.#duties.upgrade() && timer === this.#timers.upgrade) this.#upgradeLater();
    }, wait);
    this.#timers.upgrade = timer;
  }
}
