import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';

import { Chat, ChatError, EventParser, newId } from '../../chatd/web/chatd.js';
import { FakeServer, FakeStorage, token, until } from './server.js';

const QUICK = { patience: 150, answer: 1000, silence: 60_000, backoff: 20, backoffMax: 60, upgrade: 60_000 };

let server;
let url;
const chats = [];

beforeEach(async () => {
  server = new FakeServer();
  url = await server.listen();
});

afterEach(async () => {
  chats.splice(0).forEach((chat) => chat.close());
  await server.close();
});

function connect(options = {}) {
  const { WebSocket } = server;
  const chat = new Chat(url, { user: 'ann', WebSocket, ...QUICK, ...options });
  chats.push(chat);
  chat.states = [];
  chat.on('state', ({ state }) => chat.states.push(state));
  return chat;
}

function collect(room) {
  const texts = [];
  room.on('message', ({ text }) => texts.push(text));
  return texts;
}

const LINKS = [['websocket'], ['sse'], ['poll']];

for (const transports of LINKS) {
  describe(`over ${transports}`, { timeout: 20_000 }, () => {
    it('joins, sends and receives', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const texts = collect(room);
      const id = await room.send('hello', { id: 'one', data: { a: 1 } });
      server.publish('bob', 'hi');
      await until(() => texts.length === 2);
      assert.equal(id, 'one');
      assert.deepEqual(texts, ['hello', 'hi']);
      assert.equal(chat.state.state, 'online');
      assert.equal(chat.state.transport, transports[0]);
      assert.deepEqual(room.members, ['ann']);
      assert.equal(room.unsent.length, 0);
    });

    it('gives the backlog asked for, before anyone listens, to the first reader', async () => {
      for (const text of ['a', 'b', 'c']) server.publish('bob', text);
      const room = await connect({ transports }).join('lobby', { last: 2 });
      server.publish('bob', 'd');
      await until(() => room.cursor === 'e:3');
      const texts = [];
      for await (const { text } of room) if (texts.push(text) === 3) break;
      assert.deepEqual(texts, ['b', 'c', 'd']);
    });

    it('starts after a cursor', async () => {
      for (const text of ['a', 'b', 'c']) server.publish('bob', text);
      const texts = collect(await connect({ transports }).join('lobby', { after: 'e:0' }));
      await until(() => texts.length === 2);
      assert.deepEqual(texts, ['b', 'c']);
    });

    it('reads on after an interruption, nothing lost and nothing twice', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const texts = collect(room);
      server.publish('bob', '0');
      await until(() => texts.length === 1);
      for (let round = 1; round <= 3; round += 1) {
        server.cut();
        server.publish('bob', `${round}`);
        await until(() => texts.length > round);
      }
      assert.deepEqual(texts, ['0', '1', '2', '3']);
    });

    it('sends what was said offline, once and in order', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const { port } = server;
      server.websocket = 'refuse';
      await server.close();
      await until(() => chat.state.state === 'offline');
      const sends = [room.send('one'), room.send('two'), room.send('three')];
      assert.deepEqual(room.unsent.map(({ text }) => text), ['one', 'two', 'three']);
      server.websocket = 'ok';
      await server.listen(port);
      await Promise.all(sends);
      assert.deepEqual(server.rooms.get('lobby').map(({ text }) => text), ['one', 'two', 'three']);
    });

    it('sends again under the same id what is not acknowledged', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      let lost = 2;
      server.refuse = () => {
        if (lost > 0) {
          lost -= 1;
          server.cut();
          return { code: 'unavailable', status: 503 };
        }
        return null;
      };
      const texts = collect(room);
      await Promise.all([room.send('one'), room.send('two')]);
      await until(() => texts.length === 2);
      assert.deepEqual(texts, ['one', 'two']);
    });

    it('drops a repetition that the server does not notice', async () => {
      const chat = connect({ transports });
      const texts = collect(await chat.join('lobby'));
      server.publish('bob', 'once', { id: 'x' });
      server.rooms.get('lobby').push({ ...server.rooms.get('lobby')[0], cursor: 'e:1' });
      server.publish('bob', 'then');
      server.cut();
      await until(() => texts.includes('then'));
      assert.deepEqual(texts, ['once', 'then']);
    });

    it('tells of a gap', async () => {
      for (const text of ['a', 'b', 'c']) server.publish('bob', text);
      server.kept = 2;
      const chat = connect({ transports });
      const joining = chat.join('lobby', { after: 'e:0' });
      const room = await joining;
      const texts = collect(room);
      await until(() => texts.length === 1);
      assert.deepEqual(texts, ['c']);
      assert.equal(room.gap, true);
    });

    it('tells the right promise what the server refuses', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const failed = [];
      room.on('failed', ({ id, error }) => failed.push([id, error.code]));
      server.refuse = ({ text }) => (text === 'bad' ? { code: 'too_large', status: 413 } : null);
      const [good, bad, nowhere] = await Promise.allSettled([
        room.send('good'), room.send('bad', { id: 'b' }), chat.join('nowhere')]);
      assert.equal(good.status, 'fulfilled');
      assert.equal(bad.reason.code, 'too_large');
      assert.ok(bad.reason instanceof ChatError);
      assert.equal(nowhere.reason.code, 'unknown_room');
      assert.deepEqual(failed, [['b', 'too_large']]);
      assert.equal(chat.state.state, 'online');
    });

    it('waits and sends again, in order, when the server says later', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      let refusals = 2;
      server.refuse = () => (refusals-- > 0 ? { code: 'rate_limited', status: 429 } : null);
      await Promise.all(['one', 'two', 'three'].map((text) => room.send(text)));
      assert.deepEqual(server.rooms.get('lobby').map(({ text }) => text), ['one', 'two', 'three']);
    });

    it('keeps several rooms apart', async () => {
      const names = ['a', 'b', 'c', 'd', 'e', 'f'];
      names.forEach((name) => server.rooms.set(name, []));
      const chat = connect({ transports });
      const rooms = await Promise.all(names.map((name) => chat.join(name)));
      const seen = rooms.map(collect);
      await Promise.all(rooms.map((room) => room.send(room.name)));
      await until(() => seen.every((texts) => texts.length === 1));
      assert.deepEqual(seen.flat(), names);
      rooms[0].leave();
      server.publish('bob', 'gone', { room: 'a' });
      await rooms[1].send('still');
      assert.deepEqual(seen[0], ['a']);
    });

    it('reads history, forward and back', async () => {
      for (let i = 0; i < 3000; i += 1) server.publish('bob', `${i}`);
      const chat = connect({ transports });
      const room = await chat.join('lobby', { last: 1 });
      const newest = (await room.history({ last: 1 })).messages[0];
      let [oldest, total] = [newest, 1];
      for (;;) {
        const older = await room.before(oldest, 400);
        if (!older.length) break;
        assert.equal(Number(older.at(-1).text) + 1, Number(oldest.text));
        total += older.length;
        oldest = older[0];
      }
      assert.equal(total, 3000);
      assert.equal(oldest.text, '0');
    });
  });
}

