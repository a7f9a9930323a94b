/**
 * What is in sight of an element that scrolls.
 *
 * @module page/viewport
 */

export class Viewport {
  #element;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
  }

  /** Pixels above what is in sight. */
  get above() {
    return this.#element.scrollTop;
  }

  /** Pixels below it. */
  get below() {
    const { scrollTop, scrollHeight, clientHeight } = this.#element;
    return scrollHeight - scrollTop - clientHeight;
  }

  /** Whether there is more than fits. */
  get isFull() {
    return this.#element.scrollHeight > this.#element.clientHeight;
  }

  toBottom() {
    this.#element.scrollTop = this.#element.scrollHeight;
  }

  /**
   * Change what is above without moving what is in sight.
   *
   * @param {{element: HTMLElement}[]} items messages, from above
   * @param {() => void} change
   */
  keepPlace(items, change) {
    const top = this.#element.getBoundingClientRect().top;
    const seen = items.find((one) => one.element.getBoundingClientRect().bottom > top)?.element;
    // The text, for the lines above it may come and go.
    const anchor = seen?.querySelector('.bubble');
    const was = anchor?.getBoundingClientRect().top ?? 0;
    change();
    if (!anchor?.isConnected) return;
    this.#element.scrollTop += anchor.getBoundingClientRect().top - was;
  }
}
