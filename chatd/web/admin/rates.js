/**
 * What happens in a second, from what was counted so far. Behind a balancer each answer may be
 * another node's, so each node's counts are compared with its own.
 *
 * @module admin/rates
 */

/**
 * @typedef {import('./api.js').NodeState} NodeState
 * @typedef {{published: number, delivered: number, refused: number}} PerSecond
 */

export class Rates {
  /** @type {Map<string, NodeState>} */
  #before = new Map();

  /** @param {NodeState} now @returns {PerSecond | null} null if there is nothing to compare with */
  of(now) {
    const before = this.#before.get(now.node);
    this.#before.set(now.node, now);
    if (!before || before.uptime >= now.uptime) return null;
    const seconds = now.uptime - before.uptime;
    const rate = (/** @type {keyof PerSecond} */ name) => (now[name] - before[name]) / seconds;
    return { published: rate('published'), delivered: rate('delivered'), refused: rate('refused') };
  }
}
