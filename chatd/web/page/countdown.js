/**
 * Seconds that pass in sight.
 *
 * @module page/countdown
 */

export class Countdown {
  #show;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;

  /** @param {(seconds: number) => void} show told each whole number of seconds that are left */
  constructor(show) {
    this.#show = show;
  }

  /** @param {number} ms until it is over */
  start(ms) {
    this.stop();
    const end = performance.now() + ms;
    const tick = () => {
      const seconds = Math.ceil((end - performance.now()) / 1000);
      if (seconds <= 0) this.stop();
      this.#show(Math.max(0, seconds));
    };
    this.#ticking = setInterval(tick, 250);
    tick();
  }

  stop() {
    clearInterval(this.#ticking);
  }
}
