/**
 * What the tabs of one browser share of a server. A browser keeps six connections to it (HTTP/1.1);
 * readers that wait for news must leave some to those who write, in whichever tab.
 *
 * With Web Locks and BroadcastChannel one tab reads a room for all of the same user, and the
 * connections that wait are counted across users. Without, the tabs count one another in
 * localStorage, and without that too nobody waits: every reader asks in turn. Browsers deny locks
 * where they deny storage.
 */

/**
 * @typedef {object} Share One room that several tabs read.
 * @property {BroadcastChannel} channel from the tab that leads to those that follow
 * @property {boolean} leads
 * @property {() => void} granted called when we come to lead
 * @property {() => void} leave
 */

/** Connections that may wait for news. */
const WAITING = 4;
/** A tab tells the others so often that it is there; unheard of for so long, it is gone: browsers
 * let a hidden tab's timers run once a minute. In ms. */
const BEAT = 20_000;
const GONE = 90_000;

/** The tabs that have this server open, this one among them. */
export class Tabs {
  /** Called when waiting connections must be given up: there are more tabs than before. */
  crowded = () => {};
  #name;
  #own;
  #waiting = 0;
  /** There are locks, and we may ask for them. @type {Promise<unknown>} */
  #canLock = (async () => globalThis.document && globalThis.BroadcastChannel
    && navigator.locks.query())().catch(() => null);
  #closed;
  #counted = false;

  /**
   * @param {string} server its address @param {string} tab an id of this one
   * @param {AbortSignal} closed this tab has done with it
   */
  constructor(server, tab, closed) {
    this.#closed = closed;
    this.#name = `chatd:tab:${server}:`;
    this.#own = this.#name + tab;
  }

  /**
   * The right to hold one more connection that waits.
   *
   * @returns {Promise<(() => void) | null>} gives it back; null if there are enough already
   */
  async slot() {
    if (await this.#canLock) {
      for (let number = 0; number < WAITING; number += 1) {
        const release = await this.#lock(this.#name + number, { ifAvailable: true });
        if (release) return release;
      }
      return null;
    }
    this.#count();
    if (this.#waiting >= this.#allowance()) return null;
    this.#waiting += 1;
    return () => void (this.#waiting -= 1);
  }

  /**
   * The right to read a room for all tabs of this user, where tabs can share.
   *
   * @param {string} what user and room
   * @returns {Promise<Share | null>}
   */
  async share(what) {
    if (!await this.#canLock) return null;
    const name = `${this.#name}${what}`;
    const over = new AbortController();
    const channel = new BroadcastChannel(name);
    /** @type {Share} */
    const share = { channel, leads: true, granted: () => {}, leave: () => over.abort() };
    const leave = await this.#lock(name, { ifAvailable: true });
    over.signal.addEventListener('abort', () => {
      leave?.();
      channel.close();
    });
    if (leave) return share;
    share.leads = false;
    const { signal } = over;
    this.#lock(name, { signal }).then((release) => {
      if (signal.aborted) return release?.();
      signal.addEventListener('abort', () => release?.());
      share.leads = true;
      return share.granted();
    }, () => {});
    return share;
  }

  /** @param {string} name @param {LockOptions} options @returns {Promise<(() => void) | null>} */
  #lock(name, options) {
    return new Promise((resolve, reject) => {
      navigator.locks.request(name, options, (lock) => (lock
        ? new Promise((release) => resolve(() => release(undefined))) : resolve(null))).catch(reject);
    });
  }

  /** Begin to be counted. */
  #count() {
    if (this.#counted || !globalThis.document) return;
    this.#counted = true;
    const signal = this.#closed;
    const tell = () => this.#use((storage) => storage.setItem(this.#own, String(Date.now())));
    const end = () => this.#use((storage) => storage.removeItem(this.#own));
    tell();
    const beat = setInterval(tell, BEAT);
    signal.addEventListener('abort', () => {
      clearInterval(beat);
      end();
    });
    globalThis.addEventListener('pagehide', end, { signal });
    globalThis.addEventListener('pageshow', tell, { signal });
    globalThis.addEventListener('storage', ({ key }) => {
      if (key?.startsWith(this.#name) && this.#waiting > this.#allowance()) this.crowded();
    }, { signal });
  }

  /** How many connections of this tab may wait. */
  #allowance() {
    if (!globalThis.document) return WAITING;
    const tabs = this.#use((storage) => Object.keys(storage).filter((key) =>
      key.startsWith(this.#name) && Number(storage.getItem(key)) > Date.now() - GONE).length);
    return tabs ? Math.floor(WAITING / tabs) : 0;
  }

  /** @template T @param {(storage: Storage) => T} use @returns {T | undefined} */
  #use(use) {
    try {
      return use(localStorage);
    } catch {
      // Forbidden, or none: then we know of no other tab, and of none that there is no other.
      return undefined;
    }
  }
}
