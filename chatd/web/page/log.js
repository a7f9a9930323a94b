/**
 * The conversation as one scrolls through it: a window of bounded size on a room's messages.
 *
 * Near its upper end older messages are fetched, near its lower end newer ones; what is far from
 * the part in sight is taken out again. Everything that users wrote becomes text nodes only.
 *
 * @module log
 */

/**
 * @typedef {import('../chatd.js').Message} Message
 * @typedef {import('../chatd.js').Room} Room
 * @typedef {{message: Message, element: HTMLElement, gap: boolean}} Item
 * @typedef {{unread: number, following: boolean}} Reading
 */

/** Messages in the document at most, fetched at once, and how near an end is near, in pixels. */
const SHOWN = 300;
const FETCHED = 100;
const NEAR = 600;
/** Messages of one person in so many ms stand together. */
const TOGETHER = 5 * 60_000;
/** So long after coming in, what is shown is what was said before, in ms. */
const BACKLOG = 1500;
/** After a failure nothing is fetched for so long, in ms. */
const REST = 5000;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

/** @param {{user: string, id: string}} message */
const key = ({ user, id }) => `${user}\n${id}`;

export class Log {
  #element;
  #room;
  #me;
  #changed;
  #list = make('div', 'messages');
  #unsent = make('div', 'messages');
  #top = make('p', 'edge');
  /** @type {Item[]} what the document shows, oldest first */
  #items = [];
  /** @type {Message[]} what came in and is not shown yet */
  #queue = [];
  /** The newest messages are not in the document: one has scrolled far up. */
  #detached = false;
  #following = true;
  #loading = false;
  #complete = false;
  #scheduled = false;
  #gap = false;
  #unread = 0;
  #began = Date.now();
  #failed = 0;
  /** @type {string | null} the first message that came while nobody looked */
  #divider = null;
  #ended = new AbortController();

