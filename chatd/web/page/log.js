/**
 * The conversation as one scrolls through it: a window of bounded size on a room's messages.
 *
 * Near its upper end older messages are fetched, near its lower end newer ones; what is far from
 * the part in sight is taken out again.
 *
 * @module page/log
 */

import { make } from './dom.js';
import { SENT } from './message.js';
import { key, Timeline } from './timeline.js';
import { Viewport } from './viewport.js';

/**
 * @typedef {import('../chatd.js').Message} Message
 * @typedef {import('../chatd.js').Room} Room
 * @typedef {import('./authors.js').Authors} Authors
 * @typedef {import('./message.js').Said} Said
 * @typedef {{unread: number, following: boolean}} Reading
 */

/** Messages in the document at most, fetched at once, and how near an end is near, in pixels. */
const SHOWN = 300;
const FETCHED = 100;
const NEAR = 600;
/** So close to the end one follows it, in pixels. */
const FOLLOWING = 48;
/** So long after coming in, what is shown is what was said before, in ms. */
const BACKLOG = 1500;
/** After a failure nothing is fetched for so long, in ms. */
const REST = 5000;
/** So often it is looked whether another day has begun, in ms. */
const DAYS = 60_000;
const FAILED = 'More cannot be fetched right now.';

export class Log {
  #element;
  #room;
  #authors;
  #hooks;
  #timeline;
  #viewport;
  #top = make('p', 'edge');
  #empty = make('p', 'empty', 'Nothing has been said here yet.');
  /** @type {Message[]} what came in and is not shown yet */
  #queue = [];
  /** @type {Message | null} the last that came in */
  #last = null;
  /** The newest messages are not in the document: one has scrolled far up. */
  #detached = false;
  #following = true;
  #loading = false;
  /** The newest are to be shown once what is being fetched has come. */
  #wanted = false;
  #complete = false;
  #scheduled = false;
  #unread = 0;
  #began = performance.now();
  /** Runs after a failure. @type {ReturnType<typeof setTimeout> | undefined} */
  #resting;
  #ended = new AbortController();

