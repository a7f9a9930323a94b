/** Which of our messages goes next, and what its answer means. */

import { check } from './content.js';
import { asChatError, ChatError, closed } from './errors.js';
import { Outbox } from './outbox.js';

/**
 * @typedef {import('./types.js').End} End
 * @typedef {import('./types.js').Entry} Entry
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').Unsent} Unsent
 * @typedef {import('./wire.js').Wire} Wire
 *
 * @typedef {object} Post What a sender asks of the chat, and tells it.
 * @property {() => {isUp: boolean, send: (unsent: Unsent) => unknown} | null} link
 * @property {(error: ChatError) => void} abandon the link is of no use any more
 * @property {(room: string) => string | null | undefined} cursor up to where a room has been read
 * @property {(room: string) => boolean} behind whether a room is still being caught up with
 * @property {(unsent: Unsent, error?: ChatError) => void} settled
 */

/** WebSocket close codes that speak of what was sent, and the error that each stands for. */
const FATAL = /** @type {Record<number, string>} */ ({ 1009: 'too_large', 4400: 'bad_request' });
/** So often may a message end its connection that way until it is given up. */
const FATALITIES = 3;
/** After so many tries a message does not hold up those behind it any longer. */
const PATIENT = 3;

/**
 * One message is on its way in each room, in order, so that their order is kept whatever is
 * refused. One that was lost with its connection goes alone, when nothing else waits: should it be
 * what ends connections, it takes no other with it. A repetition waits until the room has been
 * caught up with, for it may be there.
 */
export class Sender {
  #wire;
  #options;
  #post;
  #outbox;

  /** @param {Wire} wire @param {Settings} options @param {Post} post */
  constructor(wire, options, post) {
    this.#wire = wire;
    this.#options = options;
    this.#post = post;
    this.#outbox = new Outbox(options.unsent, options.storage);
  }

