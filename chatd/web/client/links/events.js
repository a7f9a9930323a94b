/** Server-sent events out of the text of a stream (HTML, 9.2.6). */

/** Milliseconds in which something must come: the server sends a comment every 15 s. */
const SILENCE = 45_000;
/** Characters of a line, at most. */
const LONGEST_LINE = 1_000_000;

/**
 * A room by an event stream. The first item, `started`, says only that bytes arrive; a return says
 * how long to wait until the next try.
 *
 * @param {import('./reader.js').Way} way
 * @param {string} room @param {string} after
 * @param {{patience: number, signal: AbortSignal}} how ms until the first bytes
 * @returns {AsyncGenerator<import('../types.js').Frame, number | undefined>}
 */
export async function* stream(way, room, after, { patience, signal }) {
  const { ChatError, deadline, parse, requests } = way;
  const limit = deadline(patience, signal);
  /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
  let body;
  try {
    const response = await requests.events(room, after, limit.signal);
    body = response.body?.getReader();
    if (!body || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
      throw new ChatError('unavailable', 'This is no event stream.');
    }
    const events = new EventParser();
    const text = new TextDecoder();
    for (let first = true; ; first = false) {
      const { done, value } = await body.read();
      if (done) return events.retry;
      limit.extend(SILENCE);
      way.heard();
      if (first) yield { type: 'started' };
      for (const { name, data } of events.push(text.decode(value, { stream: true }))) {
        const frame = parse(data) ?? {};
        if (name === 'refused') throw new ChatError(frame.code, frame.text, events.retry);
        yield { ...frame, type: name, room };
      }
      if (events.rest.length > LONGEST_LINE) throw new ChatError('too_large', 'A line without end.');
    }
  } finally {
    limit.clear();
    // Whoever wants no more of it gives the connection back.
    body?.cancel().catch(() => {});
  }
}

/** Server-sent events out of the text of a stream (HTML, 9.2.6). */
export class EventParser {
  /** @type {number | undefined} milliseconds to wait before reconnecting, as the server says */
  retry;
  /** What is left of a line that has not ended. */
  rest = '';
  /** What is left ends with a carriage return, which a line feed may follow. */
  #halfEnded = false;
  #name = '';
  /** @type {string[]} */
  #data = [];

  /** @param {string} text @returns {Generator<{name: string, data: string}>} */
  * push(text) {
    // A long line in many pieces is looked through once, when it ends.
    const goesOn = !/[\r\n]/.test(text) && !this.#halfEnded;
    if (text) this.#halfEnded = text.endsWith('\r');
    const lines = goesOn ? [this.rest + text] : (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? '';
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
        this.retry = Number(value);
      }
    }
  }
}
