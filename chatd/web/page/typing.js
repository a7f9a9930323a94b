/**
 * Who is typing.
 *
 * @module page/typing
 */

import { find } from './dom.js';
import { name } from './names.js';

/** How long someone is shown to be typing after the last sign of it, in ms. */
const STAY = 5000;
/** People whose typing is followed at a time. */
const MOST = 20;

export class Typing {
  #element = find('typing', HTMLElement);
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();

  /** @param {string} user */
  start(user) {
    if (!this.#timers.has(user) && this.#timers.size >= MOST) return;
    clearTimeout(this.#timers.get(user));
    this.#timers.set(user, setTimeout(() => this.stop(user), STAY));
    this.#show();
  }

  /** @param {string} user */
  stop(user) {
    clearTimeout(this.#timers.get(user));
    if (this.#timers.delete(user)) this.#show();
  }

  clear() {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#show();
  }

  #show() {
    const [first, second, third] = [...this.#timers.keys()].map((user) => name('b', user));
    if (!first) this.#element.replaceChildren();
    else if (!second) this.#element.replaceChildren(first, ' is typing…');
    else if (!third) this.#element.replaceChildren(first, ' and ', second, ' are typing…');
    else this.#element.replaceChildren('Several people are typing…');
  }
}
