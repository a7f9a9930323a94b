/**
 * The rows of a table, or any list, kept in step with what they show: a row that stays is the same
 * element, so that the focus in it stays, too, and a screen reader's place.
 *
 * @module admin/rows
 */

import { make, passFocus } from '../page/dom.js';

/** @template Item */
export class Rows {
  #body;
  #key;
  #begin;
  /** @type {Map<string, {row: HTMLElement, fill: (item: Item) => void}>} */
  #rows = new Map();

  /**
   * @param {HTMLElement} body
   * @param {(item: Item) => string} key what tells it from the others
   * @param {(item: Item) => {row: HTMLElement, fill: (item: Item) => void}} begin makes a row
   */
  constructor(body, key, begin) {
    this.#body = body;
    this.#key = key;
    this.#begin = begin;
  }

  /** @param {Item[]} items */
  show(items) {
    const rows = new Map();
    for (const item of items) {
      const key = this.#key(item);
      const row = this.#rows.get(key) ?? this.#begin(item);
      row.fill(item);
      rows.set(key, row);
    }
    for (const [key, { row }] of this.#rows) {
      if (rows.has(key)) continue;
      passFocus(row, this.#body);
      row.remove();
    }
    this.#rows = rows;
    /** @type {Element | null} */
    let place = this.#body.firstElementChild;
    for (const { row } of rows.values()) {
      if (place === row) place = row.nextElementSibling;
      else this.#body.insertBefore(row, place);
    }
  }
}

/** @param {HTMLElement} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * A row of a table, its first cell the row's head.
 *
 * @param {string[]} styles of the cells
 * @returns {{row: HTMLTableRowElement, cells: HTMLElement[]}}
 */
export function tableRow(styles) {
  const row = make('tr');
  const cells = styles.map((style, i) => make(i ? 'td' : 'th', style));
  if (cells[0] instanceof HTMLTableCellElement) cells[0].scope = 'row';
  row.append(...cells);
  return { row, cells };
}
