"""What concerns a RabbitMQ node as a whole, on one that no other file uses but
`tests.system.test_failures`, where it dies: it freezes, is short of memory, and allows no large
messages."""

from __future__ import annotations

import socket

import pika
import pytest
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import Unavailable
from tests.support.amqp_neighbour import Neighbours
from tests.support.amqp_strangers import Strangers
from tests.support.rabbit import own_node
from tests.support.recording import body, ids
from tests.support.serving import Node
from tests.support.waiting import together, until, until_of

pytestmark = pytest.mark.rabbitmq


class NodeTests(TestCase):
    """What the harness can do to a node."""

    def setUp(self) -> None:
        self.node = own_node()

    def test_a_frozen_node_accepts_and_says_nothing_until_it_thaws(self) -> None:
        with socket.create_connection(("127.0.0.1", self.node.port)) as client:
            self.node.freeze()
            try:
                client.sendall(b"AMQP\0\0\x09\x01")
                client.settimeout(0.3)
                with self.assertRaises(TimeoutError):
                    client.recv(1)
            finally:
                self.node.thaw()
            client.settimeout(10)
            self.assertEqual(client.recv(1), b"\1")

    def test_an_alarm_blocks_publishers(self) -> None:
        blocked: list[object] = []
        connection = pika.BlockingConnection(pika.URLParameters(self.node.url()))
        self.addCleanup(connection.close)
        connection.add_on_connection_blocked_callback(lambda *args: blocked.append(args))
        channel = connection.channel()
        self.node.alarm(True)
        self.addCleanup(self.node.alarm, False)
        while not blocked:
            # The broker says so when something is published after it has heard of the alarm.
            channel.basic_publish("", "nowhere", b"")
            connection.process_data_events(0.1)


class SizeTests(Strangers):
    """``max_message_size`` below what chatd allows."""

    alone = True

    async def start(self, url: str = "") -> Node:
        self.size(2000)
        return await super().start(url)

    def size(self, most: int) -> None:
        self._limit(most)
        self.addCleanup(self._limit, 128 * 1024 * 1024)

    def _limit(self, most: int) -> None:
        # 3.10 looks at the first, 4.0 at the second; both when a channel opens
        self.rabbit.eval(
            f"application:set_env(rabbit, max_message_size, {most}),"
            f" persistent_term:put(max_message_size, {most})"
        )

    async def test_too_large_for_the_broker_is_too_large_at_once(self) -> None:
        await self.say("hp", "warm")
        work = []
        for n in range(57):
            work.append(self.say("lobby", f"text {n}", id=f"i{n}"))
            if n % 5 == 0:
                work.append(self.say("hp", "x" * 5000, id=f"big{n}"))
        answers = await together(*work)
        small = [a for a in answers if "id" in a.json and not a.json["id"].startswith("big")]
        self.assertEqual({a.status for a in small}, {201})
        self.assertEqual(len(small), 57)
        self.assertEqual([a.status for a in answers if a not in small], [413] * 12)
        for answer in answers:
            if answer.status != 201:
                self.assertEqual((answer.status, answer.code), (413, "too_large"))
                self.assertTrue(answer.json["id"].startswith("big"))
                self.assertIn("2000", answer.json["text"])
        self.assertEqual(self.lines("onnection to the broker lost"), [])

    async def test_a_limit_that_chatd_did_not_know(self) -> None:
        """Another one, set while it runs: the first message above it closes the channel."""
        channels = self.node.service.broker._publishing.channels
        channels._refused.largest = None
        answers = await together(
            *[self.say("lobby", f"text {n}") for n in range(5)],
            self.say("hp", "x" * 5000),
            *[self.say("lobby", f"text {n}") for n in range(5)],
        )
        self.assertEqual([a.status for a in answers], [201] * 5 + [413] + [201] * 5)
        self.assertEqual((await self.say("hp", "x" * 5000)).status, 413)
        self.assertEqual(self.lines("onnection to the broker lost"), [])


class AlarmTests(Strangers):
    """Memory runs short while a message is under way."""

    alone = True

    async def test_the_words_say_what_is_known(self) -> None:
        await self.say("hp", "before")
        self.rabbit.alarm(True)
        self.addCleanup(self.rabbit.alarm, False)
        first = await self.say("hp", "under way")
        self.assertEqual((first.status, first.code), (503, "unavailable"))
        self.assertIn("id", first.json)
        self.assertNotIn("stored", first.json)
        self.assertIn("low on memory", first.json["text"])
        second = await self.say("hp", "refused")
        self.assertEqual((second.status, second.json["stored"]), (503, False))
        self.assertIn("low on memory", second.json["text"])
        self.assertIn("id", second.json)
        self.rabbit.alarm(False)
        await until(lambda: self.node.service.broker.ready)
        for text, answer in (("under way", first), ("refused", second)):
            again = await self.say("hp", text, id=answer.json["id"])
            self.assertIn(again.status, (200, 201))
        self.assertEqual(await self.texts("hp"), ["before", "under way", "refused"])

    async def test_nodes_that_connect_meanwhile(self) -> None:
        """One again, and one that starts: all can be read from them."""
        await self.say("hp", "before")
        self.rabbit.alarm(True)
        self.addCleanup(self.rabbit.alarm, False)
        broker = self.node.service.broker
        for client in (broker._publishing._client, broker.channels.client):
            client.fail("for the test")
        await until(lambda: broker.blocked)
        late = await self.start()
        for node in (self.node, late):
            await until_of(node, lambda one: one.service.status.ready)
            answer = await node.get("/readyz")
            self.assertIn("low on memory", answer.json["publishing"])
            metrics = (await node.get("/metrics")).body.decode()
            self.assertIn('chatd_broker_blocked{alarm="memory"} 1.0', metrics)
            self.assertEqual(await self.texts("hp", node), ["before"])
            self.assertEqual(await self.texts("lobby", node), [])  # nobody has ever used it
            self.assertIs((await self.say("hp", "refused", node)).json["stored"], False)
        self.assertEqual(broker.figures()["broker_reconnects_total"][1], 2)
        self.rabbit.alarm(False)
        await until(lambda: broker.ready)
        self.assertEqual((await self.say("lobby", "after")).status, 201)
        self.assertEqual(await self.texts("lobby"), ["after"])
        there = await late.get("/rooms/lobby/messages?last=100&wait=10")  # within two seconds
        self.assertEqual([message["text"] for message in there.json["messages"]], ["after"])


class BlockedTests(Neighbours):
    """Memory runs short: nothing is stored, and readers go on."""

    alone = True

    async def test_blocked(self) -> None:
        follower = await self.followed(self.stream)
        await self.broker.append(self.stream, body("m0"), "m0", 0)
        self.node.alarm(True)
        self.addCleanup(self.node.alarm, False)
        blocked = self.broker.append(self.stream, body("m1"), "m1", 0)
        await until(lambda: not self.broker.ready)
        with self.assertRaises(Unavailable):
            await self.broker.append(self.stream, body("m2"), "m2", 0)
        # readers go on
        self.assertEqual(ids(await self.broker.read(self.stream, 0, 10))[0], "m0")
        self.assertEqual(follower.calls.count("interrupted"), 0)
        self.node.alarm(False)
        await blocked
        await until(lambda: self.broker.ready)
        await self.broker.append(self.stream, body("m3"), "m3", 0)
        await until(lambda: follower.ids == ["m0", "m1", "m3"])
