/** Which transport is taken, and when it is given up for another. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { begin, collect } from './setting.js';
import { FakeStorage, until } from './server.js';

const setting = begin();
const { connect } = setting;

describe('choosing a transport', { timeout: 100_000 }, () => {
  const transports = ['websocket', 'sse', 'poll'];

  it('takes WebSocket where it works', async () => {
    const chat = connect({ transports });
    await chat.join('lobby');
    assert.equal(chat.state.transport, 'websocket');
  });

  it('takes event streams where WebSocket is refused', async () => {
    setting.server.websocket = 'refuse';
    const chat = connect({ transports });
    await chat.join('lobby');
    assert.equal(chat.state.transport, 'sse');
  });

  it('notices in time a WebSocket that is accepted and then silent, and a stream that is held back', async () => {
    setting.server.websocket = 'silent';
    setting.server.events = 'buffer';
    const chat = connect({ transports, patience: 600 });
    await chat.join('lobby');
    assert.equal(chat.state.transport, 'poll');
  });

  it('changes to a better one when that works again, losing nothing', async () => {
    setting.server.websocket = 'refuse';
    setting.server.events = 'refuse';
    const chat = connect({ transports, upgrade: 40 });
    const room = await chat.join('lobby');
    const texts = collect(room);
    assert.equal(chat.state.transport, 'poll');
    setting.server.events = 'ok';
    await until(() => chat.state.transport === 'sse');
    // That with which it was tried is given back.
    await until(() => setting.server.streams.length === 1);
    setting.server.publish('bob', 'one');
    await until(() => texts.length === 1);
    setting.server.websocket = 'ok';
    const publishing = setInterval(() => setting.server.publish('bob', 'more'), 1);
    await until(() => chat.state.transport === 'websocket');
    await until(() => setting.server.sockets.size === 1);
    clearInterval(publishing);
    await room.send('last');
    await until(() => texts.at(-1) === 'last');
    assert.equal(texts.length, setting.server.rooms.get('lobby').length);
    assert.ok(!chat.states.includes('offline'));
  });

  it('keeps one that carries all rooms where a better one may not have so many', async () => {
    setting.server.websocket = 'refuse';
    setting.server.limits = { ...setting.server.limits, rooms: 1 };
    setting.server.rooms.set('other', []);
    let tried = 0;
    const WebSocket = class extends setting.server.WebSocket {
      deliver(frame) {
        super.deliver(frame);
        tried += 1;
      }
    };
    const chat = connect({ transports: ['websocket', 'sse'], upgrade: 20, WebSocket });
    const rooms = await Promise.all([chat.join('lobby'), chat.join('other')]);
    setting.server.websocket = 'ok';
    await until(() => tried >= 2);
    assert.equal(chat.state.transport, 'sse');
    assert.deepEqual(rooms.map(({ state }) => state.state), ['joined', 'joined']);
  });

  it('gives up one that lets through but never lasts', async () => {
    const chat = connect({ transports });
    await chat.join('lobby');
    for (let i = 0; i < 3; i += 1) {
      await until(() => chat.state.state === 'online');
      setting.server.cut();
      await until(() => chat.state.state !== 'online');
    }
    await until(() => chat.state.state === 'online');
    assert.equal(chat.state.transport, 'sse');
  });

  it('remembers what worked', async () => {
    const storage = new FakeStorage();
    setting.server.websocket = 'silent';
    const first = connect({ transports, storage, patience: 600 });
    await first.join('lobby');
    first.close();
    const before = setting.server.sockets.size;
    setting.server.websocket = 'ok';
    const second = connect({ transports, storage });
    await second.join('lobby');
    assert.equal(second.state.transport, 'sse');
    assert.equal(setting.server.sockets.size, before);
  });

  it('uses what the platform has', async () => {
    const chat = connect({ WebSocket: undefined });
    await chat.join('lobby');
    // Node has no EventSource, and a WebSocket of its own (from 22 on) meets no upgrade here.
    assert.equal(chat.state.transport, 'poll');
  });

  it('says that a page is not let in only where the server says nothing else to it', async () => {
    globalThis.origin = 'https://elsewhere.example';
    const { error } = console;
    const written = [];
    console.error = (words) => written.push(words);
    try {
      for (const [isBarred, code] of [[false, 'network'], [true, 'forbidden']]) {
        const fake = async (address, init) => {
          const path = new URL(address).pathname;
          if (path === '/rooms/~' ? isBarred : path !== '/chatd.js') throw new TypeError('Failed to fetch');
          return fetch(address, init);
        };
        setting.server.websocket = 'refuse';
        const chat = connect({ transports: ['websocket', 'poll'], fetch: fake, backoff: 1e9, backoffMax: 1e9 });
        const refused = [];
        chat.on('error', (one) => refused.push(one.code));
        chat.join('lobby').catch(() => {});
        await until(() => chat.state.state === 'offline');
        assert.equal(chat.state.error.code, code);
        assert.deepEqual(refused, isBarred ? [code] : []);
      }
      assert.equal(written.length, 1);
      assert.match(written[0], /--origin https:\/\/elsewhere\.example/);
    } finally {
      console.error = error;
      delete globalThis.origin;
    }
  });

  it('asks for shorter polls where something cuts long ones', async () => {
    setting.server.events = 'refuse';
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
      setting.server.publish('bob', 'hi');
      await until(() => texts.length === 1);
      assert.deepEqual(asked.slice(0, 2), [25, 5]);
      assert.deepEqual(chat.states.filter((state) => state === 'offline'), []);
    } finally {
      Date.now = now;
    }
  });
});
