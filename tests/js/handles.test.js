/** What an application holds in its hands: rooms, events, options. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Chat } from '../../chatd/web/chatd.js';
import { begin, collect } from './setting.js';
import { token, until } from './server.js';

const setting = begin();
const { connect } = setting;

describe('a handle', { timeout: 100_000 }, () => {
  it('has the backlog that it asked for, whoever joined before', async () => {
    for (const text of ['a', 'b', 'c', 'd']) setting.server.publish('bob', text);
    for (const transports of [['websocket'], ['sse'], ['poll']]) {
      const chat = connect({ transports });
      const first = await chat.join('lobby', { last: 1 });
      const [second, third] = await Promise.all([chat.join('lobby', { last: 3 }), chat.join('lobby')]);
      const texts = [first, second, third].map(collect);
      setting.server.publish('bob', 'e', { id: `e-${transports}` });
      await until(() => texts.every((one) => one.at(-1) === 'e'));
      assert.deepEqual(texts, [['d', 'e'], ['b', 'c', 'd', 'e'], ['e']]);
      setting.server.rooms.get('lobby').pop();
      chat.close();
    }
  });

  it('that comes later reads all that it asked for, however much that is, and goes on', async () => {
    for (let i = 0; i < 2500; i += 1) setting.server.publish('bob', `${i}`);
    for (const transports of [['websocket'], ['poll']]) {
      const chat = connect({ transports });
      await chat.join('lobby');
      const late = await chat.join('lobby', { after: 'e:9' });
      const texts = collect(late);
      setting.server.publish('bob', 'last', { id: `last-${transports}` });
      await until(() => texts.at(-1) === 'last' && texts.length >= 2491);
      assert.deepEqual(texts.slice(0, 2490), Array.from({ length: 2490 }, (_, i) => `${i + 10}`));
      assert.equal(new Set(texts).size, 2491);
      chat.close();
    }
  });

  it('is had as soon as the server can be asked for what was said before', async () => {
    for (const text of ['a', 'b']) setting.server.publish('bob', text);
    let failures = 3;
    const failing = async (address, init) => {
      if (address.includes('messages') && (failures -= 1) >= 0) throw new TypeError('no route');
      return fetch(address, init);
    };
    const chat = connect({ transports: ['websocket'], fetch: failing });
    await chat.join('lobby');
    const texts = collect(await chat.join('lobby', { last: 2 }));
    await until(() => texts.length === 2);
    assert.ok(failures < 0);
    failures = Infinity;
    const joining = chat.join('lobby', { last: 2 });
    await until(() => chat.rooms.length === 3);
    chat.close();
    await assert.rejects(joining, { code: 'closed' });
  });

  it('gives each listener what came before it, however late it is', async () => {
    for (const text of ['a', 'b']) setting.server.publish('bob', text);
    const room = await connect({ transports: ['websocket'] }).join('lobby', { last: 2 });
    const first = collect(room);
    await until(() => first.length === 2);
    const second = collect(room);
    setting.server.publish('bob', 'c');
    await until(() => second.length === 3);
    assert.deepEqual(second, ['a', 'b', 'c']);
    for (let i = 0; i < 1500; i += 1) setting.server.publish('bob', `${i}`);
    await until(() => first.length === 1503);
    const third = collect(room);
    await until(() => third.length === 1503);
    assert.deepEqual(third, first);
  });

  it('can be joined, left and joined again at once, as StrictMode does', async () => {
    for (const transports of [['websocket'], ['poll']]) {
      const chat = connect({ transports });
      const over = new AbortController();
      const first = chat.join('lobby', { signal: over.signal });
      over.abort();
      const second = await chat.join('lobby');
      await assert.rejects(first, { name: 'AbortError' });
      const again = await chat.join('lobby');
      second.leave();
      const texts = collect(again);
      await again.send('still here');
      await until(() => texts.length === 1);
      assert.equal(again.state.state, 'joined');
      again.leave();
      const last = await chat.join('lobby');
      await new Promise((resolve) => setTimeout(resolve, 700));
      assert.equal(last.state.state, 'joined');
      chat.close();
    }
  });

  it('that cannot have the beginning it asked for is none, and is left once', async () => {
    const refusal = '{"type":"error","code":"bad_request","text":"no such cursor"}';
    const fake = (address, init) => (address.includes('after=garbage')
      ? Promise.resolve(new Response(refusal, { status: 400 })) : fetch(address, init));
    const chat = connect({ transports: ['websocket'], fetch: fake });
    const room = await chat.join('lobby');
    await assert.rejects(chat.join('lobby', { after: 'garbage' }), { code: 'bad_request' });
    assert.deepEqual(chat.rooms, [room]);
    const other = await chat.join('lobby');
    other.leave();
    other.leave();
    await room.send('still here');
    assert.deepEqual(chat.rooms, [room]);
    room.leave();
    await until(() => setting.server.frames.some(({ type }) => type === 'leave'));
  });

  it('gives once what it has read before it comes live, and after an interruption', async () => {
    for (const text of ['a', 'b']) setting.server.publish('bob', text);
    const chat = connect({ transports: ['websocket'] });
    await chat.join('lobby');
    const late = setting.server.hold();
    for (const text of ['c', 'd', 'e']) setting.server.publish('bob', text);
    const [last, since] = [await chat.join('lobby', { last: 1 }), await chat.join('lobby', { after: 'e:1' })];
    const texts = [last, since].map(collect);
    await until(() => texts[0].length === 1 && texts[1].length === 3);
    await until(() => setting.server.requests.filter(({ query }) => query.limit === '1000').length >= 2);
    late();
    setting.server.publish('bob', 'f');
    await until(() => texts.every((one) => one.at(-1) === 'f'));
    assert.deepEqual(texts, [['e', 'f'], ['c', 'd', 'e', 'f']]);
    setting.server.hold();
    for (const text of ['g', 'h']) setting.server.publish('bob', text);
    const back = collect(await chat.join('lobby', { last: 2 }));
    await until(() => back.length === 2);
    setting.server.cut();
    await until(() => texts.every((one) => one.at(-1) === 'h'));
    setting.server.publish('bob', 'i');
    await until(() => [...texts, back].every((one) => one.at(-1) === 'i'));
    assert.deepEqual(back, ['g', 'h', 'i']);
    assert.deepEqual(texts[0], ['e', 'f', 'g', 'h', 'i']);
  });

  it('has its beginning, though that cannot be had at first', async () => {
    for (const text of ['a', 'b']) setting.server.publish('bob', text);
    const busy = '{"type":"error","code":"unavailable","text":"in a moment"}';
    const failures = [() => Promise.reject(new TypeError('no route')),
      async () => new Response(busy, { status: 503, headers: { 'Retry-After': '0' } })];
    const fake = (address, init) =>
      ((address.includes('last=2') && failures.shift()) || fetch)(address, init);
    const chat = connect({ transports: ['websocket'], fetch: fake });
    await chat.join('lobby');
    const texts = collect(await chat.join('lobby', { last: 2 }));
    await until(() => texts.length === 2);
    assert.deepEqual(failures, []);
    assert.deepEqual(texts, ['a', 'b']);
  });

  it('tells of a gap in what it asked for itself, and of no other', async () => {
    for (const text of ['a', 'b', 'c', 'd']) setting.server.publish('bob', text);
    setting.server.kept = 2;
    for (const transports of [['websocket'], ['poll']]) {
      const chat = connect({ transports });
      const now = await chat.join('lobby');
      const before = await chat.join('lobby', { after: 'e:0' });
      const after = await chat.join('lobby', { after: 'e:2' });
      assert.deepEqual([now.gap, before.gap, after.gap], [false, true, false]);
      const texts = [before, after].map(collect);
      await until(() => texts[0].length === 2 && texts[1].length === 1);
      assert.deepEqual(texts, [['c', 'd'], ['d']]);
      chat.close();
      const first = connect({ transports });
      const gapped = await first.join('lobby', { after: 'e:0' });
      const late = await first.join('lobby');
      assert.deepEqual([gapped.gap, late.gap], [true, false]);
    }
  });

  it('works through a proxy, as frameworks wrap it', async () => {
    const wrap = (target) => new Proxy(target, {
      get: (self, name, receiver) => Reflect.get(self, name, receiver) });
    const chat = wrap(connect({ transports: ['websocket'] }));
    const states = [];
    chat.on('state', ({ state }) => states.push(state));
    const room = wrap(await chat.join('lobby'));
    const { send, history } = room;
    await send('one');
    assert.equal((await history({ last: 1 })).messages[0].text, 'one');
    for await (const { text } of room) {
      assert.equal(text, 'one');
      break;
    }
    assert.deepEqual([room.name, room.members, room.state.state], ['lobby', ['ann'], 'joined']);
    assert.deepEqual(states, ['connecting', 'online']);
    room.leave();
    chat.close();
  });

  it('tells how it stands, and how much was recovered', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    const told = [];
    room.on('state', ({ state }) => told.push(state));
    room.on('recovered', (what) => told.push(what));
    setting.server.cut();
    for (const text of ['a', 'b', 'c']) setting.server.publish('bob', text);
    await until(() => told.length === 3);
    assert.deepEqual(told, ['joining', 'joined', { count: 3, gap: false }]);
    // Of each interruption by itself: what one has lost the next has not.
    setting.server.cut();
    for (const text of ['d', 'e', 'f']) setting.server.publish('bob', text);
    setting.server.kept = 5;
    await until(() => told.length === 6);
    setting.server.cut();
    await until(() => told.length === 9);
    assert.deepEqual([told[5], told[8]], [{ count: 1, gap: true }, { count: 0, gap: false }]);
    room.leave();
    assert.deepEqual(room.state, { state: 'closed', error: null });
  });

  it('in a room where something is said all the time has caught up all the same', async () => {
    const chat = connect({ transports: ['websocket'] });
    await chat.join('lobby');
    const talk = setInterval(() => setting.server.publish('bob', 'on and on'), 20);
    try {
      const begun = performance.now();
      await chat.join('lobby', { last: 1 });
      assert.ok(performance.now() - begun < 15_000);
    } finally {
      clearInterval(talk);
    }
  });
});

describe('listeners', { timeout: 100_000 }, () => {
  it('hear once, and no more when off', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const [once, off, on] = [[], [], collect(room)];
    const listener = ({ text }) => off.push(text);
    room.once('message', ({ text }) => once.push(text));
    room.on('message', listener);
    await room.send('1');
    await until(() => off.length === 1);
    room.off('message', listener);
    await room.send('2');
    await until(() => on.length === 2);
    assert.deepEqual([once, off], [['1'], ['1']]);
  });

  it('that are off hear no more of what has come already', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    for (const text of ['1', '2', '3']) await room.send(text);
    await until(() => room.cursor === 'e:2');
    const [heard, all] = [[], []];
    const off = room.on('message', ({ text }) => {
      heard.push(text);
      off();
    });
    room.on('message', ({ text }) => all.push(text));
    await until(() => all.length === 3);
    assert.deepEqual(heard, ['1']);
  });

  it('hear as was said last, once or always', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const [heard, on] = [[], collect(room)];
    const listener = ({ text }) => heard.push(text);
    room.once('message', listener);
    room.on('message', listener);
    await room.send('1');
    await room.send('2');
    await until(() => on.length === 2);
    assert.deepEqual(heard, ['1', '2']);
  });

  it('that are off hear no more, nor does who left, though the past is on its way', async () => {
    for (let i = 0; i < 20; i += 1) setting.server.publish('bob', `${i}`);
    const held = [];
    const slow = async (address, init) => {
      const response = await fetch(address, init);
      if (address.includes('limit=1000')) await new Promise((resolve) => { held.push(resolve); });
      return response;
    };
    const chat = connect({ transports: ['websocket'], fetch: slow });
    await chat.join('lobby');
    for (const end of ['off', 'leave', 'close']) {
      const room = await chat.join('lobby', { last: 10 });
      const texts = [];
      const off = room.on('message', ({ text }) => texts.push(text));
      const read = [];
      const reading = (async () => {
        for await (const { text } of room) read.push(text);
      })();
      await until(() => held.length === 2);
      ({ off, leave: room.leave, close: chat.close })[end]();
      if (end === 'off') room.leave();
      held.splice(0).forEach((answer) => answer());
      await reading;
      assert.deepEqual([texts, read], [['10'], ['10']], end);
    }
  });

  it('of what does not exist are errors, and so are misspelt options', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    for (const slip of [
      () => new Chat(setting.url, { usr: 'ann' }), () => chat.on('states', () => {}),
      () => room.on('mesage', () => {}), () => room.off('mesage', () => {}), () => room.once('x', () => {})]) {
      assert.throws(slip, TypeError);
    }
    await assert.rejects(chat.join('lobby', { lst: 5 }), { name: 'TypeError', message: /"lst".*last/ });
    await assert.rejects(room.send('x', { dat: {} }), TypeError);
    await assert.rejects(room.history({ lasr: 1 }), TypeError);
    await assert.rejects(chat.connect({ timout: 1 }), TypeError);
  });
});

describe('waiting', { timeout: 100_000 }, () => {
  it('ends with a signal or after a time', async () => {
    setting.server.websocket = 'silent';
    const chat = connect({ transports: ['websocket'], patience: 300 });
    await assert.rejects(chat.join('lobby', { timeout: 30 }), { code: 'timeout' });
    assert.deepEqual(chat.rooms, []);
    setting.server.websocket = 'ok';
    const room = await chat.join('lobby');
    setting.server.websocket = 'mute';
    await assert.rejects(room.send('x', { timeout: 30 }), { code: 'timeout' });
    const reason = new Error('no longer wanted');
    await assert.rejects(room.send('y', { signal: AbortSignal.abort(reason) }), reason);
    assert.deepEqual(room.unsent, []);
    await assert.rejects(room.history({ last: 1, signal: AbortSignal.abort(reason) }), reason);
    await assert.rejects(room.history({ last: 1, timeout: 0 }), { code: 'timeout' });
  });

  it('for a room that others are in leaves no handle when it ends', async () => {
    const chat = connect({ transports: ['websocket'] });
    const first = await chat.join('lobby');
    const reason = new Error('no longer wanted');
    await assert.rejects(chat.join('lobby', { signal: AbortSignal.abort(reason) }), reason);
    const other = await chat.join('lobby');
    assert.deepEqual(chat.rooms, [first, other]);
  });

  it('for the beginning of a room ends with the room', async () => {
    let asked;
    const endless = (address, init) => {
      if (!address.includes('last=2')) return fetch(address, init);
      asked = init.signal;
      return new Promise(() => {});
    };
    const chat = connect({ transports: ['websocket'], fetch: endless });
    await chat.join('lobby');
    const over = new AbortController();
    const joining = chat.join('lobby', { last: 2, signal: over.signal });
    await until(() => asked);
    over.abort(new Error('no longer wanted'));
    await assert.rejects(joining, /no longer wanted/);
    assert.ok(asked.aborted);
  });

  it('may be longer than a timer can run', async () => {
    const long = { patience: Infinity, answer: Infinity, silence: Infinity };
    for (const transports of [['websocket'], ['sse'], ['poll']]) {
      const chat = connect({ transports, ...long });
      const room = await chat.join('lobby', { timeout: Infinity });
      await room.send('x', { timeout: 30 * 24 * 3600_000 });
      await room.history({ last: 1, timeout: 2 ** 31 });
      assert.deepEqual(chat.states, ['connecting', 'online']);
    }
  });

  it('has a cause where something was thrown', async () => {
    const chat = connect({ transports: ['poll'], fetch: () => Promise.reject(new TypeError('no route')) });
    const joining = chat.join('lobby');
    await until(() => chat.state.state === 'offline' && chat.state.error);
    assert.equal(chat.state.error.code, 'network');
    assert.equal(chat.state.error.cause.message, 'no route');
    chat.close();
    await assert.rejects(joining, { code: 'closed' });
  });
});

describe('connecting by hand', { timeout: 100_000 }, () => {
  for (const transports of [['websocket'], ['sse'], ['poll']]) {
    it(`is done without a room, undone and done again, over ${transports}`, async () => {
      const chat = connect({ transports });
      await chat.connect({ timeout: 10_000 });
      assert.equal(chat.state.state, 'online');
      const room = await chat.join('lobby');
      const texts = collect(room);
      chat.disconnect();
      await until(() => chat.state.state === 'offline');
      assert.equal(chat.state.retry, null);
      setting.server.publish('bob', 'missed');
      const sending = room.send('kept');
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal(chat.state.state, 'offline');
      await chat.connect();
      await sending;
      await until(() => texts.length === 2);
      assert.deepEqual(texts, ['missed', 'kept']);
    });
  }

  it('is done again at once, and not done before it is', async () => {
    const chat = connect({ transports: ['websocket'] });
    await chat.connect();
    const [first] = setting.server.sockets;
    chat.disconnect();
    await chat.connect();
    assert.equal(chat.state.state, 'online');
    assert.ok(!setting.server.sockets.has(first) && setting.server.sockets.size === 1);
  });

  it('tries now', async () => {
    setting.server.websocket = 'refuse';
    const chat = connect({ transports: ['websocket'], backoff: 1e9, backoffMax: 1e9 });
    const joining = chat.join('lobby');
    await until(() => chat.state.state === 'offline');
    setting.server.websocket = 'ok';
    chat.tryNow();
    await joining;
    assert.deepEqual(chat.rooms.map(({ name }) => name), ['lobby']);
  });

  it('fails where the server refuses, and may be tried again', async () => {
    setting.server.accept = () => false;
    const chat = connect({ token: () => 'x.x.x', transports: ['poll'] });
    const joining = chat.join('lobby');
    await assert.rejects(chat.connect({ timeout: 10_000 }), { code: 'unauthorized' });
    await assert.rejects(joining, { code: 'unauthorized' });
    await until(() => chat.state.state === 'offline');
    assert.deepEqual([chat.state.error.code, chat.state.retry], ['unauthorized', null]);
    setting.server.accept = () => true;
    await chat.connect();
    await chat.connect({ timeout: 10_000 });
    chat.close();
    assert.deepEqual(chat.state, { state: 'offline', transport: null, retry: null, error: null });
  });
});

describe('a token', { timeout: 100_000 }, () => {
  it('that does not come is waited for so long, and told', async () => {
    const chat = connect({ token: () => new Promise(() => {}), answer: 50 });
    const told = new Promise((resolve) => chat.once('error', resolve));
    await assert.rejects(chat.join('lobby'), { code: 'unauthorized', message: /50 ms/ });
    assert.equal((await told).cause.code, 'timeout');
  });

  it('that is refused later ends no room: it goes on with one that is taken', async () => {
    const chat = connect({ transports: ['poll'], token: () => 'x.x.x' });
    const room = await chat.join('lobby');
    const texts = collect(room);
    const refused = new Promise((resolve) => chat.once('error', resolve));
    setting.server.accept = () => false;
    setting.server.cut();
    assert.equal((await refused).code, 'unauthorized');
    setting.server.publish('bob', 'missed');
    setting.server.accept = () => true;
    chat.tryNow();
    await until(() => texts.length === 1);
    assert.deepEqual(chat.rooms, [room]);
  });

  it('that comes when nobody wants to be connected any more connects nobody', async () => {
    let give;
    const chat = connect({
      transports: ['websocket'], token: () => new Promise((resolve) => { give = resolve; }) });
    chat.join('lobby').catch(() => {});
    await until(() => give);
    chat.disconnect();
    give(token({ sub: 'ann' }));
    await (await connect({ transports: ['websocket'] }).join('lobby')).send('hello');
    assert.equal(chat.state.state, 'offline');
    assert.equal(setting.server.sockets.size, 1);
  });

  it('that is refused is renewed for what is read, and readers wait for one that is taken', async () => {
    for (let i = 0; i < 5; i += 1) setting.server.publish('bob', `${i}`);
    let [good, made] = [1, 0];
    setting.server.accept = (shown) => shown === token({ sub: 'ann', n: good });
    const chat = connect({ transports: ['websocket'], token: () => token({ sub: 'ann', n: made += 1 }) });
    const room = await chat.join('lobby');
    good = 2;
    assert.equal((await room.history({ last: 1 })).messages.length, 1);
    assert.equal(made, 2);
    good = 5;
    const texts = collect(await chat.join('lobby', { last: 5 }));
    await until(() => texts.length === 5);
    assert.deepEqual(chat.states, ['connecting', 'online']);
  });

  it('that is renewed does not interrupt an event stream', async () => {
    const seconds = () => Math.floor(Date.now() / 1000);
    let made = 0;
    const chat = connect({ transports: ['sse'],
      token: () => token({ sub: 'ann', n: made += 1, iat: seconds(), exp: seconds() + (made < 3 ? 1 : 3600) }) });
    const states = [];
    chat.on('state', ({ state }) => states.push(state));
    const texts = collect(await chat.join('lobby'));
    const opened = () => setting.server.requests.filter(({ path }) => path.endsWith('/events'));
    for (let i = 0; made < 3 || opened().length < 3; i += 1) {
      setting.server.publish('bob', `${i}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await until(() => texts.length === setting.server.rooms.get('lobby').length);
    assert.deepEqual(states, ['connecting', 'online']);
    assert.equal(new Set(opened().map(({ authorization }) => authorization)).size, 3);
  });
});

it('leaves nothing behind that would hold a process, closed while it reads', { timeout: 100_000 }, async () => {
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  for (const transports of [['websocket'], ['sse'], ['poll']]) {
    const before = timers();
    const chat = connect({ transports });
    const room = await chat.join('lobby');
    room.once('message', () => chat.close());
    for (let i = 0; i < 100; i += 1) setting.server.publish('bob', `${transports} ${i}`);
    await until(() => room.state.state === 'closed' && timers() <= before);
  }
});

it('waits for nothing when closed: no page of history, no token', { timeout: 25_000 }, async () => {
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const silent = (address, { signal }) => new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });
  const reading = connect({ transports: ['websocket'], fetch: silent, patience: 30_000 });
  const room = await reading.join('lobby');
  const another = connect({ transports: ['websocket'],
    fetch: (address, init) => (address.includes('/messages') ? silent : fetch)(address, init) });
  const page = (await another.join('lobby')).history({ last: 1 });
  const asking = connect({ token: () => new Promise(() => {}) });
  const joining = asking.join('lobby');
  const given = room.history({ last: 1 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  for (const chat of [reading, another, asking]) chat.close();
  for (const promise of [given, page, joining]) await assert.rejects(promise, { code: 'closed' });
  await until(() => timers() <= before);
});

it('leaves nothing behind, closed while a message is on its way that was refused before', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const chat = connect({ transports: ['websocket'], backoff: 1e6, backoffMax: 1e6 });
  const room = await chat.join('lobby');
  const [socket] = setting.server.sockets;
  setting.server.websocket = 'mute';
  const sending = room.send('x', { id: 'x' });
  const tries = () => setting.server.frames.filter(({ type }) => type === 'message').length;
  for (let i = 1; i <= 3; i += 1) {
    await until(() => tries() === i);
    socket.deliver({ type: 'error', code: 'rate_limited', text: 'later', room: 'lobby', id: 'x', retry: 1 });
  }
  await until(() => tries() === 4);
  chat.close();
  await assert.rejects(sending, { code: 'closed' });
  await new Promise((resolve) => { setImmediate(resolve); });
  await until(() => timers() <= before);
});

it('tells what happens to whoever debugs, but no token', async () => {
  const told = [];
  const chat = connect({ transports: ['websocket'], token: () => 'secret.x.x',
    debug: (what, detail) => told.push([what, detail]) });
  const room = await chat.join('lobby');
  await room.send('x');
  assert.deepEqual([...new Set(told.map(([what]) => what))].sort(), ['received', 'sent', 'state']);
  assert.ok(!JSON.stringify(told).includes('secret'));
});
