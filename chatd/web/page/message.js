/**
 * One message as it is shown, and what changes about it afterwards.
 *
 * @module page/message
 */

import { button, find, make, passFocus } from './dom.js';
import { linked } from './links.js';
import { face, name } from './names.js';
import { clockTime, wholeTime } from './times.js';

/**
 * @typedef {{id: string, user: string, text: string, time: string}} Said
 */

/** A text longer than this is folded, in characters and in lines. */
const LONG = 2000;
const TALL = 20;

/** What became of a message that arrived. */
export const SENT = 'Sent';

/** Numbers the texts that are folded, so that their buttons can name them. */
let folded = 0;

/**
 * @param {Said} said
 * @param {boolean} ours
 * @param {string} label tells namesakes apart; usually empty
 * @returns {HTMLElement}
 */
export function draw({ id, user, text, time }, ours, label) {
  const element = make('article', ours ? 'message mine' : 'message');
  element.dataset.id = id;
  const who = make('p', 'who');
  who.append(name('b', user));
  const words = make('p', 'text');
  words.dir = 'auto';
  words.append(...linked(text));
  const bubble = make('div', 'bubble');
  bubble.append(words);
  if (isLong(text)) bubble.append(fold(words));
  element.append(face(user, label), who, make('time'), bubble, make('p', 'fate'));
  date(element, time);
  tellApart(element, user, label);
  return element;
}

/**
 * @param {HTMLElement} element
 * @param {string} time when it was said, RFC 3339
 * @param {boolean} [anew] though it stands there: the reader's clock shows it otherwise now
 */
export function date(element, time, anew = false) {
  const when = element.querySelector('time');
  if (!when || (when.dateTime === time && !anew)) return;
  const moment = new Date(time);
  when.dateTime = time;
  when.title = wholeTime(moment);
  when.textContent = clockTime(moment);
}

/** @param {HTMLElement} element @param {string} user @param {string} label */
export function tellApart(element, user, label) {
  const who = element.querySelector('.who');
  who?.querySelector('.label')?.remove();
  if (!label) return;
  who?.append(make('span', 'label', label));
  element.querySelector(':scope > .face')?.replaceWith(face(user, label));
}

/**
 * Say what became of a message of ours.
 *
 * @param {HTMLElement} element
 * @param {string} words
 * @param {HTMLButtonElement[]} [actions]
 */
export function tell(element, words, actions = []) {
  element.classList.toggle('failed', actions.length > 0);
  element.classList.toggle('sent', words === SENT);
  const fate = element.querySelector('.fate');
  if (!(fate instanceof HTMLElement)) return;
  if (fate.textContent === words && !actions.length) return;
  passFocus(fate, find('log', HTMLElement));
  fate.replaceChildren(words, ...actions);
}

/** @param {string} text */
function isLong(text) {
  if (text.length > LONG) return true;
  let at = -1;
  for (let lines = 0; lines < TALL; lines += 1) {
    at = text.indexOf('\n', at + 1);
    if (at < 0) return false;
  }
  return true;
}

/** @param {HTMLElement} words to be shown in part, until asked for @returns {HTMLButtonElement} */
function fold(words) {
  words.id = `folded-${folded += 1}`;
  words.classList.add('folded');
  const more = button('Show all', () => {
    const hidden = words.classList.toggle('folded');
    more.textContent = hidden ? 'Show all' : 'Show less';
    more.ariaExpanded = String(!hidden);
  });
  more.className = 'more';
  more.ariaExpanded = 'false';
  more.setAttribute('aria-controls', words.id);
  return more;
}
