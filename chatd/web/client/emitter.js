/** Events, and calling the functions of an application. */

/** @template {Record<string, any>} Events */
export class Emitter {
  /** @type {Map<keyof Events, Set<(value: any) => void>>} */
  #listeners = new Map();

  /**
   * Call `listener` at each event `name`.
   *
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {(value: Events[Name]) => void} listener
   * @returns {() => void} ends it
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {Events[Name]} value
   * @protected
   */
  emit(name, value) {
    for (const listener of [...this.#listeners.get(name) ?? []]) call(listener, value);
  }
}

/**
 * Call an application's function; what it throws is its own affair, not the connection's.
 *
 * @template T
 * @param {(value: T) => void} listener
 * @param {T} value
 */
export function call(listener, value) {
  try {
    listener(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
