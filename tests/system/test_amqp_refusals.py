"""What RabbitMQ refuses, and what somebody takes away: seen for what it is, said in its own words,
mended where it can be, and never a harm to other rooms."""

from __future__ import annotations

from typing import Any

import pika
import pytest
from twisted.internet.defer import Deferred

from chatd.brokers.interfaces import NotStored, Stream
from tests.support.amqp_strangers import ADMIN, Strangers
from tests.support.http_client import Answer
from tests.support.serving import Node
from tests.support.waiting import pause, together, until

pytestmark = pytest.mark.rabbitmq


class UnboundTests(Strangers):
    """Bindings and exchanges are anybody's to take away."""

    def queue_of(self, room: str) -> str:
        entry = self.node.service.chat.directory.find(room)
        assert entry is not None
        return entry.stream.name

    async def check(self, room: str = "hp") -> None:
        """What is published is stored, in the stream that was there before."""
        stream = self.node.service.chat.directory.get(room).stream
        for number in range(6):
            self.assertEqual((await self.say(room, f"text {number}")).status, 201)
        self.assertEqual((await self.texts(room))[-6:], [f"text {n}" for n in range(6)])
        self.assertEqual(self.node.service.chat.directory.get(room).stream, stream)
        self.other.queue_declare(stream.name, passive=True)

    async def test_a_room_is_unbound(self) -> None:
        await self.say("hp", "before")
        self.other.queue_unbind(self.queue_of("hp"), "chatd", "hp")
        await self.check()
        self.assertEqual((await self.texts("hp"))[0], "before")

    async def test_unbound_while_another_program_takes_everything(self) -> None:
        """The broker confirms what went to another queue only."""
        await self.say("hp", "before")
        other = self.other.queue_declare("", exclusive=True).method.queue
        self.other.queue_bind(other, "chatd", "#")
        self.other.queue_unbind(self.queue_of("hp"), "chatd", "hp")
        await self.check()
        self.assertEqual((await self.texts("hp"))[0], "before")

    async def test_the_exchange_is_deleted(self) -> None:
        ann = await self.node.chat("ann", "hp", "lobby")
        await self.say("hp", "before")
        self.other.exchange_delete("chatd")
        await self.check("lobby")
        await self.check("hp")
        self.assertEqual((await self.texts("hp"))[0], "before")
        while (await ann.find("message"))["text"] != "text 5":
            pass

    async def test_neighbours_reach_a_room_after_the_exchange_was_deleted(self) -> None:
        ann = await self.node.chat("ann", "hp")
        self.other.exchange_delete("chatd")
        await self.say("lobby", "makes chatd notice")
        await until(lambda: self._reaches("hp"))
        self.assertEqual((await ann.find("message"))["text"], "hello from outside")

    def _reaches(self, room: str) -> bool:
        channel = self.connection.channel()
        channel.confirm_delivery()
        try:
            channel.basic_publish("chatd", room, b"hello from outside", mandatory=True)
        except pika.exceptions.UnroutableError:
            return False
        return True

    async def test_the_exchange_for_presence_is_deleted(self) -> None:
        later = await self.start()
        await self.node.chat("ann", "hp")
        self.other.exchange_delete("chatd.presence")
        ben = await later.chat("ben", "hp")
        while (await self.node.get("/rooms/hp")).json["count"] != 2:
            await pause(0.1)
        await until(lambda: set(later.service.chat.presence.members("hp").names) == {"ann", "ben"})
        ben.raw.abort()

    async def test_a_room_whose_stream_is_deleted_begins_anew(self) -> None:
        await self.say("hp", "before")
        old = self.node.service.chat.directory.get("hp").stream
        self.other.queue_delete(old.name)
        await until(lambda: self.node.service.chat.directory.get("hp").stream != old)
        await self.check()


