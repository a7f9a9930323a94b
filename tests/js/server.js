/**
 * A small chatd for testing the client alone: one model of rooms behind a WebSocket class that
 * needs no network, and behind a real HTTP server. What goes wrong is switched on by the tests.
 */
import http from 'node:http';

export class FakeServer {
  /** @type {Map<string, any[]>} messages by room */
  rooms = new Map([['lobby', []]]);
  /** Messages below this index are no longer kept. */
  kept = 0;
  /** How each WebSocket goes: 'ok', 'refuse', 'silent' (accepted, then nothing), 'mute' (welcome,
   * then no answer). */
  websocket = 'ok';
  /** How event streams go: 'ok', 'refuse', 'buffer' (nothing arrives until the end). */
  events = 'ok';
  /** Frames that clients sent over WebSocket, and requests over HTTP, oldest first. */
  frames = [];
  requests = [];
  /** What `welcome` says of limits. */
  limits = { text: 16384, content: 65536, frame: 131072, rooms: 100 };
  /** So many questions who is in a room get no answer. */
  mute = 0;
  /** Called with a publish; returns an error frame to refuse it. */
  refuse = () => null;
  /** Called with any frame; returns a code to refuse it. */
  bar = () => null;
  /** Called with a token; whether it is good. */
  accept = () => true;
  sockets = new Set();
  #waiting = new Set();
  #streams = new Set();
  #http = null;