describe('choosing a transport', { timeout: 20_000 }, () => {
  const transports = ['websocket', 'sse', 'poll'];

  it('takes WebSocket where it works', async () => {
    const chat = connect({ transports });
    await chat.join('lobby');
    assert.equal(chat.state.transport, 'websocket');
  });

  it('takes event streams where WebSocket is refused', async () => {
    server.websocket = 'refuse';
    const chat = connect({ transports });
    await chat.join('lobby');
    assert.equal(chat.state.transport, 'sse');
  });

  it('notices in time a WebSocket that is accepted and then silent, and a stream that is held back', async () => {
    server.websocket = 'silent';
    server.events = 'buffer';
    const chat = connect({ transports });
    const begun = Date.now();
    await chat.join('lobby');
    assert.equal(chat.state.transport, 'poll');
    assert.ok(Date.now() - begun < 10 * QUICK.patience);
  });

  it('changes to a better one when that works again, losing nothing', async () => {
    server.websocket = 'refuse';
    server.events = 'refuse';
    const chat = connect({ transports, upgrade: 40 });
    const room = await chat.join('lobby');
    const texts = collect(room);
    assert.equal(chat.state.transport, 'poll');
    server.events = 'ok';
    await until(() => chat.state.transport === 'sse');
    server.publish('bob', 'one');
    await until(() => texts.length === 1);
    server.websocket = 'ok';
    const publishing = setInterval(() => server.publish('bob', 'more'), 1);
    await until(() => chat.state.transport === 'websocket');
    await until(() => server.sockets.size === 1);
    clearInterval(publishing);
    await room.send('last');
    await until(() => texts.at(-1) === 'last');
    assert.equal(texts.length, server.rooms.get('lobby').length);
    assert.ok(!chat.states.includes('offline'));
  });

  it('gives up one that lets through but never lasts', async () => {
    const chat = connect({ transports });
    await chat.join('lobby');
    for (let i = 0; i < 3; i += 1) {
      await until(() => chat.state.state === 'online');
      server.cut();
      await until(() => chat.state.state !== 'online');
    }
    await until(() => chat.state.state === 'online');
    assert.equal(chat.state.transport, 'sse');
  });

  it('remembers what worked', async () => {
    const storage = new FakeStorage();
    server.websocket = 'silent';
    const first = connect({ transports, storage });
    await first.join('lobby');
    first.close();
    const before = server.sockets.size;
    server.websocket = 'ok';
    const second = connect({ transports, storage });
    await second.join('lobby');
    assert.equal(second.state.transport, 'sse');
    assert.equal(server.sockets.size, before);
  });

  it('uses what the platform has', async () => {
    const chat = connect({ WebSocket: undefined });
    await chat.join('lobby');
    // Node has no EventSource, and a WebSocket of its own (from 22 on) meets no upgrade here.
    assert.equal(chat.state.transport, 'poll');
  });

  it('asks for shorter polls where something cuts long ones', async () => {
    server.events = 'refuse';
    const asked = [];
    let clock = 0;
    const { now } = Date;
    const fake = async (address, init) => {
      const wait = Number(new URL(address).searchParams.get('wait') ?? 0);
      if (wait > 10) {
        asked.push(wait);
        clock += 8000;
        return new Response('<h1>Gateway Timeout</h1>', { status: 504 });
      }
      if (wait) asked.push(wait);
      return fetch(address, init);
    };
    Date.now = () => now() + clock;
    try {
      const chat = connect({ transports: ['poll'], fetch: fake });
      const texts = collect(await chat.join('lobby'));
      await until(() => asked.length >= 2);
      server.publish('bob', 'hi');
      await until(() => texts.length === 1);
      assert.deepEqual(asked.slice(0, 2), [25, 5]);
      assert.deepEqual(chat.states.filter((state) => state === 'offline'), []);
    } finally {
      Date.now = now;
    }
  });
});

