/** How long a client waits, and what makes it look. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { begin, collect } from './setting.js';
import { until } from './server.js';

const setting = begin();
const { connect } = setting;

describe('coming back', { timeout: 100_000 }, () => {
  it('waits as long as the goodbye says', async () => {
    const chat = connect({ transports: ['websocket'], backoff: 1, backoffMax: 1 });
    await chat.join('lobby');
    const [socket] = setting.server.sockets;
    const came = {};
    chat.on('state', ({ state }) => { came[state] = performance.now(); });
    socket.deliver({ type: 'bye', reason: 'restart', retry: 400 });
    setTimeout(() => socket.drop(1012), 5);
    await until(() => chat.state.state === 'offline');
    assert.equal(chat.state.retry, 400);
    await until(() => chat.state.state === 'online');
    assert.ok(came.online - came.offline >= 395);
    const [next] = setting.server.sockets;
    next.deliver({ type: 'bye', reason: 'restart', retry: 1e9 });
    setTimeout(() => next.drop(1012), 5);
    await until(() => chat.state.state === 'offline');
    assert.equal(chat.state.retry, 300_000);
  });

  it('waits as long as Retry-After says, and a little longer', async () => {
    setting.server.draining = 1;
    const chat = connect({ transports: ['sse', 'poll'], backoff: 1, backoffMax: 1 });
    const joining = chat.join('lobby');
    await until(() => chat.state.state === 'offline');
    assert.ok(chat.state.retry >= 1000 && chat.state.retry <= 2000);
    // It would be told the same by another transport.
    assert.equal(setting.server.requests.filter(({ path }) => path.startsWith('/rooms')).length, 1);
    setting.server.draining = undefined;
    await joining;
  });

  it('waits a random time below a doubling ceiling', async () => {
    const { random } = Math;
    Math.random = () => 0.5;
    try {
      setting.server.websocket = 'refuse';
      const chat = connect({ transports: ['websocket'], backoff: 10, backoffMax: 50 });
      const waits = [];
      chat.on('state', ({ state, retry }) => state === 'offline' && waits.push(retry));
      chat.join('lobby').catch(() => {});
      await until(() => waits.length >= 5);
      assert.deepEqual(waits.slice(0, 5), [10, 20, 40, 50, 50].map((ceiling) => ceiling / 2));
    } finally {
      Math.random = random;
    }
  });

  it('notices a connection that is dead but not closed', async () => {
    const chat = connect({ transports: ['websocket'], silence: 100, patience: 300 });
    const texts = collect(await chat.join('lobby'));
    setting.server.websocket = 'mute';
    setting.server.publish('bob', 'missed');
    await until(() => chat.states.includes('offline'));
    setting.server.websocket = 'ok';
    await until(() => texts.length === 1);
    assert.deepEqual(texts, ['missed']);
  });

  it('notices a send that is never answered', async () => {
    const chat = connect({ transports: ['websocket'], answer: 100 });
    const room = await chat.join('lobby');
    setting.server.websocket = 'mute';
    const sending = room.send('hello', { id: 'x' });
    await until(() => chat.states.includes('offline'));
    setting.server.websocket = 'ok';
    assert.equal(await sending, 'x');
  });

  it('does not wait any longer when the browser is online again', async () => {
    const events = new EventTarget();
    globalThis.addEventListener = events.addEventListener.bind(events);
    try {
      setting.server.websocket = 'refuse';
      const chat = connect({ transports: ['websocket'], patience: 300, backoff: 1e9, backoffMax: 1e9 });
      const joining = chat.join('lobby');
      await until(() => chat.state.state === 'offline');
      setting.server.websocket = 'ok';
      events.dispatchEvent(new Event('online'));
      await joining;
      setting.server.websocket = 'mute';
      events.dispatchEvent(new Event('offline'));
      await until(() => chat.state.state === 'offline');
    } finally {
      delete globalThis.addEventListener;
    }
  });

  for (const transport of ['websocket', 'sse', 'poll']) {
    it(`says goodbye over ${transport} when the page is left, and is back when that is shown again`, async () => {
      const events = new EventTarget();
      globalThis.addEventListener = events.addEventListener.bind(events);
      const chat = connect({ transports: [transport, 'poll'], backoff: 1, backoffMax: 1 });
      delete globalThis.addEventListener;
      const { server } = setting;
      const texts = collect(await chat.join('lobby'));
      // As often as it takes to give up a transport that does not last.
      for (const text of ['one', 'two', 'three', 'four']) {
        await until(() => server.sockets.size + server.waiting.length === 1);
        events.dispatchEvent(new Event('pagehide'));
        await until(() => chat.state.state === 'offline' && !server.sockets.size && !server.streams.length);
        server.deafen();
        server.publish('bob', text);
        assert.equal(chat.state.retry, null);
        events.dispatchEvent(new Event('pageshow'));
        await until(() => texts.includes(text));
        assert.equal(chat.state.transport, transport);
      }
      assert.deepEqual(texts, ['one', 'two', 'three', 'four']);
    });
  }

  it('comes to a page that was left while it connected, and only then', async () => {
    const events = new EventTarget();
    globalThis.addEventListener = events.addEventListener.bind(events);
    const chat = connect({ transports: ['websocket', 'poll'] });
    delete globalThis.addEventListener;
    setting.server.websocket = 'silent';
    const joining = chat.join('lobby');
    await until(() => setting.server.sockets.size);
    events.dispatchEvent(new Event('pagehide'));
    await until(() => chat.state.state === 'offline');
    setting.server.websocket = 'ok';
    assert.equal(setting.server.sockets.size, 0);
    events.dispatchEvent(new Event('pageshow'));
    await joining;
    assert.equal(chat.state.transport, 'websocket');
  });

  for (const transport of ['sse', 'poll']) {
    it(`asks anew over ${transport} when the page is shown again: what waits may be dead`, async (context) => {
      const page = globalThis.document = new EventTarget();
      const chat = connect({ transports: [transport] });
      delete globalThis.document;
      const texts = collect(await chat.join('lobby'));
      await until(() => setting.server.waiting.length === 1);
      setting.server.deafen();
      setting.server.publish('bob', 'missed');
      const later = Date.now() + 6000;
      context.mock.method(Date, 'now', () => later);
      page.dispatchEvent(new Event('visibilitychange'));
      await until(() => texts.length === 1);
      assert.deepEqual(chat.states, ['connecting', 'online']);
    });
  }

  it('tries again soon where some connections that the browser keeps are dead', async () => {
    setting.server.mute = 1;
    const chat = connect({ transports: ['sse'], patience: 300, answer: 30_000 });
    await chat.join('lobby', { timeout: 10_000 });
  });

  it('looks at a connection that it cannot have heard of when the clock was set back', async (context) => {
    const page = globalThis.document = new EventTarget();
    const chat = connect({ transports: ['websocket'], patience: 300 });
    delete globalThis.document;
    await chat.join('lobby');
    setting.server.websocket = 'mute';
    const before = Date.now() - 3_600_000;
    context.mock.method(Date, 'now', () => before);
    page.dispatchEvent(new Event('visibilitychange'));
    await until(() => chat.states.includes('offline'));
  });

  it('looks at once when the page is shown again', async () => {
    const page = new EventTarget();
    globalThis.document = page;
    try {
      setting.server.websocket = 'refuse';
      const chat = connect({ transports: ['websocket'], backoff: 1e9, backoffMax: 1e9 });
      const joining = chat.join('lobby');
      await until(() => chat.state.state === 'offline');
      setting.server.websocket = 'ok';
      page.dispatchEvent(new Event('visibilitychange'));
      await joining;
    } finally {
      delete globalThis.document;
    }
  });
});