  /**
   * @param {HTMLElement} element with role "log"; it is emptied
   * @param {Room} room
   * @param {string} me our own name
   * @param {(reading: Reading) => void} changed told when something becomes unread or read
   */
  constructor(element, room, me, changed) {
    this.#element = element;
    this.#room = room;
    this.#me = me;
    this.#changed = changed;
    element.replaceChildren(this.#top, this.#list, this.#unsent);
    const { signal } = this.#ended;
    element.addEventListener('scroll', () => this.#scrolled(), { passive: true, signal });
    for (const event of ['visibilitychange', 'focus']) {
      const target = event === 'focus' ? globalThis : document;
      target.addEventListener(event, () => this.#look(), { signal });
    }
    const sizes = new ResizeObserver(() => this.#following && this.#toBottom());
    sizes.observe(element);
    signal.addEventListener('abort', () => sizes.disconnect());
  }

  close() {
    this.#ended.abort();
  }

  /** @param {Message} message the next one, live */
  add(message) {
    this.#queue.push(message);
    if (this.#queue.length > SHOWN) this.#queue.shift();
    if (this.#scheduled || this.#loading) return;
    this.#scheduled = true;
    // A page that is not in sight is given no frames.
    if (document.hidden) setTimeout(() => this.#flush(), 50);
    else requestAnimationFrame(() => this.#flush());
  }

  /** What comes next does not follow on what is shown. */
  gap() {
    this.#gap = true;
  }

  /** Show the newest messages and stay with them. */
  async latest() {
    this.#following = true;
    if (this.#detached && !this.#loading) {
      await this.#load(async () => {
        const { messages } = await this.#room.history({ last: FETCHED });
        this.#clear();
        this.#detached = this.#complete = false;
        this.#append(messages);
      });
    }
    this.#toBottom();
    this.#look();
  }

  // -- our own messages

  /** @param {{id: string, text: string, at: number}} unsent */
  sending({ id, text, at }) {
    if (this.#pending(id)) return this.#mark(id, 'Sending…');
    const time = new Date(at).toISOString();
    const element = this.#draw({ id, text, time, user: this.#me });
    element.dataset.id = id;
    this.#unsent.append(element);
    return this.#mark(id, 'Sending…');
  }

  /** @param {string} id acknowledged; the message itself may have come already or not */
  sent(id) {
    this.#mark(id, 'Sent');
    const shown = this.#items.some(({ message }) => message.id === id && message.user === this.#me);
    if (shown || this.#detached) this.#pending(id)?.remove();
  }

  /** @param {string} id @param {string} why @param {() => void} again */
  failed(id, why, again) {
    this.#mark(id, `Not sent: ${why}`)?.append(
      button('Try again', again),
      button('Discard', () => this.#pending(id)?.remove()),
    );
    this.#pending(id)?.classList.add('failed');
  }

  /** @param {string} id @returns {HTMLElement | undefined} */
  #pending(id) {
    const all = /** @type {HTMLElement[]} */ ([...this.#unsent.children]);
    return all.find((element) => element.dataset.id === id);
  }

  /** @param {string} id @param {string} words */
  #mark(id, words) {
    const element = this.#pending(id);
    element?.classList.remove('failed');
    const mark = element?.querySelector('.fate');
    mark?.replaceChildren(words);
    if (this.#following) this.#toBottom();
    return mark;
  }

  // -- what is shown

  #flush() {
    this.#scheduled = false;
    if (this.#loading) return;
    const messages = this.#queue.splice(0);
    this.#count(messages);
    if (!this.#following && this.#items.length + messages.length > SHOWN) this.#detached = true;
    if (this.#detached) messages.forEach((message) => this.#arrived(message));
    else this.#append(messages);
    if (this.#following) this.#toBottom();
    this.#look();
    if (this.#element.scrollHeight <= this.#element.clientHeight) void this.#older();
  }

  /** @param {Message} message */
  #arrived(message) {
    if (message.user === this.#me) this.#pending(message.id)?.remove();
  }

  /** @param {Message[]} messages that follow on what is shown */
  #append(messages) {
    for (const message of messages) {
      this.#arrived(message);
      const item = this.#item(message);
      this.#list.append(item.element);
      this.#dress(item, this.#items.at(-1));
      this.#items.push(item);
    }
    const extra = this.#items.length - SHOWN;
    if (extra > 0) this.#keepPlace(() => this.#cutTop(extra));
  }

  /** @param {number} extra */
  #cutTop(extra) {
    for (const { element } of this.#items.splice(0, extra)) element.remove();
    this.#complete = false;
    this.#top.textContent = '';
    this.#dress(this.#items[0]);
  }

  #clear() {
    this.#items = [];
    this.#list.replaceChildren();
  }

  get #resting() {
    return Date.now() - this.#failed < REST;
  }

  async #older() {
    const [first] = this.#items;
    if (!first || this.#loading || this.#complete || this.#resting) return;
    this.#top.textContent = 'Looking further back…';
    await this.#load(async () => {
      const messages = await this.#room.before(first.message, FETCHED);
      this.#complete = messages.length === 0;
      this.#top.textContent = this.#complete ? 'Nothing older is kept.' : '';
      if (first !== this.#items[0]) return;
      this.#keepPlace(() => this.#prepend(messages));
    });
  }

  /** @param {Message[]} messages that precede what is shown */
  #prepend(messages) {
    const items = messages.map((message) => this.#item(message));
    this.#list.prepend(...items.map(({ element }) => element));
    this.#items.unshift(...items);
    for (let i = 0; i <= items.length && i < this.#items.length; i += 1) {
      this.#dress(this.#items[i], this.#items[i - 1]);
    }
    for (const { element } of this.#items.splice(SHOWN)) {
      element.remove();
      this.#detached = true;
    }
  }

  async #newer() {
    const last = this.#items.at(-1);
    if (!last || this.#loading || !this.#detached || this.#resting) return;
    await this.#load(async () => {
      const after = last.message.cursor;
      const { messages } = await this.#room.history({ after, limit: FETCHED });
      if (messages.length < FETCHED) this.#detached = false;
      this.#append(messages);
    });
  }

  /**
   * Fetch something, one thing at a time; what comes in meanwhile is shown afterwards, unless
   * it was among what was fetched.
   *
   * @param {() => Promise<void>} fetch
   */
  async #load(fetch) {
    this.#loading = true;
    // Fetched messages are not news: nobody wants them read out.
    this.#element.setAttribute('aria-busy', 'true');
    try {
      await fetch();
    } catch {
      this.#failed = Date.now();
      this.#top.textContent = 'More cannot be fetched right now.';
    }
    this.#loading = false;
    this.#element.removeAttribute('aria-busy');
    const shown = new Set(this.#items.map(({ message }) => key(message)));
    this.#count(this.#queue.filter((message) => shown.has(key(message))));
    this.#queue = this.#queue.filter((message) => !shown.has(key(message)));
    if (this.#ended.signal.aborted) return;
    this.#flush();
  }

  // -- scrolling and reading

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#element;
    const below = scrollHeight - scrollTop - clientHeight;
    this.#following = !this.#detached && below < 48;
    if (scrollTop < NEAR) void this.#older();
    if (below < NEAR) void this.#newer();
    this.#look();
  }

  #toBottom() {
    if (!this.#detached) this.#element.scrollTop = this.#element.scrollHeight;
  }

  /** Change what is above without moving what is in sight. @param {() => void} change */
  #keepPlace(change) {
    const element = this.#element;
    const before = element.getBoundingClientRect().top;
    const seen = this.#items.find((one) => one.element.getBoundingClientRect().bottom > before);
    const was = seen?.element.getBoundingClientRect().top ?? 0;
    change();
    if (seen?.element.isConnected) {
      element.scrollTop += seen.element.getBoundingClientRect().top - was;
    }
  }

  get #watched() {
    return !document.hidden && document.hasFocus() && this.#following;
  }

  get #new() {
    return Date.now() - this.#began < BACKLOG;
  }

  /** @param {Message[]} messages that have just come */
  #count(messages) {
    for (const message of messages) {
      if (message.user === this.#me || this.#watched || this.#new) continue;
      if (this.#unread === 0) this.#divide(key(message));
      this.#unread += 1;
    }
  }

  /** @param {string} place */
  #divide(place) {
    this.#divider = place;
    this.#list.querySelector('.new')?.remove();
  }

  #look() {
    if (this.#watched) this.#unread = 0;
    this.#changed({ unread: this.#unread, following: this.#following });
  }

  // -- drawing

  /** @param {Message} message @returns {Item} */
  #item(message) {
    const gap = this.#gap;
    this.#gap = false;
    return { message, gap, element: this.#draw(message) };
  }

  /** @param {{user: string, text: string, time: string, id: string}} message */
  #draw({ user, text, time }) {
    const element = make('article', 'message');
    const mine = user === this.#me;
    if (mine) element.classList.add('mine');
    const when = make('time', '', clock.format(new Date(time)));
    when.dateTime = time;
    when.title = full.format(new Date(time));
    const who = make('p', 'who');
    who.append(name('b', user), when);
    const said = make('p', 'text');
    said.dir = 'auto';
    said.append(...linked(text));
    const fate = make('p', 'fate', mine ? 'Sent' : '');
    const bubble = make('div', 'bubble');
    bubble.append(who, said);
    element.append(face(user), bubble, fate);
    return element;
  }

  /** Draw what depends on the message before. @param {Item} item @param {Item} [previous] */
  #dress({ message, element, gap }, previous) {
    const [day, before] = [new Date(message.time), previous && new Date(previous.message.time)];
    const newDay = day.toDateString() !== before?.toDateString();
    const divided = key(message) === this.#divider;
    const together = !newDay && !divided && !gap && previous?.message.user === message.user
      && before !== undefined && day.getTime() - before.getTime() < TOGETHER;
    element.classList.toggle('together', together);
    element.querySelectorAll('.rule').forEach((rule) => rule.remove());
    if (divided) element.prepend(make('p', 'rule new', 'New'));
    if (newDay) element.prepend(make('p', 'rule', dayName(day)));
    if (gap) element.prepend(make('p', 'rule', 'Some earlier ones are no longer kept'));
  }
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {string} [style] @param {string} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, style = '', text = '') {
  const element = document.createElement(tag);
  element.className = style;
  element.textContent = text;
  return element;
}

/** @param {string} text @param {() => void} action */
function button(text, action) {
  const element = make('button', '', text);
  element.type = 'button';
  element.addEventListener('click', action);
  return element;
}

/** A user's name, which may run in either direction. @param {'b' | 'span'} tag @param {string} user */
export function name(tag, user) {
  const element = make(tag, 'name', user);
  element.dir = 'auto';
  return element;
}

/** A coloured initial. @param {string} user */
export function face(user) {
  const element = make('span', 'face', [...user][0]?.toUpperCase());
  element.ariaHidden = 'true';
  const hue = [...user].reduce((sum, c) => (sum * 31 + (c.codePointAt(0) ?? 0)) % 3600, 7) % 360;
  element.style.setProperty('--hue', String(hue));
  return element;
}

/** @param {Date} day */
function dayName(day) {
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (day.toDateString() === today.toDateString()) return 'Today';
  if (day.toDateString() === yesterday.toDateString()) return 'Yesterday';
  return calendar.format(day);
}

/** `text` with its web addresses made links. @param {string} text @returns {(string | Node)[]} */
export function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"'`]+)/giu).flatMap((part, i) => {
    if (i % 2 === 0) return [part];
    const [, address, rest] = /^(.*?)([.,;:!?\]}…]*|[.,;:!?\])}…]*)$/su.exec(part) ?? [];
    // A closing bracket belongs to the address if it opens one.
    const whole = rest?.startsWith(')') && address?.includes('(') ? `${address})` : address;
    if (!whole || !URL.canParse(whole)) return [part];
    const link = make('a', '', whole);
    link.href = whole;
    link.rel = 'noopener noreferrer nofollow';
    link.target = '_blank';
    return [link, part.slice(whole.length)];
  });
}