describe('coming back', { timeout: 20_000 }, () => {
  it('waits as long as the goodbye says', async () => {
    const chat = connect({ transports: ['websocket'], backoff: 1, backoffMax: 1 });
    await chat.join('lobby');
    const [socket] = server.sockets;
    socket.deliver({ type: 'bye', reason: 'restart', retry: 400 });
    setTimeout(() => socket.drop(1012), 5);
    await until(() => chat.state.state === 'offline');
    const begun = Date.now();
    assert.equal(chat.state.retry, 400);
    await until(() => chat.state.state === 'online');
    assert.ok(Date.now() - begun >= 395);
  });

  it('waits as long as Retry-After says, and a little longer', async () => {
    server.draining = 1;
    const chat = connect({ transports: ['poll'], backoff: 1, backoffMax: 1 });
    const joining = chat.join('lobby');
    await until(() => chat.state.state === 'offline');
    assert.ok(chat.state.retry >= 1000 && chat.state.retry <= 2000);
    server.draining = undefined;
    await joining;
  });

  it('waits a random time below a doubling ceiling', async () => {
    const { random } = Math;
    Math.random = () => 1;
    try {
      server.websocket = 'refuse';
      const chat = connect({ transports: ['websocket'], backoff: 10, backoffMax: 50 });
      const waits = [];
      chat.on('state', ({ state, retry }) => state === 'offline' && waits.push(retry));
      chat.join('lobby').catch(() => {});
      await until(() => waits.length >= 5);
      assert.deepEqual(waits.slice(0, 5), [10, 20, 40, 50, 50]);
    } finally {
      Math.random = random;
    }
  });

  it('notices a connection that is dead but not closed', async () => {
    const chat = connect({ transports: ['websocket'], silence: 100 });
    const texts = collect(await chat.join('lobby'));
    server.websocket = 'mute';
    server.publish('bob', 'missed');
    await until(() => chat.states.includes('offline'));
    server.websocket = 'ok';
    await until(() => texts.length === 1);
    assert.deepEqual(texts, ['missed']);
  });

  it('notices a send that is never answered', async () => {
    const chat = connect({ transports: ['websocket'], answer: 100 });
    const room = await chat.join('lobby');
    server.websocket = 'mute';
    const sending = room.send('hello', { id: 'x' });
    await until(() => chat.states.includes('offline'));
    server.websocket = 'ok';
    assert.equal(await sending, 'x');
  });

  it('does not wait any longer when the browser is online again', async () => {
    const events = new EventTarget();
    globalThis.addEventListener = events.addEventListener.bind(events);
    try {
      server.websocket = 'refuse';
      const chat = connect({ transports: ['websocket'], backoff: 1e9, backoffMax: 1e9 });
      const joining = chat.join('lobby');
      await until(() => chat.state.state === 'offline');
      server.websocket = 'ok';
      events.dispatchEvent(new Event('online'));
      await joining;
      server.websocket = 'mute';
      events.dispatchEvent(new Event('offline'));
      await until(() => chat.state.state === 'offline');
    } finally {
      delete globalThis.addEventListener;
    }
  });

  it('looks at once when the page is shown again', async () => {
    const page = new EventTarget();
    globalThis.document = page;
    try {
      server.websocket = 'refuse';
      const chat = connect({ transports: ['websocket'], backoff: 1e9, backoffMax: 1e9 });
      const joining = chat.join('lobby');
      await until(() => chat.state.state === 'offline');
      server.websocket = 'ok';
      page.dispatchEvent(new Event('visibilitychange'));
      await joining;
    } finally {
      delete globalThis.document;
    }
  });
});

