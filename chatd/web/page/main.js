/**
 * The chat page: who we are, which room, who is there, what is said.
 *
 * @module page/main
 */

import { Announcer } from './announcer.js';
import { Composer } from './composer.js';
import { ConnectionView } from './connection.js';
import { find } from './dom.js';
import { Drawer } from './drawer.js';
import { Entry } from './entry.js';
import { Notice } from './notice.js';
import { explain, explainEnd, NEEDED, REFUSED } from './refusals.js';
import { arrived, left, longest, setToken, start, token, tokens } from './settings.js';
import { Visit } from './visit.js';

/**
 * @typedef {import('../chatd.js').State} State
 * @typedef {import('./refusals.js').Refusal} Refusal
 */

const title = find('title', HTMLElement);
const latest = find('latest', HTMLButtonElement);
const announcer = new Announcer(find('spoken', HTMLElement));
const notice = new Notice(announcer);
const drawer = new Drawer();
const connection = new ConnectionView(announcer, () => current?.retry());
const entry = new Entry(tokens, {
  enter: () => void enter(),
  say: (words) => announcer.say(words),
});
const composer = new Composer({
  send: (text) => current?.send(text) ?? false,
  typing: () => current?.typing(),
  limit: () => longest,
  say: (words) => announcer.say(words),
});

/** Where we are. @type {Visit | null} */
let current = null;
/** Where we are about to be: until then we stay where we are. @type {Visit | null} */
let coming = null;

/** @param {boolean} [again] we were there until a moment ago, and may still seem to be */
async function enter(again = false) {
  const entered = entry.entered;
  const { name, room } = entered;
  coming?.close();
  entry.clear();
  if (tokens) setToken(entered.token);
  /** @type {Visit} */
  const visit = coming = new Visit(tokens ? { token } : { name }, {
    state: (now) => follow(visit, now),
    closed: (error) => visit === current && leave(explainEnd(error, visit.room)),
    heard: (message) => announcer.hear(message),
    failed: (id, words) => announcer.fail(id, words),
    reading: ({ unread, following }) => {
      const many = unread.toLocaleString();
      document.title = `${unread ? `(${many}) ` : ''}${visit.room} · chatd`;
      latest.hidden = following;
      latest.textContent = unread ? `↓ ${many} new` : '↓ Latest';
    },
    edit: (text) => composer.edit(text),
  });
  try {
    again ||= current?.me === name && current.room === room;
    const namesake = await visit.enter(room, !again);
    if (visit === coming) settle(visit, namesake);
  } catch (error) {
    if (visit !== coming) return;
    coming = null;
    visit.close();
    entry.wait(null);
    entry.refuse(explain(error, entered, tokens));
  }
}

/** We are in. @param {Visit} visit @param {boolean} namesake someone of our name was there */
function settle(visit, namesake) {
  current?.close();
  [current, coming] = [visit, null];
  entry.wait(null);
  notice.hide();
  title.textContent = visit.room;
  show(true);
  connection.reset();
  connection.show(visit.state);
  visit.show();
  arrived(visit.me, visit.room);
  composer.resume(visit.me, visit.room);
  if (!entry.isBusy) {
    drawer.close();
    composer.focus();
  }
  if (!namesake) return;
  const words = `Someone called ${visit.me} was here already. Is that you, elsewhere?`
    + ' If not, take another name.';
  notice.show(words, 'Change name', () => amend('name'));
}

/** @param {Refusal} refusal why we are not in the room any more; without words if we left */
function leave(refusal) {
  coming?.close();
  current?.close();
  current = coming = null;
  left();
  show(false);
  document.title = 'chatd';
  notice.hide();
  entry.refuse(refusal);
  if (!refusal.field) entry.focus();
}

/** @param {boolean} inside */
function show(inside) {
  if (!inside) drawer.close();
  document.body.classList.toggle('outside', !inside);
  entry.move(inside);
}

/** @param {Visit} visit @param {State} now */
function follow(visit, now) {
  if (visit === coming) entry.wait(now);
  if (visit !== current) return;
  connection.show(now);
  const code = now.state === 'offline' ? now.error?.code : undefined;
  if (code === 'unauthorized' && tokens) {
    // The same token would be refused again and again.
    visit.end();
    connection.end('Signed out');
    notice.show(REFUSED, 'Enter a token', () => amend('token'));
  } else if (code === 'forbidden' && now.error) {
    notice.show(now.error.message, 'Try now', () => visit.retry());
  }
}

/** Lead to a field of the form. @param {'name' | 'token'} field */
function amend(field) {
  drawer.open();
  entry.focus(field);
}

latest.addEventListener('click', () => {
  current?.latest();
  composer.focus();
});

find('leave', HTMLButtonElement).addEventListener('click', () => leave({ words: '', field: null }));

globalThis.addEventListener('hashchange', () => {
  entry.fill({ token: token() });
  if (tokens && !current?.isOpen) void enter();
});

const { atOnce, again, ...known } = start();
entry.fill(known);
if (tokens && !known.token) entry.hint(NEEDED);
if (atOnce) void enter(again);
else entry.focus();
