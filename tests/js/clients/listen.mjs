// usage: node listen.mjs PACKAGE MODULES URL
// Opens an event stream with an EventSource of npm's and writes what it hears, one JSON a line.

import { createRequire } from 'node:module';

const [, , name, modules, url] = process.argv;
const require = createRequire(modules);
const made = require(name);
const EventSource = made.EventSource ?? made.EventSourcePolyfill;

const tell = (kind, data) => console.log(JSON.stringify([kind, data ?? null]));

const source = new EventSource(url);
source.onopen = () => tell('open');
source.onerror = () => tell('error', source.readyState);
source.onmessage = ({ data, lastEventId }) => tell('message', { ...JSON.parse(data), lastEventId });
source.addEventListener('refused', ({ data }) => tell('refused', JSON.parse(data)));
source.addEventListener('gap', ({ data }) => tell('gap', JSON.parse(data)));