describe('unsent messages', { timeout: 20_000 }, () => {
  it('outlive the page where there is storage, and are sent once', async () => {
    const storage = new FakeStorage();
    const first = connect({ transports: ['websocket'], storage });
    const room = await first.join('lobby');
    server.websocket = 'mute';
    const lost = room.send('kept').catch(({ code }) => code);
    first.close();
    assert.equal(await lost, 'closed');
    assert.equal(server.rooms.get('lobby').length, 0);
    server.websocket = 'ok';
    const second = connect({ transports: ['websocket'], storage });
    const again = await second.join('lobby');
    await until(() => again.unsent.length === 0);
    assert.deepEqual(server.rooms.get('lobby').map(({ text }) => text), ['kept']);
    const other = connect({ transports: ['websocket'], storage });
    assert.equal((await other.join('lobby')).unsent.length, 0);
  });

  it('are not sent in the name of someone else, nor after a week', async () => {
    const storage = new FakeStorage();
    const day = 24 * 3600_000;
    const keep = (user, id, age) => storage.setItem(`chatd:unsent:${url}:${user}:${id}`,
      JSON.stringify({ room: 'lobby', id, text: id, at: Date.now() - age }));
    keep('bob', 'of-bob', 0);
    keep('ann', 'old', 8 * day);
    keep('ann', 'new', day);
    const room = await connect({ transports: ['websocket'], storage }).join('lobby');
    await until(() => room.unsent.length === 0);
    assert.deepEqual(server.rooms.get('lobby').map(({ text }) => text), ['new']);
  });

  it('are bounded', async () => {
    const chat = connect({ transports: ['websocket'], unsent: 2 });
    const room = await chat.join('lobby');
    server.websocket = 'mute';
    const sends = ['a', 'b', 'c'].map((text) => room.send(text).catch(({ code }) => code));
    assert.equal(await sends[2], 'unsent_full');
  });

  it('reject when the chat is closed', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    server.websocket = 'mute';
    const sending = room.send('never');
    chat.close();
    await assert.rejects(sending, { code: 'closed' });
    await assert.rejects(room.send('more'), { code: 'closed' });
    await assert.rejects(chat.join('lobby'), { code: 'closed' });
    assert.equal(chat.state.state, 'offline');
  });
});

