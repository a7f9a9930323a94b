/** Messages that wait. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { begin } from './setting.js';
import { FakeStorage, until } from './server.js';

const setting = begin();
const { connect } = setting;

describe('unsent messages', { timeout: 100_000 }, () => {
  it('outlive the page where there is storage, and are sent once', async () => {
    const storage = new FakeStorage();
    const first = connect({ transports: ['websocket'], storage });
    const room = await first.join('lobby');
    setting.server.websocket = 'mute';
    const lost = room.send('kept').catch(({ code }) => code);
    first.close();
    assert.equal(await lost, 'closed');
    assert.equal(setting.server.rooms.get('lobby').length, 0);
    setting.server.websocket = 'ok';
    const second = connect({ transports: ['websocket'], storage });
    const again = await second.join('lobby');
    await until(() => again.unsent.length === 0);
    assert.deepEqual(setting.server.rooms.get('lobby').map(({ text }) => text), ['kept']);
    const other = connect({ transports: ['websocket'], storage });
    assert.equal((await other.join('lobby')).unsent.length, 0);
  });

  it('are not sent in the name of someone else, nor after a week', async () => {
    const storage = new FakeStorage();
    const day = 24 * 3600_000;
    const keep = (user, id, age) => storage.setItem(`chatd:unsent:${setting.url}:${user}:${id}`,
      JSON.stringify({ room: 'lobby', id, text: id, at: Date.now() - age }));
    keep('bob', 'of-bob', 0);
    keep('ann', 'old', 8 * day);
    keep('ann', 'new', day);
    const room = await connect({ transports: ['websocket'], storage }).join('lobby');
    await until(() => room.unsent.length === 0);
    assert.deepEqual(setting.server.rooms.get('lobby').map(({ text }) => text), ['new']);
  });

  it('are cleared away after a week, whoever left them', async () => {
    const storage = new FakeStorage();
    const day = 24 * 3600_000;
    const keep = (user, id, age) => storage.setItem(`chatd:unsent:http://elsewhere/:${user}:${id}`,
      JSON.stringify({ room: 'lobby', id, text: id, at: Date.now() - age }));
    keep('guest-123456', 'old', 8 * day);
    keep('guest-123456', 'new', 6 * day);
    storage.setItem('mine', '{"at":0}');
    await connect({ transports: ['websocket'], storage }).join('lobby');
    const names = Array.from({ length: storage.length }, (_, i) => storage.key(i));
    assert.deepEqual(names.filter((name) => /old|new|mine/.test(name)).sort(),
      ['chatd:unsent:http://elsewhere/:guest-123456:new', 'mine']);
  });

  it('are not sent in the name of someone whose name begins alike', async () => {
    const storage = new FakeStorage();
    const keep = async (user, text) => {
      const chat = connect({ transports: ['websocket'], storage, user });
      const room = await chat.join('lobby');
      setting.server.websocket = 'mute';
      room.send(text, { id: text });
      chat.close();
      setting.server.websocket = 'ok';
    };
    const said = () => setting.server.rooms.get('lobby').map(({ user, text }) => [user, text]);
    await keep('ann:x', 'of-ann:x');
    // As they were kept at first: without the room.
    storage.setItem(`chatd:unsent:${setting.url}:ann:x:early`,
      JSON.stringify({ room: 'lobby', id: 'early', text: 'early', at: Date.now() - 1000 }));
    const ann = await connect({ transports: ['websocket'], storage }).join('lobby');
    assert.deepEqual(ann.unsent, []);
    await ann.send('mine');
    assert.deepEqual(said(), [['ann', 'mine']]);
    const room = await connect({ transports: ['websocket'], storage, user: 'ann:x' }).join('lobby');
    await until(() => room.unsent.length === 0);
    assert.deepEqual(said().slice(1), [['ann:x', 'early'], ['ann:x', 'of-ann:x']]);
    assert.equal(storage.length, 1);
  });

  it('stay in order over a reload, though all were sent at once', async (context) => {
    const storage = new FakeStorage();
    const first = connect({ transports: ['websocket'], storage });
    const room = await first.join('lobby');
    setting.server.websocket = 'mute';
    context.mock.method(Date, 'now', () => 1_900_000_000_000);
    const texts = Array.from({ length: 20 }, (_, i) => `${i}`);
    for (const text of texts) room.send(text, { id: `${20 - Number(text)}` });
    context.mock.restoreAll();
    first.close();
    setting.server.websocket = 'ok';
    // A storage lists its keys in an order of its own.
    const keys = Array.from({ length: storage.length }, (_, i) => storage.key(i)).sort();
    storage.key = (index) => keys[index] ?? null;
    const again = await connect({ transports: ['websocket'], storage }).join('lobby');
    await until(() => setting.server.rooms.get('lobby').length === 20);
    assert.deepEqual(setting.server.rooms.get('lobby').map(({ text }) => text), texts);
    await until(() => again.unsent.length === 0);
  });

  it('go before what the next page sends, however soon', async () => {
    const keep = (storage, id) => storage.setItem(`chatd:unsent:${setting.url}:ann:lobby\n${id}`,
      JSON.stringify({ room: 'lobby', id, text: id, at: Date.now() - 60_000 }));
    for (const transports of [['websocket'], ['sse'], ['poll']]) {
      const storage = new FakeStorage();
      keep(storage, `kept-${transports}`);
      const chat = connect({ transports, storage });
      const sent = [];
      const joining = chat.join('lobby');
      await new Promise(setImmediate);
      const [handle] = chat.rooms;
      sent.push(handle.send('typed before there is a connection'));
      chat.on('state', ({ state }) => {
        if (state === 'online') sent.push(handle.send('at once when there is one'));
      });
      await joining;
      assert.equal((await Promise.all(sent)).length, 2);
      assert.deepEqual(setting.server.rooms.get('lobby').splice(0).map(({ text }) => text), [
        `kept-${transports}`, 'typed before there is a connection', 'at once when there is one']);
      await until(() => storage.length === 1);
    }
  });

  it('are sent by one tab, whichever is online first', async () => {
    for (const transports of [['websocket'], ['sse'], ['poll']]) {
      const storage = new FakeStorage();
      const asleep = connect({ transports, storage });
      const room = await asleep.join('lobby');
      asleep.disconnect();
      await until(() => asleep.state.state === 'offline');
      const id = `id-${transports}`;
      const sending = room.send('once', { id });
      const awake = await connect({ transports, storage }).join('lobby');
      await until(() => awake.unsent.length === 0 && storage.length === 1);
      await asleep.connect();
      assert.equal(await sending, id);
      const { frames, requests } = setting.server;
      assert.equal([...frames, ...requests.map(({ body }) => (body ? JSON.parse(body) : {}))]
        .filter((one) => one.id === id).length, 1);
    }
  });

  it('are bounded', async () => {
    const chat = connect({ transports: ['websocket'], unsent: 2 });
    const room = await chat.join('lobby');
    setting.server.websocket = 'mute';
    const sends = ['a', 'b', 'c'].map((text) => room.send(text).catch(({ code }) => code));
    assert.equal(await sends[2], 'unsent_full');
  });

  it('reject when the chat is closed', async () => {
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    setting.server.websocket = 'mute';
    const sending = room.send('never');
    chat.close();
    await assert.rejects(sending, { code: 'closed' });
    await assert.rejects(room.send('more'), { code: 'closed' });
    await assert.rejects(chat.join('lobby'), { code: 'closed' });
    assert.equal(chat.state.state, 'offline');
  });
});
