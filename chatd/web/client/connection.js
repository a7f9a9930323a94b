/** Keeps a link to the server: chooses the transport, tries again, checks a silent link. */

import { listen } from './browser.js';
import { asChatError, ChatError, closed, noToken } from './errors.js';
import { Loader } from './links/loader.js';
import { ceiling, deferred, LONGEST_TIMER, sleep } from './timing.js';
import { Transports } from './transports.js';
import { renew, watch } from './upkeep.js';

/**
 * @typedef {import('./types.js').End} End
 * @typedef {import('./types.js').Place} Place
 * @typedef {import('./types.js').Settings} Settings
 * @typedef {import('./types.js').State} State
 * @typedef {import('./wire.js').Wire} Wire
 * @typedef {import('./types.js').Owner} Owner
 * @typedef {import('./links/loader.js').Link} Link
 * @typedef {{link: Link, level: number}} Better a link that works, and its place in the transports
 */

/** Longest wait that a server may ask for, in ms. */
const LONGEST_RETRY = 300_000;

/** One link after another, until closed. */
export class Connection {
  /** @type {State} */
  state = { state: 'offline', transport: null, retry: null, error: null };
  /** @type {Link | null} */
  link = null;
  #wire;
  #options;
  #owner;
  /** The factory of links. */
  links;
  transports;
  /** Milliseconds until a better transport is tried. */
  delay;
  #finish = (/** @type {End & {better?: Better}} */ _) => {};
  #attempt = 0;
  /** The server has refused our token. */
  #stale = false;
  /** @type {Promise<void> | undefined} */
  #running;
  /** Whether to be connected, as someone has said; null: while there are rooms.
   * @type {boolean | null} */
  #wish = null;
  /** The page has been left, and may be come back to. */
  #away = false;
  /** What `connect` waits for. */
  #online = deferred();
  /** The origin's refusal was written to the console. */
  #told = false;
  #wake = (/** @type {boolean} */ _) => {};
  /** Fires when the link that is looked after is up no more. */
  #tending = new AbortController();

  /** @param {Wire} wire @param {Settings} options @param {Owner} owner */
  constructor(wire, options, owner) {
    this.#wire = wire;
    this.#options = options;
    this.#owner = owner;
    this.links = new Loader(wire, options);
    this.transports = new Transports(options, wire.name);
    this.delay = options.upgrade;
    listen(this.closed, {
      online: () => this.#stir(true),
      offline: () => this.#check(),
      // A browser that keeps the page, to come back to, does not say goodbye for it.
      pagehide: () => {
        this.#away = true;
        this.#finish({ retry: 0 });
      },
      shown: () => this.#stir(false),
    });
  }

  /** Fires when the connection is closed for good. */
  get closed() {
    return this.#wire.closed;
  }

  /** Connect, because a room was joined. */
  start() {
    this.#wake(false);
    this.#running ??= this.#run();
  }

  /** @returns {Promise<void>} fulfilled when online, rejected if the server refuses */
  async connect() {
    if (this.closed.aborted) throw closed();
    this.#wish = true;
    this.tryNow();
    this.start();
    if (this.state.state !== 'online') await this.#online.promise;
  }

  disconnect() {
    this.#wish = false;
    this.#finish({});
    this.#wake(true);
    this.#show('offline');
  }

  tryNow() {
    this.#wake(true);
    this.#stir(true);
  }

  /** Give the link up. @param {ChatError} error */
  abandon(error) {
    this.#finish({ error });
  }

  /** End for good. */
  close() {
    this.#wire.close();
    this.#finish({});
    this.#wake(true);
    this.#online.reject(closed());
    this.#show('offline');
  }

  // -- one link after another

