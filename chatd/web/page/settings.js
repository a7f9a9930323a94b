/**
 * What the page was told: by the server that wrote it, by its address, by an earlier visit.
 *
 * `?room=R` and `?user=U` fill in the form, both together join at once; `#token=T` is a token for
 * a server that asks for one. A reload returns to the room.
 *
 * @module page/settings
 */

import { lasting, passing } from './storage.js';

const { auth, maxText } = document.documentElement.dataset;

/** Whether the server asks for tokens. */
export const tokens = auth === 'token';

/** The longest text that the server takes, in bytes. */
export const longest = Number(maxText) || 16_384;

/** The token in the page's address; empty if there is none. */
export function token() {
  return new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
}

/** @param {string} value put into the page's address, so that it outlives a reload */
export function setToken(value) {
  if (value === token()) return;
  const url = new URL(location.href);
  url.hash = value && String(new URLSearchParams({ token: value }));
  history.replaceState(null, '', url);
}

/**
 * The first room that a token names, where it names rooms.
 *
 * @param {string} value a JWT, unread and unverified
 */
function roomOf(value) {
  try {
    const part = value.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
    const { rooms } = JSON.parse(new TextDecoder().decode(bytes));
    return String(rooms.find((/** @type {unknown} */ one) => !String(one).endsWith('*')) ?? '');
  } catch {
    return '';
  }
}

/** What to fill the form with; whether to join at once; whether we were there just now. */
export function start() {
  const asked = new URLSearchParams(location.search);
  const inside = passing.getItem('chatd:in');
  const room = asked.get('room') ?? '';
  const name = asked.get('user') ?? inside ?? '';
  return {
    name: name || lasting.getItem('chatd:name') || '',
    room: room || roomOf(token()),
    token: token(),
    again: Boolean(inside && inside === name),
    atOnce: Boolean(room && (tokens ? token() : name)),
  };
}

/** We are in. @param {string} name @param {string} room */
export function arrived(name, room) {
  const url = new URL(location.href);
  url.search = String(new URLSearchParams({ room }));
  history.replaceState(null, '', url);
  if (tokens) return;
  passing.setItem('chatd:in', name);
  lasting.setItem('chatd:name', name);
}

/** We have left, or were put out: a reload does not go back. */
export function left() {
  passing.removeItem('chatd:in');
  const url = new URL(location.href);
  url.search = '';
  history.replaceState(null, '', url);
}

/** Servers take one who asked for news, instead of being told, for present so long, in ms. */
const LINGER = 90_000;

/** Who we were where, in this window, and until when we may seem to be there. */
function shades() {
  /** @type {Record<string, number>} */
  let known = {};
  try {
    known = JSON.parse(passing.getItem('chatd:left') ?? '{}');
  } catch {
    // Somebody else's.
  }
  return Object.entries(known).filter(([, until]) => until > Date.now());
}

/** @param {string} name @param {string} room where we may seem to be for a while */
export function departed(name, room) {
  const known = Object.fromEntries(shades());
  known[`${name}\n${room}`] = Date.now() + LINGER;
  passing.setItem('chatd:left', JSON.stringify(known));
}

/** @param {string} name @param {string} room @returns {boolean} whether that one may be ourselves */
export function lingers(name, room) {
  return shades().some(([who]) => who === `${name}\n${room}`);
}
