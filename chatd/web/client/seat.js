/** Our place in one room, however many handles there are to it. */

import { closed } from './errors.js';
import { deferred } from './timing.js';
import { key } from './wire.js';

/**
 * @typedef {import('./errors.js').ChatError} ChatError
 * @typedef {import('./room.js').Room} Room
 * @typedef {import('./room.js').RoomEvents} RoomEvents
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Message} Message
 * @typedef {import('./types.js').Position} Position
 * @typedef {import('./types.js').RoomState} RoomState
 * @typedef {import('./types.js').Timer} Timer
 */

/** Ids remembered per room to drop repetitions: the server's own window. */
const WINDOW = 1000;
/** The past has been read when nothing more came for so long, and is taken for read, in a room
 * where something is said all the time, after so long. In ms. */
const QUIET = 250;
const PAST = 2000;

/** What the server tells of one room, for all handles to it. */
export class Seat {
  /** @type {Set<Room>} */
  handles = new Set();
  /** @type {string[]} */
  members = [];
  count = 0;
  /** @type {string | null} where we are */
  cursor = null;
  /** Up to where the handles were told: a room that is joined again begins before that.
   * @type {string | null} */
  told = null;
  /** @type {RoomState} */
  state = { state: 'joining', error: null };
  /** The server has let us in once. */
  entered = deferred();
  hasEntered = false;
  /** The past has been read since we came in; anew after each interruption. */
  current = deferred();
  isCurrent = false;
  /** How many handles were given out and not left, those still joining included. */
  wanted = 0;
  #start;
  #seen = new Set();
  #caughtUp;
  /** What is being read was missed in an interruption. */
  #isBack = false;
  /** @type {Timer | undefined} */
  #quiet;
  /** When reading the past began, and how much it was. */
  #since = 0;
  #recovered = 0;
  #lost = false;
  /** Where we were when the link asked last whether we are. @type {string | null} */
  #asked = null;
  /** Up to where all comes once more. @type {string | null} */
  #repeated = null;

  /**
   * @param {string} name
   * @param {Position} start
   * @param {() => void} current called when the past has been read
   */
  constructor(name, start, current) {
    this.name = name;
    this.#start = start;
    this.#caughtUp = current;
  }

  /** Where to read on. @returns {Position} */
  get position() {
    return this.cursor ? { after: this.cursor } : this.#start;
  }

  /** Where we are, to be asked for once more: what is on its way already comes twice then.
   * @returns {Position} */
  again() {
    this.#asked = this.cursor;
    return this.position;
  }

  get isJoined() {
    return this.state.state === 'joined';
  }

  /** @param {Frame} frame */
  receive(frame) {
    if (frame.type === 'message') this.#message(/** @type {any} */ (frame));
    else if (frame.type === 'cursor') this.cursor = frame.cursor;
    else if (frame.type === 'typing') this.tell('typing', { user: frame.user });
    else if (frame.type === 'gap') this.#gapped(frame.cursor ?? null);
    else if (frame.type === 'presence') this.#present(frame);
    else if (frame.type === 'joined') this.#joined(frame);
  }

  /** The link has ended. */
  away() {
    clearTimeout(this.#quiet);
    if (this.isCurrent) this.current = deferred();
    this.isCurrent = false;
    if (this.isJoined) this.#become('joining');
  }

  /** We are in it no more. @param {ChatError} [error] why, unless we left */
  end(error) {
    clearTimeout(this.#quiet);
    this.entered.reject(error ?? closed());
    this.current.reject(error ?? closed());
    this.#become('closed', error);
    for (const handle of this.handles) handle._end(error);
  }

  /**
   * @template {keyof RoomEvents} Name
   * @param {Name} name @param {RoomEvents[Name]} value
   */
  tell(name, value) {
    for (const handle of this.handles) handle._emit(name, value);
  }

  /** @param {RoomState['state']} state @param {ChatError} [error] */
  #become(state, error) {
    this.state = { state, error: error ?? null };
    this.tell('state', this.state);
  }

  /** @param {Frame} frame */
  #joined(frame) {
    const again = this.isJoined;
    const was = this.cursor;
    const known = again && was !== null && was === this.told && frame.cursor !== was;
    // What was asked for before this comes no more.
    this.#repeated = known && frame.cursor === this.#asked && !frame.gap ? was : null;
    this.cursor = this.#repeated ?? frame.cursor ?? was;
    if (!again) {
      this.#since = Date.now();
      this.#recovered = 0;
      this.#lost = frame.gap;
      this.#isBack = this.hasEntered;
      this.#listen();
    }
    if (frame.gap) this.#gapped(frame.cursor ?? null); // where it ends, not where we were
    this.#present(frame);
    if (!again) this.#become('joined');
    if (!this.hasEntered) this.told = this.cursor;
    this.hasEntered = true;
    this.entered.resolve(undefined);
  }

  /** Still in the past; when nothing more comes, it is over. */
  #listen() {
    clearTimeout(this.#quiet);
    const wait = Math.min(QUIET, this.#since + PAST - Date.now());
    this.#quiet = setTimeout(() => {
      this.isCurrent = true;
      this.current.resolve(undefined);
      if (this.#isBack) this.tell('recovered', { count: this.#recovered, gap: this.#lost });
      this.#caughtUp();
    }, wait);
  }

  /** @param {string | null} cursor */
  #gapped(cursor) {
    this.#lost = true;
    this.#repeated = null;
    for (const handle of this.handles) handle._gapped(cursor);
  }

  /** @param {Message} message */
  #message(message) {
    if (!this.isCurrent) this.#listen();
    if (this.#repeated !== null) {
      if (message.cursor === this.#repeated) this.#repeated = null;
      return;
    }
    this.cursor = message.cursor;
    if (this.#seen.has(key(message))) return;
    this.#seen.add(key(message));
    const [oldest] = this.#seen;
    if (this.#seen.size > WINDOW) this.#seen.delete(oldest);
    this.#recovered += 1;
    this.told = message.cursor;
    for (const handle of this.handles) handle._push(message);
  }

  /** @param {Frame} frame who is here (members), or who came and went (joined, left) */
  #present({ members, joined = [], left = [], count }) {
    const before = new Set(this.members);
    const now = new Set(members ?? before);
    for (const user of left) now.delete(user);
    for (const user of joined) now.add(user);
    this.members = [...now].sort((a, b) => a.localeCompare(b));
    this.count = count ?? now.size;
    this.tell('presence', {
      members: this.members,
      count: this.count,
      joined: this.members.filter((user) => !before.has(user)),
      left: [...before].filter((user) => !now.has(user)),
    });
  }
}
