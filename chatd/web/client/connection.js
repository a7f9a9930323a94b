/** Keeping a link to the server: which transport, when to try again, when to look. */

import { ChatError, closed } from './errors.js';
import { HttpLink } from './links/http.js';
import { SocketLink } from './links/socket.js';
import { Tabs } from './links/tabs.js';
import { deferred, LONGEST_TIMER, sleep } from './timing.js';
import { Transports } from './transports.js';
import { Upkeep } from './upkeep.js';

/**
 * @typedef {import('./types.js').End} End
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Place} Place
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').State} State
 * @typedef {import('./wire.js').Wire} Wire
 * @typedef {import('./types.js').Owner} Owner
 * @typedef {SocketLink | HttpLink} Link
 * @typedef {{link: Link, level: number}} Better a link that works, and its place in the transports
 */


/** One link after another, until closed. */
export class Connection {
  /** @type {State} */
  state = { state: 'offline', transport: null, retry: null, error: null };
  /** @type {Link | null} */
  link = null;
  #wire;
  #options;
  #owner;
  #transports;
  #tabs;
  #finish = (/** @type {End & {better?: Better}} */ _) => {};
  #attempt = 0;
  /** The server has refused our token. */
  #stale = false;
  #running = false;
  /** Someone wants to be connected, whether rooms are joined or not. */
  #wanted = false;
  /** Someone wants to be disconnected. */
  #parted = false;
  /** What `connect` waits for. */
  #online = deferred();
  /** The origin's refusal was written to the console. */
  #told = false;
  #closed = new AbortController();
  #wake = (/** @type {boolean} */ _) => {};
  #upkeep;

