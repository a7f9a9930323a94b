/**
 * A line of what a figure was lately, without axes: its shape is what matters. What it says in
 * numbers stands beside it.
 *
 * @module admin/spark
 */

const SVG = 'http://www.w3.org/2000/svg';
const KEPT = 60;
const [WIDTH, HEIGHT] = [120, 28];

export class Spark {
  /** @type {number[]} */
  #values = [];
  #line = document.createElementNS(SVG, 'polyline');
  element = document.createElementNS(SVG, 'svg');

  constructor() {
    this.element.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute('preserveAspectRatio', 'none');
    this.element.setAttribute('aria-hidden', 'true');
    this.element.classList.add('spark');
    this.element.append(this.#line);
  }

  /** @param {number} value */
  add(value) {
    this.#values = [...this.#values, value].slice(-KEPT);
    const most = Math.max(...this.#values, 1e-9);
    const points = this.#values.map((one, i) => {
      const x = WIDTH - (this.#values.length - 1 - i) * (WIDTH / (KEPT - 1));
      return `${x.toFixed(1)},${(HEIGHT - 2 - (one / most) * (HEIGHT - 4)).toFixed(1)}`;
    });
    this.#line.setAttribute('points', points.join(' '));
  }
}