  /** @param {string} room @returns {Unsent[]} */
  unsent(room) {
    return [...this.#outbox].map(({ unsent }) => unsent).filter((unsent) => unsent.room === room);
  }

  /** Take over what an earlier page of the same user left. @param {string} prefix */
  restore(prefix) {
    this.#outbox.restore(prefix);
  }

  /** Throws a ChatError if it cannot be sent. @param {Unsent} unsent @returns {Promise<string>} */
  send(unsent) {
    check(unsent, this.#wire.limits);
    const entry = this.#outbox.add(unsent);
    this.flush();
    return entry.answer.promise;
  }

  /** Nobody wants it any more; on its way it may arrive all the same.
   * @param {Unsent} unsent @param {unknown} reason */
  forget(unsent, reason) {
    const entry = this.#outbox.get(unsent.room, unsent.id);
    if (!entry) return;
    const error = reason instanceof ChatError ? reason
      : new ChatError('aborted', 'Nobody waits for this message any more.', undefined, reason);
    this.#reject(entry, error);
  }

  /** The server's limits are known. */
  judge() {
    for (const entry of [...this.#outbox]) {
      try {
        check(entry.unsent, this.#wire.limits);
      } catch (error) {
        this.#reject(entry, asChatError(error));
      }
    }
  }

  /** Send what can be sent now. */
  flush() {
    const link = this.#post.link();
    if (!link?.isUp) return;
    const flying = [...this.#outbox].filter(({ state }) => state === 'flying');
    const busy = new Set(flying.map(({ unsent }) => unsent.room));
    const next = this.#next().filter(({ unsent }) => !busy.has(unsent.room));
    const fresh = next.filter(({ lost }) => !lost);
    const suspects = next.filter(({ lost }) => lost).sort((a, b) => a.lost - b.lost);
    if (fresh.length) fresh.forEach((entry) => this.#fly(entry, link));
    else if (!flying.length && suspects.length) this.#fly(suspects[0], link);
  }

  /** The link has ended, and why. @param {End} end */
  lost({ code = 0, error }) {
    for (const entry of [...this.#outbox]) {
      if (entry.state !== 'flying') continue;
      entry.tries += 1;
      entry.lost += 1;
      if (code in FATAL) entry.fatal += 1;
      if (entry.fatal >= FATALITIES) {
        const text = 'The server ends the connection each time this message comes.';
        this.#reject(entry, new ChatError(FATAL[code], text, undefined, error));
      } else {
        this.#rest(entry, entry.tries < PATIENT ? 0 : this.#wait(entry));
      }
    }
  }

  /** @param {string} room @param {string} id */
  acknowledged(room, id) {
    const entry = this.#outbox.get(room, id);
    if (!entry) return;
    this.#outbox.remove(entry);
    entry.answer.resolve(id);
    this.#post.settled(entry.unsent);
    this.flush();
  }

  /** @param {string} room @param {string} id @param {ChatError} error */
  async declined(room, id, error) {
    const entry = this.#outbox.get(room, id);
    if (entry?.state !== 'flying') return;
    if (error.temporary) {
      entry.tries += 1;
      this.#rest(entry, error.retry ?? this.#wait(entry));
    } else if (error.code === 'unauthorized' && this.#options.token && !entry.renewed) {
      entry.renewed = true;
      clearTimeout(entry.timer);
      entry.state = 'resting';
      await this.#wire.authenticate(true).catch(() => {});
      this.#rest(entry, 0);
    } else {
      this.#reject(entry, error);
    }
    this.flush();
  }

  /** The only one on its way, if it is one alone. @returns {Unsent | undefined} */
  get alone() {
    const flying = [...this.#outbox].filter(({ state }) => state === 'flying');
    return flying.length === 1 ? flying[0].unsent : undefined;
  }

  /** The chat is over; what is stored stays for the next one. */
  close() {
    for (const entry of this.#outbox) {
      clearTimeout(entry.timer);
      entry.answer.reject(closed());
    }
  }

  /** The first of each room that may go; who was refused often gives way to those behind.
   * @returns {Entry[]} */
  #next() {
    /** @type {Map<string, Entry>} */
    const next = new Map();
    for (const entry of this.#outbox) {
      const { room } = entry.unsent;
      const before = next.get(room);
      if (!before || (before.tries >= PATIENT && entry.tries < before.tries)) next.set(room, entry);
    }
    return [...next.values()].filter(({ state, unsent }) => state === 'waiting'
      && (unsent.after === undefined || !this.#post.behind(unsent.room)));
  }

  /** @param {Entry} entry @param {{send: (unsent: Unsent) => unknown}} link */
  #fly(entry, link) {
    const { unsent } = entry;
    entry.state = 'flying';
    // An answer that does not come means a connection that is not there.
    const error = new ChatError('timeout', 'A message was not acknowledged.');
    entry.timer = setTimeout(() => this.#post.abandon(error), this.#options.answer + 1000);
    void link.send(unsent);
    if (unsent.after !== undefined) return;
    unsent.after = this.#post.cursor(unsent.room) ?? '';
    this.#outbox.keep(entry);
  }

  /** @param {Entry} entry @param {number} ms */
  #rest(entry, ms) {
    clearTimeout(entry.timer);
    entry.state = ms ? 'resting' : 'waiting';
    if (!ms) return;
    entry.timer = setTimeout(() => {
      entry.state = 'waiting';
      this.flush();
    }, ms);
  }

  /** @param {Entry} entry */
  #wait({ tries }) {
    const ceiling = this.#options.backoff * 2 ** Math.min(tries - 1, 20);
    return Math.min(this.#options.backoffMax, ceiling) * (0.5 + Math.random() / 2);
  }

  /** @param {Entry} entry @param {ChatError} error */
  #reject(entry, error) {
    this.#outbox.remove(entry);
    entry.answer.reject(error);
    this.#post.settled(entry.unsent, error);
  }
}