  /** @param {Wire} wire @param {Settings} options @param {Owner} owner */
  constructor(wire, options, owner) {
    this.#wire = wire;
    this.#options = options;
    this.#owner = owner;
    this.#tabs = new Tabs(wire.name);
    this.#transports = new Transports(options, wire.name);
    this.#upkeep = new Upkeep(wire, options, {
      check: () => this.#check(),
      upgrade: () => this.#upgrade(),
      tokenless: (error) => owner.error(noToken(error)),
    });
    listen(this.closed, {
      online: () => this.#stir(true),
      offline: () => this.#check(),
      shown: () => this.#stir(false),
    });
  }

  /** Fires when the connection is closed for good. */
  get closed() {
    return this.#closed.signal;
  }

  /** There is something to connect for. */
  start() {
    this.#wake(false);
    if (!this.#running) void this.#run();
  }

  /** @returns {Promise<void>} fulfilled when online, rejected if the server refuses */
  async connect() {
    if (this.closed.aborted) throw closed();
    this.#wanted = true;
    this.#parted = false;
    this.tryNow();
    this.start();
    if (this.state.state !== 'online') await this.#online.promise;
  }

  disconnect() {
    this.#wanted = false;
    this.#parted = true;
    this.#finish({});
    this.#wake(true);
  }

  tryNow() {
    this.#wake(true);
    this.#stir(true);
  }

  /** The link is of no use any more. @param {ChatError} error */
  abandon(error) {
    this.#finish({ error });
  }

  /** End for good. */
  close() {
    this.#closed.abort();
    this.#finish({});
    this.#wake(true);
    this.#online.reject(closed());
    this.#tabs.close();
    this.#show('offline');
  }

  // -- one link after another

  async #run() {
    this.#running = true;
    /** @type {End} */
    let end = {};
    while (!this.closed.aborted) {
      for (; this.#idle; await this.#pause(LONGEST_TIMER, true)) this.#show('offline', end);
      end = await this.#round();
      if (this.closed.aborted) return;
      if (this.#idle) continue;
      const wait = end.retry ?? Math.random()
        * Math.min(this.#options.backoffMax, this.#options.backoff * 2 ** this.#attempt);
      this.#attempt = Math.min(this.#attempt + 1, 20);
      this.#show('offline', { ...end, retry: Math.round(wait) });
      await this.#pause(wait, end.retry === undefined);
    }
  }

  /** Whether there is nothing to connect for. */
  get #idle() {
    return !this.closed.aborted
      && (this.#parted || (!this.#wanted && !this.#owner.places().length));
  }

  /** Try the transports from the remembered one down, until one has worked and ended.
   * @returns {Promise<End>} */
  async #round() {
    /** @type {End} */
    let end = {};
    let renewed = false;
    for (let level = this.#transports.level; level < this.#transports.all.length; level += 1) {
      this.#show('connecting');
      try {
        await this.#wire.authenticate(this.#stale);
        renewed ||= this.#stale;
        this.#stale = false;
      } catch (error) {
        return this.#refused(noToken(error));
      }
      if (this.closed.aborted || this.#parted) return end;
      this.#owner.authenticated();
      const { lived, ...rest } = await this.#carry(this.#make(level), level);
      end = rest;
      this.#stale = end.error?.code === 'unauthorized';
      if (this.closed.aborted || this.#parted || lived) return end;
      if (this.#stale && end.error) {
        if (renewed || !this.#options.token) return this.#refused(end.error);
        // A WebSocket does not tell why it was refused: the better transports have a new chance.
        level = this.#transports.level - 1;
      } else if (end.retry !== undefined) {
        return end;
      }
    }
    // Nothing works: the place may have changed, so nothing that was learnt counts.
    this.#transports.level = 0;
    const barred = await this.#wire.barred();
    if (!barred || this.closed.aborted) return end;
    if (!this.#told) console.error(barred.message);
    this.#told = true;
    return this.#refused(barred);
  }

  /** @param {ChatError} error @returns {End} */
  #refused(error) {
    this.#owner.refused(error);
    this.#online.reject(error);
    this.#online = deferred();
    this.#wanted = false;
    return { error };
  }

  /** @param {number} level @returns {Link} */
  #make(level) {
    const transport = this.#transports.all[level];
    return transport === 'websocket' ? new SocketLink(this.#wire, this.#options) : new HttpLink(this.#wire, this.#options, transport === 'sse', this.#tabs);
  }

  /**
   * Let a link carry the chat until it ends.
   *
   * @param {Link} link @param {number} level
   * @returns {Promise<End & {lived?: boolean}>} lived: it worked at all
   */
  async #carry(link, level) {
    let since = 0;
    /** @type {End & {better?: Better}} */
    const end = await new Promise((resolve) => {
      this.#finish = resolve;
      link.hooks = {
        frame: (frame) => this.#owner.frame(frame),
        down: resolve,
        up: (user) => {
          if (user) this.#wire.user = user;
          if (since) return;
          since = Date.now();
          this.#begin(level);
        },
      };
      this.link = link;
      if (link.isUp) link.hooks.up();
      else link.open();
      for (const { name, position } of this.#owner.places()) link.join(name, position);
    });
    this.#wire.debug('end', end);
    link.close();
    this.link = null;
    this.#finish = () => {};
    this.#upkeep.end();
    this.#owner.offline(end);
    if (end.better) return this.#carry(end.better.link, end.better.level);
    if (!since) return end;
    if (this.#transports.ended(Date.now() - since, end)) this.#attempt = 0;
    return { ...end, lived: true };
  }

  /** @param {number} level */
  #begin(level) {
    this.#transports.works(level);
    this.#show('online');
    if (this.link) this.#upkeep.begin(this.link, level === 0);
    this.#online.resolve(undefined);
    this.#online = deferred();
    this.#owner.online();
  }

  /** Try the better transports beside the one in use, and change over if one works.
   * @returns {Promise<boolean>} whether it is over: changed, or the link has ended */
  async #upgrade() {
    const { link } = this;
    const place = this.#joined;
    for (let level = 0; place && level < this.#transports.level; level += 1) {
      const better = this.#make(level);
      const works = await better.works(place.name, place.position);
      if (works && link === this.link) {
        this.#finish({ better: { link: better, level } });
        return true;
      }
      better.close();
      if (link !== this.link) return true;
    }
    return false;
  }

  // -- what the browser tells

  /** Someone looks again, or the network is back: do not wait any longer. @param {boolean} moved */
  #stir(moved) {
    this.#wake(false);
    if (!moved && (this.link?.idle ?? 0) < 5000) return;
    if (moved) {
      this.#attempt = 0;
      this.#upkeep.moved(!this.link?.isUp || this.#transports.level === 0);
    }
    this.#check();
  }

  /** A room that we are in. @returns {Place | undefined} */
  get #joined() {
    return this.#owner.places().find(({ state }) => state.state === 'joined');
  }

  #check() {
    const place = this.#joined;
    if (place && this.link?.isUp) this.link.check(place.name, place.position);
  }

  /** @param {number} ms @param {boolean} interruptible @returns {Promise<void>} */
  async #pause(ms, interruptible) {
    const over = new AbortController();
    this.#wake = (anyhow) => (interruptible || anyhow) && over.abort();
    await sleep(ms, over.signal);
    this.#wake = () => {};
  }

  /** @param {State['state']} state @param {{retry?: number, error?: ChatError}} [more] */
  #show(state, { retry, error } = {}) {
    const transport = state === 'online' ? this.#transports.all[this.#transports.level] : null;
    const now = { state, transport, retry: retry ?? null, error: error ?? null };
    const same = JSON.stringify(now) === JSON.stringify(this.state);
    this.state = now;
    if (same) return;
    this.#wire.debug('state', now);
    this.#owner.state(now);
  }
}

/** @param {unknown} error what the application's function threw */
function noToken(error) {
  return new ChatError('unauthorized', `No token: ${error}`, undefined, error);
}

/** Hear what the browser tells. @param {AbortSignal} signal
 * @param {Record<'online' | 'offline' | 'shown', () => void>} hear */
function listen(signal, { online, offline, shown }) {
  const page = globalThis.document;
  globalThis.addEventListener?.('online', online, { signal });
  globalThis.addEventListener?.('offline', offline, { signal });
  page?.addEventListener('visibilitychange', () => page.hidden || shown(), { signal });
}
