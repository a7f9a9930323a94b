/** Events, and calling the functions of an application. */

import { checkNames } from './errors.js';

/** @template {Record<string, any>} Events */
export class Emitter {
  /** @type {Map<string, Map<Function, (value: any) => void>>} by event: listener, how it is called */
  #listeners = new Map();
  #events;

  /** @param {readonly string[]} events their names */
  constructor(events) {
    this.#events = events;
    bind(this);
  }

  /**
   * Call `listener` at each event `name`.
   *
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(value: Events[Name]) => void} listener
   * @returns {() => void} ends it
   */
  on(name, listener) {
    return this._listen(name, listener, listener);
  }

  /**
   * Call `listener` at the next event `name` only.
   *
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(value: Events[Name]) => void} listener
   * @returns {() => void} ends it
   */
  once(name, listener) {
    return this._listen(name, listener, (value) => {
      this.off(name, listener);
      listener(value);
    });
  }

  /**
   * Call `listener` at the event `name` no more.
   *
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(value: Events[Name]) => void} listener
   */
  off(name, listener) {
    this.#of(name).delete(listener);
  }

  /**
   * @param {string} name @param {Function} listener @param {(value: any) => void} heard
   * @returns {() => void} @protected
   */
  _listen(name, listener, heard) {
    this.#of(name).set(listener, heard);
    return () => this.off(name, /** @type {any} */ (listener));
  }

  /**
   * @template {keyof Events & string} Name
   * @param {Name} name @param {Events[Name]} value
   * @package
   */
  _emit(name, value) {
    for (const heard of [...this.#of(name).values()]) call(heard, value);
  }

  /** @param {string} name */
  #of(name) {
    checkNames('event', [name], this.#events);
    const listeners = this.#listeners.get(name) ?? new Map();
    this.#listeners.set(name, listeners);
    return listeners;
  }
}

/**
 * Make every member work on `self` whatever `this` is: frameworks wrap objects in proxies, whose
 * `this` has no private fields (Vue's `reactive`), and applications take functions off.
 *
 * @param {object} self
 */
function bind(self) {
  for (let type = Object.getPrototypeOf(self); type !== Object.prototype;
    type = Object.getPrototypeOf(type)) {
    for (const name of Reflect.ownKeys(type)) {
      const member = /** @type {any} */ (Object.getOwnPropertyDescriptor(type, name));
      if (name === 'constructor' || Object.hasOwn(self, name)) continue;
      const kind = member.get ? 'get' : 'value';
      Object.defineProperty(self, name, { ...member, [kind]: member[kind].bind(self) });
    }
  }
}

/**
 * Call an application's function; what it throws is its own affair, not the connection's.
 *
 * @template {any[]} Values
 * @param {(...values: Values) => void} listener
 * @param {Values} values
 */
export function call(listener, ...values) {
  try {
    listener(...values);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
