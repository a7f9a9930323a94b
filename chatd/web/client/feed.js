/** One reader's place in a room. */

import { asChatError } from './errors.js';
import { timer } from './timing.js';

/**
 * @typedef {import('./errors.js').ChatError} ChatError
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Page} Page
 */

/** Messages kept for a reader that does not read; beyond them it reads on from the server. */
export const FEED = 1000;
/** Where the server does not tell yet what has come live, it is asked again after so many ms, and
 * each time after twice as long: it may never tell, having given it up meanwhile. */
const PATIENCE = 250;

/**
 * One reader's place in a room. A reader that is slow is neither waited for nor buffered for
 * without end: it falls behind, and then reads on from the server. What it has read there may be
 * yet to come live: a connection can be slower than a request, or be away. So it goes on with what
 * comes live only where that has been seen to meet what was read.
 */
export class Feed {
  #read;
  #told;
  #queue;
  /** @type {string | null} the cursor to catch up from: of the last message read, or of a gap's end */
  #behind;
  /** Something came live, or was read, since the server was last asked. */
  #fresh = true;
  /** @type {Message[]} what came live since the server was asked, while it is */
  #live = [];
  /** @type {string | null | undefined} the cursor that this follows; undefined: nothing is asked */
  #from;
  /** @type {string | null} the cursor of the last that came live while we are behind, until it is
   * read: a server can be behind the one that we are connected to */
  #passed = null;
  #patience = PATIENCE;
  /** @type {ChatError | undefined} why nothing follows what is here */
  #error;
  #stopped = false;
  #wake = () => {};

  /**
   * @param {(after: string) => Promise<Page>} read a page of FEED messages, however long that takes
   * @param {() => string | null} told up to which cursor the room came live
   * @param {Message[]} first what to begin with
   * @param {string | null} behind the cursor to read on from, if the room has more
   */
  constructor(read, told, first, behind) {
    this.#read = read;
    this.#told = told;
    this.#queue = [...first];
    this.#behind = behind;
  }

  /** @param {Message} message */
  push(message) {
    if (this.#behind === null && this.#queue.length < FEED) this.#queue.push(message);
    else {
      this.#behind ??= /** @type {Message} */ (this.#queue.at(-1)).cursor;
      this.#pass(message);
    }
    this.#wake();
  }

  /** Nothing follows. One who was put out may read what came before; one who left wants no more, not
   * even what is on its way. @param {ChatError} [error] that put us out */
  end(error) {
    this.#error ??= error;
    this.#stopped ||= !error;
    this.#wake();
  }

  /** To be called once. @returns {AsyncGenerator<Message, undefined>} */
  async* messages() {
    while (!this.#stopped) {
      const message = this.#queue.shift();
      if (message) yield message;
      else if (this.#error) throw this.#error;
      else if (this.#behind !== null && this.#fresh) await this.#catchUp(this.#behind);
      else await this.#wait();
    }
    return undefined;
  }

  /** Wait until something comes, or it is time to ask the server again. */
  async #wait() {
    /** @type {import('./types.js').Timer | undefined} */
    let again;
    await new Promise((resolve) => {
      this.#wake = () => resolve(undefined);
      if (this.#passed === null) return;
      again = timer(() => resolve(this.#fresh = true), this.#patience);
      this.#patience *= 2;
    });
    clearTimeout(again);
  }

  /** @param {Message} message that came live while we are behind */
  #pass(message) {
    this.#fresh = true;
    this.#passed = message.cursor;
    this.#patience = PATIENCE;
    if (this.#from !== undefined) this.#live.push(message);
    // What was read has come live as well: what comes from now on follows on it.
    else if (message.cursor === this.#behind) this.#behind = this.#passed = null;
    if (this.#live.length > FEED) [this.#live, this.#from] = [[], null];
  }

  /** @param {string} after */
  async #catchUp(after) {
    this.#fresh = false;
    this.#from = this.#told();
    try {
      const { messages, cursor, gap } = await this.#read(after);
      this.#queue.push(...messages);
      this.#behind = messages.at(-1)?.cursor ?? (gap ? cursor : after);
      if (messages.some((one) => one.cursor === this.#passed)) this.#passed = null;
      // A page may be short because its messages are long: only an empty one is the last.
      this.#fresh ||= messages.length > 0;
      const place = [this.#from, ...this.#live.map((one) => one.cursor)].lastIndexOf(this.#behind);
      if (place < 0) return void (this.#passed ??= this.#from);
      this.#queue.push(...this.#live.slice(place));
      this.#behind = this.#passed = null;
    } catch (error) {
      this.end(asChatError(error));
    } finally {
      [this.#live, this.#from] = [[], undefined];
    }
  }
}
