"""chatd and other programs on one RabbitMQ: protocol, "AMQP", with pika as the other."""

from __future__ import annotations

import json

import pika.exceptions
import pytest

from chatd.brokers.interfaces import DIRECTORY, Retention, Stream, Unavailable
from chatd.brokers.rabbitmq import publisher as amqp_publish
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import BadRecord, read_message
from tests.support.amqp_neighbour import Neighbours
from tests.support.recording import Recorder, body, ids
from tests.support.waiting import until

pytestmark = pytest.mark.rabbitmq


class NeighbourTests(Neighbours):
    # -- what others see ---------------------------------------------------------------------------

    async def test_a_record(self) -> None:
        queue = self.queue("chatd", "#")
        sent = body("m1", "grüße", 1_793_000_000_123)
        await self.broker.append(self.stream, sent, "m1", 1_793_000_000_123)
        method, properties, data = await self.take(queue)
        self.assertEqual((method.exchange, method.routing_key), ("chatd", "harry.potter:ü"))
        self.assertEqual(data, sent)
        self.assertEqual(properties.content_type, "application/json")
        self.assertEqual(properties.message_id, "m1")
        self.assertEqual(properties.timestamp, 1_793_000_000)
        self.assertEqual(properties.delivery_mode, 2)
        self.assertEqual(properties.app_id, "chatd")
        self.assertEqual(json.loads(data)["time"], "2026-10-26T07:33:20.123Z")

    async def test_an_event(self) -> None:
        queue = self.queue("chatd.events", "joined.*.*")
        self.broker.announce("left", self.stream.room, b"{}")
        self.broker.announce("joined", self.stream.room, b'{"user":"ann"}')
        method, properties, data = await self.take(queue)
        self.assertEqual(method.routing_key, "joined.harry.potter:ü")
        self.assertEqual((properties.content_type, data), ("application/json", b'{"user":"ann"}'))

    async def test_a_fence_reaches_no_queue(self) -> None:
        queue = self.queue("chatd", "#")
        follower = await self.followed(self.stream)
        self.assertEqual(follower.calls, ["caught_up"])
        await self.broker.append(self.stream, body("m1"), "m1", 0)
        self.assertEqual((await self.take(queue))[1].message_id, "m1")

    async def test_a_stream_takes_nothing_before_it_is_opened(self) -> None:
        """What a process leaves behind that is killed before the directory names the stream."""
        made = Stream("made", "e1")
        await self.broker.create(made)
        with self.assertRaises(pika.exceptions.UnroutableError):
            self.other.basic_publish("chatd", made.room, b"too early", mandatory=True)
        await self.broker.open(made)
        self.other.basic_publish("chatd", made.room, b"now", mandatory=True)

    async def test_the_queue_s_arguments(self) -> None:
        broker = await self.start(Retention(age=3600, size=5_000_000))
        await broker.create(Stream("lobby", "e2"))
        await broker.create(DIRECTORY)
        for name, arguments in (
            (
                "chatd.room.lobby.e2",
                {
                    "x-queue-type": "stream",
                    "x-max-age": "3600s",
                    "x-max-length-bytes": 5_000_000,
                    "x-stream-max-segment-size-bytes": 500_000,
                },
            ),
            ("chatd.directory", {"x-queue-type": "stream"}),
        ):
            # RabbitMQ closes the channel unless they are the same
            self.other.queue_declare(name, durable=True, arguments=arguments)

    async def test_changed_retention_does_not_break_old_rooms(self) -> None:
        broker = await self.start(Retention(age=60, size=1_000_000))
        await broker.create(self.stream)
        await broker.append(self.stream, body("m1"), "m1", 0)
        self.assertEqual(ids(await broker.read(self.stream, 0, 10)), ["m1"])

    # -- what others say ---------------------------------------------------------------------------

    async def test_plain_text(self) -> None:
        follower = await self.followed(self.stream)
        self.publish("grüße".encode(), content_type="text/plain", app_id="chatd-bot")
        self.publish(b"1", app_id="Mr Bot", message_id="i1", timestamp=1_793_000_000)
        self.publish(b"hi", headers={"user": "jürgen", "x": [1, {"y": None}]}, app_id="bot")
        self.publish(b'{"text":"no"}', content_type="text/plain", app_id="\u3164")
        await until(lambda: len(follower.got) == 4)
        one, two, three, four = (json.loads(record.body) for record in follower.got)
        self.assertEqual((one["text"], one["user"]), ("grüße", "chatd-bot"))
        self.assertEqual(one["id"], f"amqp-{follower.got[0].offset}")
        self.assertNotIn("time", one)
        self.assertEqual(
            two,
            {"id": "i1", "user": "Mr Bot", "text": "1", "time": "2026-10-26T07:33:20.000Z"},
        )
        self.assertEqual((three["text"], three["user"]), ("hi", "jürgen"))
        self.assertEqual((four["text"], four["user"]), ('{"text":"no"}', "amqp"))
        for record in follower.got:
            read_message("lobby", Cursor("e1", record.offset), record.body)
        self.assertEqual(
            [r.offset for r in await self.broker.read(self.stream, 0, 100)],
            [r.offset for r in follower.got],
        )

    async def test_json(self) -> None:
        follower = await self.followed(self.stream)
        whole = {"id": "i", "user": "u", "text": "t", "time": "2026-11-01T12:00:00.000Z"}
        self.publish(json.dumps({**whole, "data": {"a": 1}}).encode(), user_id=None)
        self.publish(b'{"text":"part"}', message_id="i2", timestamp=1_793_000_000)
        self.publish(b'{"text":"null","user":null,"id":"i3"}', headers={"user": "eve"})
        await until(lambda: len(follower.got) == 3)
        one, two, three = (json.loads(record.body) for record in follower.got)
        self.assertEqual(one, {**whole, "data": {"a": 1}})
        self.assertEqual(
            two, {"id": "i2", "user": "amqp", "text": "part", "time": "2026-10-26T07:33:20.000Z"}
        )
        self.assertEqual((three["user"], three["id"]), ("eve", "i3"))

    async def test_what_cannot_be_read_reaches_the_room_as_it_is(self) -> None:
        follower = await self.followed(self.stream)
        bad = [
            (b"\xff\xfe", {}),
            (b"not json", {"content_type": "application/json"}),
            (b'{"no":"text"}', {}),
            (b'{"text":1,"user":["a"]}', {}),
            (b'{"text":"\\ud800"}', {}),
            (b"x" * 70_000, {}),
            (b"[" * 3000, {"content_type": "application/json"}),
            (b"forged", {"app_id": "chatd", "content_type": "application/json"}),
            (b"", {"type": "other"}),
        ]
        for data, properties in bad:
            self.publish(data, **properties)
        self.publish(b"good")
        await until(lambda: len(follower.got) == len(bad) + 1)
        for record in follower.got[:-2]:
            with self.assertRaises(BadRecord):
                read_message("lobby", Cursor("e1", record.offset), record.body)
        # no content type: an empty text, which is one
        self.assertEqual(json.loads(follower.got[-2].body)["text"], "")
        self.assertEqual(json.loads(follower.got[-1].body)["text"], "good")

    async def test_a_huge_body_harms_nobody(self) -> None:
        follower = await self.followed(self.stream)
        self.publish(b"x" * 3_000_000)
        self.publish(b"next")
        await until(lambda: len(follower.got) == 2)
        self.assertLessEqual(len(follower.got[0].body), 1_100_000)
        self.assertEqual(json.loads(follower.got[1].body)["text"], "next")

    # -- what others do ----------------------------------------------------------------------------

    async def test_a_queue_deleted_behind_our_back(self) -> None:
        follower = await self.followed(self.stream)
        self.other.queue_delete(self.stream.name)
        await until(lambda: "gone" in follower.calls)
        # where we ask for the queue before RabbitMQ tells that it is gone, our channel is closed
        calls = [call for call in follower.calls if call != "interrupted"]
        self.assertEqual(calls, ["caught_up", "gone"])

    async def test_the_name_given_to_a_new_stream(self) -> None:
        self.patch(amqp_publish, "FENCE_SHOWN", 0.02)
        for n in range(9):  # more than fences that are tried
            await self.broker.append(self.stream, body(f"m{n}"), f"m{n}", 0)
        follower = await self.followed(self.stream)
        arguments = {"x-queue-type": "stream"}
        # in one go, so that there is a stream of that name whenever we look
        self.other.queue_delete(self.stream.name)
        self.other.queue_declare(self.stream.name, durable=True, arguments=arguments)
        await until(lambda: "gone" in follower.calls)

    async def test_one_follower_s_error_does_not_reach_the_others(self) -> None:
        others = [await self.followed(self.stream) for _ in range(3)]
        missing = [Stream("missing", f"e{n}") for n in range(3)]
        recorders = []
        for stream in missing:
            recorder = Recorder()
            recorder.following = self.broker.follow(stream, 10, recorder)
            recorder.may_call = True
            recorders.append(recorder)
            await self.broker.append(self.stream, body(stream.epoch), stream.epoch, 0)
        await until(lambda: all(recorder.calls == ["gone"] for recorder in recorders))
        await until(lambda: all(len(other.got) == 3 for other in others))
        for other in others:
            self.assertEqual(other.ids, ["e0", "e1", "e2"])
            self.assertEqual(set(other.calls), {"caught_up", "records"})

    async def test_a_queue_that_refuses(self) -> None:
        self.other.queue_declare(
            "full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        self.other.queue_bind("full", "chatd", "#")
        await self.broker.append(self.stream, body("m1"), "m1", 0)
        with self.assertRaises(Unavailable):
            await self.broker.append(self.stream, body("m2"), "m2", 0)

    async def test_exchanges_deleted_are_made_again(self) -> None:
        self.other.exchange_delete("chatd.events")
        self.broker.announce("joined", "lobby", b"{}")
        await until(lambda: not self.broker.ready)
        await until(lambda: self.broker.ready)
        self.other.exchange_declare("chatd.events", "topic", passive=True)
