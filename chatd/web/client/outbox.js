/** What is not acknowledged yet. */

import { attempt, ChatError } from './errors.js';
import { deferred } from './timing.js';
import { parse } from './wire.js';

/**
 * @typedef {import('./types.js').Entry} Entry
 * @typedef {import('./types.js').Options} Options
 * @typedef {import('./types.js').Unsent} Unsent
 */

/** Unsent messages older than this are not restored but removed: nobody expects them any more. */
const UNSENT_AGE = 7 * 24 * 3600_000;
/** What the names of all begin with that anybody left in the storage. */
const ANYBODYS = 'chatd:unsent:';

/** Messages in the order of sending, each kept until the server has answered for it. */
export class Outbox {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #limit;
  #storage;
  #prefix = '';

  /** @param {number} limit @param {Options['storage']} storage */
  constructor(limit, storage) {
    this.#limit = limit;
    this.#storage = storage;
  }

  /** Oldest first. */
  get all() {
    return [...this.#entries.values()];
  }

  /** Whether another page of the same user may restore what is in it. */
  get isShared() {
    return this.#prefix !== '';
  }

  /** @param {Unsent} unsent @param {string} [key] @returns {Entry} the one there is, if it was
   * added before */
  add(unsent, key = nameOf(unsent)) {
    const known = this.#entries.get(nameOf(unsent));
    if (known) return known;
    if (this.#entries.size >= this.#limit) {
      throw new ChatError('unsent_full', `${this.#limit} messages are waiting already.`);
    }
    /** @type {Entry} */
    const entry = { unsent, key, state: 'waiting', tries: 0, lost: 0, fatal: 0, renewed: false,
      answer: deferred() };
    this.#append(entry);
    return entry;
  }

  /** @param {Entry} entry */
  #append(entry) {
    const { unsent } = entry;
    // Strictly in order, also for who restores them: some are sent in one millisecond.
    unsent.at = Math.max(unsent.at, (this.all.at(-1)?.unsent.at ?? 0) + 1);
    this.#entries.set(nameOf(unsent), entry);
    this.keep(entry);
  }

  /** @param {{room: string, id: string}} which */
  get(which) {
    return this.#entries.get(nameOf(which));
  }

  /** @param {Entry} entry answered for */
  remove(entry) {
    clearTimeout(entry.timer);
    this.#entries.delete(nameOf(entry.unsent));
    if (this.#prefix) this.#try((storage) => storage.removeItem(this.#prefix + entry.key));
  }

  /** Take over what an earlier page of the same user left; what this one has sent comes after it.
   *
   * @param {string} user and server
   */
  restore(user) {
    if (this.#prefix || !this.#storage) return;
    const prefix = this.#prefix = `${ANYBODYS}${user}:`;
    const later = this.all;
    this.#try((storage) => {
      const names = Array.from({ length: storage.length }, (_, i) => storage.key(i) ?? '');
      const left = names.filter((name) => name.startsWith(ANYBODYS))
        .map((name) => ({ name, unsent: parse(storage.getItem(name) ?? '') }))
        .filter(({ name, unsent }) => {
          const isOld = !(Date.now() - unsent?.at < UNSENT_AGE);
          // A guest's name never comes again: whoever comes clears up after all.
          if (isOld) storage.removeItem(name);
          return !isOld;
        })
        .sort((a, b) => a.unsent.at - b.unsent.at);
      for (const { name, unsent } of left) {
        const key = name.slice(prefix.length);
        // A user's name may begin with another's and a colon; what is kept says where the name ends.
        if (name.startsWith(prefix) && typeof unsent.room === 'string'
          && [nameOf(unsent), unsent.id].includes(key)) this.add(unsent, key);
      }
    });
    for (const entry of later) {
      this.#entries.delete(nameOf(entry.unsent));
      this.#append(entry);
    }
  }

  /** Store it as it is now. @param {Entry} entry */
  keep({ key, unsent }) {
    if (!this.#prefix) return;
    this.#try((storage) => storage.setItem(this.#prefix + key, JSON.stringify(unsent)));
  }

  /** Storage may be full or forbidden; then messages live as long as the page. @param
   * {(storage: NonNullable<Options['storage']>) => void} use */
  #try(use) {
    attempt(() => this.#storage && use(this.#storage));
  }
}

/** @param {{room: string, id: string}} message of ours */
function nameOf({ room, id }) {
  return `${room}\n${id}`;
}
