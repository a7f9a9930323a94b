"""What every broker must do with streams: make, append to, and delete them."""

from __future__ import annotations

import json
from typing import cast
from uuid import uuid4

from twisted.internet.defer import DeferredList, ensureDeferred, gatherResults
from twisted.python.failure import Failure

from chatd.brokers.interfaces import (
    DIRECTORY,
    NoSuchStream,
    Stream,
)
from tests.contract.broker_case import BrokerCase
from tests.support.recording import ids, named, now
from tests.support.waiting import pause, until


class StreamSuite(BrokerCase):
    """Streams, and what is appended to them."""

    async def test_creating_twice_keeps_the_records(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 2)
        await broker.create(stream)
        self.assertEqual(ids(await self.all_of(broker, stream)), named(0, 1))

    async def test_what_chatd_appends_is_not_foreign(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        follower = await self.followed(broker, stream)
        await self.fill(broker, stream, 0, 2)
        await until(lambda: len(follower.got) == 2)
        for record in [*follower.got, *await self.all_of(broker, stream)]:
            self.assertFalse(record.foreign)

    async def test_opening_makes_nothing(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 2)
        await broker.open(stream)
        self.assertEqual(ids(await self.all_of(broker, stream)), named(0, 1))
        await broker.delete(stream)
        for _ in range(2):
            await self.assert_gone(broker, lambda: broker.open(stream))

    async def test_creating_at_once_from_many_sides(self) -> None:
        broker = await self.make_broker()
        stream = self.stream()
        await gatherResults([broker.create(stream) for _ in range(5)])
        await self.fill(broker, stream, 0, 1)
        self.assertEqual(ids(await self.all_of(broker, stream)), named(0))

    async def test_a_record_appended_once_open_fired_is_kept(self) -> None:
        broker = await self.make_broker()
        streams = [self.stream() for _ in range(20)]

        async def create_and_append(stream: Stream) -> None:
            await broker.create(stream)
            await broker.open(stream)
            await self.append(broker, stream, "m0")

        await gatherResults([ensureDeferred(create_and_append(stream)) for stream in streams])
        for stream in streams:
            self.assertEqual(ids(await self.all_of(broker, stream)), named(0))

    async def test_deleting_what_does_not_exist_succeeds(self) -> None:
        broker = await self.make_broker()
        await broker.delete(self.stream())
        stream = await self.created(broker)
        await broker.delete(stream)
        await broker.delete(stream)

    async def test_a_deleted_stream_is_gone_for_its_followers(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 3)
        followers = [await self.followed(broker, stream) for _ in range(3)]
        await broker.delete(stream)
        await until(lambda: all("gone" in follower.calls for follower in followers))
        await self.assert_gone(broker, lambda: self.append(broker, stream, "late"))
        # Recorder fails on any call after gone
        for follower in followers:
            self.assertEqual(follower.calls[-1], "gone")
            self.assertEqual(follower.ids, named(0, 1, 2))

    async def test_following_what_does_not_exist(self) -> None:
        broker = await self.make_broker()
        follower = self.follow(broker, self.stream())
        await until(lambda: follower.calls)
        self.assertEqual(follower.calls, ["gone"])

    async def test_no_such_stream(self) -> None:
        broker = await self.make_broker()
        stream = self.stream()
        for ask in (
            lambda: self.append(broker, stream, "m0"),
            lambda: broker.read(stream, 0, 10),
            lambda: broker.locate(stream, now()),
            lambda: broker.end(stream),
            lambda: broker.open(stream),
        ):
            with self.assertRaises(NoSuchStream):
                await ask()

    async def test_a_missing_stream_does_not_harm_the_others(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        follower = await self.followed(broker, stream)
        missing = self.stream()
        mixed = [self.append(broker, missing if n % 3 == 2 else stream, f"m{n}") for n in range(12)]
        outcome = await DeferredList(mixed, consumeErrors=True)
        self.assertEqual([ok for ok, _ in outcome], [n % 3 != 2 for n in range(12)])
        for ok, result in outcome:
            if not ok:
                self.assertTrue(cast(Failure, result).check(NoSuchStream))
        await until(lambda: len(follower.got) == 8)
        self.assertEqual(follower.ids, [f"m{n}" for n in range(12) if n % 3 != 2])

    async def test_two_streams_do_not_mix(self) -> None:
        broker = await self.make_broker()
        one, two = await self.created(broker), await self.created(broker)
        first, second = await self.followed(broker, one), await self.followed(broker, two)
        for n in range(0, 20, 2):
            self.append(broker, one, f"m{n}")
            await self.append(broker, two, f"m{n + 1}")
        await until(lambda: len(first.got) == 10 and len(second.got) == 10)
        self.assertEqual(first.ids, named(*range(0, 20, 2)))
        self.assertEqual(second.ids, named(*range(1, 20, 2)))
        self.assertEqual(ids(await self.all_of(broker, one)), first.ids)
        self.assertEqual(ids(await self.all_of(broker, two)), second.ids)

    async def test_a_new_epoch_is_another_stream(self) -> None:
        broker = await self.make_broker()
        old = await self.created(broker)
        await self.fill(broker, old, 0, 3)
        follower = await self.followed(broker, old)
        new = Stream(old.room, uuid4().hex[:12])
        await gatherResults([broker.delete(old), broker.create(new)])
        await broker.open(new)
        await until(lambda: "gone" in follower.calls)
        self.assertEqual(await broker.end(new), -1)
        await self.fill(broker, new, 7, 8)
        self.assertEqual(ids(await self.all_of(broker, new)), named(7))
        self.assertEqual((await self.followed(broker, new)).ids, named(7))

    async def test_the_directory_is_a_stream(self) -> None:
        broker = await self.make_broker()
        await broker.create(DIRECTORY)
        follower = await self.followed(broker, DIRECTORY)
        had = len(follower.got)
        await self.fill(broker, DIRECTORY, 0, 3)
        await until(lambda: len(follower.got) == had + 3)
        self.assertEqual(follower.ids[had:], named(0, 1, 2))

    # -- append

    async def test_appends_are_stored_in_the_order_of_the_calls(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        early = await self.followed(broker, stream)
        appended = []
        for n in range(1000):
            appended.append(self.append(broker, stream, f"m{n}"))
            if n % 100 == 50:
                await pause()
        late = self.follow(broker, stream)
        await gatherResults(appended, consumeErrors=True)
        await until(lambda: len(early.got) >= 1000 and len(late.got) >= 1000)
        self.assertEqual(early.ids, named(*range(1000)))
        self.assertEqual(late.ids, named(*range(1000)))
        self.assertEqual(early.got, late.got)
        self.assertEqual(await self.all_of(broker, stream), early.got)

    async def test_what_goes_over_one_lane_comes_in_that_order(self) -> None:
        broker = await self.make_broker()
        stream, other = await self.created(broker), await self.created(broker)
        recorder = await self.followed(broker, stream)
        await until(lambda: broker.lane(stream, True) is not None)
        lane, appended = broker.lane(stream, False), []
        for n in range(200):
            appended.append(self.append(broker, stream, f"m{n}"))
            appended.append(self.append(broker, other, f"o{n}"))
            if n % 50 == 25:
                await pause()
        self.assertIs(broker.lane(stream, True), lane)
        await gatherResults(appended, consumeErrors=True)
        await until(lambda: len(recorder.got) >= 200)
        self.assertEqual(recorder.ids, named(*range(200)))

    async def test_an_acknowledged_record_can_be_read(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        for n in range(5):
            await self.append(broker, stream, f"m{n}")
            self.assertEqual(ids(await self.all_of(broker, stream))[-1], f"m{n}")

    async def test_bodies_arrive_as_they_were_sent(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        follower = await self.followed(broker, stream)
        texts = [
            "",
            "x" * 64 * 1024,
            "é" * 32 * 1024,
            '日本語 🎉 \u2028 \x00 \\ "',
            "ü",
        ]
        for n, text in enumerate(texts):
            await self.append(broker, stream, f"m{n}", text)
        await until(lambda: len(follower.got) == len(texts))
        self.assertEqual([json.loads(r.body)["text"] for r in follower.got], texts)
        read = await self.all_of(broker, stream)
        self.assertEqual([json.loads(r.body)["text"] for r in read], texts)
