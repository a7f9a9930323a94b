/**
 * What a screen reader says by itself: each thing once, and little at a time. The conversation
 * and the connection's state change too often, and for other reasons, to be read out as they do.
 *
 * @module page/announcer
 */

import { make } from './dom.js';

/** @typedef {{user: string, text: string}} Heard */

/** Messages read out in one go; of more, only their number. */
const FEW = 3;
/** So much of a long one, in characters. */
const START = 300;
/** Messages are gathered so long, and what was said is taken away after so long, in ms. */
const PAUSE = 1000;
const STAY = 10_000;
/** Things said that are in the document at most. */
const KEPT = 10;

export class Announcer {
  #element;
  /** @type {Heard[]} */
  #heard = [];
  #count = 0;
  /** @type {Map<string, string>} what is said of those of ours that were not taken, by id */
  #failed = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {HTMLElement} element a polite live region, not to be seen */
  constructor(element) {
    this.#element = element;
  }

  /** @param {string} words */
  say(words) {
    const line = make('p', '', words);
    this.#element.append(line);
    setTimeout(() => line.remove(), STAY);
    while (this.#element.childElementCount > KEPT) this.#element.firstElementChild?.remove();
  }

  /** @param {Heard} message that somebody else wrote just now */
  hear({ user, text }) {
    this.#count += 1;
    if (this.#heard.length <= FEW) this.#heard.push({ user, text });
    this.#timer ??= setTimeout(() => this.#tell(), PAUSE);
  }

  /** @param {string} id of a message of ours that was not taken @param {string} words why */
  fail(id, words) {
    this.#failed.set(id, words);
    this.#timer ??= setTimeout(() => this.#tell(), PAUSE);
  }

  #tell() {
    this.#timer = undefined;
    const failed = [...this.#failed.values()];
    this.#failed.clear();
    if (failed.length > 1) this.say(`${failed.length} messages were not sent.`);
    else if (failed.length) this.say(failed[0]);
    const [heard, count] = [this.#heard.splice(0), this.#count];
    this.#count = 0;
    if (count > FEW) this.say(`${count.toLocaleString()} new messages.`);
    else heard.forEach(({ user, text }) => this.say(`${user}: ${text.slice(0, START)}`));
  }
}
