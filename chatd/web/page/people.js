/**
 * Who is here.
 *
 * @module page/people
 */

import { find, make } from './dom.js';
import { face, name } from './names.js';

/** So many are listed; of the rest, only the number. */
const LISTED = 500;

export class People {
  #list = find('members', HTMLElement);
  #counts = [find('count', HTMLElement), find('drawer-count', HTMLElement)];
  /** @type {Map<string, HTMLElement>} those that are listed */
  #rows = new Map();

  /** @param {string[]} members @param {number} count @param {string} me our own name */
  show(members, count, me) {
    const rows = new Map();
    for (const user of members.slice(0, LISTED)) {
      rows.set(user, this.#rows.get(user) ?? row(user, user === me));
    }
    this.#rows = rows;
    const rest = count - rows.size;
    const more = rest > 0 ? [make('li', 'more', `and ${rest.toLocaleString()} more`)] : [];
    this.#list.replaceChildren(...rows.values(), ...more);
    for (const element of this.#counts) element.textContent = count.toLocaleString();
  }

  clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
  }
}

/** @param {string} user @param {boolean} ours */
function row(user, ours) {
  const element = make('li');
  element.append(face(user), name('span', user));
  if (ours) element.append(make('span', 'you', 'you'));
  return element;
}
