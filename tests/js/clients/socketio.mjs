// usage: node socketio.mjs MODULES URL TRANSPORTS ROOM [stay]
// What npm's socket.io-client makes of chatd: says on, one JSON a line, what it was told. With
// `stay` it only joins, each time it is connected, from where it was.

import { createRequire } from 'node:module';
import { once } from 'node:events';

const [, , modules, url, transports, room, stay] = process.argv;
const { io } = createRequire(modules)('socket.io-client');

const tell = (kind, data) => console.log(JSON.stringify([kind, data ?? null]));

const open = (path = '', more = {}) => io(`${url}${path}`, {
  transports: transports.split(','),
  forceNew: true,
  reconnectionDelay: 50,
  reconnectionDelayMax: 300,
  ...more,
});

async function staying() {
  const socket = open('', { auth: { username: 'stay' } });
  let after;
  socket.on('connect', () => socket.emit('join', { room, after }, (joined) => {
    after = joined.cursor;
    tell('joined', { gap: joined.gap, recovered: Boolean(socket.recovered) });
  }));
  socket.on('disconnect', (reason) => tell('disconnect', reason));
  socket.on('bye', ({ reason }) => tell('bye', reason));
  socket.on('message', ({ cursor, text }) => {
    after = cursor;
    tell('message', { text });
  });
}

async function talking() {
  const people = Array.from({ length: 10 }, (_, n) => open('', { auth: { username: `u${n}` } }));
  await Promise.all(people.map((one) => once(one, 'connect')));
  const all = people.map((one) => {
    const texts = [];
    return new Promise((resolve) => {
      one.on('message', ({ text }) => texts.push(text) === 10 && resolve(texts));
    });
  });
  for (const one of people) await one.emitWithAck('join', { room });
  const acks = await Promise.all(people.map((one, n) =>
    one.emitWithAck('message', { room, text: `${n}` })));
  tell('acks', acks.map(({ type }) => type));
  const heard = await Promise.all(all);
  tell('heard', heard[0].toSorted());
  tell('same', heard.every((texts) => texts.join() === heard[0].join()));

  const [ann, ben] = people;
  const { engine } = ann.io;
  if (engine.transport.name === 'polling' && transports.includes('websocket')) {
    await once(engine, 'upgrade');
  }
  tell('transport', engine.transport.name);
  ann.emit('typing', { room });
  tell('typing', (await once(ben, 'typing'))[0].user);
  ann.emit('join', { room: 'nowhere' });
  tell('error', (await once(ann, 'error'))[0].code);
  const large = await ann.emitWithAck('message', { room, text: 'x'.repeat(20_000) });
  tell('large', large.code);
  const bytes = await ann.emitWithAck('message', { room, text: new Uint8Array(3) });
  tell('bytes', [bytes.code, bytes.text]);
  tell('after', (await ann.emitWithAck('leave', { room })).type);

  const [refused] = await once(open('/admin'), 'connect_error');
  tell('namespace', refused.message);
  ben.emit('message', { room, text: 'x'.repeat(300_000) });
  tell('oversized', (await once(ben, 'disconnect'))[0]);
  await once(ben, 'connect');
  tell('again', (await ben.emitWithAck('join', { room })).type);
  const cid = people[2];
  let errors = 0;
  cid.on('error', () => (errors += 1));
  const ended = new Promise((resolve) => cid.on('disconnect', resolve));
  for (let n = 0; n < 10; n += 1) cid.emit('nothing', {});
  tell('ended', [await ended, errors]);
  process.exit(0);
}

await (stay ? staying() : talking());
