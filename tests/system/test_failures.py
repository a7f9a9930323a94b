"""RabbitMQ dies in every way it can under two chatd nodes, and nobody loses a message.

Throughout: clients stay connected; a publish is acknowledged or answered ``unavailable``, within a
bounded time. Afterwards every reader on every node has every acknowledged message once, in one
order, and that is also what is stored.

Processes are started on the main thread: one that another thread started would die with it, and
the signal of its end would go astray.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pika
import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.support.daemon import Daemon
from tests.support.rabbit import Cluster, Node
from tests.support.talk import Talker, Writer
from tests.support.waiting import pause, until, until_of

pytestmark = pytest.mark.rabbitmq

ROOM = "lobby"
_open = build_opener(ProxyHandler({})).open


def _get(url: str) -> Any:
    with _open(url, timeout=20) as response:
        return json.load(response)


class Early(Daemon):
    """A daemon that need not be ready to count as started."""

    def _ready(self) -> bool:
        return self._status("/healthz") == 200

    def is_ready(self) -> bool:
        """What ``/readyz`` says."""
        return self._status("/readyz") == 200

    async def when_ready(self) -> None:
        """Return when it is ready, the reactor running meanwhile."""
        while not await deferToThread(self.is_ready):
            await pause(0.05)

    def _status(self, path: str) -> int:
        try:
            with _open(self.url(path), timeout=5) as response:
                return int(response.status)
        except (URLError, OSError) as error:
            return getattr(error, "code", 0)


def _close(daemon: Daemon) -> None:
    daemon.close()


class Nodes:
    """chatd processes on one broker, with a reader and a writer on each."""

    def __init__(self, test: TestCase, broker: str) -> None:
        self._test = test
        self._broker = f"{broker}?heartbeat=2"
        self.daemons: list[Early] = []
        self.readers: list[Talker] = []
        self.writers: list[Writer] = []

    async def start(self, number: int = 2) -> None:
        """Start them, and let everyone join."""
        for _ in range(number):
            daemon = Early("--rate", "100000/s", broker=self._broker)
            self._test.addCleanup(_close, daemon)
            self.daemons.append(daemon)
        for daemon in self.daemons:
            await daemon.when_ready()
        for n, daemon in enumerate(self.daemons):
            self.readers.append(await Talker.join(daemon.websocket, ROOM, f"reader{n}"))
            talker = await Talker.connect(daemon.websocket, username=f"writer{n}")
            self.writers.append(Writer(talker, ROOM, f"w{n}"))
        for talker in (*self.readers, *(writer.talker for writer in self.writers)):
            self._test.addCleanup(talker.leave)

    async def write(self) -> None:
        """Let the writers write, from now on."""
        for writer in self.writers:
            writer.start()
        await self.more()

    async def more(self) -> None:
        """Wait for more acknowledgements to each writer."""
        await gatherResults([Deferred.fromCoroutine(writer.more()) for writer in self.writers])

    async def rest(self) -> None:
        """Stop writing, and wait until every reader has all that was acknowledged."""
        await gatherResults([Deferred.fromCoroutine(writer.stop()) for writer in self.writers])
        acked = {id for writer in self.writers for id in writer.acked}
        await until(lambda: all(acked <= set(reader.heard) for reader in self.readers), 30)

    @property
    def refused(self) -> set[str]:
        return {code for writer in self.writers for code in writer.refused}

    async def check(self) -> None:
        """Compare what everyone heard with each other, and with what is stored."""
        test, one = self._test, self.readers[0]
        for reader in self.readers:
            test.assertEqual(len(reader.heard), len(set(reader.heard)), "something came twice")
            await until_of(reader, lambda other: len(other.heard) == len(one.heard))
            test.assertEqual(reader.heard, one.heard)
            kinds = {frame["type"] for frame in reader.frames}
            test.assertLessEqual(kinds, {"welcome", "joined", "message", "presence"})
            test.assertIs(reader.closed, None)
        for writer in self.writers:
            test.assertIs(writer.talker.closed, None)
        start = (one.first("joined") or {})["cursor"]
        for daemon in self.daemons:
            test.assertEqual(await deferToThread(self._stored, daemon, start), one.heard)
            test.assertNotIn("Traceback", daemon.log())

    def _stored(self, daemon: Daemon, cursor: str) -> list[str]:
        ids: list[str] = []
        while True:
            url = f"/rooms/{ROOM}/messages?limit=1000&after={cursor}"
            answer = _get(daemon.url(url))
            if not answer["messages"]:
                return ids
            assert not answer["gap"]
            ids += [message["id"] for message in answer["messages"]]
            cursor = answer["cursor"]


class OneNodeTests(TestCase):
    """One RabbitMQ node, and what may befall it."""

    timeout = 110
    rabbit: Node

    @classmethod
    def setUpClass(cls) -> None:
        cls.rabbit = Node().start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.rabbit.close()

    def setUp(self) -> None:
        self.vhost = self.rabbit.vhost()
        self.nodes = Nodes(self, self.rabbit.url(self.vhost))

    async def survive(self, trouble: Callable[[], Awaitable[object]]) -> None:
        """Start, write through the trouble and some more, and check."""
        await self.nodes.start()
        await self.nodes.write()
        await trouble()
        await self.nodes.more()
        await self.nodes.rest()
        await self.nodes.check()

    async def test_restarted(self) -> None:
        async def trouble() -> None:
            await deferToThread(self.rabbit.stop)
            self.rabbit.start(wait=False)
            await self.rabbit.ready()

        await self.survive(trouble)
        self.assertEqual(self.nodes.refused, {"unavailable"})

    async def test_killed(self) -> None:
        async def trouble() -> None:
            self.rabbit.kill()
            self.rabbit.start(wait=False)
            await self.rabbit.ready()

        await self.survive(trouble)
        self.assertEqual(self.nodes.refused, {"unavailable"})

    async def test_frozen(self) -> None:
        """Connections stay open and nothing answers: the heartbeat ends them."""

        async def trouble() -> None:
            self.rabbit.freeze()
            try:
                writers = self.nodes.writers
                await until(lambda: all(len(writer.refused) > 20 for writer in writers), 40)
            finally:
                self.rabbit.thaw()

        await self.survive(trouble)
        self.assertEqual(self.nodes.refused, {"unavailable"})

    async def test_short_of_memory(self) -> None:
        """A memory alarm blocks who publishes; who reads goes on."""

        async def trouble() -> None:
            self.rabbit.alarm(True)
            try:
                writers = self.nodes.writers
                await until(lambda: all(writer.refused for writer in writers), 40)
                late = await Talker.join(self.nodes.daemons[0].websocket, ROOM, "late")
                await late.leave()
            finally:
                self.rabbit.alarm(False)

        await self.survive(trouble)
        self.assertEqual(self.nodes.refused, {"unavailable"})

    async def test_connections_closed(self) -> None:
        async def trouble() -> None:
            self.rabbit.ctl("close_all_connections", "for the test")

        await self.survive(trouble)
        self.assertLessEqual(self.nodes.refused, {"unavailable"})

    async def test_channels_closed(self) -> None:
        """Every channel is closed with an error, as after a mistake of the client's."""

        async def trouble() -> None:
            closed = self.rabbit.eval(
                "[C ! {channel_exit, N, rabbit_misc:amqp_error(precondition_failed, "
                '"for the test", [], none)} || '
                "[{connection, C}, {number, N}] <- rabbit_channel:info_all([connection, number])]"
            )
            self.assertNotEqual(closed, "[]")

        await self.survive(trouble)
        self.assertLessEqual(self.nodes.refused, {"unavailable"})

    async def test_unreachable_at_start(self) -> None:
        """Nodes that start without a broker are alive, say that they are not ready, and become
        ready; a client that came too early need not come again."""
        self.rabbit.kill()
        daemon = Early(broker=self.rabbit.url(self.vhost))
        self.addCleanup(_close, daemon)
        talker = await Talker.connect(daemon.websocket, username="ann")
        self.addCleanup(talker.leave)
        talker.send(type="join", room=ROOM)
        await until(lambda: talker.first("error"))
        self.assertEqual(talker.frames[-1]["code"], "unavailable")
        self.assertFalse(await deferToThread(daemon.is_ready))

        self.rabbit.start(wait=False)
        await self.rabbit.ready()

        await daemon.when_ready()
        talker.send(type="join", room=ROOM)
        await until(lambda: talker.first("joined"))
        self.assertEqual((await talker.say(ROOM, "id"))["type"], "ack")
        await until(lambda: talker.heard == ["id"])
        self.assertNotIn("Traceback", daemon.log())

    async def test_stream_deleted_behind_our_back(self) -> None:
        """The room begins a new life; those who are in it stay."""
        nodes = self.nodes
        await nodes.start()
        await nodes.write()
        await nodes.rest()
        await nodes.check()
        before = list(nodes.readers[0].heard)

        self._delete_streams()
        await nodes.write()
        await nodes.rest()
        for reader in nodes.readers:
            self.assertEqual(reader.heard[: len(before)], before)
            self.assertEqual(reader.heard, nodes.readers[0].heard)
            self.assertEqual(len(reader.heard), len(set(reader.heard)))
            self.assertIs(reader.closed, None)
        self.assertLessEqual(nodes.refused, {"unavailable"})
        for daemon in nodes.daemons:
            self.assertNotIn("Traceback", daemon.log())

    def _delete_streams(self) -> None:
        names = self.rabbit.ctl("list_queues", "-p", self.vhost, "--silent", "name").split()
        rooms = [name for name in names if name.startswith(f"chatd.room.{ROOM}.")]
        self.assertEqual(len(rooms), 1)
        connection = pika.BlockingConnection(pika.URLParameters(self.rabbit.url(self.vhost)))
        connection.channel().queue_delete(rooms[0])
        connection.close()


class ThreeNodesTests(TestCase):
    """Three RabbitMQ nodes, each with a replica of every stream."""

    timeout = 110

    async def test_the_leader_is_killed(self) -> None:
        cluster = Cluster()
        self.addCleanup(cluster.close)
        cluster.start()
        nodes = Nodes(self, cluster.url())
        await nodes.start()
        await nodes.write()
        leader = self._leader(cluster)
        leader.kill()
        await nodes.more()
        leader.start(wait=False)
        await leader.ready()
        await nodes.more()
        await nodes.rest()
        await nodes.check()
        self.assertLessEqual(nodes.refused, {"unavailable"})

    def _leader(self, cluster: Cluster) -> Node:
        found = cluster.nodes[0].eval(
            "[atom_to_list(node(amqqueue:get_pid(Q))) || Q <- rabbit_amqqueue:list(), "
            f'binary:match(element(4, amqqueue:get_name(Q)), <<"chatd.room.{ROOM}.">>) =/= nomatch]'
        )
        [leader] = [node for node in cluster.nodes if node.name in found]
        return leader
