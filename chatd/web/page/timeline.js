/**
 * The messages in the document, oldest first, and behind them those of ours that are on their way.
 *
 * Messages of one author within five minutes of the first of them stand together under one name.
 * A message of ours stays the same element from the moment it is written: when it comes back from
 * the server it takes its place among the others.
 *
 * @module page/timeline
 */

import { find, make, passFocus } from './dom.js';
import { date, draw, SENT, tell, tellApart } from './message.js';
import { dayName, move, sameDay } from './times.js';

/**
 * @typedef {import('../chatd.js').Message} Message
 * @typedef {import('./authors.js').Authors} Authors
 * @typedef {import('./message.js').Said} Said
 * @typedef {{said: Said, element: HTMLElement, gap: boolean, began: number}} Row
 *   gap: some that came before it are not kept; began: when the first of its group was said, in ms
 * @typedef {Row & {said: Message}} Item
 */

/** Messages of one author within so many ms of the first stand together. */
const TOGETHER = 5 * 60_000;

/** @param {{user: string, id: string}} message */
export const key = ({ user, id }) => `${user}\n${id}`;

export class Timeline {
  element = make('div', 'messages');
  /** @type {Item[]} */
  items = [];
  /** @type {Row[]} ours that have not come back yet */
  #unsent = [];
  #authors;
  /** @type {HTMLElement | null} ours that came last, whose arrival is shown */
  #newest = null;
  #gap = false;
  /** @type {string | null} the message that the line "New" stands above */
  #divider = null;
  /** When the day began that is called today. */
  #today = 0;

  /** @param {Authors} authors */
  constructor(authors) {
    this.#authors = authors;
  }

  get first() {
    return this.items[0]?.said;
  }

  get last() {
    return this.items.at(-1)?.said;
  }

  /** What comes next does not follow on what is shown. */
  gap() {
    this.#gap = true;
  }

  /** @param {Message} message above which the line "New" is to stand */
  divide(message) {
    this.#divider = key(message);
    this.element.querySelector('.rule.new')?.remove();
  }

