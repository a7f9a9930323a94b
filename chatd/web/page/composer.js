/**
 * Where one writes. Enter sends where there are keys, and makes a line where fingers type on
 * glass; it does neither while an input method composes a word.
 *
 * @module page/composer
 */

import { find } from './dom.js';
import { draft, keepDraft } from './drafts.js';

/** `KeyboardEvent.keyCode` of a key that an input method takes. Safari ends the composition
 * before it tells of the Enter that ended it, so that `isComposing` is false (UI Events, 7.3.1). */
const TAKEN = 229;
/** What is left is shown when it is less than this part of the whole. */
const NEAR = 0.1;

const touch = matchMedia('(hover: none) and (pointer: coarse)');

export class Composer {
  #form = find('composer', HTMLFormElement);
  #text = find('text', HTMLTextAreaElement);
  #size = find('size', HTMLElement);
  #encoder = new TextEncoder();
  #hooks;
  /** Who writes, and where. @type {[string, string]} */
  #place = ['', ''];

  /**
   * @param {{send: (text: string) => boolean, typing: () => void, limit: () => number,
   *   say: (words: string) => void}} hooks
   *   send says whether it took the text; limit is the longest text, in bytes; say speaks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#form.addEventListener('submit', (event) => this.#submit(event));
    this.#text.addEventListener('keydown', (event) => this.#key(event));
    this.#text.addEventListener('input', () => {
      this.#changed();
      if (this.#text.value) hooks.typing();
    });
    const suit = () => {
      this.#text.enterKeyHint = touch.matches ? 'enter' : 'send';
    };
    touch.addEventListener('change', suit);
    suit();
  }

  focus() {
    this.#text.focus();
  }

  /** Go on with what was begun there. @param {string} me @param {string} room */
  resume(me, room) {
    this.#place = [me, room];
    this.#text.value = draft(me, room);
    this.#changed();
  }

  /** Take a text up again, before what is being written. @param {string} text */
  edit(text) {
    this.#text.value = this.#text.value ? `${text}\n${this.#text.value}` : text;
    this.#changed();
    this.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const composing = event.isComposing || event.keyCode === TAKEN;
    if (event.key !== 'Enter' || event.shiftKey || composing || touch.matches) return;
    event.preventDefault();
    this.#form.requestSubmit();
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const text = this.#text.value;
    const fits = this.#over(text) <= 0;
    if (fits && (!text.trim() || this.#hooks.send(text))) this.#text.value = '';
    this.#changed();
    this.focus();
  }

  #changed() {
    keepDraft(...this.#place, this.#text.value);
    const style = this.#text.style;
    style.height = 'auto';
    style.height = `${this.#text.scrollHeight + 2}px`;
    const over = this.#over(this.#text.value);
    const near = -over < this.#hooks.limit() * NEAR;
    if (over > 0) this.#size.textContent = `${number(over)} too long – shorten it to send it`;
    else this.#size.textContent = near ? `${number(-over)} left` : '';
    if (this.#size.classList.toggle('over', over > 0) && this.#text.ariaInvalid === null) {
      this.#hooks.say(this.#size.textContent);
    }
    this.#text.ariaInvalid = over > 0 ? 'true' : null;
  }

  /**
   * @param {string} text
   * @returns {number} how much is too long: the characters that do not fit any more, or else
   *   less than one: the bytes that are left, negative
   */
  #over(text) {
    const limit = this.#hooks.limit();
    const { read, written } = this.#encoder.encodeInto(text, new Uint8Array(limit));
    return read < text.length ? [...text.slice(read)].length : written - limit;
  }
}

/** @param {number} count */
function number(count) {
  return count === 1 ? '1 character' : `${count.toLocaleString()} characters`;
}
