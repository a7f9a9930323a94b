/** Keeping a link to the server: which transport, when to try again, when to look. */

import { ChatError } from './errors.js';
import { HttpLink } from './links/http.js';
import { SocketLink } from './links/socket.js';
import { LONGEST_TIMER, sleep } from './timing.js';
import { Transports } from './transports.js';

/**
 * @typedef {import('./types.js').End} End
 * @typedef {import('./types.js').Frame} Frame
 * @typedef {import('./types.js').Place} Place
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').State} State
 * @typedef {import('./types.js').Timer} Timer
 * @typedef {import('./wire.js').Wire} Wire
 * @typedef {SocketLink | HttpLink} Link
 * @typedef {{link: Link, level: number}} Better a link that works, and its place in the transports
 * @typedef {object} Owner What a connection asks of the chat, and tells it.
 * @property {() => Place[]} places the rooms to be in, and where to read on
 * @property {() => Place | undefined} joined a room that we are in
 * @property {() => void} authenticated a token is there, if one is needed
 * @property {(frame: Frame) => void} frame
 * @property {() => void} online
 * @property {() => void} offline nothing is under way any more
 * @property {(error: ChatError) => void} refused
 * @property {(error: ChatError) => void} error
 * @property {(state: State) => void} state
 */

/** Milliseconds after which a connection counts as having worked. */
const STABLE = 10_000;
/** The longest time until a better transport is tried again, in ms. */
const UPGRADE_MAX = 30 * 60_000;

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
  #finish = (/** @type {End & {better?: Better}} */ _) => {};
  #attempt = 0;
  #flaps = 0;
  /** The server has refused our token. */
  #stale = false;
  #upgradeDelay;
  #running = false;
  #closed = new AbortController();
  #wake = () => {};
  /** @type {Record<'renew' | 'upgrade' | 'watch', Timer | undefined>} */
  #timers = { renew: undefined, upgrade: undefined, watch: undefined };

  /** @param {Wire} wire @param {Settings} options @param {Owner} owner */
  constructor(wire, options, owner) {
    this.#wire = wire;
    this.#options = options;
    this.#owner = owner;
    this.#transports = new Transports(options, wire.name);
    this.#upgradeDelay = options.upgrade;
    this.#listen();
  }

  /** Fires when the connection is closed for good. */
  get closed() {
    return this.#closed.signal;
  }

  /** There is something to connect for. */
  start() {
    this.#wake();
    if (!this.#running) void this.#run();
  }

  /** The link is of no use any more. @param {ChatError} error */
  abandon(error) {
    this.#finish({ error });
  }

  /** End for good. */
  close() {
    this.#closed.abort();
    this.#finish({});
    this.#wake();
    this.#show('offline');
  }

  // -- one link after another

  async #run() {
    this.#running = true;
    while (!this.closed.aborted) {
      if (!this.#owner.places().length) await this.#pause(LONGEST_TIMER, true);
      const end = await this.#round();
      if (this.closed.aborted) return;
      const wait = end.retry ?? Math.random()
        * Math.min(this.#options.backoffMax, this.#options.backoff * 2 ** this.#attempt);
      this.#attempt = Math.min(this.#attempt + 1, 20);
      this.#show('offline', { retry: Math.round(wait), error: end.error });
      await this.#pause(wait, end.retry === undefined);
    }
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
        return this.#refused(new ChatError('unauthorized', `No token: ${error}`));
      }
      this.#owner.authenticated();
      const { lived, ...rest } = await this.#carry(this.#make(level), level);
      end = rest;
      this.#stale = end.error?.code === 'unauthorized';
      if (this.closed.aborted || lived) return end;
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
    return end;
  }

  /** @param {ChatError} error @returns {End} */
  #refused(error) {
    this.#owner.refused(error);
    return { error };
  }

  /** @param {number} level @returns {Link} */
  #make(level) {
    const transport = this.#transports.all[level];
    if (transport === 'websocket') return new SocketLink(this.#wire, this.#options);
    return new HttpLink(this.#wire, this.#options, transport === 'sse');
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
          this.#online(level);
        },
      };
      this.link = link;
      if (link.isUp) link.hooks.up();
      else link.open();
      for (const { room, position } of this.#owner.places()) link.join(room, position);
    });
    link.close();
    this.link = null;
    this.#finish = () => {};
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#owner.offline();
    if (end.better) return this.#carry(end.better.link, end.better.level);
    if (since) this.#judge(level, Date.now() - since, end);
    return since ? { ...end, lived: true } : end;
  }

  /** @param {number} level @param {number} lasted @param {End} end */
  #judge(level, lasted, end) {
    if (lasted >= STABLE) this.#attempt = this.#flaps = 0;
    else if (end.retry === undefined) this.#flaps += 1;
    // It is let through but does not last: the next transport may.
    if (this.#flaps >= 3 && level + 1 < this.#transports.all.length) {
      this.#flaps = 0;
      this.#transports.level = level + 1;
    }
  }

  /** @param {number} level */
  #online(level) {
    this.#transports.works(level);
    this.#show('online');
    this.#renewLater();
    if (level > 0) this.#upgradeLater();
    else this.#upgradeDelay = this.#options.upgrade;
    const { silence } = this.#options;
    const watch = () => {
      if ((this.link?.idle ?? 0) > silence) this.#check();
      this.#timers.watch = setTimeout(watch, silence / 4);
    };
    this.#timers.watch = setTimeout(watch, silence / 4);
    this.#owner.online();
  }

  #renewLater() {
    clearTimeout(this.#timers.renew);
    if (this.#wire.renewal === Infinity) return;
    const wait = Math.min(Math.max(0, this.#wire.renewal - Date.now()), LONGEST_TIMER);
    this.#timers.renew = setTimeout(async () => {
      const { link } = this;
      try {
        // A timer may be a little early: the time is not looked at again.
        await this.#wire.authenticate(true);
        if (link === this.link) link?.renew();
      } catch (error) {
        this.#owner.error(new ChatError('unauthorized', `No token: ${error}`));
        this.#wire.renewal = Date.now() + 5000 + Math.random() * 5000;
      }
      if (link && link === this.link) this.#renewLater();
    }, wait);
  }

  #upgradeLater() {
    clearTimeout(this.#timers.upgrade);
    const wait = this.#upgradeDelay * (0.5 + Math.random() / 2);
    this.#upgradeDelay = Math.min(this.#upgradeDelay * 2, UPGRADE_MAX);
    this.#timers.upgrade = setTimeout(() => this.#upgrade(), wait);
  }

  /** Try the better transports beside the one in use, and change over if one works. */
  async #upgrade() {
    const { link } = this;
    const place = this.#owner.joined();
    for (let level = 0; place && level < this.#transports.level; level += 1) {
      const better = this.#make(level);
      const works = await new Promise((resolve) => {
        better.hooks = { up: () => resolve(true), frame() {}, down: () => resolve(false) };
        better.open();
        if (better instanceof HttpLink) better.join(place.room, place.position);
      });
      if (works && link === this.link) return void this.#finish({ better: { link: better, level } });
      better.close();
      if (link !== this.link) return;
    }
    this.#upgradeLater();
  }

  // -- what the browser tells

  #listen() {
    const signal = this.closed;
    const page = globalThis.document;
    globalThis.addEventListener?.('online', () => this.#stir(true), { signal });
    globalThis.addEventListener?.('offline', () => this.#check(), { signal });
    page?.addEventListener('visibilitychange', () => {
      if (!page.hidden) this.#stir(false);
    }, { signal });
  }

  /** Someone looks again, or the network is back: do not wait any longer. @param {boolean} moved */
  #stir(moved) {
    this.#wake();
    if (!moved && (this.link?.idle ?? 0) < 5000) return;
    if (moved) {
      this.#attempt = 0;
      this.#upgradeDelay = this.#options.upgrade;
      if (this.link?.isUp && this.#transports.level > 0) this.#upgradeLater();
    }
    this.#check();
  }

  #check() {
    const place = this.#owner.joined();
    if (place && this.link?.isUp) this.link.check(place.room, place.position);
  }

  /** @param {number} ms @param {boolean} interruptible @returns {Promise<void>} */
  async #pause(ms, interruptible) {
    const over = new AbortController();
    this.#wake = () => (interruptible || this.closed.aborted) && over.abort();
    await sleep(ms, over.signal);
    this.#wake = () => {};
  }

  /** @param {State['state']} state @param {{retry?: number, error?: ChatError}} [more] */
  #show(state, { retry, error } = {}) {
    const transport = state === 'online' ? this.#transports.all[this.#transports.level] : null;
    const now = { state, transport, retry: retry ?? null, error: error ?? null };
    const same = JSON.stringify(now) === JSON.stringify(this.state);
    this.state = now;
    if (!same) this.#owner.state(now);
  }
}
