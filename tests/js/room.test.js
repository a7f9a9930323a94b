/** What a room tells, and how it ends. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Feed, FEED } from '../../chatd/web/client/feed.js';
import { begin, collect } from './setting.js';
import { until } from './server.js';

const setting = begin();
const { connect } = setting;

/** A connection that brings nothing between `hold` and `deliver`, which may bring only the first
 * `count` frames of what is held; `lose` forgets the others. */
function heldLink() {
  let held = null;
  const WebSocket = class extends setting.server.WebSocket {
    deliver(frame) {
      if (held) held.push(() => super.deliver(frame));
      else super.deliver(frame);
    }
  };
  const hold = () => void (held = []);
  const deliver = (count) => {
    const late = held.splice(0, count ?? held.length);
    if (count === undefined) held = null;
    late.forEach((bring) => bring());
  };
  return { WebSocket, hold, deliver, lose: hold };
}

/** A room in which one message came, before its connection was held. */
async function held() {
  const link = heldLink();
  const chat = connect({ transports: ['websocket'], WebSocket: link.WebSocket });
  const room = await chat.join('lobby');
  const texts = collect(room);
  await room.send('first');
  await until(() => texts.length === 1);
  link.hold();
  return { link, chat, room, texts };
}

describe('a room', { timeout: 100_000 }, () => {
  it('tells who comes and goes, and who types', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    const events = [];
    room.on('presence', ({ joined, left, count }) => events.push([joined, left, count]));
    room.on('typing', ({ user }) => events.push(user));
    const [socket] = setting.server.sockets;
    socket.deliver({ type: 'presence', room: 'lobby', joined: ['bob', 'cid'], left: [], count: 3 });
    socket.deliver({ type: 'typing', room: 'lobby', user: 'bob' });
    socket.deliver({ type: 'presence', room: 'lobby', joined: [], left: ['bob'], count: 2 });
    socket.deliver({ type: 'presence', room: 'lobby', count: 250 });
    socket.deliver({ type: 'unheard-of', room: 'lobby' });
    await until(() => events.length === 4);
    assert.deepEqual(events, [[['bob', 'cid'], [], 3], 'bob', [[], ['bob'], 2], [[], [], 250]]);
    assert.deepEqual(room.members, ['ann', 'cid']);
    // Whoever went while we were away is told of when we are back.
    setting.server.cut();
    await until(() => events.length === 5);
    assert.deepEqual(events[4], [[], ['cid'], 1]);
  });

  it('refuses all who wait for it', async () => {
    const chat = connect({ transports: ['websocket'] });
    const joining = [1, 2, 3].map(() => chat.join('nowhere', { timeout: 10_000 }));
    const joined = await Promise.allSettled(joining);
    assert.deepEqual(joined.map(({ reason }) => reason?.code), Array(3).fill('unknown_room'));
  });

  it('passes on that we type, but not each key', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    for (let i = 0; i < 10; i += 1) room.typing();
    await room.send('x');
    assert.equal(setting.server.frames.filter(({ type }) => type === 'typing').length, 1);
    // What was typed is said: this is something new.
    room.typing();
    assert.equal(setting.server.frames.filter(({ type }) => type === 'typing').length, 2);
  });

  it('ends where the server says so', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const closed = new Promise((resolve) => room.on('closed', resolve));
    const states = [];
    room.on('state', ({ state, error }) => states.push([state, error?.code]));
    const reading = room[Symbol.asyncIterator]().next();
    const [socket] = setting.server.sockets;
    socket.deliver({ type: 'left', room: 'lobby' });
    socket.deliver({ type: 'error', code: 'unknown_room', text: 'deleted', room: 'lobby' });
    assert.equal((await closed).code, 'unknown_room');
    await assert.rejects(reading, { code: 'unknown_room' });
    assert.deepEqual(states, [['closed', 'unknown_room']]);
  });

  it('goes on where the server has let us in again since it put us out', async () => {
    setting.server.rooms.set('other', []);
    const chat = connect({ transports: ['websocket'] });
    const [room, other] = await Promise.all([chat.join('lobby'), chat.join('other')]);
    const ends = [];
    room.on('closed', (error) => ends.push(error));
    const [socket] = setting.server.sockets;
    socket.deliver({ type: 'left', room: 'lobby' });
    setTimeout(() => socket.drop(1006), 5);
    await until(() => chat.states.filter((state) => state === 'online').length === 2 && room.state.state === 'joined');
    // Put out later, this one is closed later: by then the first would be.
    const closed = new Promise((resolve) => other.on('closed', resolve));
    await until(() => other.state.state === 'joined');
    [...setting.server.sockets][0].deliver({ type: 'left', room: 'other' });
    assert.equal((await closed).code, 'forbidden');
    assert.deepEqual([ends, room.state.state], [[], 'joined']);
    await room.send('still here');
  });

  it('tells nothing more once it has ended, though it was just coming back', async () => {
    setting.server.rooms.set('other', []);
    const chat = connect({ transports: ['websocket'] });
    const [room, other] = await Promise.all([chat.join('lobby'), chat.join('other')]);
    const told = [];
    for (const name of ['recovered', 'closed']) room.on(name, () => told.push(name));
    const back = new Promise((resolve) => other.on('recovered', resolve));
    room.on('state', ({ state }) => state === 'joined' && [...setting.server.sockets][0].deliver(
      { type: 'error', code: 'unknown_room', text: 'deleted', room: 'lobby' }));
    setting.server.cut();
    await back;
    assert.deepEqual(told, ['closed']);
  });

  it('more than the server allows is refused here, and ends no connection', async () => {
    setting.server.limits = { ...setting.server.limits, rooms: 2 };
    for (const name of ['b', 'c', 'd', 'e']) setting.server.rooms.set(name, []);
    const chat = connect({ transports: ['websocket'] });
    const joined = await Promise.allSettled(['lobby', 'b', 'c', 'd'].map((name) => chat.join(name)));
    assert.deepEqual(joined.map(({ reason }) => reason?.code), [undefined, undefined, 'bad_request', 'bad_request']);
    joined[0].value.leave();
    await chat.join('e');
    await assert.rejects(chat.join('c'), { code: 'bad_request', message: /At most 2 rooms/ });
    assert.deepEqual(setting.server.frames.filter(({ type }) => type === 'join').map(({ room }) => room),
      ['lobby', 'b', 'e']);
    assert.deepEqual(chat.states, ['connecting', 'online']);
  });

  it('ends alone where its event stream does because it is gone', async () => {
    setting.server.rooms.set('other', []);
    const chat = connect({ transports: ['sse'] });
    const [room, other] = await Promise.all([chat.join('lobby'), chat.join('other')]);
    const texts = collect(other);
    const closed = new Promise((resolve) => room.on('closed', resolve));
    await until(() => setting.server.streams.length === 2);
    setting.server.rooms.delete('lobby');
    setting.server.streams.find((stream) => stream.room === 'lobby').end();
    assert.equal((await closed).code, 'unknown_room');
    setting.server.publish('bob', 'on', { room: 'other' });
    await until(() => texts.length === 1);
    assert.deepEqual(chat.states, ['connecting', 'online']);
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
    setting.server.rooms.set('caf\u00e9', []);
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
    assert.equal(setting.server.frames.filter(({ type }) => type === 'join').length, 1);
    b.leave();
    await until(() => setting.server.frames.some(({ type }) => type === 'leave'));
    assert.deepEqual(chat.rooms, []);
  });

  it('has a name that can be told, whatever the transport', async () => {
    for (const transports of [['websocket'], ['sse'], ['poll']]) {
      const chat = connect({ transports });
      for (const name of ['', '\ud83d']) {
        await assert.rejects(chat.join(name, { timeout: 5000 }), { code: 'bad_request' });
      }
      await chat.join('lobby');
      assert.deepEqual(chat.states, ['connecting', 'online']);
    }
  });

  it('is refused when it was before, and nobody waited', async () => {
    setting.server.bar = ({ room }) => (room === 'no such name' ? 'bad_request' : null);
    const chat = connect({ transports: ['websocket'] });
    await chat.join('lobby');
    for (let n = 0; n < 3; n += 1) {
      const over = new AbortController();
      chat.join('no such name', { signal: over.signal });
      over.abort();
    }
    for (let n = 0; n < 2; n += 1) {
      await assert.rejects(chat.join('no such name', { timeout: 5000 }), { code: 'bad_request' });
    }
    assert.equal(setting.server.frames.filter(({ type }) => type === 'leave').length, 3);
    assert.deepEqual(chat.states, ['connecting', 'online']);
  });

  it('is joined on a new connection when the server would not take that it was left', async () => {
    setting.server.rooms.set('kitchen', []);
    const chat = connect({ transports: ['websocket'] });
    const kitchen = await chat.join('kitchen');
    let taken = 3;
    setting.server.bar = ({ type }) => (['join', 'leave'].includes(type) && (taken -= 1) < 0
      ? 'rate_limited' : null);
    for (let n = 0; n < 5; n += 1) {
      const over = new AbortController();
      chat.join('lobby', { signal: over.signal });
      over.abort();
    }
    const joining = chat.join('lobby', { timeout: 10_000 });
    await until(() => chat.states.includes('offline'));
    setting.server.bar = () => null;
    const texts = collect(await joining);
    setting.server.publish('bob', 'hello');
    await until(() => texts.length === 1);
    await kitchen.send('still here');
  });

  it('that does not answer means a connection that is not there', async () => {
    setting.server.rooms.set('kitchen', []);
    const chat = connect({ transports: ['websocket'], answer: 200 });
    await chat.join('lobby');
    setting.server.websocket = 'mute';
    const joining = chat.join('kitchen', { timeout: 10_000 });
    await until(() => chat.states.includes('offline'));
    setting.server.websocket = 'ok';
    await joining;
  });

  it('gives each message once to a reader that falls behind again as it catches up', async () => {
    const all = Array.from({ length: FEED + 30 }, (_, i) => ({ user: 'bob', id: `${i}`, cursor: `${i}` }));
    const live = all.slice(FEED - 1);
    const push = (count) => live.splice(0, count).forEach((one) => feed.push(one));
    const feed = new Feed(async (after) => {
      const messages = all.slice(Number(after) + 1, Number(after) + 1 + FEED);
      push(10);
      return { messages, cursor: messages.at(-1)?.cursor ?? after };
    }, () => `${all.length - live.length - 1}`, [], '-1');
    const got = [];
    for await (const { cursor } of feed.messages()) {
      push(10);
      if (got.push(cursor) === all.length) feed.end();
    }
    assert.deepEqual(got, all.map(({ cursor }) => cursor));
  });

  it('gives each message once, whichever brings it first, the link or the server', async () => {
    const link = heldLink();
    const chat = connect({ transports: ['websocket'], WebSocket: link.WebSocket });
    const room = await chat.join('lobby');
    const reader = room[Symbol.asyncIterator]();
    const publish = (count) => {
      for (let i = 0; i < count; i += 1) setting.server.publish('bob', `${setting.server.rooms.get('lobby').length}`);
    };
    publish(FEED + 10);
    await until(() => room.cursor === `e:${FEED + 9}`);
    link.hold();
    publish(20);
    const late = await chat.join('lobby', { last: 5 });
    const [texts, others] = [[], collect(late)];
    while (texts.length < FEED + 30) texts.push((await reader.next()).value.text);
    link.deliver();
    await room.send('end');
    while (texts.at(-1) !== 'end') texts.push((await reader.next()).value.text);
    await until(() => others.at(-1) === 'end');
    const all = setting.server.rooms.get('lobby').map(({ text }) => text);
    assert.deepEqual([texts, others], [all, all.slice(-6)]);
  });

  it('gives each message once when it is checked with many on their way', async () => {
    const { link, chat, room, texts } = await held();
    const states = [];
    room.on('state', ({ state }) => states.push(state));
    for (let i = 0; i < 1500; i += 1) setting.server.publish('bob', `${i}`);
    chat.tryNow();
    link.deliver();
    chat.tryNow();
    await room.send('last');
    await until(() => texts.at(-1) === 'last');
    assert.deepEqual(texts, setting.server.rooms.get('lobby').map(({ text }) => text));
    assert.equal(setting.server.frames.filter(({ type }) => type === 'join').length, 2);
    assert.deepEqual(states, []);
  });

  it('gives each message once when it is checked again before the first check is answered', async () => {
    const { link, chat, room, texts } = await held();
    for (let i = 0; i < 1500; i += 1) setting.server.publish('bob', `${i}`);
    chat.tryNow();
    link.deliver(300);
    await until(() => texts.length === 301);
    chat.tryNow();
    link.deliver();
    await room.send('last');
    await until(() => texts.at(-1) === 'last');
    assert.deepEqual(texts, setting.server.rooms.get('lobby').map(({ text }) => text));
  });

  it('goes on where a check cut short what an earlier one had asked for once more', async () => {
    const { link, chat, room, texts } = await held();
    for (let i = 0; i < 20; i += 1) setting.server.publish('bob', `${i}`);
    chat.tryNow();
    const typed = [];
    room.on('presence', () => typed.push('checked'));
    link.deliver(20 + 1 + 5);
    await until(() => typed.length);
    await new Promise((resolve) => { setTimeout(resolve, 5); });
    link.lose();
    chat.tryNow();
    link.deliver();
    await room.send('last');
    await until(() => texts.at(-1) === 'last');
    assert.deepEqual(texts, setting.server.rooms.get('lobby').map(({ text }) => text));
  });

  it('goes on where what was asked for once more is no longer kept meanwhile', async () => {
    const { link, chat, room, texts } = await held();
    for (let i = 0; i < 20; i += 1) setting.server.publish('bob', `${i}`);
    chat.tryNow();
    const gaps = [];
    room.on('gap', (gap) => gaps.push(gap));
    link.deliver(20 + 1 + 5);
    await until(() => texts.length === 21);
    link.lose();
    [...setting.server.sockets][0].deliver({ type: 'gap', room: 'lobby', cursor: 'e:20' });
    link.deliver();
    await room.send('last');
    await until(() => texts.at(-1) === 'last');
    assert.deepEqual(gaps, [{ cursor: 'e:20' }]);
    assert.deepEqual(texts, setting.server.rooms.get('lobby').map(({ text }) => text));
  });

  it('waits for a server that does not know yet what the link has brought', async () => {
    const all = Array.from({ length: FEED + 3 }, (_, i) => ({ user: 'bob', id: `${i}`, cursor: `${i}` }));
    // It fell behind, at last or long ago; or it begins with what came live before it was there.
    for (const [first, behind, pushed] of [[[], null, FEED + 1], [[], null, FEED + 3], [[all[0]], '0', 0]]) {
      let reads = 0;
      const feed = new Feed(async (after) => {
        const messages = (reads += 1) === 1 ? [] : all.slice(Number(after) + 1, pushed || FEED);
        return { messages, cursor: messages.at(-1)?.cursor ?? after, gap: false };
      }, () => all[(pushed || FEED) - 1].cursor, first, behind);
      all.slice(0, pushed).forEach((one) => feed.push(one));
      const got = [];
      for await (const { cursor } of feed.messages()) if (got.push(cursor) === (pushed || FEED)) feed.end();
      assert.deepEqual(got, all.slice(0, pushed || FEED).map(({ cursor }) => cursor));
    }
  });

  it('asks ever more seldom for what has come live and is no longer kept', async ({ mock }) => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const all = Array.from({ length: FEED + 3 }, (_, i) => ({ user: 'bob', id: `${i}`, cursor: `${i}` }));
    for (const [end, most] of [[`${FEED + 2}`, 1], ['where no message is', 20]]) {
      let reads = 0;
      const feed = new Feed(async (after) => {
        reads += 1;
        return { messages: [], cursor: end, gap: after !== end };
      }, () => `${FEED + 2}`, [], null);
      all.forEach((one) => feed.push(one));
      const reader = feed.messages();
      for (let i = 0; i < FEED; i += 1) await reader.next();
      const next = reader.next();
      for (let hours = 0; hours < 24; hours += 1 / 60) {
        mock.timers.tick(60_000);
        await new Promise((resolve) => { setImmediate(resolve); });
      }
      assert.ok(reads <= most, `${reads} requests`);
      feed.push({ user: 'bob', id: 'x', cursor: 'x' });
      if (most === 1) assert.equal((await next).value.cursor, 'x');
      feed.end();
    }
  });

  it('that is joined again goes on after what was said, though the server does not tell it yet', async () => {
    let lags = false;
    const lagging = async (address, init) => {
      if (!lags || !address.includes('/messages')) return fetch(address, init);
      lags = false;
      return Response.json({ room: 'lobby', messages: [], cursor: 'e:0', gap: false });
    };
    const chat = connect({ transports: ['websocket'], fetch: lagging });
    const first = collect(await chat.join('lobby'));
    for (const text of ['a', 'b', 'c']) setting.server.publish('bob', text);
    await until(() => first.length === 3);
    lags = true;
    const texts = collect(await chat.join('lobby', { after: 'e:0' }));
    await until(() => texts.length === 2);
    setting.server.publish('bob', 'd');
    await until(() => texts.length === 3);
    assert.deepEqual(texts, ['b', 'c', 'd']);
  });

  it('does not lose what a slow reader has not read, nor keep it all', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    const reader = room[Symbol.asyncIterator]();
    for (let i = 0; i < 5000; i += 1) setting.server.publish('bob', `${i}`);
    await until(() => room.cursor === 'e:4999');
    const texts = [];
    while (texts.length < 4000) texts.push((await reader.next()).value.text);
    for (let i = 5000; i < 5100; i += 1) setting.server.publish('bob', `${i}`);
    while (texts.length < 5100) texts.push((await reader.next()).value.text);
    assert.deepEqual(texts, Array.from({ length: 5100 }, (_, i) => `${i}`));
    assert.ok(setting.server.requests.length >= 4);
  });

  it('tells a slow reader of what is no longer kept', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const gaps = [];
    room.on('gap', (gap) => gaps.push(gap));
    const reader = room[Symbol.asyncIterator]();
    for (let i = 0; i < FEED + 100; i += 1) setting.server.publish('bob', `${i}`);
    await until(() => room.cursor === `e:${FEED + 99}`);
    setting.server.kept = FEED + 50;
    for (let i = 0; i < FEED; i += 1) await reader.next();
    assert.deepEqual([room.gap, gaps], [false, []]);
    assert.equal((await reader.next()).value.text, `${FEED + 50}`);
    assert.deepEqual([room.gap, gaps], [true, [{ cursor: null }]]);
  });

  it('stops a listener at once', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const texts = [];
    const off = room.on('message', ({ text }) => {
      texts.push(text);
      off();
    });
    setting.server.publish('bob', '1');
    setting.server.publish('bob', '2');
    await room.send('x');
    await until(() => room.cursor === 'e:2');
    assert.deepEqual(texts, ['1']);
  });

  it('forgets ids beyond its window', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    const texts = collect(room);
    for (let i = 0; i < 1001; i += 1) setting.server.publish('bob', `${i}`, { id: `${i}` });
    await until(() => texts.length === 1001);
    const all = setting.server.rooms.get('lobby');
    const [socket] = setting.server.sockets;
    socket.deliver(all.at(-1));
    socket.deliver(all[0]);
    await until(() => texts.length === 1002);
    assert.equal(texts.at(-1), '0');
  });
});
