/** No refusal is a network failure, no message can block another, and each is stored once. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { begin, collect } from './setting.js';
import { FakeStorage, until } from './server.js';

const setting = begin();
const { connect } = setting;

const said = (room = 'lobby') => setting.server.rooms.get(room).map(({ text }) => text);
const sent = () => setting.server.frames.filter(({ type }) => type === 'message');

function deep(levels) {
  let data = {};
  for (let i = 0; i < levels; i += 1) data = { inner: data };
  return data;
}

describe('a message that cannot be stored', { timeout: 100_000 }, () => {
  it('is refused before it is queued, and told', async () => {
    const storage = new FakeStorage();
    const room = await connect({ transports: ['websocket'], storage }).join('lobby');
    const failed = [];
    room.on('failed', ({ id, error }) => failed.push([id, error.code]));
    const circle = {};
    circle.self = circle;
    const bad = [
      ['text', 'x'.repeat(16385), {}, 'too_large'], ['content', 'x', { data: { x: 'x'.repeat(66_000) } }, 'too_large'],
      ['frame', '"'.repeat(16_000), { data: { x: '\\'.repeat(32_000) } }, 'too_large'],
      ['circle', 'x', { data: circle }, 'bad_request'], ['big', 'x', { data: { n: 10n } }, 'bad_request'],
      ['array', 'x', { data: [] }, 'bad_request'], ['null', 'x', { data: null }, 'bad_request'],
      ['deep', 'x', { data: deep(100) }, 'bad_request'], ['deepest', 'x', { data: deep(100_000) }, 'bad_request'],
      ['half', '\ud83d', {}, 'bad_request'], ['number', 7, {}, 'bad_request'], ['a b', 'x', {}, 'bad_request'],
      ['', 'x', {}, 'bad_request'], ['x'.repeat(65), 'x', {}, 'bad_request'],
    ];
    for (const [id, text, more, code] of bad) {
      await assert.rejects(room.send(text, { id, ...more }), { name: 'ChatError', code }, id);
    }
    assert.deepEqual(failed, bad.map(([id, , , code]) => [id, code]));
    assert.deepEqual(room.unsent, []);
    assert.equal(storage.length, 1);
    await room.send('é'.repeat(8192), { data: deep(99) });
    assert.equal(sent().length, 1);
  });

  it('is refused as soon as the limits are known', async () => {
    const chat = connect({ transports: ['websocket'] });
    setting.server.websocket = 'refuse';
    const joining = chat.join('lobby');
    setting.server.limits = { text: 10, content: 20, frame: 1000 };
    setting.server.websocket = 'ok';
    const room = await joining;
    setting.server.websocket = 'refuse';
    setting.server.cut();
    await until(() => chat.state.state === 'offline');
    const [small, large] = [room.send('123456789'), room.send('1234567890')];
    setting.server.limits = { text: 9, content: 20, frame: 1000 };
    setting.server.websocket = 'ok';
    await assert.rejects(large, { code: 'too_large' });
    await small;
  });

  it('is set aside when it has ended its connection three times, and no other waits for it', async () => {
    for (const [code, why] of [[1009, 'too_large'], [4400, 'bad_request']]) {
      setting.server.rooms.set('kitchen', []);
      const chat = connect({ transports: ['websocket', 'poll'] });
      const [lobby, kitchen] = await Promise.all([chat.join('lobby'), chat.join('kitchen')]);
      setting.server.refuse = ({ text }) => {
        if (text !== 'deadly') return null;
        for (const socket of [...setting.server.sockets]) socket.drop(code);
        return { code: 'none' };
      };
      const before = sent().length;
      const deadly = lobby.send('deadly');
      const others = [lobby.send('behind'), kitchen.send('beside')];
      await assert.rejects(deadly, { code: why });
      await Promise.all(others);
      assert.equal(sent().slice(before).filter(({ text }) => text === 'deadly').length, 3);
      assert.equal(chat.state.transport, 'websocket');
      assert.deepEqual(lobby.unsent, []);
      chat.close();
    }
    assert.deepEqual(said(), ['behind', 'behind']);
    assert.deepEqual(said('kitchen'), ['beside']);
  });

  it('that loses its connection without a word holds up nobody', async () => {
    for (const transports of [['websocket'], ['poll']]) {
      setting.server.rooms.set('kitchen', []);
      const chat = connect({ transports });
      const [lobby, kitchen] = await Promise.all([chat.join('lobby'), chat.join('kitchen')]);
      setting.server.refuse = ({ text }) => {
        if (text === 'deadly') setting.server.cut();
        return text === 'deadly' ? { code: 'none', status: 500 } : null;
      };
      lobby.send('deadly');
      await Promise.all([lobby.send('behind'), kitchen.send('beside')]);
      assert.equal(lobby.unsent.length, 1);
      chat.close();
    }
  });

  it('holds up its own room only for a while when it is refused for the time being', async () => {
    for (const transports of [['websocket'], ['sse'], ['poll']]) {
      const room = await connect({ transports }).join('lobby');
      setting.server.refuse = ({ text }) => (text === 'sick' ? { code: 'unavailable', status: 503 } : null);
      room.send('sick');
      await room.send('well');
    }
  });

  it('may be refused by what stands before the server, and holds up nobody', async () => {
    for (const [status, code] of [[403, 'forbidden'], [413, 'too_large'], [422, 'bad_request']]) {
      const fake = (address, init) => (init.body?.includes('blocked')
        ? Promise.resolve(new Response('<h1>Blocked by policy</h1>', { status })) : fetch(address, init));
      const chat = connect({ transports: ['poll'], fetch: fake });
      const room = await chat.join('lobby');
      const [blocked, other] = [room.send('blocked'), room.send('other')];
      await assert.rejects(blocked, { code });
      await other;
      assert.equal(chat.state.state, 'online');
      chat.close();
    }
  });

  it('is known by its refusal though that names nothing', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    setting.server.websocket = 'mute';
    const sending = room.send('x');
    const [socket] = setting.server.sockets;
    socket.deliver({ type: 'error', code: 'bad_request', text: 'Send one JSON object.' });
    await assert.rejects(sending, { code: 'bad_request' });
  });

  it('need not be waited for', async () => {
    const loose = [];
    const note = (reason) => loose.push(reason);
    process.on('unhandledRejection', note);
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    setting.server.websocket = 'mute';
    room.send('never');
    room.send(7);
    chat.join('nowhere');
    chat.close();
    room.send('too late');
    chat.join('lobby');
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off('unhandledRejection', note);
    assert.deepEqual(loose, []);
  });
});

describe('a message whose acknowledgement is lost', { timeout: 100_000 }, () => {
  for (const transports of [['websocket'], ['sse'], ['poll']]) {
    it(`is found in the room and not sent again, over ${transports}`, async () => {
      const { server } = setting;
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const texts = collect(room);
      const sends = [];
      server.refuse = (frame) => {
        sends.push(frame);
        server.publish('ann', frame.text, { room: 'lobby', id: frame.id });
        for (let i = 0; i < 1100; i += 1) server.publish('bob', `${i}`);
        server.cut();
        return { code: 'none', status: 500 };
      };
      assert.equal(await room.send('once', { id: 'x' }), 'x');
      await until(() => texts.length === 1101);
      assert.equal(texts.filter((text) => text === 'once').length, 1);
      assert.equal(sends.length, 1);
    });

    it(`is sent again with where to look from, over ${transports}`, async () => {
      const { server } = setting;
      server.publish('bob', 'before');
      const room = await connect({ transports }).join('lobby', { last: 1 });
      await until(() => room.cursor === 'e:0');
      const sends = [];
      server.refuse = (frame) => {
        sends.push(frame);
        if (sends.length > 1) return null;
        server.publish('bob', 'between');
        server.cut();
        return { code: 'none', status: 500 };
      };
      await room.send('once', { id: 'x' });
      assert.deepEqual(sends.map(({ id, after }) => [id, after]), [['x', undefined], ['x', 'e:0']]);
    });
  }

  it('is one with another of the same id, and leaves nothing to be waited for', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((one) => one === 'Timeout').length;
    const before = timers();
    const chat = connect({ transports: ['websocket'] });
    const room = await chat.join('lobby');
    const sends = ['a', 'b'].map((text) => room.send(text, { id: 'x' }));
    assert.deepEqual(await Promise.all(sends), ['x', 'x']);
    assert.deepEqual(said(), ['a']);
    chat.close();
    await until(() => timers() === before);
  });

  it('keeps its place among others, however often it is lost', async () => {
    const room = await connect({ transports: ['websocket'] }).join('lobby');
    let losses = 5;
    setting.server.refuse = () => {
      if ((losses -= 1) < 0) return null;
      setting.server.cut();
      return { code: 'none' };
    };
    await Promise.all(['a', 'b', 'c'].map((text) => room.send(text)));
    assert.deepEqual(said(), ['a', 'b', 'c']);
    assert.ok(losses < 0);
  });

  it('remembers where to look from across a reload', async () => {
    const storage = new FakeStorage();
    const first = connect({ transports: ['websocket'], storage });
    const room = await first.join('lobby');
    setting.server.publish('bob', 'before');
    await until(() => room.cursor === 'e:0');
    setting.server.websocket = 'mute';
    room.send('kept', { id: 'x' });
    await until(() => sent().length === 1);
    first.close();
    setting.server.websocket = 'ok';
    const again = await connect({ transports: ['websocket'], storage }).join('lobby');
    await until(() => again.unsent.length === 0);
    assert.equal(sent()[1].after, 'e:0');
    assert.equal(storage.length, 1);
  });
});
