/**
 * Who wrote what, where a name alone does not say.
 *
 * In open mode anyone may take any name. So the ids of what this page sends begin with a mark of
 * the browser it runs in, `MARK.RANDOM`: our own messages are those with our mark, and of two
 * people called ann each shows the mark beside the name. With tokens a name is one person, and
 * there are no marks.
 *
 * @module page/authors
 */

import { newId } from '../chatd.js';
import { lasting } from './storage.js';

/** @typedef {{user: string, id: string}} Written */

const MARKED = /^([0-9a-f]{8})\.[0-9a-f]{32}$/;
/** People and marks of each that are remembered. */
const PEOPLE = 1000;
const MARKS = 8;

/** @returns {string} this browser's mark, eight hex digits */
function ownMark() {
  const known = lasting.getItem('chatd:mark') ?? '';
  if (/^[0-9a-f]{8}$/.test(known)) return known;
  const mark = newId().slice(0, 8);
  lasting.setItem('chatd:mark', mark);
  return mark;
}

export class Authors {
  #me;
  #own;
  /** @type {Map<string, Set<string>>} the marks seen with each name */
  #marks = new Map();

  /** @param {string} me our own name @param {boolean} certain whether names are authenticated */
  constructor(me, certain) {
    this.#me = me;
    this.#own = certain ? null : ownMark();
    if (this.#own !== null) this.#marks.set(me, new Set([this.#own]));
  }

  /** An id for a message of ours. */
  newId() {
    return this.#own === null ? newId() : `${this.#own}.${newId()}`;
  }

  /** @param {Written} message */
  isOurs(message) {
    return message.user === this.#me && (this.#own === null || mark(message) === this.#own);
  }

  /** @param {Written} one @param {Written} other */
  same(one, other) {
    return one.user === other.user && (this.#own === null || mark(one) === mark(other));
  }

  /**
   * Take note of a message's author.
   *
   * @param {Written} message
   * @returns {boolean} whether the name has just turned out to be several people's
   */
  meet(message) {
    if (this.#own === null) return false;
    const marks = this.#marks.get(message.user) ?? new Set();
    const before = marks.size;
    if (before < MARKS) marks.add(mark(message));
    if (before === 0) this.#remember(message.user, marks);
    return before === 1 && marks.size === 2;
  }

  /** @param {string} user @param {Set<string>} marks */
  #remember(user, marks) {
    this.#marks.set(user, marks);
    if (this.#marks.size <= PEOPLE) return;
    for (const oldest of this.#marks.keys()) {
      if (oldest === this.#me) continue;
      this.#marks.delete(oldest);
      break;
    }
  }

  /** What to show beside the name; empty where the name is enough. @param {Written} message */
  label(message) {
    const several = (this.#marks.get(message.user)?.size ?? 0) > 1;
    return several && mark(message) ? `#${mark(message).slice(0, 4)}` : '';
  }
}

/** @param {Written} message @returns {string} its sender's mark; empty if it has none */
function mark({ id }) {
  return MARKED.exec(id)?.[1] ?? '';
}
