/**
 * The chat page: who we are, which room, who is there, what is said.
 *
 * `?room=R` and `?user=U` fill in the form, both together join at once; `#token=T` is a token for
 * a server that asks for one. A reload returns to the room.
 *
 * @module page
 */

import { Chat, ChatError, newId } from '../chatd.js';
import { face, Log, make, name } from './log.js';

/**
 * @typedef {import('../chatd.js').Room} Room
 * @typedef {import('../chatd.js').State} State
 */

/** How long someone is shown to be typing after the last sign of it, in ms. */
const TYPING = 5000;

const side = /** @type {HTMLElement} */ (document.getElementById('side'));
const join = /** @type {HTMLFormElement} */ (document.getElementById('join'));
const user = /** @type {HTMLInputElement} */ (document.getElementById('name'));
const room = /** @type {HTMLInputElement} */ (document.getElementById('room'));
const refusal = /** @type {HTMLElement} */ (document.getElementById('refusal'));
const waiting = /** @type {HTMLElement} */ (document.getElementById('waiting'));
const title = /** @type {HTMLElement} */ (document.getElementById('title'));
const state = /** @type {HTMLElement} */ (document.getElementById('state'));
const drawer = /** @type {HTMLButtonElement} */ (document.getElementById('drawer'));
const log = /** @type {HTMLElement} */ (document.getElementById('log'));
const latest = /** @type {HTMLButtonElement} */ (document.getElementById('latest'));
const typing = /** @type {HTMLElement} */ (document.getElementById('typing'));
const composer = /** @type {HTMLFormElement} */ (document.getElementById('composer'));
const text = /** @type {HTMLTextAreaElement} */ (document.getElementById('text'));

/** @type {Visit | null} */
let visit = null;

/** Browsers may forbid storage; then nothing is remembered. @param {'local' | 'session'} kind */
function memory(kind) {
  try {
    return kind === 'local' ? globalThis.localStorage : globalThis.sessionStorage;
  } catch {
    return undefined;
  }
}

/** One stay in one room. */
class Visit {
  #chat;
  /** @type {Log | null} */
  #log = null;
  /** @type {Room | null} */
  #room = null;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #typing = new Map();
  /** @type {Map<string, string>} our texts that are not acknowledged, by id */
  #said = new Map();
  #title = '';

  /** @param {string} me @param {string | null} token */
  constructor(me, token) {
    this.#chat = new Chat(new URL('.', document.baseURI), {
      storage: memory('local'),
      ...(token ? { token: () => token } : { user: me }),
    });
    this.#chat.on('state', (now) => this.#state(now));
    this.#chat.on('error', (error) => say(error.message));
  }

  /** @param {string} name */
  async enter(name) {
    const room = await this.#chat.join(name, { last: 50 });
    const me = this.#chat.user ?? '';
    this.#room = room;
    this.#title = title.textContent = room.name;
    this.#log = new Log(log, room, me, (reading) => this.#reading(reading));
    if (room.gap) this.#log.gap();
    room.on('gap', () => this.#log?.gap());
    room.on('message', (message) => {
      this.#log?.add(message);
      this.#stopTyping(message.user);
    });
    room.on('presence', ({ members, count }) => people(members, count, me));
    room.on('typing', (one) => one.user !== me && this.#startTyping(one.user));
    room.on('sent', ({ id }) => {
      this.#log?.sent(id);
      this.#said.delete(id);
    });
    room.on('failed', ({ id, error }) => this.#failed(id, error));
    room.on('closed', (error) => leave(error.message));
    people(room.members, room.count, me);
    for (const unsent of room.unsent) {
      this.#said.set(unsent.id, unsent.text);
      this.#log.sending(unsent);
    }
  }

  close() {
    this.#chat.close();
    this.#log?.close();
    for (const timer of this.#typing.values()) clearTimeout(timer);
    typing.textContent = '';
    document.title = 'chatd';
  }

  /** @param {string} text @param {string} [id] */
  send(text, id = newId()) {
    this.#said.set(id, text);
    this.#log?.sending({ id, text, at: Date.now() });
    void this.#log?.latest();
    // Its fate is told by the room's events, but for what never got under way.
    this.#room?.send(text, { id }).catch((error) => {
      if (error.code === 'unsent_full') this.#failed(id, error);
    });
  }

  /** @param {string} id @param {ChatError} error */
  #failed(id, error) {
    const text = this.#said.get(id);
    this.#log?.failed(id, error.message, () => text !== undefined && this.send(text, id));
  }

  typing() {
    this.#room?.typing();
  }

  latest() {
    void this.#log?.latest();
  }

  /** @param {State} now */
  #state({ state: what, transport, retry }) {
    const seconds = Math.round((retry ?? 0) / 1000);
    const words = {
      online: 'Online',
      connecting: 'Connecting…',
      offline: seconds > 2 ? `Offline – next try in ${seconds} s` : 'Offline',
    }[what];
    state.textContent = words;
    state.dataset.state = what;
    document.body.dataset.transport = transport ?? '';
    waiting.textContent = what === 'online' ? '' : words;
  }

  /** @param {import('./log.js').Reading} reading */
  #reading({ unread, following }) {
    document.title = `${unread ? `(${unread}) ` : ''}${this.#title} · chatd`;
    latest.hidden = following;
    latest.textContent = unread ? `↓ ${unread} new` : '↓ Latest';
  }

  /** @param {string} user */
  #startTyping(user) {
    clearTimeout(this.#typing.get(user));
    this.#typing.set(user, setTimeout(() => this.#stopTyping(user), TYPING));
    this.#showTyping();
  }

  /** @param {string} user */
  #stopTyping(user) {
    clearTimeout(this.#typing.get(user));
    if (this.#typing.delete(user)) this.#showTyping();
  }

  #showTyping() {
    const users = [...this.#typing.keys()].map((user) => name('b', user));
    if (users.length === 0) typing.replaceChildren();
    else if (users.length === 1) typing.replaceChildren(users[0], ' is typing…');
    else if (users.length === 2) typing.replaceChildren(users[0], ' and ', users[1], ' are typing…');
    else typing.replaceChildren('Several people are typing…');
  }
}

