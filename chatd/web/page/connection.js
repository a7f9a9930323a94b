/**
 * How things stand with the server: in sight always, spoken only when it matters.
 *
 * @module page/connection
 */

import { Countdown } from './countdown.js';
import { find, passFocus } from './dom.js';

/**
 * @typedef {import('../chatd.js').State} State
 * @typedef {import('./announcer.js').Announcer} Announcer
 */

/** An outage is spoken of when it has lasted so long, in ms. */
const PATIENCE = 3000;

export class ConnectionView {
  #element = find('state', HTMLElement);
  #retry = find('retry', HTMLButtonElement);
  #countdown = new Countdown((seconds) => this.#say('Offline', seconds));
  #announcer;
  /** Whether it was online before, so that this is an interruption. */
  #worked = false;
  #spoken = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #worry;

  /** @param {Announcer} announcer @param {() => void} retry try now */
  constructor(announcer, retry) {
    this.#announcer = announcer;
    this.#retry.addEventListener('click', retry);
  }

  /** @param {State} now */
  show({ state, transport, retry }) {
    document.body.dataset.transport = transport ?? '';
    this.#element.dataset.state = state;
    this.#countdown.stop();
    // Once offered it stays while it is tried: whoever has pressed it may want to again.
    if (state === 'offline') this.#retry.hidden = false;
    if (state === 'online') this.#up();
    else if (this.#worked) this.#worry ??= setTimeout(() => this.#down(), PATIENCE);
    if (state === 'offline') this.#countdown.start(retry ?? 0);
    else if (state === 'connecting') this.#say(this.#worked ? 'Reconnecting…' : 'Connecting…');
  }

  /** The chat has ended; nothing will be tried. @param {string} word */
  end(word) {
    this.reset();
    this.#element.dataset.state = 'offline';
    this.#say(word);
  }

  /** Another chat begins. */
  reset() {
    this.#countdown.stop();
    clearTimeout(this.#worry);
    this.#worry = undefined;
    this.#worked = this.#spoken = false;
    this.#withdraw();
  }

  /** There is nothing to try. */
  #withdraw() {
    passFocus(this.#retry, find('log', HTMLElement));
    this.#retry.hidden = true;
  }

  /** @param {string} word @param {number} [seconds] until the next try */
  #say(word, seconds = 0) {
    this.#element.textContent = seconds ? `${word} – next try in ${seconds} s` : word;
  }

  #up() {
    this.#say('Online');
    this.#withdraw();
    clearTimeout(this.#worry);
    this.#worry = undefined;
    if (this.#spoken) this.#announcer.say('Online again.');
    this.#worked = true;
    this.#spoken = false;
  }

  #down() {
    if (this.#spoken) return;
    this.#spoken = true;
    this.#announcer.say('Offline. What you write is kept and sent as soon as possible.');
  }
}
