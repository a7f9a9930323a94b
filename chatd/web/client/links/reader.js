/** Reading one room over HTTP: by an event stream, by long polls, or by what another tab reads. */

import { stream } from './events.js';

/**
 * @typedef {import('../errors.js').ChatError} ChatError
 * @typedef {import('../types.js').Frame} Frame
 * @typedef {import('../types.js').Page} Page
 * @typedef {import('../types.js').Position} Position
 * @typedef {import('../types.js').Settings} Settings
 * @typedef {import('../wire.js').Wire} Wire
 * @typedef {import('./tabs.js').Share} Share
 *
 * @typedef {object} Shared
 * @property {Wire} wire
 * @property {import('./requests.js').Requests} requests
 * @property {Settings} options
 * @property {import('./tabs.js').Tabs} tabs
 * @property {boolean} streaming
 * @property {number} wait seconds that a poll asks to wait
 * @property {() => boolean} isUp
 * @property {() => void} heard called with each sign of the server
 * @typedef {Shared & import('./loader.js').Kit} Way
 *   How rooms are read, and what that takes; shared by all readers of a link.
 */

/** Milliseconds between two questions of a reader that may not wait for news; and the time for
 * another tab to tell what was found without it. */
const TURN = 3000;
/** Milliseconds after which one who hears the news from another tab looks for itself. */
const SURE = 30_000;
/** Milliseconds between two looks at who is here, while polling. */
const HERE = 15_000;
/** Seconds that a poll waits at least, however it is cut short on the way. */
const SHORTEST = 5;
/** News kept from another tab; whoever falls behind looks for itself. */
const NEWS = 500;

/** One room, from a position on. */
export class Reader {
  #way;
  #room;
  #position;
  #after = '';
  #over = new AbortController();
  /** Ends the request under way, not the reading. */
  #request = new AbortController();
  /** It waits for news. */
  #waits = false;
  /** @type {Share | null} */
  #share = null;
  #looked = 0;

  /** @param {Way} way @param {string} room @param {Position} position */
  constructor(way, room, position) {
    this.#way = way;
    this.#room = room;
    this.#position = position;
  }

  get stopped() {
    return this.#over.signal.aborted;
  }

  stop() {
    this.#over.abort();
    this.#request.abort();
    this.#share?.leave();
  }

