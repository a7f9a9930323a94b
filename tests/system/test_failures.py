"""A RabbitMQ node dies in every way it can under two chatd nodes, and nobody loses a message.

Throughout: clients stay connected; a publish is acknowledged or answered ``unavailable``, within a
bounded time. Afterwards every reader on every node has every acknowledged message once, in one
order, and that is also what is stored.

Processes are started on the main thread: one that another thread started would die with it, and
the signal of its end would go astray.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pika
import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.support.daemon import Daemon
from tests.support.rabbit import Node, own_node
from tests.support.talk import Talker, Writer
from tests.support.waiting import pause, until, until_of

pytestmark = pytest.mark.rabbitmq

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


class Nodes:
    """Two chatd processes on one broker, with a reader and a writer on each in one room."""

    def __init__(self, test: TestCase, daemons: Sequence[Early], room: str) -> None:
        self._test = test
        self._room = room
        self.daemons = daemons
        self.readers: list[Talker] = []
        self.writers: list[Writer] = []

    async def start(self) -> None:
        """Let everyone join, once there is the room."""
        for daemon in self.daemons:
            await daemon.when_ready()
        await deferToThread(self.daemons[0].create_room, self._room)
        for n, daemon in enumerate(self.daemons):
            self.readers.append(await Talker.join(daemon.websocket, self._room, f"reader{n}"))
            talker = await Talker.connect(daemon.websocket, username=f"writer{n}")
            self.writers.append(Writer(talker, self._room, f"w{n}"))
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
            url = f"/rooms/{self._room}/messages?limit=1000&after={cursor}"
            answer = _get(daemon.url(url))
            if not answer["messages"]:
                return ids
            assert not answer["gap"]
            ids += [message["id"] for message in answer["messages"]]
            cursor = answer["cursor"]


class OneNodeTests(TestCase):
    """What may befall the RabbitMQ node. The two chatd nodes live through all of it; each test has
    a room of its own."""

    timeout = 110
    rabbit: Node
    daemons: list[Early]

    @classmethod
    def setUpClass(cls) -> None:
        cls.rabbit = own_node()
        cls.daemons = [
            Early("--rate", "100000/s", broker=f"{cls.rabbit.url()}?heartbeat=2") for _ in range(2)
        ]

    @classmethod
    def tearDownClass(cls) -> None:
        for daemon in cls.daemons:
            daemon.close()

    def setUp(self) -> None:
        self.room = self._testMethodName
        self.nodes = Nodes(self, self.daemons, self.room)

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
            await deferToThread(self.rabbit.eval, "rabbit:stop(), rabbit:start()")

        await self.survive(trouble)
        self.assertLessEqual(self.nodes.refused, {"unavailable"})

    async def test_killed(self) -> None:
        """A node that starts meanwhile is alive, says that it is not ready, and becomes ready; a
        client that came too early need not come again."""

        async def trouble() -> None:
            self.rabbit.kill()
            early = Early(broker=self.rabbit.url())
            self.addCleanup(lambda: early.close())
            talker = await Talker.connect(early.websocket, username="ann")
            self.addCleanup(talker.leave)
            talker.send(type="join", room="lobby")
            await until(lambda: talker.first("error"))
            self.assertEqual(talker.frames[-1]["code"], "unavailable")
            self.assertFalse(await deferToThread(early.is_ready))

            self.rabbit.start(wait=False)
            await self.rabbit.ready()

            await early.when_ready()
            talker.send(type="join", room="lobby")
            await until(lambda: talker.first("joined"))
            self.assertEqual((await talker.say("lobby", "id"))["type"], "ack")
            await until(lambda: talker.heard == ["id"])
            self.assertNotIn("Traceback", early.log())

        await self.survive(trouble)
        self.assertLessEqual(self.nodes.refused, {"unavailable"})

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
        self.assertLessEqual(self.nodes.refused, {"unavailable"})

    async def test_short_of_memory(self) -> None:
        """A memory alarm blocks who publishes; who reads goes on."""

        async def trouble() -> None:
            self.rabbit.alarm(True)
            try:
                writers = self.nodes.writers
                await until(lambda: all(writer.refused for writer in writers), 40)
                late = await Talker.join(self.daemons[0].websocket, self.room, "late")
                await late.leave()
            finally:
                self.rabbit.alarm(False)

        await self.survive(trouble)
        self.assertLessEqual(self.nodes.refused, {"unavailable"})

    async def test_connections_closed(self) -> None:
        async def trouble() -> None:
            self.rabbit.disconnect("guest")

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
        names = self.rabbit.eval(
            "[binary_to_list(element(4, amqqueue:get_name(Q))) || Q <- rabbit_amqqueue:list()]"
        )
        rooms = re.findall(rf'"(chatd\.room\.{self.room}\.\w+)"', names)
        self.assertEqual(len(rooms), 1)
        connection = pika.BlockingConnection(pika.URLParameters(self.rabbit.url()))
        connection.channel().queue_delete(rooms[0])
        connection.close()
