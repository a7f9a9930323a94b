/**
 * A line above the conversation, for what one must know and may have to act on.
 *
 * @module page/notice
 */

import { button, find, make, passFocus } from './dom.js';

/** @typedef {import('./announcer.js').Announcer} Announcer */

export class Notice {
  #element = find('notice', HTMLElement);
  #announcer;

  /** @param {Announcer} announcer */
  constructor(announcer) {
    this.#announcer = announcer;
  }

  /**
   * @param {string} words
   * @param {string} action what its button says
   * @param {() => void} act
   */
  show(words, action, act) {
    const hide = button('×', () => this.hide());
    hide.ariaLabel = 'Dismiss';
    hide.className = 'plain';
    this.#element.replaceChildren(make('p', '', words), button(action, act), hide);
    this.#element.hidden = false;
    this.#announcer.say(words);
  }

  hide() {
    passFocus(this.#element, find('log', HTMLElement));
    this.#element.hidden = true;
    this.#element.replaceChildren();
  }
}