/** @param {string[]} members @param {number} count @param {string} me */
function people(members, count, me) {
  const list = members.map((member) => {
    const element = make('li');
    element.append(face(member), name('span', member));
    if (member === me) element.append(make('span', 'you', 'you'));
    return element;
  });
  if (count > members.length) list.push(make('li', 'more', `and ${count - members.length} more`));
  document.getElementById('members')?.replaceChildren(...list);
  for (const id of ['count', 'drawer-count']) {
    const element = document.getElementById(id);
    if (element) element.textContent = String(count);
  }
}

/** @param {string} why */
function say(why) {
  refusal.textContent = why;
}

/** @param {string} why */
function leave(why) {
  visit?.close();
  visit = null;
  memory('session')?.removeItem('chatd:in');
  document.body.classList.add('outside');
  waiting.textContent = '';
  say(why);
}

/** @param {boolean} open */
function draw(open) {
  document.body.classList.toggle('drawer', open);
  drawer.ariaExpanded = String(open);
}

async function enter() {
  visit?.close();
  say('');
  const me = user.value.trim();
  const here = visit = new Visit(me, token());
  try {
    await here.enter(room.value.trim());
  } catch (error) {
    if (here === visit) leave(error instanceof ChatError ? error.message : String(error));
    return;
  }
  if (here !== visit) return;
  document.body.classList.remove('outside');
  draw(false);
  const url = new URL(location.href);
  url.search = String(new URLSearchParams({ room: room.value.trim() }));
  history.replaceState(null, '', url);
  memory('session')?.setItem('chatd:in', me);
  memory('local')?.setItem('chatd:name', me);
  text.focus();
}

/** @returns {string | null} */
function token() {
  return new URLSearchParams(location.hash.slice(1)).get('token');
}

function fit() {
  text.style.height = 'auto';
  text.style.height = `${text.scrollHeight + 2}px`;
}

join.addEventListener('submit', (event) => {
  event.preventDefault();
  void enter();
});

composer.addEventListener('submit', (event) => {
  event.preventDefault();
  if (text.value.trim()) visit?.send(text.value);
  text.value = '';
  fit();
  text.focus();
});

text.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

text.addEventListener('input', () => {
  fit();
  if (text.value) visit?.typing();
});

latest.addEventListener('click', () => {
  visit?.latest();
  text.focus();
});

drawer.addEventListener('click', () => {
  draw(!document.body.classList.contains('drawer'));
  if (document.body.classList.contains('drawer')) side.focus();
});
document.getElementById('shade')?.addEventListener('click', () => draw(false));
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && document.body.classList.contains('drawer')) {
    draw(false);
    drawer.focus();
  }
});

const asked = new URLSearchParams(location.search);
const inside = memory('session')?.getItem('chatd:in');
room.value = asked.get('room') ?? room.value;
user.value = asked.get('user') ?? inside ?? memory('local')?.getItem('chatd:name') ?? '';
if (token()) user.closest('.field')?.setAttribute('hidden', '');
user.required = !token();
if (asked.get('room') && (asked.get('user') || inside || token())) void enter();
else (user.value ? room : user).focus();
