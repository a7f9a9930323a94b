/** When one reader asks the server for what it has missed, and when no more. */
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';

import { Feed, FEED } from '../../chatd/web/client/feed.js';

/** @param {number} number */
const message = (number) => ({ cursor: `e:${number}` });
const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);
/** Until all that can go on without time passing has gone on. */
const rest = async () => {
  for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

describe('a reader that has fallen behind', () => {
  /** What the server tells: messages below this; up to where all came live; how often it was asked. */
  let stored;
  let told;
  let asked;
  let got;

  beforeEach((context) => context.mock.timers.enable({ apis: ['setTimeout'] }));

  function begin(behind) {
    [asked, got] = [0, []];
    const read = async (after) => {
      asked += 1;
      const messages = numbers(Number(after.slice(2)) + 1, stored).map(message);
      return { messages, cursor: after, gap: false };
    };
    const feed = new Feed(read, () => told, [], behind);
    return feed;
  }

  async function follow(feed) {
    for await (const { cursor } of feed.messages()) got.push(Number(cursor.slice(2)));
  }

  it('asks once where one answer is all', async (context) => {
    const feed = begin(null);
    [stored, told] = [FEED + 5, `e:${FEED + 4}`];
    for (const number of numbers(0, stored)) feed.push(message(number));
    void follow(feed);
    await rest();
    context.mock.timers.tick(3_600_000);
    await rest();
    feed.push(message(stored));
    await rest();
    assert.deepEqual(got, numbers(0, FEED + 6));
    assert.equal(asked, 1);
    feed.end();
  });

  it('does not ask again where nothing is known to be missing', async (context) => {
    const feed = begin('e:0');
    [stored, told] = [3, null];
    void follow(feed);
    await rest();
    context.mock.timers.tick(3_600_000);
    await rest();
    // Only an empty answer is the last.
    assert.deepEqual([got, asked], [[1, 2], 2]);
    feed.end();
  });

  it('asks a server that is behind ever more rarely, and soon when something new comes', async (context) => {
    const feed = begin('e:0');
    [stored, told] = [3, 'e:5'];
    void follow(feed);
    await rest();
    const pass = async (ms) => {
      const before = asked;
      context.mock.timers.tick(ms);
      await rest();
      return asked - before;
    };
    assert.equal(asked, 2);
    assert.deepEqual([await pass(249), await pass(1)], [0, 1]);
    assert.deepEqual([await pass(499), await pass(1)], [0, 1]);
    const before = asked;
    told = 'e:6';
    feed.push(message(6));
    await rest();
    assert.equal(asked - before, 1);
    assert.deepEqual([await pass(249), await pass(1)], [0, 1]);
    stored = 7;
    assert.equal(await pass(500), 1);
    feed.push(message(7));
    await rest();
    assert.deepEqual(got, [1, 2, 3, 4, 5, 6, 7]);
    assert.equal(await pass(3_600_000), 0);
    feed.end();
  });
});
