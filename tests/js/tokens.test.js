/** Who asks for tokens, and when. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Wire } from '../../chatd/web/client/wire.js';
import { begin } from './setting.js';
import { token, until } from './server.js';

const setting = begin();
const { connect } = setting;

describe('tokens', { timeout: 100_000 }, () => {
  const seconds = () => Math.floor(Date.now() / 1000);

  it('are renewed before they expire, on the open connection', async () => {
    let made = 0;
    const chat = connect({
      transports: ['websocket'],
      token: () => token({ sub: 'ann', n: made += 1, iat: seconds(), exp: seconds() + (made === 1 ? 1 : 3600) }),
    });
    await chat.join('lobby');
    assert.equal(chat.user, 'token');
    await until(() => setting.server.frames.some(({ type }) => type === 'auth'));
    assert.equal(made, 2);
    assert.equal(setting.server.sockets.size, 1);
  });

  it('are not asked for again and again by a clock that is hours fast', async () => {
    const hour = 3600;
    const given = () => token({ sub: 'ann', iat: seconds() - 3 * hour, exp: seconds() - 2 * hour });
    const wire = new Wire(setting.url, { token: given, answer: 1000 });
    await wire.authenticate();
    assert.ok(wire.renewal - Date.now() > 0.7 * hour * 1000);
  });

  it('are asked for again when the server refuses one, and the best transport is tried again', async () => {
    let made = 0;
    setting.server.accept = (one) => one === 'good.x.x';
    const chat = connect({ token: async () => ((made += 1) === 1 ? 'bad.x.x' : 'good.x.x'),
      transports: ['websocket', 'sse', 'poll'] });
    await chat.join('lobby');
    assert.equal(chat.state.transport, 'websocket');
    assert.equal(made, 2);
  });

  it('that stay refused reject the join, and the chat goes on asking', async () => {
    let good = false;
    setting.server.accept = () => good;
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
    [...setting.server.sockets][0].drop(4401, 'expired');
    await until(() => made === 2 && chat.state.state === 'online');
  });

  it('go in a header, but for the WebSocket', async () => {
    const chat = connect({ transports: ['sse'], token: () => 'a.b.c' });
    const room = await chat.join('lobby');
    await room.send('hello');
    const asked = setting.server.requests.filter(({ path }) => path !== '/chatd.js');
    assert.ok(asked.length >= 3);
    for (const { authorization, query } of asked) {
      assert.equal(authorization, 'Bearer a.b.c');
      assert.equal(query.token, undefined);
      assert.equal(query.username, undefined);
    }
  });
});
