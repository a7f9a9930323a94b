/**
 * The form by which one comes in, and later goes elsewhere: who, with which token, which room.
 *
 * Until someone is in it is all there is on the page; from then on it stands beside the
 * conversation.
 *
 * @module page/entry
 */

import { Countdown } from './countdown.js';
import { find } from './dom.js';

/**
 * @typedef {import('../chatd.js').State} State
 * @typedef {import('./refusals.js').Entered} Entered
 * @typedef {import('./refusals.js').Field} Field
 * @typedef {import('./refusals.js').Refusal} Refusal
 */

/** What the one who waits is told, by the connection's state; offline a countdown is. */
const WAITING = { connecting: 'Connecting…', online: 'Waiting to be let in…', offline: '' };

export class Entry {
  #form = find('join', HTMLFormElement);
  #refusal = find('refusal', HTMLElement);
  #waiting = find('waiting', HTMLElement);
  /** Something was written in it since it was sent. */
  #edited = false;
  /** Why there is a countdown. */
  #why = '';
  /** What was spoken of that: once, for the seconds that pass are only to be seen. */
  #spoken = '';
  #say;
  #countdown = new Countdown((seconds) => {
    const next = seconds ? ` – next try in ${seconds} s` : '';
    this.#waiting.textContent = this.#why + next;
  });
  #leave = find('leave', HTMLButtonElement);
  #fields = {
    name: find('name', HTMLInputElement),
    room: find('room', HTMLInputElement),
    token: find('token', HTMLInputElement),
  };
  #places = { outside: find('entry-form', HTMLElement), inside: find('side-form', HTMLElement) };

  /**
   * @param {boolean} tokens whether the server asks for tokens
   * @param {{enter: () => void, say: (words: string) => void}} hooks say speaks
   */
  constructor(tokens, { enter, say }) {
    this.#say = say;
    // With tokens, the name is the token's.
    const shown = tokens ? 'token' : 'name';
    for (const field of /** @type {Field[]} */ (['name', 'token'])) {
      const input = this.#fields[field];
      input.required = field === shown;
      /** @type {HTMLElement} */ (input.parentElement).hidden = field !== shown;
      if (field !== shown) input.disabled = true;
    }
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      // Spaces alone are nothing.
      for (const input of Object.values(this.#fields)) input.value = input.value.trim();
      this.#edited = false;
      this.#spoken = '';
      if (this.#form.reportValidity()) enter();
    });
    this.#form.addEventListener('input', () => {
      this.#edited = true;
      this.clear();
    });
  }

  /** Whether someone is writing in it, though it was sent. */
  get isBusy() {
    return this.#edited && this.#form.contains(document.activeElement);
  }

  /** @returns {Entered} */
  get entered() {
    const { name, room, token } = this.#fields;
    // As the server takes them, to be compared with who and where we are.
    const [who, where] = [name, room].map(({ value }) => value.normalize());
    return { name: who, room: where, token: token.value };
  }

  /** @param {Partial<Entered>} values empty ones change nothing */
  fill(values) {
    for (const [field, value] of Object.entries(values)) {
      if (value) this.#fields[/** @type {Field} */ (field)].value = value.trim();
    }
  }

  /** Put the cursor where the next thing is to be written. @param {Field} [field] */
  focus(field) {
    const { name, room, token } = this.#fields;
    const empty = [name, token, room].find((input) => !input.disabled && !input.value);
    (field ? this.#fields[field] : empty ?? room).focus();
  }

  /** @param {boolean} inside */
  move(inside) {
    const { activeElement } = document;
    this.#places[inside ? 'inside' : 'outside'].append(this.#form);
    this.#leave.hidden = !inside;
    if (activeElement instanceof HTMLElement) activeElement.focus();
  }

  /** What the one who waits to be let in may know. @param {State | null} now */
  wait(now) {
    this.#countdown.stop();
    this.#waiting.textContent = now ? WAITING[now.state] : '';
    if (now?.state !== 'offline') return;
    this.#why = offline(now.error);
    this.#countdown.start(now.retry ?? 0);
    if (this.#why !== this.#spoken) this.#say(`${this.#why}. It is tried again.`);
    this.#spoken = this.#why;
  }

  /** @param {Refusal} refusal */
  refuse({ words, field }) {
    this.clear();
    this.#refusal.textContent = words;
    if (!field || this.#fields[field].disabled) return;
    this.#fields[field].ariaInvalid = 'true';
    this.#fields[field].setAttribute('aria-describedby', this.#refusal.id);
    this.focus(field);
  }

  /** Say what is needed, to someone who has not been refused. @param {string} words */
  hint(words) {
    this.#refusal.textContent = words;
    this.#refusal.classList.add('hint');
  }

  clear() {
    this.#refusal.textContent = '';
    this.#refusal.classList.remove('hint');
    for (const input of Object.values(this.#fields)) {
      input.ariaInvalid = null;
      input.removeAttribute('aria-describedby');
    }
  }
}

/** @param {State['error']} error @returns {string} why one waits, in the server's words if it has any */
function offline(error) {
  const answered = error && ['unavailable', 'rate_limited'].includes(error.code);
  return answered ? `The server says: ${error.message.replace(/\.$/, '')}` : 'The server cannot be reached';
}
