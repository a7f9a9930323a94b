/**
 * Elements: found by id, made anew. Whatever people wrote goes in as text, never as markup.
 *
 * @module page/dom
 */

/**
 * The element of the page with this id, which must be of this kind.
 *
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function find(id, kind) {
  const element = document.getElementById(id);
  if (element instanceof kind) return element;
  throw new TypeError(`The page has no ${kind.name} #${id}.`);
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {string} [style] @param {string} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, style = '', text = '') {
  const element = document.createElement(tag);
  element.className = style;
  element.textContent = text;
  return element;
}

/**
 * Before `element` goes: the focus, if it is in there, goes to `next`. Otherwise it would be lost,
 * and who works by keys or by ear would begin at the top of the page again.
 *
 * @param {HTMLElement} element @param {HTMLElement} next
 */
export function passFocus(element, next) {
  if (element.contains(document.activeElement)) next.focus({ preventScroll: true });
}

/** @param {string} text @param {() => void} action */
export function button(text, action) {
  const element = make('button', '', text);
  element.type = 'button';
  element.addEventListener('click', action);
  return element;
}
