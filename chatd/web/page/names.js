/**
 * People's names and faces.
 *
 * @module page/names
 */

import { make } from './dom.js';

/** A name, which may run in either direction. @param {'b' | 'span'} tag @param {string} user */
export function name(tag, user) {
  const element = make(tag, 'name', user);
  element.dir = 'auto';
  return element;
}

/** A coloured initial. @param {string} user @param {string} [label] tells namesakes apart */
export function face(user, label = '') {
  const element = make('span', 'face', initial(user));
  element.ariaHidden = 'true';
  let hue = 7;
  for (const c of user + label) hue = (hue * 31 + (c.codePointAt(0) ?? 0)) % 3600;
  element.style.setProperty('--hue', String(hue % 360));
  return element;
}

/** Missing before Firefox 125. @type {Intl.Segmenter | null} */
const characters = Intl.Segmenter ? new Intl.Segmenter() : null;

/** @param {string} user @returns {string} what a reader takes for the first character */
function initial(user) {
  const [first] = characters?.segment(user) ?? [{ segment: [...user][0] }];
  return (first?.segment ?? '').toUpperCase();
}
