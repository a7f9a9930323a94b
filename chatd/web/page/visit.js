/**
 * One stay in one room: its chat, its conversation, its people.
 *
 * @module page/visit
 */

import { Chat } from '../chatd.js';
import { Authors } from './authors.js';
import { button, find } from './dom.js';
import { Log } from './log.js';
import { People } from './people.js';
import { departed, lingers } from './settings.js';
import { lasting } from './storage.js';
import { Typing } from './typing.js';

/**
 * @typedef {import('../chatd.js').ChatError} ChatError
 * @typedef {import('../chatd.js').Message} Message
 * @typedef {import('../chatd.js').Room} Room
 * @typedef {import('../chatd.js').State} State
 * @typedef {import('./log.js').Reading} Reading
 * @typedef {{name: string} | {token: () => string}} Who
 * @typedef {object} Hooks
 * @property {(now: State) => void} state
 * @property {(error: ChatError) => void} closed the server has ended the stay
 * @property {(message: Message) => void} heard somebody else has written
 * @property {(id: string, words: string) => void} failed a text was not taken
 * @property {(reading: Reading) => void} reading
 * @property {(text: string) => void} edit a text that was not taken is to be changed
 */

/** Messages shown on coming in. */
const BACKLOG = 50;
/** How long it may take to see who is there, in ms. */
const LOOK = 2000;

export class Visit {
  #chat;
  #hooks;
  #certain;
  #isOpen = true;
  /** The room that we have asked to be let in to. */
  #asked = '';
  /** @type {Room | null} */
  #room = null;
  /** @type {Log | null} */
  #log = null;
  /** @type {Authors | null} */
  #authors = null;
  #people = new People();
  #typing = new Typing();
  /** @type {Map<string, string>} our texts that are not acknowledged, by id */
  #said = new Map();

  /** @param {Who} who @param {Hooks} hooks */
  constructor(who, hooks) {
    this.#hooks = hooks;
    this.#certain = 'token' in who;
    this.#chat = new Chat(new URL('.', document.baseURI), {
      storage: lasting,
      ...('token' in who ? { token: who.token } : { user: who.name }),
    });
    this.#chat.on('state', (now) => this.#state(now));
  }

  /**
   * Resolves once we are let in; rejects with a ChatError if we are not.
   *
   * @param {string} name of the room
   * @param {boolean} look whether to see first who is there
   * @returns {Promise<boolean>} whether someone of our name was there before, who may be us
   */
  async enter(name, look) {
    const namesake = look && !this.#certain && !lingers(this.me, name)
      && await isHere(name, this.me);
    this.#asked = name;
    this.#room = await this.#chat.join(name, { last: BACKLOG });
    this.#room.on('closed', (error) => this.#hooks.closed(error));
    return namesake;
  }

  get room() {
    return this.#room?.name ?? '';
  }

  get me() {
    return this.#chat.user ?? '';
  }

  get state() {
    return this.#chat.state;
  }

  /** Take the page. */
  show() {
    const room = this.#room;
    if (!room) return;
    const { me } = this;
    const authors = this.#authors = new Authors(me, this.#certain);
    const log = this.#log = new Log(find('log', HTMLElement), room, authors, {
      changed: this.#hooks.reading,
      heard: this.#hooks.heard,
    });
    if (room.gap) log.gap();
    room.on('gap', () => log.gap());
    room.on('message', (message) => {
      log.add(message);
      this.#typing.stop(message.user);
    });
    room.on('presence', ({ members, count }) => this.#people.show(members, count, me));
    room.on('typing', ({ user }) => user !== me && this.#typing.start(user));
    room.on('sent', ({ id }) => this.#sent(id));
    room.on('failed', ({ id, error }) => this.#failed(id, error));
    this.#people.show(room.members, room.count, me);
    for (const { id, text, at } of room.unsent) this.#sending(id, text, at);
  }

  /** Whether anything can still come or go. */
  get isOpen() {
    return this.#isOpen;
  }

  /** The connection ends for good; what was said stays in sight. */
  end() {
    this.#isOpen = false;
    this.#chat.close();
  }

  close() {
    this.end();
    if (this.#asked) departed(this.me, this.#asked);
    this.#log?.close();
    this.#typing.clear();
  }

  // -- what we say

  /** @param {string} text @returns {boolean} whether it is on its way */
  send(text) {
    if (!this.#isOpen || !this.#authors) return false;
    const id = this.#authors.newId();
    this.#sending(id, text, Date.now());
    void this.#log?.latest();
    this.#hand(id, text);
    return true;
  }

  /** @param {string} id @param {string} text @param {number} at ms since 1970 */
  #sending(id, text, at) {
    this.#said.set(id, text);
    const said = { id, text, user: this.me, time: new Date(at).toISOString() };
    this.#log?.sending(said, this.#underWay);
  }

  /** @param {string} id @param {string} text */
  #hand(id, text) {
    this.#room?.send(text, { id }).catch((error) => {
      // Closed by ourselves: it is kept, and sent when we are back.
      if (error.code !== 'closed') this.#failed(id, error);
    });
  }

  get #underWay() {
    return this.state.state === 'online' ? 'Sending…' : 'Waits for the connection';
  }

  /** @param {string} id */
  #sent(id) {
    this.#log?.sent(id);
    this.#said.delete(id);
  }

  /** @param {string} id @param {ChatError} error */
  #failed(id, error) {
    const text = this.#said.get(id);
    if (text === undefined) return;
    const discard = () => {
      this.#log?.discard(id);
      this.#said.delete(id);
    };
    const again = button('Try again', () => {
      this.#log?.tell(id, this.#underWay);
      this.#hand(id, text);
    });
    const edit = button('Edit', () => {
      discard();
      this.#hooks.edit(text);
    });
    const words = `Not sent: ${error.message}`;
    this.#log?.tell(id, words, [again, edit, button('Discard', discard)]);
    this.#hooks.failed(id, words);
  }

  typing() {
    this.#room?.typing();
  }

  latest() {
    void this.#log?.latest();
  }

  /** Try to connect now, whenever the next try is due. */
  retry() {
    this.#chat.tryNow();
  }

  /** @param {State} now */
  #state(now) {
    for (const { id } of this.#room?.unsent ?? []) this.#log?.tell(id, this.#underWay);
    if (now.state === 'online') this.#log?.resume();
    this.#hooks.state(now);
  }
}

/**
 * @param {string} room
 * @param {string} user
 * @returns {Promise<boolean>} whether the server says that someone of that name is in the room
 */
async function isHere(room, user) {
  try {
    const url = new URL(`rooms/${encodeURIComponent(room)}`, new URL('.', document.baseURI));
    const response = await fetch(url, { signal: AbortSignal.timeout(LOOK), cache: 'no-store' });
    const { members } = await response.json();
    return response.ok && members.includes(user);
  } catch {
    return false;
  }
}