  constructor() {
    const server = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url, protocol) {
        super(server, new URL(url), protocol);
      }
    };
  }

  publish(user, text, { room = 'lobby', id = `id-${Math.random()}` } = {}) {
    const messages = this.rooms.get(room);
    if (!messages.some((one) => one.user === user && one.id === id)) {
      const time = new Date(1_700_000_000_000 + messages.length * 1000).toISOString();
      const cursor = `e:${messages.length}`;
      messages.push({ type: 'message', room, cursor, id, user, text, time });
      const message = messages.at(-1);
      for (const socket of this.sockets) socket.offer(message);
      for (const stream of this.#streams) if (stream.room === room) stream.message(message);
      for (const wake of this.#waiting) wake();
    }
    return id;
  }

  read(room, query) {
    const all = this.rooms.get(room);
    const limit = Number(query.last ?? query.limit ?? 100);
    let start = all.length;
    let gap = false;
    if (query.before) {
      const end = Number(query.before.split(':')[1]);
      const first = Math.max(this.kept, end - limit);
      const messages = all.slice(first, end);
      return { room, messages, cursor: messages[0]?.cursor ?? query.before, gap: false,
        more: first > this.kept };
    }
    if (query.after) start = Number(query.after.split(':')[1]) + 1;
    else if (query.last) start = Math.max(0, all.length - Number(query.last));
    else if (query.since) start = all.findIndex((one) => one.time >= query.since);
    if (start < 0) start = all.length;
    if (start < this.kept) [start, gap] = [this.kept, Boolean(query.after)];
    const messages = query.after || query.last || query.since ? all.slice(start, start + limit) : [];
    return { room, messages, cursor: messages.at(-1)?.cursor ?? `e:${start - 1}`, gap };
  }

  here(room) {
    return [...new Set([...this.sockets].filter((one) => one.joined.has(room)).map((one) => one.user))];
  }

  /** Cut every connection there is, as a crash would. */
  cut() {
    for (const socket of [...this.sockets]) socket.drop(1006);
    this.#http?.closeAllConnections();
  }

  /** What is said over the sockets that there are is late, until the function returned is called. */
  hold() {
    const held = [...this.sockets];
    held.forEach((socket) => { socket.late = []; });
    return () => held.forEach((socket) => {
      for (const frame of socket.late.splice(0)) socket.tell(frame);
      socket.late = null;
    });
  }

  // -- over HTTP

  async listen(port = 0) {
    this.#http = http.createServer((request, response) => void this.#answer(request, response));
    await new Promise((resolve) => this.#http.listen(port, '127.0.0.1', resolve));
    this.port = this.#http.address().port;
    return `http://127.0.0.1:${this.port}/`;
  }

  async close() {
    this.cut();
    if (this.#http) await new Promise((resolve) => this.#http.close(resolve));
    this.#http = null;
  }

  async #answer(request, response) {
    const url = new URL(request.url, 'http://x');
    const query = Object.fromEntries(url.searchParams);
    const [, name, what] = /^\/rooms\/([^/]+)(?:\/(\w+))?$/.exec(url.pathname) ?? [];
    const room = decodeURIComponent(name ?? '');
    let body = '';
    for await (const part of request) body += part;
    this.requests.push({ method: request.method, path: url.pathname, query, body,
      authorization: request.headers.authorization });
    const fail = (status, code, retry) => {
      response.writeHead(status, { 'Content-Type': 'application/json',
        ...(retry !== undefined && { 'Retry-After': String(retry) }) });
      response.end(JSON.stringify({ type: 'error', code, text: `${code} it is` }));
    };
    const say = (value, status = 200) => {
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    if (url.pathname === '/chatd.js') {
      response.writeHead(200, { 'Content-Type': 'text/javascript' });
      return response.end('export {};');
    }
    if (url.pathname === '/healthz') {
      // As the proxies of etc/ do, which keep it to themselves.
      response.writeHead(404, { 'Content-Type': 'text/html' });
      return response.end('<h1>Not Found</h1>');
    }
    if (!this.accept(request.headers.authorization?.slice(7))) return fail(401, 'unauthorized');
    if (this.draining !== undefined) return fail(503, 'unavailable', this.draining);
    if (!this.rooms.has(room)) return fail(404, 'unknown_room');
    if (request.method === 'POST') {
      const sent = JSON.parse(body);
      const error = this.refuse({ ...sent, room });
      if (error) return fail(error.status, error.code, error.retry);
      return say({ id: this.publish(query.username ?? 'token', sent.text, { room, id: sent.id }) }, 201);
    }
    if (!what && (this.mute -= 1) >= 0) return undefined;
    if (!what) {
      const members = [...new Set([...this.here(room), query.username])];
      return say({ room, private: false, cursor: this.read(room, {}).cursor, members, count: members.length });
    }
    if (what === 'events') return this.#stream(room, query, response);
    let page = this.read(room, query);
    if (!page.messages.length && query.wait > 0) {
      await new Promise((resolve) => {
        this.#waiting.add(resolve);
        setTimeout(resolve, Number(query.wait) * 1000).unref();
        response.on('close', resolve);
      });
      page = this.read(room, query);
    }
    return say(page);
  }

  #stream(room, query, response) {
    if (this.events === 'refuse') {
      response.writeHead(403, { 'Content-Type': 'text/html' });
      return response.end('<h1>Blocked by policy</h1>');
    }
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    if (this.events === 'buffer') return response.flushHeaders();
    const write = (name, value, id) => response.write(
      `${name === 'message' ? '' : `event: ${name}\n`}${id ? `id: ${id}\n` : ''}data: ${JSON.stringify(value)}\n\n`);
    const stream = { room, write, message: (one) => write('message', one, one.cursor), end: () => response.end() };
    response.write(': hello\n\n');
    if (query.after) {
      const { messages, gap } = this.read(room, { ...query, limit: 1e6 });
      if (gap) write('gap', { type: 'gap', room });
      messages.forEach(stream.message);
    }
    this.#streams.add(stream);
    response.on('close', () => this.#streams.delete(stream));
    return undefined;
  }

  /** The open event streams. */
  get streams() {
    return [...this.#streams];
  }

  /** What waits for news over HTTP. */
  get waiting() {
    return [...this.#streams, ...this.#waiting];
  }

  /** What waits now hears of no news any more, and is told nothing of it. */
  deafen() {
    this.#streams.clear();
    this.#waiting.clear();
  }
}

/** The client's end of a WebSocket, with the server's manners built in. */
class FakeSocket {
  readyState = 0;
  onmessage = null;
  onclose = null;
  joined = new Set();
  late = null;

  constructor(server, url, protocol) {
    Object.assign(this, { server, url, protocol, token: url.searchParams.get('token') });
    this.user = url.searchParams.get('username') ?? 'token';
    setTimeout(() => this.#open());
  }

  #open() {
    const { server } = this;
    if (this.readyState !== 0) return;
    if (server.websocket === 'refuse' || !server.accept(this.token)) return this.drop(1006);
    this.readyState = 1;
    server.sockets.add(this);
    if (server.websocket !== 'silent') this.deliver({ type: 'welcome', user: this.user, limits: server.limits });
  }

  /** From the server to the client. */
  deliver(frame) {
    if (this.late) this.late.push(frame);
    else this.tell(frame);
  }

  tell(frame) {
    setTimeout(() => this.readyState === 1 && this.onmessage?.({ data: JSON.stringify(frame) }));
  }

  offer(message) {
    if (this.joined.has(message.room) && this.server.websocket === 'ok') this.deliver(message);
  }

  drop(code, reason = '') {
    this.readyState = 3;
    this.server.sockets.delete(this);
    setTimeout(() => this.onclose?.({ code, reason }));
  }

  close() {
    this.readyState = 3;
    this.server.sockets.delete(this);
  }

  send(text) {
    const { server } = this;
    const frame = JSON.parse(text);
    server.frames.push(frame);
    if (server.websocket !== 'ok' || this.readyState !== 1) return;
    const error = (code) => this.deliver({ type: 'error', code, text: `${code} it is`, room: frame.room,
      ...(frame.id !== undefined && { id: frame.id }) });
    const barred = server.bar(frame);
    if (barred) return error(barred);
    if (frame.type === 'auth') {
      this.deliver({ type: 'welcome', user: this.user, limits: server.limits });
    } else if (frame.type === 'join') {
      if (!server.rooms.has(frame.room)) return error('unknown_room');
      this.joined.add(frame.room);
      const { messages, cursor, gap } = server.read(frame.room, { ...frame, limit: 1e6 });
      const members = server.here(frame.room);
      const [, offset] = (messages[0]?.cursor ?? cursor).split(':');
      const start = messages.length ? `e:${offset - 1}` : cursor;
      this.deliver({ type: 'joined', room: frame.room, cursor: start, members, count: members.length, gap });
      messages.forEach((message) => this.deliver(message));
    } else if (frame.type === 'leave') {
      this.joined.delete(frame.room);
      this.deliver({ type: 'left', room: frame.room });
    } else if (frame.type === 'message') {
      const refusal = server.refuse(frame);
      if (refusal) return error(refusal.code);
      if (!server.rooms.has(frame.room)) return error('unknown_room');
      server.publish(this.user, frame.text, frame);
      if (server.websocket === 'ok') this.deliver({ type: 'ack', room: frame.room, id: frame.id });
    }
  }
}

/** What localStorage is, in memory. */
export class FakeStorage {
  #items = new Map();

  get length() {
    return this.#items.size;
  }

  key(index) {
    return [...this.#items.keys()][index] ?? null;
  }

  getItem(name) {
    return this.#items.get(name) ?? null;
  }

  setItem(name, value) {
    this.#items.set(name, String(value));
  }

  removeItem(name) {
    this.#items.delete(name);
  }
}

/** Resolve once `condition()` is truthy, checked at each turn; whatever never is fails the test. */
export async function until(condition) {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const value = condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`It never came to this: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A token as the client reads it; nobody checks its signature here. */
export function token(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part(claims)}.x`;
}