describe('tokens', { timeout: 20_000 }, () => {
  const seconds = () => Math.floor(Date.now() / 1000);

  it('are renewed before they expire, on the open connection', async () => {
    let made = 0;
    const chat = connect({
      transports: ['websocket'],
      token: () => token({ sub: 'ann', n: made += 1, iat: seconds(), exp: seconds() + (made === 1 ? 1 : 3600) }),
    });
    await chat.join('lobby');
    assert.equal(chat.user, 'token');
    await until(() => server.frames.some(({ type }) => type === 'auth'));
    assert.equal(made, 2);
    assert.equal(server.sockets.size, 1);
  });

  it('are asked for again when the server refuses one, and the best transport is tried again', async () => {
    let made = 0;
    server.accept = (one) => one === 'good.x.x';
    const chat = connect({ token: async () => ((made += 1) === 1 ? 'bad.x.x' : 'good.x.x'),
      transports: ['websocket', 'sse', 'poll'] });
    await chat.join('lobby');
    assert.equal(chat.state.transport, 'websocket');
    assert.equal(made, 2);
  });

  it('that stay refused reject the join, and the chat goes on asking', async () => {
    let good = false;
    server.accept = () => good;
    const errors = [];
    const chat = connect({ token: () => 'x.x.x', transports: ['websocket', 'sse', 'poll'] });
    chat.on('error', ({ code }) => errors.push(code));
    await assert.rejects(chat.join('lobby'), { code: 'unauthorized' });
    assert.deepEqual(errors.slice(0, 1), ['unauthorized']);
    good = true;
    await chat.join('lobby');
  });

  it('that cannot be had are an error of their own', async () => {
    const chat = connect({ token: () => Promise.reject(new Error('log in first')) });
    const error = new Promise((resolve) => chat.on('error', resolve));
    await assert.rejects(chat.join('lobby'), { code: 'unauthorized', message: /log in first/ });
    assert.equal((await error).code, 'unauthorized');
  });

  it('that expire close the socket, which opens again with a new one', async () => {
    let made = 0;
    const chat = connect({ transports: ['websocket'], token: () => token({ sub: 'ann', n: made += 1 }) });
    await chat.join('lobby');
    [...server.sockets][0].drop(4401, 'expired');
    await until(() => made === 2 && chat.state.state === 'online');
  });

  it('go in a header, but for the WebSocket', async () => {
    const chat = connect({ transports: ['sse'], token: () => 'a.b.c' });
    const room = await chat.join('lobby');
    await room.send('hello');
    assert.ok(server.requests.length >= 3);
    for (const { authorization, query } of server.requests) {
      assert.equal(authorization, 'Bearer a.b.c');
      assert.equal(query.token, undefined);
      assert.equal(query.username, undefined);
    }
  });
});

