"""Three nodes behind a web server are restarted one by one: how long is each client away?

    python bench/rolling_restart.py [--front nginx] [--clients 60] [--plot FILE.svg]

chatd on RabbitMQ three times, behind a web server with the files of ``etc/``. A third of the
clients holds a WebSocket, a third an event stream, a third polls; two more publish all the time,
without ids, so that nobody but the web server asks twice. Each node is stopped by SIGTERM, and the
next one as soon as it is ready again. Prints what failed, what was missed, and how long clients
were away: from the moment they lost a connection until they were joined anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from aiohttp import ClientError, ClientSession, ClientTimeout, WSMsgType
from attrs import define, field

from bench.plots import scatter
from tests.support.daemon import Daemon
from tests.support.proxy import Apache, HAProxy, Nginx
from tests.support.rabbit import shared_node

FRONTS: dict[str, type[Apache | HAProxy | Nginx]] = {
    "nginx": Nginx,
    "haproxy": HAProxy,
    "apache": Apache,
}
#: Seconds before the first restart, between two, and after the last.
CALM = 1.5
#: Seconds after the last message within which all readers must have it.
LEVEL = 15.0
NEVER = ClientTimeout(total=None)


@define(eq=False)
class Record:
    """What happened to all clients."""

    session: ClientSession
    url: str
    began: float = field(factory=time.monotonic)
    #: Kind of client, seconds since the beginning, seconds away.
    away: list[tuple[str, float, float]] = field(factory=list)
    failures: Counter[str] = field(factory=Counter)
    requests: int = 0
    #: When each node was told to stop, and was ready again.
    restarts: list[tuple[float, float]] = field(factory=list)
    #: Nothing more is to be published.
    done: bool = False

    @property
    def now(self) -> float:
        return time.monotonic() - self.began


@define(eq=False)
class Client:
    """One client, which comes back whenever it is sent away."""

    record: Record
    kind: str
    name: str
    cursor: str = ""
    texts: list[str] = field(factory=list)
    lost: float | None = None
    retry: float = 0.0

    def gone(self) -> None:
        """It has lost its connection, or been refused one."""
        if self.lost is None:
            self.lost = self.record.now

    def here(self) -> None:
        """It is joined."""
        if self.lost is not None:
            self.record.away.append((self.kind, self.lost, self.record.now - self.lost))
            self.lost = None

    def got(self, message: dict[str, str]) -> None:
        """A message came."""
        self.texts.append(message["text"])
        self.cursor = message["cursor"]

    async def run(self, once: Callable[[Client], Awaitable[None]]) -> None:
        """Hold a connection after the other, until cancelled."""
        while True:
            self.record.requests += 1
            try:
                await once(self)
            except (ClientError, ConnectionError) as error:
                self.record.failures[f"{self.kind}: {error}"] += 1
                self.gone()
            await asyncio.sleep(self.retry)


async def hold_socket(client: Client) -> None:
    """A WebSocket in the lobby, until the server closes it."""
    record = client.record
    url = f"{record.url}/ws?username={client.name}"
    client.retry = 0.2
    async with record.session.ws_connect(url, protocols=("chatd.v1",)) as socket:
        start = {"after": client.cursor} if client.cursor else {}
        await socket.send_json({"type": "join", "room": "lobby", **start})
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            said = json.loads(frame.data)
            if said["type"] == "joined":
                client.cursor = said["cursor"]
                client.here()
            elif said["type"] == "message":
                client.got(said)
            elif said["type"] == "bye":
                client.retry = said["retry"] / 1000
    client.gone()


async def hold_stream(client: Client) -> None:
    """An event stream of the lobby, read as the HTML standard has it, until it ends."""
    record = client.record
    url = f"{record.url}/rooms/lobby/events?username={client.name}"
    headers = {"Accept": "text/event-stream"}
    if client.cursor:
        headers["Last-Event-ID"] = client.cursor
    refused = False
    async with record.session.get(url, headers=headers, timeout=NEVER) as answer:
        if answer.status != 200:
            raise ClientError(f"status {answer.status}")
        async for line in answer.content:
            word, _, value = line.decode().rstrip("\n").partition(": ")
            refused = refused or value == "refused"
            if word == "retry":
                client.retry = int(value) / 1000
            elif word == "id":
                client.cursor = value
                client.here()
            elif word == "data" and (said := json.loads(value)).get("type") == "message":
                client.got(said)
    client.gone()
    if refused:
        raise ClientError("refused")


async def poll(client: Client) -> None:
    """One poll of the lobby, which waits for the next message."""
    record = client.record
    after = f"after={client.cursor}&wait=20" if client.cursor else "last=0"
    url = f"{record.url}/rooms/lobby/messages?username={client.name}&{after}"
    async with record.session.get(url) as answer:
        if answer.status != 200:
            raise ClientError(f"status {answer.status}")
        page = await answer.json()
    client.here()
    for message in page["messages"]:
        client.got(message)
    client.cursor = page["cursor"]


KINDS = {"WebSocket": hold_socket, "event stream": hold_stream, "poll": poll}


async def write(record: Record, name: str, texts: list[str]) -> None:
    """Publish without a pause; ``texts`` are those that were stored."""
    url = f"{record.url}/rooms/lobby/messages?username={name}"
    n = 0
    while not record.done:
        n += 1
        text = f"{name}-{n}"
        record.requests += 1
        try:
            async with record.session.post(url, json={"text": text}) as answer:
                if answer.status == 201:
                    texts.append(text)
                else:
                    record.failures[f"publish: {await answer.text()}"] += 1
        except (ClientError, ConnectionError) as error:
            record.failures[f"publish: {error}"] += 1
        await asyncio.sleep(0.02)


async def measure(url: str, nodes: list[Daemon], count: int) -> tuple[Record, int]:
    """Restart all ``nodes``; what was recorded, and how many messages somebody missed or got
    twice."""
    async with ClientSession() as session:
        record = Record(session, url)
        clients = [
            Client(record, kind, f"{kind[0]}{n}") for n in range(count // 3) for kind in KINDS
        ]
        running = [asyncio.create_task(client.run(KINDS[client.kind])) for client in clients]
        while not all(client.cursor for client in clients):
            await asyncio.sleep(0.1)
        stored: list[str] = []
        writing = [asyncio.create_task(write(record, f"w{n}", stored)) for n in range(2)]
        await asyncio.sleep(CALM)
        for node in nodes:
            began = record.now
            await asyncio.to_thread(node.stop)
            await asyncio.to_thread(node.start)
            record.restarts.append((began, record.now))
            await asyncio.sleep(CALM)
        record.done = True
        await asyncio.gather(*writing)
        level = record.now + LEVEL
        while record.now < level and any(len(client.texts) < len(stored) for client in clients):
            await asyncio.sleep(0.1)
        for task in running:
            task.cancel()
        wrong = sum(
            len(set(stored) ^ set(client.texts)) + len(client.texts) - len(set(client.texts))
            for client in clients
        )
        return record, wrong


def report(front: str, record: Record, wrong: int, plot: Path | None) -> None:
    """Print, and draw."""
    took = ", ".join(f"{end - begin:.1f} s" for begin, end in record.restarts)
    print(f"{front}: nodes were away for {took}")
    for kind in KINDS:
        times = sorted(seconds for of, _, seconds in record.away if of == kind)
        median, longest = (times[len(times) // 2], times[-1]) if times else (0.0, 0.0)
        print(f"  {kind}: {len(times)} times away, median {median:.2f} s, longest {longest:.2f} s")
    print(f"  {record.requests} requests, failed: {record.failures.total()}; wrong: {wrong}")
    for what, times_ in record.failures.most_common(5):
        print(f"    {times_} x {what}")
    if plot is not None:
        title = f"Rolling restart of three nodes behind {front}: seconds away"
        plot.write_text(scatter(title, list(KINDS), record.away, record.restarts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--front", choices=FRONTS, default="nginx")
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    with ExitStack() as stack:
        broker = shared_node().url(shared_node().vhost())
        options = ("--trusted-proxy", "127.0.0.1/32", "--rate", "1000/s")
        nodes = [stack.enter_context(Daemon(*options, broker=broker)) for _ in range(3)]
        front = stack.enter_context(FRONTS[given.front](*(node.http for node in nodes)))
        record, wrong = asyncio.run(measure(front.url("").rstrip("/"), nodes, given.clients))
    report(given.front, record, wrong, given.plot)
    sys.exit(bool(record.failures or wrong or max(s for _, _, s in record.away) > 5))


if __name__ == "__main__":
    main()
