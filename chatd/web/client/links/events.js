/** Server-sent events out of the text of a stream (HTML, 9.2.6). */

import { ChatError } from '../errors.js';
import { LONGEST_RETRY } from '../wire.js';

/** Server-sent events out of the text of a stream (HTML, 9.2.6). */
export class EventParser {
  /** @type {number | undefined} milliseconds to wait before reconnecting, as the server says */
  retry;
  #rest = '';
  #name = '';
  /** @type {string[]} */
  #data = [];

  /** @param {string} text @returns {Generator<{name: string, data: string}>} */
  * push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > 1_000_000) throw new ChatError('too_large', 'A line without end.');
    for (const line of lines) {
      const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (line === '') {
        if (this.#data.length) yield { name: this.#name || 'message', data: this.#data.join('\n') };
        this.#name = '';
        this.#data = [];
      } else if (field === 'event') {
        this.#name = value ?? '';
      } else if (field === 'data') {
        this.#data.push(value ?? '');
      } else if (field === 'retry' && /^\d+$/.test(value ?? '')) {
        this.retry = Math.min(Number(value), LONGEST_RETRY);
      }
    }
  }
}
