/** What an application sees is the same over every transport. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { ChatError } from '../../chatd/web/chatd.js';
import { begin, collect } from './setting.js';
import { until } from './server.js';

// Most of it is waiting, and each has a server of its own.
describe('over each transport', { concurrency: true }, () => {
  for (const transports of [['websocket'], ['sse'], ['poll']]) over(transports);
});

/** @param {string[]} transports one of them */
function over(transports) {
  describe(`over ${transports}`, { concurrency: false, timeout: 100_000 }, () => {
    const setting = begin();
    const { connect } = setting;

    it('joins, sends and receives', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const texts = collect(room);
      const id = await room.send('hello', { id: 'one', data: { a: 1 } });
      setting.server.publish('bob', 'hi');
      await until(() => texts.length === 2);
      assert.equal(id, 'one');
      assert.deepEqual(texts, ['hello', 'hi']);
      assert.equal(chat.state.state, 'online');
      assert.equal(chat.state.transport, transports[0]);
      assert.deepEqual(room.members, ['ann']);
      assert.equal(room.unsent.length, 0);
    });

    it('is in many rooms, and Node takes none of it for a leak', async () => {
      const warnings = [];
      const hear = (warning) => warnings.push(String(warning));
      process.on('warning', hear);
      try {
        const names = Array.from({ length: 12 }, (_, i) => `room-${i}`);
        for (const name of names) setting.server.rooms.set(name, []);
        const chat = connect({ transports });
        const { signal } = new AbortController();
        const rooms = await Promise.all(names.map((name) => chat.join(name, { signal })));
        await Promise.all(rooms.map((room) => room.send('hello', { signal })));
        await Promise.all(rooms.map((room) => room.history({ last: 1, signal })));
        // Warnings are told at the end of a turn.
        await new Promise((resolve) => setTimeout(resolve));
        assert.deepEqual(warnings, []);
      } finally {
        process.off('warning', hear);
      }
    });

    it('gives the backlog asked for, before anyone listens, to the first reader', async () => {
      for (const text of ['a', 'b', 'c']) setting.server.publish('bob', text);
      const room = await connect({ transports }).join('lobby', { last: 2 });
      setting.server.publish('bob', 'd');
      await until(() => room.cursor === 'e:3');
      const texts = [];
      for await (const { text } of room) if (texts.push(text) === 3) break;
      assert.deepEqual(texts, ['b', 'c', 'd']);
    });

    it('starts after a cursor', async () => {
      for (const text of ['a', 'b', 'c']) setting.server.publish('bob', text);
      const texts = collect(await connect({ transports }).join('lobby', { after: 'e:0' }));
      await until(() => texts.length === 2);
      assert.deepEqual(texts, ['b', 'c']);
    });

    it('reads on after an interruption, nothing lost and nothing twice', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const texts = collect(room);
      setting.server.publish('bob', '0');
      await until(() => texts.length === 1);
      for (let round = 1; round <= 3; round += 1) {
        setting.server.cut();
        setting.server.publish('bob', `${round}`);
        await until(() => texts.length > round);
      }
      assert.deepEqual(texts, ['0', '1', '2', '3']);
    });

    it('sends what was said offline, once and in order', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const { port } = setting.server;
      setting.server.websocket = 'refuse';
      await setting.server.close();
      await until(() => chat.state.state === 'offline');
      const sends = [room.send('one'), room.send('two'), room.send('three')];
      assert.deepEqual(room.unsent.map(({ text }) => text), ['one', 'two', 'three']);
      setting.server.websocket = 'ok';
      await setting.server.listen(port);
      await Promise.all(sends);
      assert.deepEqual(setting.server.rooms.get('lobby').map(({ text }) => text), ['one', 'two', 'three']);
    });

    it('sends again under the same id what is not acknowledged', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      let lost = 2;
      setting.server.refuse = () => {
        if (lost > 0) {
          lost -= 1;
          setting.server.cut();
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
      setting.server.publish('bob', 'once', { id: 'x' });
      setting.server.rooms.get('lobby').push({ ...setting.server.rooms.get('lobby')[0], cursor: 'e:1' });
      setting.server.publish('bob', 'then');
      setting.server.cut();
      await until(() => texts.includes('then'));
      assert.deepEqual(texts, ['once', 'then']);
    });

    it('tells of a gap', async () => {
      for (const text of ['a', 'b', 'c']) setting.server.publish('bob', text);
      setting.server.kept = 2;
      const chat = connect({ transports });
      const joining = chat.join('lobby', { after: 'e:0' });
      const room = await joining;
      const texts = collect(room);
      await until(() => texts.length === 1);
      assert.deepEqual(texts, ['c']);
      assert.equal(room.gap, true);
      const gaps = [];
      room.on('gap', ({ cursor }) => gaps.push(cursor));
      setting.server.cut();
      for (const text of ['d', 'e', 'f']) setting.server.publish('bob', text);
      setting.server.kept = 5;
      await until(() => texts.length === 2);
      assert.deepEqual(texts, ['c', 'f']);
      // its end, where that is known; never its beginning
      assert.ok([null, 'e:4'].includes(gaps[0]), `${gaps}`);
      assert.equal(gaps.length, 1);
    });

    it('tells the right promise what the server refuses', async () => {
      const chat = connect({ transports });
      const room = await chat.join('lobby');
      const failed = [];
      room.on('failed', ({ id, error }) => failed.push([id, error.code]));
      setting.server.refuse = ({ text }) => (text === 'bad' ? { code: 'too_large', status: 413 } : null);
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
      setting.server.refuse = () => (refusals-- > 0 ? { code: 'rate_limited', status: 429 } : null);
      await Promise.all(['one', 'two', 'three'].map((text) => room.send(text)));
      assert.deepEqual(setting.server.rooms.get('lobby').map(({ text }) => text), ['one', 'two', 'three']);
    });

    it('keeps several rooms apart', async () => {
      const names = ['a', 'b', 'c', 'd', 'e', 'f'];
      names.forEach((name) => setting.server.rooms.set(name, []));
      const chat = connect({ transports });
      const rooms = await Promise.all(names.map((name) => chat.join(name)));
      const seen = rooms.map(collect);
      await Promise.all(rooms.map((room) => room.send(room.name)));
      await until(() => seen.every((texts) => texts.length === 1));
      assert.deepEqual(seen.flat(), names);
      rooms[0].leave();
      setting.server.publish('bob', 'gone', { room: 'a' });
      await rooms[1].send('still');
      assert.deepEqual(seen[0], ['a']);
    });

    it('reads history, forward and back', async () => {
      for (let i = 0; i < 3000; i += 1) setting.server.publish('bob', `${i}`);
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
