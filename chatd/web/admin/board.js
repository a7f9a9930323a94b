/**
 * What this node says of itself: figures, broker, nodes, slow readers, refusals.
 *
 * @module admin/board
 */

import { find, make } from '../page/dom.js';
import { age, count, figure, rate, since } from './format.js';
import { Rates } from './rates.js';
import { Rows, tableRow, write } from './rows.js';
import { Spark } from './spark.js';

/**
 * @typedef {import('./api.js').NodeState} NodeState
 * @typedef {import('./api.js').Broker} Broker
 * @typedef {import('./api.js').Neighbour} Neighbour
 * @typedef {import('./api.js').Refused} Refused
 */

/** One figure, large, its line below. */
class Tile {
  #value = make('span', 'value', '–');
  #spark = new Spark();

  /** @param {string} name @param {string} unit */
  constructor(name, unit = '') {
    const tile = make('div', 'tile');
    const said = make('dd');
    said.append(this.#value, make('span', 'soft', unit), this.#spark.element);
    tile.append(make('dt', '', name), said);
    find('tiles', HTMLElement).append(tile);
  }

  /** @param {number | null} value @param {(value: number) => string} format */
  show(value, format) {
    if (value === null) return;
    write(this.#value, format(value));
    this.#spark.add(value);
  }
}

export class Board {
  #rates = new Rates();
  #tiles = {
    clients: new Tile('Clients'),
    published: new Tile('Messages in', ' /s'),
    delivered: new Tile('Deliveries', ' /s'),
    behind: new Tile('Readers behind'),
    refused: new Tile('Refusals', ' /s'),
  };
  #now = '';
  #broker = find('broker-state', HTMLElement);
  #why = find('broker-why', HTMLElement);
  /** @type {Rows<Broker['figures'][number]>} */
  #figures = new Rows(find('broker-figures', HTMLElement), (one) => one.name, brokerFigure);
  /** @type {Rows<Neighbour>} */
  #nodes = new Rows(find('nodes', HTMLElement), (one) => one.node, nodeRow);
  #behind = new Rows(find('behind', HTMLElement), readerKey, readerRow);
  /** @type {Rows<Refused>} */
  #refusals = new Rows(
    find('refusals', HTMLElement),
    (one) => `${one.address} ${one.code}`,
    () => this.#refusalRow(),
  );

  /** @param {NodeState} state */
  show(state) {
    const { clients, behind, version } = state;
    this.#now = state.time;
    const per = this.#rates.of(state);
    this.#tiles.clients.show(clients, count);
    this.#tiles.behind.show(behind, count);
    this.#tiles.published.show(per && per.published, rate);
    this.#tiles.delivered.show(per && per.delivered, rate);
    this.#tiles.refused.show(per && per.refused, rate);
    this.#showBroker(state.broker);
    const own = { node: state.node, missed: false, ago: -1, version, clients, behind, rooms: 0 };
    this.#nodes.show([own, ...state.nodes]);
    this.#behind.show(numbered(state.readers));
    this.#refusals.show(state.refusals);
    orNone('behind', state.readers.length);
    orNone('refusals', state.refusals.length);
  }

  /** @param {Broker} broker */
  #showBroker({ kind, connected, blocked, alarms, figures }) {
    const [words, how] = connected ? ['Connected', 'good'] : ['Away', 'bad'];
    write(this.#broker, blocked ? `Takes no messages: ${alarms.join(', ')} alarm` : words);
    this.#broker.dataset.state = blocked ? 'bad' : how;
    write(this.#why, blocked || NAMES[kind] || kind);
    this.#figures.show(figures);
  }

  #refusalRow() {
    const { row, cells: [what, who, when] } = tableRow(['', '', 'number']);
    const code = make('span', 'code');
    const [line, why, address, user] = ['line', 'soft', 'line', 'soft name'].map(
      (style) => make('div', style),
    );
    user.dir = 'auto';
    what.append(code, line, why);
    who.append(address, user);
    return {
      row,
      fill: (/** @type {Refused} */ one) => {
        write(code, one.count > 1 ? `${one.code} × ${count(one.count)}` : one.code);
        write(line, one.what);
        write(why, one.why);
        write(address, one.address);
        write(user, one.user);
        write(when, since(one.time, this.#now));
      },
    };
  }
}

/** @type {Record<string, string>} */
const NAMES = {
  sqlite: 'SQLite, one file, this node alone',
  memory: 'Memory: a restart loses everything',
  amqp: 'RabbitMQ',
  amqps: 'RabbitMQ, over TLS',
};

/** A table, or the words that there is nothing in it. @param {string} id @param {number} rows */
function orNone(id, rows) {
  const table = find(id, HTMLElement).closest('table');
  if (table) table.hidden = !rows;
  find(`${id}-none`, HTMLElement).hidden = rows > 0;
}

/** @param {Broker['figures'][number]} one */
function brokerFigure({ text }) {
  const row = make('div');
  const value = make('dd');
  row.append(make('dt', '', text.replace(/\.$/, '')), value);
  return {
    row,
    fill: (/** @type {Broker['figures'][number]} */ one) => write(value, figure(one.name, one.value)),
  };
}

function nodeRow() {
  const { row, cells: [name, clients, behind, heard] } = tableRow(['', 'number', 'number', 'number']);
  const [line, version] = [make('div', 'line'), make('div', 'soft')];
  name.append(line, version);
  return {
    row,
    fill: (/** @type {Neighbour} */ one) => {
      write(line, one.node);
      write(version, one.version && `version ${one.version}`);
      write(clients, count(one.clients));
      write(behind, count(one.behind));
      const ago = one.missed ? `not for ${age(one.ago)}` : `${age(one.ago)} ago`;
      write(heard, one.ago < 0 ? 'this node' : ago);
      row.classList.toggle('trouble', one.missed);
    },
  };
}

/**
 * @typedef {NodeState['readers'][number] & {number: number}} Reader
 * @param {NodeState['readers']} readers one user may read a room several times
 * @returns {Reader[]}
 */
function numbered(readers) {
  return readers.map((one, number) => ({ ...one, number }));
}

/** @param {Reader} one */
function readerKey(one) {
  return String(one.number);
}

function readerRow() {
  const { row, cells: [user, room, behind] } = tableRow(['name', 'name', 'number']);
  user.dir = room.dir = 'auto';
  return {
    row,
    fill: (/** @type {Reader} */ one) => {
      write(user, one.user || 'nobody in particular');
      write(room, one.room);
      write(behind, count(one.behind));
    },
  };
}