  async #run() {
    /** @type {End} */
    let end = {};
    while (!this.closed.aborted) {
      const { error } = end;
      for (; this.#idle; await this.#pause(LONGEST_TIMER, true)) this.#show('offline', { error });
      end = await this.#round();
      if (this.closed.aborted) return;
      if (this.#idle) continue;
      const wait = end.retry === undefined ? Math.random() * ceiling(this.#options, this.#attempt)
        : Math.min(end.retry, LONGEST_RETRY);
      this.#attempt += 1;
      this.#show('offline', { ...end, retry: Math.round(wait) });
      await this.#pause(wait, end.retry === undefined);
    }
  }

  /** Whether there is nothing to connect for. */
  get #idle() {
    return !this.closed.aborted && (this.#away || !(this.#wish ?? this.#owner.places().length));
  }

  /** Whether someone has ended this while it tried. */
  get #unwanted() {
    return this.closed.aborted || this.#wish === false;
  }

  /** Try the transports from the remembered one down, until one has worked and ended.
   * @returns {Promise<End>} */
  async #round() {
    /** @type {End} */
    let end = {};
    let renewed = false;
    for (let level = this.transports.level; level < this.transports.all.length; level += 1) {
      this.#show('connecting');
      try {
        await this.#wire.authenticate(this.#stale);
        renewed ||= this.#stale;
      } catch (error) {
        return this.#refused(noToken(error));
      }
      if (this.#unwanted) return end;
      let lived;
      [end, lived] = await this.#carry(this.make(level), level);
      this.#stale = end.error?.code === 'unauthorized';
      if (this.#unwanted || lived) return end;
      if (this.#stale && end.error) {
        if (renewed || !this.#options.token) return this.#refused(end.error);
        // A WebSocket does not tell why it was refused: the better transports have a new chance.
        level = this.transports.level - 1;
      } else if (end.retry !== undefined) {
        return end;
      }
    }
    // Nothing works: the place may have changed, so nothing that was learnt counts.
    this.transports.level = 0;
    const barred = await this.#wire.barred();
    if (!barred) return end; // or closed meanwhile: that ends the question
    if (!this.#told) console.error(barred.message);
    this.#told = true;
    return this.#refused(barred);
  }

  /** @param {ChatError} error @returns {End} */
  #refused(error) {
    this.#owner.refused(error);
    this.#online.reject(error);
    this.#online = deferred();
    this.#wish &&= null;
    return { error };
  }

  /** @param {number} level of a transport @returns {Promise<Link>} */
  make(level) {
    return this.links.make(this.transports.all[level]);
  }

  /**
   * Let a link carry the chat until it ends.
   *
   * @param {Promise<Link>} coming @param {number} level
   * @returns {Promise<[End, boolean]>} why it ended, and whether it worked at all
   */
  async #carry(coming, level) {
    let since = 0;
    /** @type {End & {better?: Better}} */
    const end = await new Promise((resolve) => {
      this.#finish = resolve;
      coming.then((link) => {
        if (this.#finish !== resolve) return;
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
      }).catch((error) => resolve({ error: asChatError(error) }));
    });
    this.#wire.debug('end', end);
    this.link?.close();
    this.link = null;
    this.#finish = () => {};
    this.#tend();
    this.#owner.offline(end);
    if (end.better) return this.#carry(Promise.resolve(end.better.link), end.better.level);
    if (since && this.transports.ended(Date.now() - since, end)) this.#attempt = 0;
    return [end, since > 0];
  }

  /** @param {number} level */
  #begin(level) {
    this.transports.works(level);
    // What waited goes before what a listener to `state` sends.
    this.#owner.online();
    this.#show('online');
    this.#tend();
    this.#online.resolve(undefined);
    this.#online = deferred();
  }

  /** Let another link carry the chat. @param {Link} link @param {number} level */
  change(link, level) {
    this.#finish({ better: { link, level } });
  }

  // -- while a link is up

  /** Look after the link there is now, if any, and no more after an earlier one. */
  #tend() {
    this.#tending.abort();
    this.#tending = new AbortController();
    const { link } = this;
    const { signal } = this.#tending;
    if (!link?.isUp) return;
    void watch(link, this.#options.silence, () => this.#check(), signal);
    void renew(link, this.#wire, (error) => this.#owner.tell('error', noToken(error)), signal);
    if (!this.transports.level) this.delay = this.#options.upgrade;
    else this.links.http().then(({ improve }) => improve(this, signal)).catch(() => {});
  }

  // -- what the browser tells

  /** Someone looks again, or the network is back: do not wait any longer. @param {boolean} moved */
  #stir(moved) {
    this.#away = false;
    this.#wake(false);
    if (!moved && (this.link?.idle ?? 0) < 5000) return;
    if (moved) {
      this.#attempt = 0;
      this.delay = this.#options.upgrade;
      this.#tend();
    }
    this.#check();
  }

  /** A room that we are in. @returns {Place | undefined} */
  get joined() {
    return this.#owner.places().find(({ isJoined }) => isJoined);
  }

  /** Whether a WebSocket may have as many rooms as there are. */
  get fits() {
    return this.#owner.places().length <= (this.#wire.limits.rooms ?? Infinity);
  }

  #check() {
    const place = this.joined;
    if (place && this.link?.isUp) this.link.check(place);
  }

  /** @param {number} ms @param {boolean} interruptible @returns {Promise<void>} */
  async #pause(ms, interruptible) {
    const over = new AbortController();
    this.#wake = (anyhow) => (interruptible || anyhow) && over.abort();
    await sleep(ms, over.signal);
  }

  /** @param {State['state']} state @param {{retry?: number, error?: ChatError}} [more] */
  #show(state, { retry, error } = {}) {
    const transport = state === 'online' ? this.transports.all[this.transports.level] : null;
    const now = { state, transport, retry: retry ?? null, error: error ?? null };
    const same = JSON.stringify(now) === JSON.stringify(this.state);
    this.state = now;
    if (same) return;
    this.#wire.debug('state', now);
    this.#owner.tell('state', now);
  }
}
