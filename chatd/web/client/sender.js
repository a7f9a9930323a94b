/** Which of our messages goes next, and what its answer means. */

import { check, copy } from './content.js';
import { asChatError, ChatError, closed } from './errors.js';
import { Outbox } from './outbox.js';
import { ceiling, timer } from './timing.js';

/**
 * @typedef {import('./types.js').End} End
 * @typedef {import('./types.js').Entry} Entry
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').Unsent} Unsent
 * @typedef {import('./wire.js').Wire} Wire
 * @typedef {import('./connection.js').Connection} Connection
 *
 * @typedef {object} Place A room as one who sends sees it.
 * @property {string | null} cursor up to where it has been read
 * @property {boolean} isCurrent whether it has been caught up with
 * @property {import('./seat.js').Seat['tell']} tell
 */

/** So often may a message end its connection for what it is until it is given up. */
const FATALITIES = 3;
/** After so many tries a message does not hold up those behind it any longer. */
const PATIENT = 3;
/** A lost connection is none of them, for whose fault that was nobody knows; so many are. */
const UNLUCKY = 10;

/**
 * One message is on its way in each room, in order, so that their order is kept whatever is
 * refused. One that was lost with its connection goes alone, when nothing else waits: should it be
 * what ends connections, it takes no other with it. A repetition waits until the room has been
 * caught up with, for it may be there.
 */
export class Sender {
  #wire;
  #options;
  #connection;
  #place;
  #outbox;

  /**
   * @param {Wire} wire @param {Settings} options @param {Connection} connection
   * @param {(room: string) => Place | undefined} place of a room that we are in
   */
  constructor(wire, options, connection, place) {
    this.#wire = wire;
    this.#options = options;
    this.#connection = connection;
    this.#place = place;
    this.#outbox = new Outbox(options.unsent, options.storage);
  }

  /** @param {string} room @returns {Unsent[]} */
  unsent(room) {
    return this.#outbox.all.map(({ unsent }) => unsent).filter((unsent) => unsent.room === room);
  }

