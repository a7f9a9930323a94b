/**
 * The list of rooms, page by page; finding one, making one.
 *
 * @module admin/rooms
 */

import { button, find, make, passFocus } from '../page/dom.js';
import { words } from './api.js';
import { count, rate, since } from './format.js';
import { Rows, tableRow, write } from './rows.js';

/**
 * @typedef {import('./api.js').Api} Api
 * @typedef {import('./api.js').NodeState} NodeState
 * @typedef {import('./api.js').RoomRow} RoomRow
 */

/** How many rooms are shown at a time. */
const PAGE = '12';
/** After so long without another letter the list is asked for, in ms. */
const TYPING = 250;

export class Rooms {
  #find = find('part', HTMLInputElement);
  #count = find('rooms-count', HTMLElement);
  #none = find('rooms-none', HTMLElement);
  #first = find('rooms-first', HTMLButtonElement);
  #next = find('rooms-next', HTMLButtonElement);
  #refusal = find('create-refusal', HTMLElement);
  #name = find('new-room', HTMLInputElement);
  #private = find('new-private', HTMLInputElement);
  #after = '';
  #last = '';
  #now = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  /** @type {Rows<RoomRow>} */
  #rows = new Rows(find('rooms', HTMLElement), ({ room }) => room, ({ room }) => this.#row(room));
  #hooks;

  /**
   * @param {{api: () => Api, open: (room: string) => void, look: () => void,
   *   say: (words: string) => void}} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#find.addEventListener('input', () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#go(''), TYPING);
    });
    this.#first.addEventListener('click', () => this.#go(''));
    this.#next.addEventListener('click', () => this.#go(this.#last));
    find('create', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#create();
    });
    this.#name.addEventListener('input', () => this.#refuse(''));
  }

  /** What is to be asked for. @returns {Record<string, string>} */
  get query() {
    return { limit: PAGE, after: this.#after, part: this.#find.value.trim() };
  }

  /** @param {NodeState} state */
  show({ rooms: { count: all, shown, more }, time }) {
    // All that were there have been deleted.
    if (this.#after && !shown.length) return this.#go('');
    this.#now = time;
    this.#last = shown.at(-1)?.room ?? '';
    write(this.#count, count(all));
    this.#rows.show(shown);
    this.#none.hidden = shown.length > 0;
    enable(this.#first, Boolean(this.#after), more ? this.#next : this.#find);
    enable(this.#next, more, this.#after ? this.#first : this.#find);
    return undefined;
  }

  /** @param {string} after */
  #go(after) {
    this.#after = after;
    this.#hooks.look();
  }

  /** @param {string} name */
  #row(name) {
    const styles = ['', 'number', 'number', 'number wide', 'number wide'];
    const { row, cells: [head, here, speed, behind, last] } = tableRow(styles);
    const open = button(name, () => this.#hooks.open(name));
    open.className = 'link name';
    open.dir = 'auto';
    open.setAttribute('aria-haspopup', 'dialog');
    const secret = make('span', 'label', 'private');
    head.append(open, ' ', secret);
    return {
      row,
      fill: (/** @type {RoomRow} */ one) => {
        secret.hidden = !one.private;
        write(here, count(one.count));
        write(speed, rate(one.rate));
        write(behind, one.behind ? count(one.behind) : '–');
        write(last, since(one.last, this.#now));
        row.classList.toggle('trouble', one.behind > 0);
      },
    };
  }

  async #create() {
    const name = this.#name.value.trim();
    this.#refuse('');
    try {
      if (await this.#hooks.api().exists(name)) {
        this.#refuse(`There is a room “${name}” already.`);
        return;
      }
      await this.#hooks.api().put(name, this.#private.checked);
    } catch (error) {
      this.#refuse(words(error));
      return;
    }
    this.#name.value = '';
    this.#private.checked = false;
    this.#hooks.say(`The room ${name} was made.`);
    this.#hooks.look();
  }

  /** @param {string} why */
  #refuse(why) {
    write(this.#refusal, why);
    this.#name.ariaInvalid = why ? 'true' : null;
    if (!why) return;
    this.#name.focus();
    this.#hooks.say(why);
  }
}

/**
 * @param {HTMLButtonElement} one @param {boolean} enabled
 * @param {HTMLElement} next has its focus if it is not
 */
function enable(one, enabled, next) {
  if (next instanceof HTMLButtonElement) next.disabled = false;
  if (!enabled) passFocus(one, next);
  one.disabled = !enabled;
}
