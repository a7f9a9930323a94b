/**
 * Asks for the state again and again: every two seconds while somebody looks, less often while
 * chatd cannot be reached.
 *
 * @module admin/watch
 */

import { RefusedError } from './api.js';

/**
 * @typedef {import('./api.js').NodeState} NodeState
 * @typedef {{
 *   ask: () => Promise<NodeState>,
 *   show: (state: NodeState) => void,
 *   trouble: (error: unknown) => void,
 *   refused: (error: RefusedError) => void,
 * }} Hooks `refused`: the key does not count, and nothing more is asked
 */

/** Between two looks, at first and at most, in ms. */
const EVERY = 2000;
const SLOWEST = 15_000;

export class Watch {
  #hooks;
  #pause = EVERY;
  #asking = false;
  #again = false;
  #over = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #seen = () => this.look();

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    document.addEventListener('visibilitychange', this.#seen);
  }

  stop() {
    this.#over = true;
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.#seen);
  }

  /** Look now: something was changed, or somebody is back. */
  look() {
    if (document.hidden || this.#over) return;
    clearTimeout(this.#timer);
    this.#again = this.#asking;
    if (!this.#asking) void this.#look();
  }

  async #look() {
    this.#asking = true;
    let wait = EVERY;
    try {
      const state = await this.#hooks.ask();
      if (this.#over) return;
      this.#hooks.show(state);
      this.#pause = EVERY;
    } catch (error) {
      if (this.#over) return;
      wait = this.#failed(error);
    }
    this.#asking = false;
    if (this.#over) return;
    if (this.#again) this.look();
    else this.#timer = setTimeout(() => this.look(), wait);
  }

  /** @param {unknown} error @returns {number} how long to wait, in ms */
  #failed(error) {
    if (error instanceof RefusedError && [401, 403, 404].includes(error.status)) {
      this.stop();
      this.#hooks.refused(error);
      return 0;
    }
    this.#hooks.trouble(error);
    this.#pause = Math.min(2 * this.#pause, SLOWEST);
    return Math.max(this.#pause, error instanceof RefusedError ? 1000 * error.retry : 0);
  }
}