  /** Throws a ChatError if it cannot be sent. @param {Unsent} unsent @returns {Promise<string>} */
  send(unsent) {
    try {
      if (this.#connection.closed.aborted) throw closed();
      unsent.data = copy(unsent.data);
      check(unsent, this.#wire.limits);
      const entry = this.#outbox.add(unsent);
      this.flush();
      if (!this.#connection.link?.isUp) this.#share(entry);
      return entry.answer.promise;
    } catch (error) {
      queueMicrotask(() => this.#settled(unsent, asChatError(error)));
      throw error;
    }
  }

  /** Nobody wants it any more; on its way it may arrive all the same.
   * @param {Unsent} unsent @param {unknown} reason */
  forget(unsent, reason) {
    const entry = this.#outbox.get(unsent);
    if (!entry) return;
    const error = reason instanceof ChatError ? reason
      : new ChatError('aborted', 'This message was given up.', undefined, reason);
    this.#reject(entry, error);
  }

  /** The link is up: who we are and the server's limits are known. */
  begin() {
    const { limits, name, user } = this.#wire;
    if (user) this.#outbox.restore(`${name}:${user}`);
    for (const entry of this.#outbox.all) {
      try {
        check(entry.unsent, limits);
      } catch (error) {
        this.#reject(entry, asChatError(error));
      }
    }
    this.flush();
  }

  /** Send what can be sent now. */
  flush() {
    const { link } = this.#connection;
    if (!link?.isUp) return;
    const flying = this.#flying;
    const busy = new Set(flying.map(({ unsent }) => unsent.room));
    const next = this.#next().filter(({ unsent }) => !busy.has(unsent.room));
    const fresh = next.filter(({ lost }) => !lost);
    const [suspect] = next.sort((a, b) => a.lost - b.lost);
    if (fresh.length) fresh.forEach((entry) => this.#fly(entry, link));
    else if (suspect && !flying.length) this.#fly(suspect, link);
  }

  /** The link has ended, and why. @param {End} end */
  lost({ error, isFatal }) {
    if (this.#connection.closed.aborted) return;
    for (const entry of this.#flying) {
      entry.lost += 1;
      if (entry.lost === UNLUCKY) entry.tries += PATIENT;
      if (isFatal) entry.fatal += 1;
      if (error && entry.fatal >= FATALITIES) {
        const text = 'This message ends the connection each time.';
        this.#reject(entry, new ChatError(error.code, text, undefined, error));
      } else {
        this.#rest(entry, entry.tries < PATIENT ? 0 : this.#wait(entry));
      }
    }
    this.#outbox.all.forEach((entry) => this.#share(entry));
  }

  /** @param {{room: string, id: string}} which */
  acknowledged(which) {
    const entry = this.#outbox.get(which);
    if (!entry) return;
    this.#outbox.remove(entry);
    entry.answer.resolve(which.id);
    this.#settled(which);
    this.flush();
  }

  /** @param {{room: string, id: string}} which @param {ChatError} error */
  async declined(which, error) {
    const entry = this.#outbox.get(which);
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
    const [only, another] = this.#flying;
    return another ? undefined : only?.unsent;
  }

  get #flying() {
    return this.#outbox.all.filter(({ state }) => state === 'flying');
  }

  /** The chat is over; what is stored stays for the next one. */
  close() {
    for (const entry of this.#outbox.all) {
      clearTimeout(entry.timer);
      entry.answer.reject(closed());
    }
  }

  /** The first of each room that may go; who was refused often gives way to those behind.
   * @returns {Entry[]} */
  #next() {
    /** @type {Map<string, Entry>} */
    const next = new Map();
    for (const entry of this.#outbox.all) {
      const { room } = entry.unsent;
      const before = next.get(room);
      if (!before || (before.tries >= PATIENT && entry.tries < before.tries)) next.set(room, entry);
    }
    return [...next.values()].filter(({ state, unsent }) => state === 'waiting'
      && (unsent.after === undefined || this.#place(unsent.room)?.isCurrent !== false));
  }

  /** @param {Entry} entry @param {{send: (unsent: Unsent) => unknown}} link */
  #fly(entry, link) {
    const { unsent } = entry;
    entry.state = 'flying';
    // An answer that does not come means a connection that is not there.
    const error = new ChatError('timeout', 'A message was not acknowledged.');
    entry.timer = timer(() => this.#connection.abandon(error), this.#options.answer + 1000);
    void link.send(unsent);
    this.#mark(entry);
  }

  /** It waits while others who have the same storage may restore and send it. @param {Entry} entry */
  #share(entry) {
    if (this.#outbox.isShared) this.#mark(entry);
  }

  /** From now on it may be in the room. @param {Entry} entry */
  #mark(entry) {
    const { unsent } = entry;
    if (unsent.after !== undefined) return;
    unsent.after = this.#place(unsent.room)?.cursor ?? '';
    this.#outbox.keep(entry);
  }

  /** @param {Entry} entry @param {number} ms */
  #rest(entry, ms) {
    clearTimeout(entry.timer);
    entry.state = ms ? 'resting' : 'waiting';
    if (!ms) return;
    entry.timer = timer(() => {
      entry.state = 'waiting';
      this.flush();
    }, ms);
  }

  /** @param {Entry} entry */
  #wait({ tries }) {
    return ceiling(this.#options, tries - 1) * (0.5 + Math.random() / 2);
  }

  /** @param {Entry} entry @param {ChatError} error */
  #reject(entry, error) {
    this.#outbox.remove(entry);
    entry.answer.reject(error);
    this.#settled(entry.unsent, error);
  }

  /** @param {{room: string, id: string}} which @param {ChatError} [error] */
  #settled({ room, id }, error) {
    const place = this.#place(room);
    if (error) place?.tell('failed', { id, error });
    else place?.tell('sent', { id });
  }
}
