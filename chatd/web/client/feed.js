/** One reader's place in a room. */

import { asChatError } from './errors.js';
import { sleep } from './timing.js';
import { key } from './wire.js';

/**
 * @typedef {import('./errors.js').ChatError} ChatError
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Page} Page
 */

/** Messages kept for a reader that does not read; beyond them it reads on from the server. */
export const FEED = 1000;

/** One reader's place in a room. A reader that is slow is neither waited for nor buffered for
 * without end: it falls behind, and then reads on from the server. */
export class Feed {
  #read;
  #queue;
  /** @type {Message[] | null} what arrives while we catch up */
  #live = null;
  /** @type {string | null} the cursor to catch up from */
  #behind;
  /** @type {ChatError | undefined} why nothing follows what is here */
  #error;
  #stopped = false;
  #wake = () => {};

  /**
   * @param {(after: string) => Promise<Page>} read a page of FEED messages
   * @param {Message[]} first what to begin with
   * @param {string | null} behind the cursor to read on from, if the room has more
   */
  constructor(read, first, behind) {
    this.#read = read;
    this.#queue = [...first];
    this.#behind = behind;
  }

  /** @param {Message} message */
  push(message) {
    if (this.#live) {
      if (this.#live.push(message) > FEED) this.#live = null;
    } else if (this.#behind === null) {
      if (this.#queue.length < FEED) this.#queue.push(message);
      else this.#behind = this.#queue[this.#queue.length - 1].cursor;
    }
    this.#wake();
  }

  /** The room has ended: what is here can still be read. @param {ChatError} error */
  end(error) {
    this.#error ??= error;
    this.#wake();
  }

  /** The reader wants no more, not even what is on its way. */
  stop() {
    this.#stopped = true;
    this.#wake();
  }

  /** To be called once. @returns {AsyncGenerator<Message, undefined>} */
  async* messages() {
    while (!this.#stopped) {
      const message = this.#queue.shift();
      if (message) yield message;
      else if (this.#error) throw this.#error;
      else if (this.#behind !== null) await this.#catchUp(this.#behind);
      else await new Promise((resolve) => void (this.#wake = () => resolve(undefined)));
    }
    return undefined;
  }

  /** @param {string} after */
  async #catchUp(after) {
    this.#live = [];
    try {
      const page = await this.#read(after);
      const got = new Set(page.messages.map(key));
      this.#queue.push(...page.messages);
      this.#behind = page.cursor;
      // A page may be short because its messages are long: only an empty one is the last.
      const meets = this.#live?.some((message) => got.has(key(message)));
      if (this.#live && (meets || !page.messages.length)) {
        this.#queue.push(...this.#live.filter((message) => !got.has(key(message))));
        this.#behind = null;
      }
    } catch (error) {
      if (!asChatError(error).temporary) this.end(asChatError(error));
      else await sleep(1000 + Math.random() * 1000);
    } finally {
      this.#live = null;
    }
  }
}
