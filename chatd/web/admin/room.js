/**
 * One room: who may be in it, who is, and its end.
 *
 * @module admin/room
 */

import { button, find, make } from '../page/dom.js';
import { RefusedError, words } from './api.js';
import { count } from './format.js';
import { Rows, write } from './rows.js';

/**
 * @typedef {import('./api.js').Api} Api
 * @typedef {import('./api.js').Members} Members
 */

export class RoomDialog {
  #dialog = find('room', HTMLDialogElement);
  #title = find('room-title', HTMLElement);
  #private = find('room-private', HTMLInputElement);
  #refusal = find('room-refusal', HTMLElement);
  #member = find('new-member', HTMLInputElement);
  #delete = find('delete', HTMLButtonElement);
  #sure = find('sure', HTMLElement);
  #room = '';
  /** Why it cannot be seen how it is. */
  #unseen = '';
  /** Somebody has deleted it: each look would be one more refusal. */
  #gone = false;
  #hooks;
  #members = new Rows(find('members', HTMLElement), String, (user) => this.#person(user, true));
  #present = new Rows(find('present', HTMLElement), String, (user) => this.#person(user, false));

  /** @param {{api: () => Api, look: () => void, say: (words: string) => void}} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#dialog.addEventListener('close', () => {
      const { activeElement, body } = document;
      // Not where it was opened: that has gone.
      const isLost = activeElement === body || this.#dialog.contains(activeElement);
      if (isLost) find('part', HTMLInputElement).focus();
    });
    find('room-close', HTMLButtonElement).addEventListener('click', () => this.#dialog.close());
    this.#private.addEventListener('change', () => void this.#setPrivate());
    this.#delete.addEventListener('click', () => this.#ask(true));
    find('keep', HTMLButtonElement).addEventListener('click', () => this.#ask(false));
    find('delete-sure', HTMLButtonElement).addEventListener('click', () => void this.#remove());
    find('add', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#add();
    });
  }

  /** @param {string} room */
  open(room) {
    this.#room = room;
    write(this.#title, room);
    this.#title.dir = 'auto';
    this.#member.value = '';
    this.#ask(false);
    this.#members.show([]);
    this.#present.show([]);
    write(this.#refusal, this.#unseen = '');
    this.#gone = false;
    this.#dialog.showModal();
    void this.refresh();
  }

  close() {
    this.#dialog.close();
  }

  /** Show it as it is now, if it is open. */
  async refresh() {
    const room = this.#room;
    if (!this.#dialog.open || this.#gone) return;
    try {
      const found = await this.#hooks.api().members(room);
      if (room !== this.#room) return;
      this.#show(found);
      if (this.#unseen) write(this.#refusal, '');
      this.#unseen = '';
    } catch (error) {
      if (room !== this.#room) return;
      write(this.#refusal, this.#unseen = words(error));
      this.#gone = error instanceof RefusedError && error.status === 404;
    }
  }

  /** @param {Members} found */
  #show({ private: secret, members, present, count: here }) {
    this.#private.checked = secret;
    write(find('members-count', HTMLElement), count(members.length));
    write(find('present-count', HTMLElement), count(here));
    this.#members.show(members);
    this.#present.show(present);
  }

  /** @param {string} user @param {boolean} member */
  #person(user, member) {
    const row = make('li');
    const name = make('span', 'name', user);
    name.dir = 'auto';
    row.append(name);
    if (member) {
      const drop = button('Remove', () => void this.#drop(user));
      drop.ariaLabel = `Remove ${user}`;
      row.append(drop);
    }
    return { row, fill: () => {} };
  }

  /** @param {() => Promise<unknown>} work @param {string} done what is said then */
  async #do(work, done) {
    write(this.#refusal, this.#unseen = '');
    this.#gone = false;
    try {
      await work();
      this.#hooks.say(done);
    } catch (error) {
      write(this.#refusal, words(error));
      return false;
    } finally {
      void this.refresh();
      this.#hooks.look();
    }
    return true;
  }

  async #setPrivate() {
    const [room, secret, api] = [this.#room, this.#private.checked, this.#hooks.api()];
    const done = `${room} is ${secret ? 'private' : 'public'} now.`;
    await this.#do(async () => {
      // Were it gone, deleted by someone else, it would be made anew.
      await api.members(room);
      await api.put(room, secret);
    }, done);
  }

  async #add() {
    const user = this.#member.value.trim();
    const done = `${user} may enter ${this.#room}.`;
    if (await this.#do(() => this.#hooks.api().add(this.#room, user), done)) this.#member.value = '';
    this.#member.focus();
  }

  /** @param {string} user */
  async #drop(user) {
    const done = `${user} is no member of ${this.#room} any more.`;
    if (await this.#do(() => this.#hooks.api().drop(this.#room, user), done)) this.#member.focus();
  }

  /** @param {boolean} asking */
  #ask(asking) {
    const was = !this.#sure.hidden;
    this.#sure.hidden = !asking;
    this.#delete.hidden = asking;
    if (asking) find('keep', HTMLButtonElement).focus();
    else if (was) this.#delete.focus();
  }

  async #remove() {
    const done = `The room ${this.#room} was deleted.`;
    if (!await this.#do(() => this.#hooks.api().remove(this.#room), done)) return;
    this.#dialog.close();
    // what opened it is about to go
    find('part', HTMLInputElement).focus();
  }
}
