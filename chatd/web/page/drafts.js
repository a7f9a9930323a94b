/**
 * What one has begun to write, by who one is and where: it is there again after a reload, and when
 * one comes back from another room.
 *
 * @module page/drafts
 */

import { keep, passing } from './storage.js';

/** Where storage is forbidden or full, for as long as the page lives.
 * @type {Map<string, string>} */
const drafts = new Map();

/** @param {string} me @param {string} room @returns {string} empty if there is none */
export function draft(me, room) {
  const name = nameOf(me, room);
  return drafts.get(name) ?? passing?.getItem(name) ?? '';
}

/** @param {string} me @param {string} room @param {string} text */
export function keepDraft(me, room, text) {
  const name = nameOf(me, room);
  drafts.set(name, text);
  if (text) keep(passing, name, text);
  else passing?.removeItem(name);
}

/** @param {string} me @param {string} room */
function nameOf(me, room) {
  return `chatd:draft:${me}\n${room}`;
}
