/** What few pages need is loaded when it is needed. */
import assert from 'node:assert/strict';
import { register } from 'node:module';
import { describe, it } from 'node:test';

import { begin } from './setting.js';
import { until } from './server.js';

/** Runs beside Node's loader: the first try to load the links over HTTP fails. */
const HOOKS = `
  let tries = 0;
  export async function resolve(name, context, next) {
    if (name === './http.js' && (tries += 1) === 1) throw new Error('It does not load.');
    return next(name, context);
  }`;
register(`data:text/javascript,${encodeURIComponent(HOOKS)}`);

const setting = begin();
const { connect } = setting;

describe('the links over HTTP', { timeout: 100_000 }, () => {
  it('are loaded where chatd answers, and not had are a try that failed', async () => {
    let routes = 0;
    const fake = async (address, init) => {
      // Each time two questions.
      routes += 0.5;
      if (routes <= 1) throw new TypeError('no route');
      // From a network that one must sign in to, and a proxy whose chatd is away.
      const html = { headers: { 'Content-Type': 'text/html' }, status: routes <= 2 ? 200 : 502 };
      return routes <= 3 ? new Response('<h1>Welcome</h1>', html) : fetch(address, init);
    };
    const chat = connect({ transports: ['poll'], fetch: fake });
    const failures = [];
    chat.on('state', ({ state, retry, error }) => state === 'offline'
      && failures.push([error?.code, error?.cause?.message, typeof retry]));
    const room = await chat.join('lobby');
    assert.deepEqual(failures, [['network', 'no route', 'number'],
      ['unavailable', undefined, 'number'], ['unavailable', undefined, 'number'],
      ['network', 'It does not load.', 'number']]);
    await room.send('hello');
    assert.equal(chat.state.transport, 'poll');
  });

  it('carry nothing when they come after nobody wants them any more', async () => {
    let answer;
    const answered = new Promise((resolve) => { answer = resolve; });
    let asked = false;
    const fake = (address, init) => {
      asked = true;
      return answered.then(() => fetch(address, init));
    };
    const chat = connect({ transports: ['poll'], fetch: fake, user: 'late' });
    chat.join('lobby').catch(() => {});
    await until(() => asked);
    chat.disconnect();
    answer();
    // Another of the same, which begins later, goes all the way meanwhile.
    await (await connect({ transports: ['poll'] }).join('lobby')).send('hello');
    assert.deepEqual(chat.states.at(-1), 'offline');
    assert.equal(setting.server.requests.some(({ query }) => query.username === 'late'), false);
  });
});