  /** Ask anew from where we are: with a new token, on a new connection, or because others need
   * this one. Who asks in turn does so anyway. */
  restart() {
    if (this.#waits) this.#request.abort();
  }

  /**
   * The room's frames, `joined` first; it comes when the way there has proved to work.
   *
   * @returns {AsyncGenerator<Frame, number | undefined>} returns the ms to wait when it has ended
   */
  async* frames() {
    const { tabs, wire } = this.#way;
    const room = this.#room;
    const page = await this.#page({ limit: 500, ...this.#position });
    this.#after = page.cursor;
    this.#share = await tabs.share(`${wire.user}\n${room}`);
    if (this.stopped) this.stop();
    const news = this.#news();
    const first = await news.next();
    if (first.done) return first.value;
    const cursor = page.messages.length ? undefined : page.cursor;
    yield { ...await this.#here(), type: 'joined', cursor, gap: page.gap };
    yield* this.#said({ ...page, gap: false });
    return yield* news;
  }

  /** The first item says only that news can be had.
   * @returns {AsyncGenerator<Frame, number | undefined>} */
  async* #news() {
    if (this.#share && !this.#share.leads) yield* this.#follow(this.#share);
    while (!this.stopped) {
      const release = await this.#way.tabs.slot();
      this.#waits = Boolean(release);
      this.#request = new AbortController();
      const { signal } = this.#request;
      if (this.stopped) this.stop();
      try {
        if (release && this.#way.streaming) return yield* this.#lead(this.#stream(signal));
        yield* this.#lead(this.#poll(Boolean(release), signal));
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        release?.();
      }
    }
    return undefined;
  }

  /** Pass the news on to the tabs that follow, each with what it follows.
   * @template T @param {AsyncGenerator<Frame, T>} news @returns {AsyncGenerator<Frame, T>} */
  async* #lead(news) {
    for (;;) {
      const { value: frame, done } = await news.next();
      if (done) return frame;
      if (!this.stopped) this.#share?.channel.postMessage({ after: this.#after, frame });
      if (frame.cursor) this.#after = frame.cursor;
      yield frame;
    }
  }

  /** @param {AbortSignal} signal */
  #stream(signal) {
    const { patience } = this.#way.options;
    return stream(this.#way, this.#room, this.#after, { patience, signal });
  }

  /** @param {boolean} waiting @param {AbortSignal} signal @returns {AsyncGenerator<Frame, void>} */
  async* #poll(waiting, signal) {
    yield { type: 'started' };
    const begun = Date.now();
    const wait = waiting ? this.#way.wait : 0;
    try {
      const page = await this.#page({ after: this.#after, wait, limit: 500 }, signal);
      yield* this.#said(page);
      if (!waiting && !page.messages.length) await this.#way.sleep(TURN, signal);
    } catch (error) {
      await this.#cut(/** @type {ChatError} */ (error), (Date.now() - begun) / 1000, signal);
    }
    if (this.#way.since(this.#looked) > HERE) yield await this.#here();
  }

  /** A poll has failed after `lasted` seconds; throws if that is more than an incident.
   * @param {ChatError} error @param {number} lasted @param {AbortSignal} signal */
  async #cut(error, lasted, signal) {
    if (!error.temporary || signal.aborted) throw error;
    if (error.code === 'rate_limited' && this.#way.isUp()) {
      await this.#way.sleep(error.retry ?? TURN, signal);
    } else if (lasted >= SHORTEST && this.#way.wait > SHORTEST) {
      // Cut short on the way rather than refused: ask for half as long.
      this.#way.wait = Math.max(SHORTEST, Math.min(this.#way.wait, lasted) / 2);
    } else {
      throw error;
    }
  }

  /**
   * What the tab that leads reads. A message that does not follow the one we have is not taken:
   * then we look for ourselves, as also now and then, and who is here. If nothing comes of what is
   * found then, we read for ourselves: browsers stop hidden tabs, and leave them their locks.
   *
   * @param {Share} share
   * @returns {AsyncGenerator<Frame, void>}
   */
  async* #follow(share) {
    /** @type {{after: string, frame: Frame}[]} */
    const heard = [];
    let nudge = new AbortController();
    share.granted = () => nudge.abort();
    this.#over.signal.addEventListener('abort', () => nudge.abort());
    share.channel.onmessage = ({ data }) => {
      if (heard.push(data) > NEWS) heard.length = 0;
      nudge.abort();
    };
    yield { type: 'started' };
    while (!share.leads && !this.stopped) {
      heard.length = 0;
      const page = await this.#page({ after: this.#after, limit: 500 });
      yield* this.#said(page);
      this.#after = page.cursor;
      if (this.#way.since(this.#looked) >= SURE) yield await this.#here();
      if (page.messages.length) {
        if (await this.#way.sleep(TURN, nudge.signal)) return void (yield await this.#here());
        continue;
      }
      const until = Date.now() + SURE;
      while (!share.leads && !this.stopped && Date.now() < until) {
        const { after, frame } = heard.shift() ?? {};
        if (!frame) {
          nudge = new AbortController();
          await this.#way.sleep(until - Date.now(), nudge.signal);
        } else if (frame.type !== 'message') {
          if (['presence', 'typing'].includes(frame.type)) yield frame;
        } else if (after === this.#after) {
          this.#after = frame.cursor;
          yield frame;
        } else if (frame.cursor !== this.#after) {
          break;
        }
      }
    }
  }

  /** @param {Page} page @returns {Generator<Frame>} */
  * #said({ gap, messages, cursor }) {
    if (gap) yield { type: 'gap', room: this.#room };
    yield* messages;
    yield { type: 'cursor', room: this.#room, cursor };
  }

  /** @param {Record<string, unknown>} query @param {AbortSignal} [signal] @returns {Promise<Page>} */
  async #page(query, signal = this.#over.signal) {
    const { heard, isUp, options, requests, streaming } = this.#way;
    const timeout = Number(query.wait ?? 0) * 1000 + (isUp() ? options.answer : options.patience);
    const how = { query, timeout, signal };
    const page = await (streaming && query.wait === undefined ? requests.read(this.#room, how)
      : requests.messages(this.#room, how));
    heard();
    return page;
  }

  /** @returns {Promise<Frame>} */
  async #here() {
    this.#looked = Date.now();
    const { isUp, options, requests } = this.#way;
    const timeout = isUp() ? options.answer : options.patience;
    const how = { timeout, signal: this.#over.signal };
    const { members, count } = await requests.here(this.#room, how);
    return { type: 'presence', room: this.#room, members, count };
  }
}
