"""The leader of a room's stream is killed, again and again, with publishes in flight.

Three RabbitMQ nodes, three chatd processes; in each room several writers, that send a few messages
at once and never wait to be heard, and a reader on each chatd node.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import count
from time import monotonic
from urllib.request import ProxyHandler, build_opener

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.support.asking import ask
from tests.support.cluster import Cluster
from tests.support.daemon import Daemon
from tests.support.talk import Talker
from tests.support.waiting import pause, until

_open = build_opener(ProxyHandler({})).open

ROOMS = tuple(f"room{n}" for n in range(6))
WRITERS = 3
#: Messages that a writer sends at once.
BURST = 5
#: What readers may get.
_KINDS = {"welcome", "joined", "message", "presence"}
#: Seconds within which each publish must be answered, whatever is broken.
BOUND = 20.0


@define(eq=False)
class Writer:
    """Sends bursts of messages, and what is answered ``unavailable`` again under its id."""

    talker: Talker
    room: str
    name: str
    #: All ids in the order in which they were sent first, and those acknowledged.
    sent: list[str] = field(factory=list)
    acked: list[str] = field(factory=list)
    #: Ids that were refused at first; nothing is promised about their order.
    refused: set[str] = field(factory=set)
    refusals: Counter[str] = field(factory=Counter)
    longest: float = 0.0
    #: Seconds between two bursts.
    rest: float = 0.02
    _writing: bool = True
    done: Deferred[None] | None = None

    def start(self) -> None:
        self.done = Deferred.fromCoroutine(self._write())

    @property
    def ended(self) -> bool:
        """Whether it was started and has stopped, for whatever reason."""
        return self.done is not None and self.done.called

    async def stop(self) -> None:
        """Return once all that was sent is acknowledged."""
        self._writing = False
        if self.done is not None:
            await self.done

    async def _write(self) -> None:
        ids = (f"{self.name}-{n}" for n in count())
        while self._writing:
            burst = [next(ids) for _ in range(BURST)]
            self.sent += burst
            await gatherResults([Deferred.fromCoroutine(self._publish(id)) for id in burst])
            await pause(self.rest)

    async def _publish(self, id: str) -> None:
        began = monotonic()
        while True:
            asked = monotonic()
            answer = await self.talker.say(self.room, id, f"text of {id}")
            waited = monotonic() - asked
            if waited > BOUND:
                raise AssertionError(f"{id} was answered after {waited} s")
            if answer["type"] == "ack":
                break
            if answer["code"] != "unavailable" or answer["id"] != id:
                raise AssertionError(answer)
            self.refused.add(id)
            self.refusals[answer["text"]] += 1
            await pause(0.2)
        self.acked.append(id)
        self.longest = max(self.longest, monotonic() - began)


class LeaderKills:
    """All of it. `close` when done. ``calm`` is how many seconds the writers rest between bursts
    while nothing is about to be killed."""

    def __init__(self, cluster: Cluster, calm: float) -> None:
        self.cluster = cluster
        self.vhost = cluster.vhost()
        self.calm = calm
        self.daemons: list[Daemon] = []
        self.writers: list[Writer] = []
        self.readers: dict[str, list[Talker]] = {}
        self.kills = 0

    def start_processes(self) -> None:
        """Blocks, for some seconds."""
        options = [word for room in ROOMS for word in ("--room", room)]
        for _ in self.cluster.nodes:
            url = f"{self.cluster.url(self.vhost)}?heartbeat=2"
            self.daemons.append(Daemon("--rate", "100000/s", *options, broker=url))

    async def start_clients(self) -> None:
        """Readers on all nodes, then writers, spread over the nodes."""
        for room in ROOMS:
            self.readers[room] = [
                await Talker.join(daemon.websocket, room, f"reader{n}")
                for n, daemon in enumerate(self.daemons)
            ]
            for n in range(WRITERS):
                daemon = self.daemons[n % len(self.daemons)]
                name = f"{room}-w{n}"
                talker = await Talker.connect(daemon.websocket, username=name)
                self.writers.append(Writer(talker, room, name))
        for writer in self.writers:
            writer.start()

    async def kill_one(self) -> None:
        """Kill the leader of some room, start it again, and wait until all writers went on."""
        victim = await deferToThread(self.cluster.leader, self.vhost, random.choice(ROOMS))
        self._rest(0.02)
        await self.more()
        victim.kill()
        self.kills += 1
        self._rest(self.calm)
        await pause(random.uniform(0, 3))
        victim.start(wait=False)
        await victim.ready()
        await self.more()

    def _rest(self, seconds: float) -> None:
        for writer in self.writers:
            writer.rest = seconds

    async def more(self) -> None:
        """Wait until every writer has some more acknowledgements."""
        goals = [(writer, len(writer.acked) + 2 * BURST) for writer in self.writers]
        await until(lambda: all(len(w.acked) >= n or w.ended for w, n in goals), 90)
        for writer in self.writers:
            if writer.done is not None and writer.done.called:
                await writer.done  # it failed

    async def stop(self) -> None:
        """Stop writing, and wait until every reader has all that was acknowledged."""
        await gatherResults([Deferred.fromCoroutine(writer.stop()) for writer in self.writers])
        await until(lambda: not self.missing(), 60)

    def missing(self) -> list[str]:
        """Messages that were acknowledged, and are not in a reader's list."""
        missing: list[str] = []
        for room, readers in self.readers.items():
            acked = {id for writer in self.writers if writer.room == room for id in writer.acked}
            for reader in readers:
                missing += acked - set(reader.heard)
        return missing

    async def faults(self) -> list[str]:
        """All that is wrong, a line each; call after `stop`."""
        faults = [f"lost: {id}" for id in self.missing()]
        for room, readers in self.readers.items():
            for n, reader in enumerate(readers):
                twice = [id for id, times in Counter(reader.heard).items() if times > 1]
                faults += [f"twice in {room}: {id}" for id in twice]
                if reader.heard != readers[0].heard:
                    faults.append(f"{room}: readers 0 and {n} heard different orders")
                stored = await deferToThread(_stored, self.daemons[n], room, reader)
                if stored != reader.heard:
                    faults.append(f"{room}: node {n} has stored what reader {n} did not hear")
                kinds = {frame["type"] for frame in reader.frames}
                if reader.closed or not kinds <= _KINDS:
                    faults.append(f"{room}: reader {n} got {kinds}, {reader.closed}")
        for writer in self.writers:
            place = {id: n for n, id in enumerate(self.readers[writer.room][0].heard)}
            sure = [id for id in writer.sent if id not in writer.refused and id in place]
            order = sorted(sure, key=place.__getitem__)
            if order != sure:
                faults.append(f"out of order: {writer.name}")
            if writer.talker.closed:
                faults.append(f"{writer.name} was closed: {writer.talker.closed}")
        faults += [daemon.log() for daemon in self.daemons if "Traceback" in daemon.log()]
        return faults

    def report(self) -> str:
        """The figures."""
        healed = sum(self._metric("chatd_false_confirms_total"))
        refusals = sum((writer.refusals for writer in self.writers), Counter[str]())
        resent = sum(self._metric("chatd_unconfirmed_resent_total"))
        return (
            f"{self.kills} kills; {sum(len(w.acked) for w in self.writers)} acknowledged, "
            f"{len(self.missing())} not read; {healed:.0f} false confirms met and healed, "
            f"{resent:.0f} without a confirm sent again; longest wait for an acknowledgement "
            f"{max(w.longest for w in self.writers):.1f} s; "
            f"{sum(refusals.values())} publishes answered unavailable {dict(refusals) or ''}"
        )

    def _metric(self, name: str) -> list[float]:
        found = []
        for daemon in self.daemons:
            with _open(daemon.url("/metrics"), timeout=20) as answer:
                lines = answer.read().decode().splitlines()
            found += [float(line.split()[1]) for line in lines if line.startswith(f"{name} ")]
        return found

    async def close(self) -> None:
        for talker in (
            *(reader for readers in self.readers.values() for reader in readers),
            *(writer.talker for writer in self.writers),
        ):
            await talker.leave()
        for daemon in self.daemons:
            daemon.close()
        self.cluster.drop_vhost(self.vhost)


def _stored(daemon: Daemon, room: str, reader: Talker) -> list[str]:
    """The ids of all messages since ``reader`` joined, as a node pages through them."""
    cursor = (reader.first("joined") or {})["cursor"]
    ids: list[str] = []
    while True:
        url = f"/rooms/{room}/messages?limit=1000&after={cursor}"
        status, page = ask(daemon.url(url))
        assert status == 200, page
        assert not page["gap"]
        if not page["messages"]:
            return ids
        ids += [message["id"] for message in page["messages"]]
        cursor = page["cursor"]
