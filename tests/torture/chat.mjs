/**
 * A client of the torture harness: chatd.js says one thing after the other in a room and reads it.
 * What happens is told as JSON lines, with the time of the monotonic clock; it ends with its input.
 *
 *     node chat.mjs URL-of-chatd.js URL-of-the-node USER ROOM
 */
import { setTimeout as sleep } from 'node:timers/promises';

const [, , module, url, user, name] = process.argv;
const { Chat } = await import(module);
const chat = new Chat(url, { user, backoff: 100, backoffMax: 1000 });
let ends = false;
let life = 0;
let number = 0;

function tell(e, more) {
  const t = Number(process.hrtime.bigint()) / 1e9;
  process.stdout.write(`${JSON.stringify({ e, t, life, ...more })}\n`);
}

async function talk(room, isOpen) {
  while (isOpen() && !ends) {
    const id = `${user}-${number}`;
    number += 1;
    tell('publish', { id });
    const said = room.send(`text of ${id}`, { id });
    tell('answer', { id, result: await said.then(() => 'stored', () => 'unknown') });
    await sleep(50);
  }
}

async function stay() {
  const room = await chat.join(name);
  life += 1;
  let isOpen = true;
  const closed = new Promise((resolve) => { room.on('closed', resolve); });
  room.on('gap', ({ cursor }) => tell('gap', { cursor }));
  room.on('message', (message) => tell('message', { message }));
  const talking = talk(room, () => isOpen);
  await closed;
  isOpen = false;
  await talking;
}

process.stdin.on('end', () => { ends = true; chat.close(); }).resume();
while (!ends) await stay().catch(() => sleep(300));