describe('a room', { timeout: 20_000 }, () => {
  it('tells who comes and goes, and who types', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    const events = [];
    room.on('presence', ({ joined, left, count }) => events.push([joined, left, count]));
    room.on('typing', ({ user }) => events.push(user));
    const [socket] = server.sockets;
    socket.deliver({ type: 'presence', room: 'lobby', joined: ['bob', 'cid'], left: [], count: 3 });
    socket.deliver({ type: 'typing', room: 'lobby', user: 'bob' });
    socket.deliver({ type: 'presence', room: 'lobby', joined: [], left: ['bob'], count: 2 });
    socket.deliver({ type: 'presence', room: 'lobby', count: 250 });
    socket.deliver({ type: 'unheard-of', room: 'lobby' });
    await until(() => events.length === 4);
    assert.deepEqual(events, [[['bob', 'cid'], [], 3], 'bob', [[], ['bob'], 2], [[], [], 250]]);
    assert.deepEqual(room.members, ['ann', 'cid']);
  });

  it('passes on that we type, but not each key', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    for (let i = 0; i < 10; i += 1) room.typing();
    await room.send('x');
    assert.equal(server.frames.filter(({ type }) => type === 'typing').length, 1);
  });

  it('ends where the server says so', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const closed = new Promise((resolve) => room.on('closed', resolve));
    const reading = room[Symbol.asyncIterator]().next();
    const [socket] = server.sockets;
    socket.deliver({ type: 'left', room: 'lobby' });
    socket.deliver({ type: 'error', code: 'unknown_room', text: 'deleted', room: 'lobby' });
    assert.equal((await closed).code, 'unknown_room');
    await assert.rejects(reading, { code: 'unknown_room' });
  });

  it('ends iteration when we leave, and can be joined again at once', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    const reading = room[Symbol.asyncIterator]().next();
    room.leave();
    assert.equal((await reading).done, true);
    const again = await chat.join('lobby');
    assert.notEqual(again, room);
    await again.send('here');
  });

  it('is joined once however often and spelled, by handles of their own', async () => {
    server.rooms.set('caf\u00e9', []);
    const chat = connect({ transports: ['websocket'] });
    const [a, b] = await Promise.all([chat.join('caf\u00e9'), chat.join('cafe\u0301')]);
    assert.notEqual(a, b);
    assert.equal(a.name, b.name);
    assert.deepEqual(chat.rooms, [a, b]);
    const texts = [a, b].map(collect);
    a.leave();
    assert.equal(a.state.state, 'closed');
    await b.send('still here');
    await until(() => texts[1].length === 1);
    assert.deepEqual(texts, [[], ['still here']]);
    assert.equal(server.frames.filter(({ type }) => type === 'join').length, 1);
    b.leave();
    await until(() => server.frames.some(({ type }) => type === 'leave'));
    assert.deepEqual(chat.rooms, []);
  });

  it('does not lose what a slow reader has not read, nor keep it all', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    const reader = room[Symbol.asyncIterator]();
    for (let i = 0; i < 5000; i += 1) server.publish('bob', `${i}`);
    await until(() => room.cursor === 'e:4999');
    const texts = [];
    while (texts.length < 4000) texts.push((await reader.next()).value.text);
    for (let i = 5000; i < 5100; i += 1) server.publish('bob', `${i}`);
    while (texts.length < 5100) texts.push((await reader.next()).value.text);
    assert.deepEqual(texts, Array.from({ length: 5100 }, (_, i) => `${i}`));
    assert.ok(server.requests.length >= 4);
  });

  it('stops a listener at once', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const texts = [];
    const off = room.on('message', ({ text }) => {
      texts.push(text);
      off();
    });
    server.publish('bob', '1');
    server.publish('bob', '2');
    await room.send('x');
    await until(() => room.cursor === 'e:2');
    assert.deepEqual(texts, ['1']);
  });

  it('forgets ids beyond its window', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const texts = collect(room);
    for (let i = 0; i < 1001; i += 1) server.publish('bob', `${i}`, { id: `${i}` });
    await until(() => texts.length === 1001);
    const all = server.rooms.get('lobby');
    const [socket] = server.sockets;
    socket.deliver(all.at(-1));
    socket.deliver(all[0]);
    await until(() => texts.length === 1002);
    assert.equal(texts.at(-1), '0');
  });
});

describe('event streams', () => {
  const parse = (...parts) => {
    const parser = new EventParser();
    return [parts.flatMap((part) => [...parser.push(part)]), parser];
  };

  it('are read however they are cut and whatever ends their lines', () => {
    const text = ': hi\r\n\r\nid: 1\r\ndata: a\r\ndata:b\r\n\r\nevent: gap\ndata\n\nretry: 70\rdata: c\r\rdata: unfinished';
    const expected = [{ name: 'message', data: 'a\nb' }, { name: 'gap', data: '' }, { name: 'message', data: 'c' }];
    for (let cut = 0; cut <= text.length; cut += 1) {
      const [events, parser] = parse(text.slice(0, cut), text.slice(cut));
      assert.deepEqual(events, expected);
      assert.equal(parser.retry, 70);
    }
  });

  it('cost what they are long, in however many pieces', { timeout: 20_000 }, () => {
    const parser = new EventParser();
    const events = [];
    for (const piece of ['data: ', ...'x'.repeat(900_000), '\n', '\n']) events.push(...parser.push(piece));
    assert.equal(events.length, 1);
    assert.equal(events[0].data.length, 900_000);
  });

  it('may not have a line without end', () => {
    assert.throws(() => parse('data: '.padEnd(1_000_001, 'x')), { code: 'too_large' });
  });
});

it('makes ids that the server takes', () => {
  assert.match(newId(), /^[!-~]{1,64}$/);
  assert.notEqual(newId(), newId());
});