  /** @param {Message[]} messages that follow on what is shown */
  append(messages) {
    this.turn();
    const from = this.items.length;
    for (const message of messages) {
      const item = this.#item(message);
      const next = this.#unsent[0]?.element ?? null;
      // An element of ours that is in its place already is not touched.
      const placed = item.element.isConnected && item.element.nextSibling === next;
      if (!placed) this.element.insertBefore(item.element, next);
      this.items.push(item);
      this.#meet(message);
      if (this.#authors.isOurs(message)) this.#latest(item.element);
    }
    this.#dress(from);
    this.#dressUnsent();
  }

  /** @param {Message[]} messages that precede what is shown */
  prepend(messages) {
    const items = messages.map((message) => this.#item(message));
    this.element.prepend(...items.map(({ element }) => element));
    this.items.unshift(...items);
    messages.forEach((message) => this.#meet(message));
    this.#dress(0, items.length);
    this.#dressUnsent();
  }

  /** @param {number} count how many of the oldest to take out */
  cutTop(count) {
    for (const { element } of this.items.splice(0, count)) element.remove();
    this.#dress(0);
  }

  /** @param {number} count how many of the newest to take out */
  cutBottom(count) {
    for (const { element } of this.items.splice(-count)) element.remove();
    this.#dressUnsent();
  }

  clear() {
    for (const { element } of this.items.splice(0)) element.remove();
    this.#dressUnsent();
  }

  /** Name days and times anew if another day has begun, or the reader has come to another time zone. */
  turn() {
    const today = new Date().setHours(0, 0, 0, 0);
    if (today === this.#today) return;
    this.#today = today;
    move();
    for (const { said, element } of [...this.items, ...this.#unsent]) date(element, said.time, true);
    this.#dress(0, this.items.length);
    this.#dressUnsent();
  }

  // -- ours, on their way

  /** @param {Said} said */
  sending(said) {
    this.turn();
    if (this.#find(said.id) >= 0) return;
    const row = this.#row(said);
    this.#unsent.push(row);
    this.#dressUnsent();
    this.element.append(row.element);
  }

  /** @param {string} id @param {string} words @param {HTMLButtonElement[]} [actions] */
  tell(id, words, actions) {
    const row = this.#unsent[this.#find(id)];
    if (row) tell(row.element, words, actions);
  }

  /** @param {string} id of one of ours that is not to be shown as on its way any more */
  discard(id) {
    const place = this.#find(id);
    if (place < 0) return;
    const [{ element }] = this.#unsent.splice(place, 1);
    passFocus(element, find('log', HTMLElement));
    element.remove();
    this.#dressUnsent();
  }

  /** @param {string} id */
  #find(id) {
    return this.#unsent.findIndex(({ said }) => said.id === id);
  }

  // -- rows

  /** @param {Message} message @returns {Item} */
  #item(message) {
    const place = this.#authors.isOurs(message) ? this.#find(message.id) : -1;
    const row = place < 0 ? this.#row(message) : this.#unsent.splice(place, 1)[0];
    if (this.#authors.isOurs(message)) tell(row.element, SENT);
    date(row.element, message.time);
    const gap = this.#gap;
    this.#gap = false;
    return { ...row, said: message, gap };
  }

  /** @param {Said} said @returns {Row} */
  #row(said) {
    const element = draw(said, this.#authors.isOurs(said), this.#authors.label(said));
    return { said, element, gap: false, began: 0 };
  }

  /** @param {HTMLElement} element */
  #latest(element) {
    this.#newest?.classList.remove('newest');
    this.#newest = element;
    element.classList.add('newest');
  }

  /** @param {Message} message */
  #meet(message) {
    if (!this.#authors.meet(message)) return;
    for (const { said, element } of this.items) {
      if (said.user === message.user) tellApart(element, said.user, this.#authors.label(said));
    }
  }

  /**
   * Draw what depends on the message before: of those from `from` up to `to`, and on from there
   * as long as it makes a difference.
   *
   * @param {number} from @param {number} [to]
   */
  #dress(from, to = from + 1) {
    for (let i = from; i < this.items.length; i += 1) {
      const changed = this.#dressOne(this.items[i], this.items[i - 1]);
      if (i >= to && !changed) return;
    }
  }

  #dressUnsent() {
    let previous = /** @type {Row | undefined} */ (this.items.at(-1));
    for (const row of this.#unsent) {
      this.#dressOne(row, previous);
      previous = row;
    }
  }

  /** @param {Row} row @param {Row} [previous] @returns {boolean} whether that changed anything */
  #dressOne(row, previous) {
    const { said, element, gap, began } = row;
    const time = new Date(said.time);
    const newDay = !previous || !sameDay(time, new Date(previous.said.time));
    const divided = key(said) === this.#divider;
    const together = !newDay && !divided && !gap && this.#authors.same(said, previous.said)
      && time.getTime() - previous.began < TOGETHER;
    row.began = together ? previous.began : time.getTime();
    const rules = [];
    if (gap) rules.push(make('p', 'rule', 'Some earlier ones are no longer kept'));
    if (newDay) rules.push(make('p', 'rule', dayName(time)));
    if (divided) rules.push(make('p', 'rule new', 'New'));
    const changed = element.classList.contains('together') !== together || row.began !== began;
    element.classList.toggle('together', together);
    replaceRules(element, rules);
    return changed;
  }
}

/** @param {HTMLElement} element @param {HTMLElement[]} rules lines above it */
function replaceRules(element, rules) {
  const old = element.querySelector(':scope > .rules');
  const words = rules.map(({ textContent }) => textContent).join('\n');
  const before = [...old?.children ?? []].map(({ textContent }) => textContent).join('\n');
  if (words === before) return;
  old?.remove();
  if (!rules.length) return;
  const lines = make('div', 'rules');
  lines.append(...rules);
  element.prepend(lines);
}
