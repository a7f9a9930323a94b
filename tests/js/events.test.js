/** The text of an event stream, and ids. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { ChatError, newId } from '../../chatd/web/chatd.js';
import { EventParser, stream } from '../../chatd/web/client/links/events.js';
import { deadline } from '../../chatd/web/client/timing.js';

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

  it('cost what they are long, in however many pieces', { timeout: 100_000 }, () => {
    const parser = new EventParser();
    const events = [];
    for (const piece of ['data: ', ...'x'.repeat(900_000), '\n', '\n']) events.push(...parser.push(piece));
    assert.equal(events.length, 1);
    assert.equal(events[0].data.length, 900_000);
  });

  it('may not have a line without end', async () => {
    const headers = { 'Content-Type': 'text/event-stream' };
    const events = async () => new Response('data: '.padEnd(1_000_001, 'x'), { headers });
    const requests = { events };
    const frames = stream({ ChatError, deadline, heard() {}, parse: JSON.parse, requests },
      'lobby', '', { patience: 20_000 });
    await frames.next();
    await assert.rejects(frames.next(), { code: 'too_large' });
  });
});

it('makes ids that the server takes', () => {
  assert.match(newId(), /^[!-~]{1,64}$/);
  assert.notEqual(newId(), newId());
});