class MakingTests(Strangers):
    """Rooms that cannot be made."""

    async def put(self, room: str) -> Answer:
        return await self.node.request("PUT", f"/rooms/{room}", {}, authorization=ADMIN)

    async def check(self, words: str) -> None:
        """A new room is refused with these words, said once, and is not there; others are."""
        for room in ("one", "two", "one"):
            answer = await self.put(room)
            self.assertEqual((answer.status, answer.code), (503, "unavailable"), answer.json)
            self.assertIn(words, answer.json["text"])
        self.assertEqual(len(self.lines(words)), 1, self.lines(words))
        setup = await self.node.raw("setup")
        setup.send(b'{"roomname":"one","status":"status","op":"create_room"}\n')
        self.assertIn(words.encode(), await setup.until(b"\n"))
        rooms = (await self.node.request("GET", "/rooms", authorization=ADMIN)).json["rooms"]
        self.assertEqual(sorted(room["room"] for room in rooms), ["hp", "lobby"])
        self.assertEqual((await self.say("hp", "as before")).status, 201)

    async def test_a_limit_of_queues(self) -> None:
        self.limit(3)
        await self.check("queue limit in vhost")
        self.limit(100)
        self.assertEqual((await self.put("one")).status, 201)

    def limit(self, queues: int) -> None:
        limits = f'[{{<<"max-queues">>, {queues}}}]'
        self.rabbit.eval(f'rabbit_vhost_limit:set(<<"{self.vhost}">>, {limits}, <<"test">>)')

    async def test_a_user_who_may_not(self) -> None:
        await self.node.stop()
        own = r"^(chatd(\.(directory|events|presence))?|amq\.gen.*)$"
        self.node = await self.start(self.user("limited", own))
        await self.check("ACCESS_REFUSED")

    async def test_a_queue_of_another_type(self) -> None:
        """Under the name that a stream of ours has: neither read nor written."""
        kinds: list[dict[str, Any]] = [
            {},
            {"x-queue-type": "quorum"},
            {"x-max-length-bytes": 1000},
            {"x-max-length-bytes": 100 * 1024 * 1024},
        ]
        for n, arguments in enumerate(kinds):
            stream = Stream("other", f"e{n}")
            self.other.queue_declare(stream.name, durable=True, arguments=arguments)
            with self.assertRaises(NotStored) as raised:
                await self.node.service.broker.create(stream)
            self.assertIn("inequivalent arg 'x-queue-type'", str(raised.exception))
        self.assertGreaterEqual(len(self.lines("inequivalent arg 'x-queue-type'")), 1)

    async def test_a_queue_of_another_type_in_place_of_the_directory(self) -> None:
        await self.node.stop()  # first, or it might be about to make the stream again
        self.other.queue_delete("chatd.directory")
        self.other.queue_declare("chatd.directory", durable=True)
        node = Node("--broker", self.url)
        self.addCleanup(node.stop)
        starting = Deferred.fromCoroutine(node.start())
        words = "RabbitMQ refuses chatd.directory"
        await until(lambda: self.lines(words))
        self.assertIn("inequivalent arg 'x-queue-type'", self.lines(words)[0])
        self.assertIs(node.service.status.ready, False)
        self.other.queue_delete("chatd.directory")
        await starting
        self.assertEqual(len(self.lines(words)), 1)


class TopicTests(Strangers):
    """One room that chatd itself may not write to."""

    async def test_the_others_are_written_to(self) -> None:
        url = self.user("narrow", ".*")
        self.rabbit.eval(
            f'rabbit_auth_backend_internal:set_topic_permissions(<<"narrow">>, <<"{self.vhost}">>,'
            ' <<"chatd">>, <<"^lobby$">>, <<".*">>, <<"test">>)'
        )
        await self.node.stop()
        self.node = await self.start(url)
        work = []
        for n in range(30):
            work.append(self.say("lobby", f"text {n}"))
            if n % 10 == 0:
                work.append(self.say("hp", "may not"))
        answers = await together(*work)
        refused = [a for a in answers if a.status != 201]
        self.assertEqual(len(refused), 3)
        for answer in (*refused, await self.say("hp", "may not")):
            self.assertEqual((answer.status, answer.code), (503, "unavailable"))
            self.assertIn("ACCESS_REFUSED", answer.json["text"])
            self.assertIn("id", answer.json)
        self.assertEqual(len(self.lines("access to topic")), 1)
        self.assertEqual(self.lines("onnection to the broker lost"), [])