  /**
   * @param {HTMLElement} element with role "log"; it is emptied
   * @param {Room} room
   * @param {Authors} authors
   * @param {{changed: (reading: Reading) => void, heard: (message: Message) => void}} hooks told
   *   when something becomes unread or read; told each message that others write from now on
   */
  constructor(element, room, authors, hooks) {
    this.#element = element;
    this.#room = room;
    this.#authors = authors;
    this.#hooks = hooks;
    this.#timeline = new Timeline(authors);
    this.#viewport = new Viewport(element);
    element.replaceChildren(this.#top, this.#timeline.element, this.#empty);
    const { signal } = this.#ended;
    element.addEventListener('scroll', () => this.#scrolled(), { passive: true, signal });
    document.addEventListener('visibilitychange', () => this.#look(), { signal });
    globalThis.addEventListener('focus', () => this.#look(), { signal });
    const sizes = new ResizeObserver(() => this.#following && this.#toBottom());
    sizes.observe(element);
    sizes.observe(this.#timeline.element);
    const days = setInterval(() => this.#timeline.turn(), DAYS);
    signal.addEventListener('abort', () => {
      sizes.disconnect();
      clearInterval(days);
      clearTimeout(this.#resting);
      element.ariaBusy = null;
    });
    this.#look();
  }

  close() {
    this.#ended.abort();
  }

  /** @param {Message} message the next one, live */
  add(message) {
    this.#last = message;
    this.#queue.push(message);
    this.#passBy(this.#queue.splice(0, this.#queue.length - SHOWN));
    if (!this.#new && !this.#authors.isOurs(message)) this.#hooks.heard(message);
    if (this.#scheduled || this.#loading) return;
    this.#scheduled = true;
    // A page that is not in sight is given no frames.
    if (document.hidden) setTimeout(() => this.#flush(), 50);
    else requestAnimationFrame(() => this.#flush());
  }

  /** What comes next does not follow on what is shown. */
  gap() {
    this.#timeline.gap();
  }

  /** Show the newest messages and stay with them; until they can be had, the last there are. */
  async latest() {
    this.#following = !this.#detached;
    this.#viewport.toBottom();
    this.#wanted = this.#loading;
    if (this.#detached && !this.#loading) {
      await this.#load(async () => {
        const last = /** @type {Message} */ (this.#last);
        // Not the last hundred: where they are too long for one answer, it begins with the oldest.
        const { messages } = await this.#ask({ before: last.cursor, limit: FETCHED - 1 });
        this.#timeline.clear();
        this.#detached = this.#complete = false;
        this.#following = true;
        this.#append([...messages, last]);
      });
    }
    this.#look();
  }

  // -- our own messages

  /** @param {Said} said @param {string} words what is done with it */
  sending(said, words) {
    this.#timeline.sending(said);
    this.tell(said.id, words);
    this.#look();
  }

  /** @param {string} id @param {string} words @param {HTMLButtonElement[]} [actions] */
  tell(id, words, actions) {
    this.#timeline.tell(id, words, actions);
    if (this.#following) this.#toBottom();
  }

  /** @param {string} id */
  discard(id) {
    this.#timeline.discard(id);
    this.#look();
  }

  /** @param {string} id acknowledged; the message itself may have come already or not */
  sent(id) {
    this.tell(id, SENT);
    // What is being fetched may have it in its place.
    if (this.#detached && !this.#loading) this.discard(id);
  }

  // -- what is shown

  #flush() {
    this.#scheduled = false;
    if (this.#loading || this.#ended.signal.aborted) return;
    const messages = this.#queue.splice(0);
    this.#detached ||= !this.#following && this.#timeline.items.length + messages.length > SHOWN;
    if (this.#detached) this.#passBy(messages);
    else {
      this.#count(messages);
      this.#append(messages);
    }
    if (this.#following) this.#toBottom();
    this.#look();
    if (!this.#viewport.isFull) void this.#older();
  }

  /** @param {Message[]} messages not to be shown now */
  #passBy(messages) {
    this.#count(messages);
    for (const message of messages) {
      if (this.#authors.isOurs(message)) this.#timeline.discard(message.id);
    }
  }

  /** @param {Message[]} messages that follow on what is shown */
  #append(messages) {
    this.#timeline.append(messages);
    this.#cutTop();
  }

  #cutTop() {
    const extra = this.#timeline.items.length - SHOWN;
    if (extra <= 0) return;
    this.#viewport.keepPlace(this.#timeline.items, () => this.#timeline.cutTop(extra));
    this.#complete = false;
    this.#top.textContent = '';
  }

  /** The network is back, or may be: fetch what could not be had. */
  resume() {
    if (!this.#resting) return;
    clearTimeout(this.#resting);
    this.#resting = undefined;
    this.#reach();
  }

  async #older() {
    const { first } = this.#timeline;
    if (!first || this.#loading || this.#complete || this.#resting) return;
    this.#top.textContent = 'Looking further back…';
    await this.#load(async () => {
      const { messages, more } = await this.#ask({ before: first.cursor, limit: FETCHED });
      this.#complete = !more;
      this.#top.textContent = this.#complete ? 'Nothing older is kept.' : '';
      if (first !== this.#timeline.first) return;
      this.#viewport.keepPlace(this.#timeline.items, () => this.#timeline.prepend(messages));
      if (this.#following) return this.#cutTop();
      const extra = this.#timeline.items.length - SHOWN;
      if (extra > 0) this.#timeline.cutBottom(extra);
      this.#detached ||= extra > 0;
      return undefined;
    });
  }

  async #newer() {
    const { last } = this.#timeline;
    if (!last || this.#loading || !this.#detached || this.#resting) return;
    const newest = this.#last;
    await this.#load(async () => {
      const { messages, gap } = await this.#ask({ after: last.cursor, limit: FETCHED });
      const place = messages.findIndex((one) => newest && key(one) === key(newest));
      if (gap) this.gap();
      // Nothing, and more came in: the node that answers is behind the one that told of it.
      else if (!messages.length && newest?.cursor !== last.cursor) throw new Error('It is behind.');
      // A page may be short for its messages are long; what follows on the newest is yet to come in.
      if (place >= 0 || !messages.length) this.#detached = false;
      this.#append(place < 0 ? messages : messages.slice(0, place + 1));
    });
  }

  /** @param {{before?: string, after?: string, limit: number}} query until we are closed */
  #ask(query) {
    return this.#room.history({ ...query, signal: this.#ended.signal });
  }

  /**
   * Fetch something, one thing at a time; what comes in meanwhile is shown afterwards, unless
   * it was among what was fetched, or came before that.
   *
   * @param {() => Promise<void>} fetch
   */
  async #load(fetch) {
    this.#loading = true;
    this.#element.ariaBusy = 'true';
    try {
      await fetch();
      if (this.#top.textContent === FAILED) this.#top.textContent = '';
    } catch {
      if (this.#ended.signal.aborted) return;
      this.#top.textContent = FAILED;
      clearTimeout(this.#resting);
      this.#resting = setTimeout(() => this.resume(), REST);
    }
    this.#loading = false;
    this.#element.ariaBusy = null;
    const shown = new Set(this.#timeline.items.map(({ said }) => key(said)));
    const known = this.#queue.map((message) => shown.has(key(message))).lastIndexOf(true);
    this.#passBy(this.#queue.splice(0, known + 1));
    this.#flush();
    if (this.#ended.signal.aborted) return;
    if (this.#wanted) await this.latest();
    else this.#scrolled();
  }

  // -- scrolling and reading

  #scrolled() {
    this.#following = !this.#detached && this.#viewport.below < FOLLOWING;
    this.#reach();
    this.#look();
  }

  /** Fetch what one is near to. */
  #reach() {
    if (this.#viewport.above < NEAR) void this.#older();
    if (this.#viewport.below < NEAR) void this.#newer();
  }

  #toBottom() {
    if (!this.#detached) this.#viewport.toBottom();
  }

  get #watched() {
    return !document.hidden && document.hasFocus() && this.#following;
  }

  get #new() {
    return performance.now() - this.#began < BACKLOG;
  }

  /** @param {Message[]} messages that have just come */
  #count(messages) {
    for (const message of messages) {
      if (this.#authors.isOurs(message) || this.#watched || this.#new) continue;
      if (this.#unread === 0) this.#timeline.divide(message);
      this.#unread += 1;
    }
  }

  #look() {
    if (this.#watched) this.#unread = 0;
    this.#empty.hidden = this.#timeline.element.childElementCount > 0;
    this.#hooks.changed({ unread: this.#unread, following: this.#following });
  }
}
