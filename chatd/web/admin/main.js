/**
 * The operators' page: a key opens it; then it shows how chatd is doing, and looks after rooms.
 *
 * @module admin/main
 */

import { Announcer } from '../page/announcer.js';
import { find } from '../page/dom.js';
import { Api, RefusedError, words } from './api.js';
import { Board } from './board.js';
import { age } from './format.js';
import { forget, remember, remembered } from './key.js';
import { RoomDialog } from './room.js';
import { Rooms } from './rooms.js';
import { write } from './rows.js';
import { Watch } from './watch.js';

/** @typedef {import('./api.js').NodeState} NodeState */

const state = find('state', HTMLElement);
const title = find('title', HTMLElement);
const refusal = find('refusal', HTMLElement);
const key = find('key', HTMLInputElement);
const announcer = new Announcer(find('spoken', HTMLElement));
const say = (/** @type {string} */ said) => announcer.say(said);

let api = new Api('');
/** @type {Watch | null} */
let watch = null;
const hooks = { api: () => api, look: () => watch?.look(), say };
const board = new Board();
const dialog = new RoomDialog(hooks);
const rooms = new Rooms({ ...hooks, open: (room) => dialog.open(room) });

/** @param {string} shown the key */
function unlock(shown) {
  api = new Api(shown);
  watch?.stop();
  tell('wait', 'Connecting…');
  watch = new Watch({
    ask: () => api.state(rooms.query),
    show: (now) => show(now, shown),
    trouble,
    refused: (error) => lock(WHY[error.status] ?? error.message),
  });
  watch.look();
}

/** @param {NodeState} now @param {string} shown the key that opened it */
function show(now, shown) {
  if (document.body.classList.contains('locked')) {
    remember(shown);
    key.value = '';
    document.body.classList.remove('locked');
    title.focus();
  }
  board.show(now);
  rooms.show(now);
  void dialog.refresh();
  const name = { ready: 'Ready', draining: 'Going down' }[now.state] ?? 'Not ready';
  const { blocked, connected } = now.broker;
  const broker = blocked ? 'the broker takes no messages' : connected ? '' : 'the broker is away';
  const well = now.state === 'ready' && !broker;
  const spoken = broker ? `${name}, but ${broker}` : name;
  tell(well ? 'good' : 'bad', `${name}, up ${age(now.uptime)}`, spoken);
}

/** @param {unknown} error */
function trouble(error) {
  const said = error instanceof RefusedError ? error.message : 'Cannot be reached';
  tell('bad', said);
  if (document.body.classList.contains('locked')) write(refusal, words(error));
}

let told = '';

/** @param {string} how @param {string} shown @param {string} [spoken] said when it changes */
function tell(how, shown, spoken = shown) {
  state.dataset.state = how;
  write(state, shown);
  if (told && told !== spoken) say(spoken);
  told = spoken;
}

/** @param {string} why */
function lock(why) {
  watch?.stop();
  watch = null;
  api = new Api('');
  forget();
  told = '';
  dialog.close();
  document.body.classList.add('locked');
  write(state, '');
  write(refusal, why);
  key.focus();
}

/** @type {Record<number, string>} */
const WHY = {
  401: 'That is no admin key, and no token that is accepted here.',
  403: 'That token does not make you an administrator.',
  404: 'This chatd has no administration any more.',
};

find('unlock', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  write(refusal, '');
  unlock(key.value.trim());
});
find('lock', HTMLButtonElement).addEventListener('click', () => lock(''));

if (remembered()) unlock(remembered());
else key.focus();
