"""What every broker must do: each sentence of `IBroker` and `IFollower`, as tests.

A broker's own test module derives from `BrokerSuite` and says how one is made and how it is made
to go away. The tests await conditions: a broker may be across a network, its offsets may skip,
and nothing need happen in the turn it is asked for.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from chatd.brokers.interfaces import (
    DIRECTORY,
    IBroker,
    IFollowing,
    Retention,
    Stream,
)
from tests.contract.broker_following import FollowingSuite, InterruptionSuite
from tests.contract.broker_streams import StreamSuite
from tests.support.recording import body, ids, named, now
from tests.support.waiting import pause, until


class BrokerSuite(StreamSuite, FollowingSuite, InterruptionSuite):
    """The whole suite; see `BrokerCase`."""

    async def test_provides_the_interfaces(self) -> None:
        broker = await self.make_broker()
        self.assertTrue(verifyObject(IBroker, broker))
        self.assertTrue(verifyObject(IService, broker))

    async def test_following_provides_its_interface(self) -> None:
        broker = await self.make_broker()
        recorder = await self.followed(broker, await self.created(broker))
        self.assertTrue(verifyObject(IFollowing, recorder.following))

    async def test_is_ready(self) -> None:
        broker = await self.make_broker()
        self.assertIs(broker.ready, True)

    # -- read, locate, end

    async def test_reading_ranges(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        self.assertEqual(await self.all_of(broker, stream), [])
        await self.fill(broker, stream, 0, 700)
        every = await self.all_of(broker, stream)
        self.assertEqual(ids(every), named(*range(700)))
        offsets = [record.offset for record in every]
        self.assertEqual(offsets, sorted(set(offsets)))
        first, end = offsets[0], offsets[-1]
        ranges = [
            (0, end + 1),
            (offsets[10], offsets[20]),
            (offsets[10], offsets[10] + 1),
            (offsets[10], offsets[10]),
            (offsets[20], offsets[10]),
            (end, end + 1),
            (end, end + 1000),
            (end + 1, end + 1000),
            (end + 1000, end + 2000),
            (0, first),
            (first, offsets[600]),
        ]
        for start, stop in ranges:
            read = await broker.read(stream, start, stop)
            self.assertEqual(list(read), [r for r in every if start <= r.offset < stop])

    async def test_many_reads_at_once(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 100)
        every = await self.all_of(broker, stream)
        pages = await gatherResults(
            [broker.read(stream, r.offset, r.offset + 5) for r in every[::5]], consumeErrors=True
        )
        for record, page in zip(every[::5], pages, strict=True):
            self.assertEqual(page[0], record)

    async def test_locating(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        start = now() - 100_000
        self.assertEqual(await broker.locate(stream, start), 0)
        times = [start + 1000 * n for n in range(60)]
        for n, at in enumerate(times):
            await broker.append(stream, body(f"m{n}", at=at), f"m{n}", at)
        offsets = [record.offset for record in await self.all_of(broker, stream)]
        for at in (0, start - 1, start, start + 1, times[30], times[30] + 1, times[-1]):
            sought = next(o for o, t in zip(offsets, times, strict=True) if t >= at)
            located = await broker.locate(stream, at)
            self.assertLessEqual(located, sought, "never past it")
            read = await broker.read(stream, located, sought + 1)
            self.assertEqual(read[-1].offset, sought)
        # by now it is past the broker's own time of storing, too
        self.assertEqual(await broker.locate(stream, now() + 3_600_000), offsets[-1] + 1)

    async def test_the_end(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        self.assertEqual(await broker.end(stream), -1)
        for n in range(3):
            await self.append(broker, stream, f"m{n}")
            last = (await self.all_of(broker, stream))[-1]
            self.assertEqual(await broker.end(stream), last.offset)

    async def test_how_much_is_kept(self) -> None:
        broker = await self.make_broker()
        stream, empty = await self.created(broker), await self.created(broker)
        bodies = [body(f"m{n}") for n in range(3)]
        for n, one in enumerate(bodies):
            await broker.append(stream, one, f"m{n}", now())
        found, none = await broker.extents([stream, empty])
        while found.records != 3:  # RabbitMQ counts every 5 s
            await pause(0.1)
            found, none = await broker.extents([stream, empty])
        self.assertEqual((none.records, none.size or 0, none.latest or 0), (0, 0, 0))
        if found.size is not None:
            self.assertEqual(found.size, sum(map(len, bodies)))
            self.assertLess(abs(found.latest - now()), 60_000)
        [gone] = await broker.extents([self.stream()])
        self.assertIsNone(gone)

    # -- between nodes

    async def test_broadcasts_reach_every_listener_the_own_included(self) -> None:
        broker = await self.make_broker()
        heard: list[list[bytes]] = [[], []]
        for ears in heard:
            broker.listen(ears.append)
        payloads = [b"one", "zwölf".encode(), b"\x00\xff" * 100]
        for payload in payloads:
            broker.broadcast(payload)
        await until(lambda: all(len(ears) == 3 for ears in heard))
        self.assertEqual(heard, [payloads, payloads])

    async def test_events_are_announced_without_being_waited_for(self) -> None:
        broker = await self.make_broker()
        self.assertTrue(broker.announce("joined", "lobby", b'{"user":"ann"}'))
        await self.append(broker, await self.created(broker), "m0")


class ExactRetentionSuite(BrokerSuite):
    """For brokers that keep a stream's retention to the record, and not to some segment."""

    @abstractmethod
    async def sweep(self, broker: Any) -> None:
        """Have what retention does now and then done now."""

    async def old(self, broker: Any, stream: Stream, id: str, seconds: int) -> None:
        at = now() - seconds * 1000
        await broker.append(stream, body(id, at=at), id, at)

    async def test_too_old_is_never_served(self) -> None:
        broker = await self.make_broker(Retention(age=60))
        stream = await self.created(broker)
        for n, seconds in enumerate((120, 90, 70, 30, 5)):
            await self.old(broker, stream, f"m{n}", seconds)
        for _ in range(2):
            self.assertEqual(ids(await self.all_of(broker, stream)), named(3, 4))
            for tail in (None, 5, 2):
                follower = await self.followed(broker, stream, tail)
                self.assertEqual(follower.ids, named(3, 4))
                self.assertNotIn("truncated", follower.calls)
            self.assertEqual((await self.followed(broker, stream, 1)).ids, named(4))
            first = (await self.all_of(broker, stream))[0].offset
            self.assertEqual(await broker.locate(stream, 0), first)
            await self.sweep(broker)

    async def test_locating_to_the_millisecond(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        start = now() - 100_000
        # equal times, and times that go back
        times = [start + step for step in (0, 10, 10, 10, 5, 20, 7, 30, 29, 40)]
        for n, at in enumerate(times):
            await broker.append(stream, body(f"m{n}", at=at), f"m{n}", at)
        offsets = [record.offset for record in await self.all_of(broker, stream)]
        for at in range(start - 1, start + 42):
            sought = [o for o, t in zip(offsets, times, strict=True) if t >= at]
            expected = sought[0] if sought else offsets[-1] + 1
            self.assertEqual(await broker.locate(stream, at), expected)

    async def test_times_that_go_back(self) -> None:
        """What has expired between others is hidden by who reads, who can tell of the gap."""
        broker = await self.make_broker(Retention(age=60))
        stream = await self.created(broker)
        for n, seconds in enumerate((120, 30, 120, 20)):
            await self.old(broker, stream, f"m{n}", seconds)
        for _ in range(2):
            self.assertEqual(ids(await self.all_of(broker, stream)), named(1, 2, 3))
            self.assertEqual((await self.followed(broker, stream)).ids, named(1, 2, 3))
            await self.sweep(broker)

    async def test_offsets_outlive_the_records(self) -> None:
        broker = await self.make_broker(Retention(age=60))
        stream = await self.created(broker)
        for n in range(3):
            await self.old(broker, stream, f"m{n}", 300)
        end = await broker.end(stream)
        await self.sweep(broker)
        self.assertEqual(await self.all_of(broker, stream), [])
        self.assertEqual(await broker.end(stream), end)
        self.assertEqual(await broker.locate(stream, now()), end + 1)
        [told] = await broker.extents([stream])
        if told.latest is not None:
            self.assertLess(abs(told.latest - now() + 300_000), 60_000)
        follower = await self.followed(broker, stream)
        self.assertEqual((follower.calls, follower.ends), (["caught_up"], [end]))
        await self.interrupt(broker)
        await self.resume(broker)
        await until(lambda: broker.ready and len(follower.ends) == 2)
        await self.append(broker, stream, "m3")
        await until(lambda: follower.got)
        self.assertGreater(follower.got[0].offset, end)
        self.assertNotIn("truncated", follower.calls)

    async def test_all_removed_unseen(self) -> None:
        broker = await self.make_broker(Retention(age=60))
        stream = await self.created(broker)
        follower = await self.followed(broker, stream)
        await self.interrupt(broker)
        await until(lambda: follower.calls[-1] == "interrupted")
        other = await self.elsewhere(broker)
        await self.old(other, stream, "m0", 300)
        await self.sweep(other)
        await self.leave(other)
        await self.resume(broker)
        await until(lambda: len(follower.ends) == 2)
        self.assertEqual(follower.calls, ["caught_up", "interrupted", "truncated", "caught_up"])

    async def test_retention_by_size(self) -> None:
        one = len(body("m000"))
        broker = await self.make_broker(Retention(size=one * 100))
        stream = await self.created(broker)
        follower = await self.followed(broker, stream)
        names = [f"m{n:03d}" for n in range(350)]
        await gatherResults([self.append(broker, stream, id) for id in names], consumeErrors=True)
        await self.sweep(broker)
        kept = await self.all_of(broker, stream)
        self.assertEqual(ids(kept), names[-100:])
        self.assertEqual(follower.ids, names, "who was there has seen all")
        self.assertEqual(await broker.end(stream), kept[-1].offset)
        await self.append(broker, stream, "last")
        await self.sweep(broker)
        self.assertEqual(ids(await self.all_of(broker, stream)), [*names[-99:], "last"])

    async def test_retention_is_a_room_s_own(self) -> None:
        one = len(body("m0"))
        broker = await self.make_broker(Retention(size=one * 5))
        busy, quiet = await self.created(broker), await self.created(broker)
        await self.fill(broker, quiet, 0, 5)
        await self.fill(broker, busy, 0, 9)
        await self.sweep(broker)
        self.assertEqual(ids(await self.all_of(broker, quiet)), named(*range(5)))
        self.assertEqual(ids(await self.all_of(broker, busy)), named(*range(4, 9)))

    async def test_the_directory_is_exempt(self) -> None:
        broker = await self.make_broker(Retention(age=60, size=100))
        await broker.create(DIRECTORY)
        for n in range(5):
            await self.old(broker, DIRECTORY, f"m{n}", 3600)
        await self.sweep(broker)
        self.assertEqual(ids(await self.all_of(broker, DIRECTORY)), named(*range(5)))
        self.assertEqual((await self.followed(broker, DIRECTORY)).ids, named(*range(5)))
        located = await broker.locate(DIRECTORY, now() - 7200 * 1000)
        self.assertEqual(located, (await self.all_of(broker, DIRECTORY))[0].offset)
