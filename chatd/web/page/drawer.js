/**
 * On a narrow screen, what is beside the conversation slides over it, and holds the focus while
 * it is there: the rest is inert. On a wide one it is always there, and this does nothing.
 *
 * @module page/drawer
 */

import { find } from './dom.js';

const narrow = matchMedia('(max-width: 46rem)');
const FOCUSABLE = 'a[href], button:not([disabled]), input:not([disabled]), [tabindex="0"]';

export class Drawer {
  #side = find('side', HTMLElement);
  #button = find('drawer', HTMLButtonElement);
  #rest = find('conversation', HTMLElement);

  constructor() {
    this.#button.addEventListener('click', () => this.open());
    find('close', HTMLButtonElement).addEventListener('click', () => this.close());
    find('shade', HTMLElement).addEventListener('click', () => this.close());
    this.#side.addEventListener('keydown', (event) => this.#key(event));
    narrow.addEventListener('change', () => this.close());
  }

  get isOpen() {
    return this.#button.ariaExpanded === 'true';
  }

  open() {
    if (!narrow.matches || this.isOpen) return;
    this.#set(true);
    this.#focusable[0]?.focus();
  }

  close() {
    if (!this.isOpen) return;
    this.#set(false);
    this.#button.focus();
  }

  /** @param {boolean} open */
  #set(open) {
    document.body.classList.toggle('drawer', open);
    this.#button.ariaExpanded = String(open);
    this.#rest.inert = open;
    this.#side.role = open ? 'dialog' : 'complementary';
    this.#side.ariaModal = open ? 'true' : null;
  }

  get #focusable() {
    const all = /** @type {HTMLElement[]} */ ([...this.#side.querySelectorAll(FOCUSABLE)]);
    return all.filter(({ offsetParent }) => offsetParent);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!this.isOpen) return;
    if (event.key === 'Escape') this.close();
    if (event.key !== 'Tab') return;
    const all = this.#focusable;
    const [from, to] = event.shiftKey ? [all[0], all.at(-1)] : [all.at(-1), all[0]];
    const { activeElement } = document;
    if (activeElement !== from && activeElement !== this.#side) return;
    event.preventDefault();
    to?.focus();
  }
}
