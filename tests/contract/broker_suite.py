"""What every broker must do: each sentence of `IBroker` and `IFollower`, as tests.

A broker's own test module derives from `BrokerSuite` and says how one is made and how it is made
to go away. The tests await conditions: a broker may be across a network, its offsets may skip,
and nothing need happen in the turn it is asked for.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import count
from typing import Any, cast
from uuid import uuid4

from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, gatherResults
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from chatd.brokers.interfaces import (
    DIRECTORY,
    IBroker,
    IFollowing,
    NoSuchStream,
    Record,
    Retention,
    Stream,
    Unavailable,
)
from tests.support.recording import Recorder, body, ids, named, now
from tests.support.waiting import pause, until

_numbers = count()


class BrokerSuite(TestCase, ABC):
    """The suite; what derives from it sets ``__test__ = True`` and fills the hooks in."""

    __test__ = False
    timeout = 60

    # -- hooks

    @abstractmethod
    async def make_broker(self, retention: Retention | None = None) -> Any:
        """A started and ready broker without any streams, removed by a cleanup."""

    @abstractmethod
    async def interrupt(self, broker: Any) -> None:
        """Make ``broker`` go away until `resume`."""

    @abstractmethod
    async def resume(self, broker: Any) -> None:
        """Let ``broker`` come back; need not wait until it has."""

    @abstractmethod
    async def elsewhere(self, broker: Any) -> Any:
        """A ready broker of another node on the same streams, used while ``broker`` is away and
        put away by `leave` before it comes back."""

    @abstractmethod
    async def leave(self, other: Any) -> None:
        """Put away what `elsewhere` made."""

    @abstractmethod
    async def truncate(self, other: Any, stream: Stream, before: int) -> None:
        """Have retention remove at least the record at ``before - 1`` and all before it, but not
        the newest one. ``other`` was made by `elsewhere`."""

    # -- helpers

    def stream(self) -> Stream:
        return Stream(f"room-{next(_numbers)}", uuid4().hex[:12])

    async def created(self, broker: Any) -> Stream:
        stream = self.stream()
        await broker.create(stream)
        return stream

    def append(self, broker: Any, stream: Stream, id: str, text: str = "hello") -> Deferred[None]:
        at = now()
        appended: Deferred[None] = broker.append(stream, body(id, text, at), id, at)
        return appended

    async def fill(self, broker: Any, stream: Stream, first: int, stop: int) -> None:
        """Append messages ``m<first>`` up to, not including, ``m<stop>``."""
        await gatherResults(
            [self.append(broker, stream, f"m{n}") for n in range(first, stop)], consumeErrors=True
        )

    def follow(
        self, broker: Any, stream: Stream, tail: int | None = None, stop_in: str | None = None
    ) -> Recorder:
        recorder = Recorder()
        recorder.stop_in = stop_in
        recorder.following = broker.follow(stream, tail, recorder)
        recorder.may_call = True
        self.addCleanup(recorder.following.stop)
        return recorder

    async def followed(self, broker: Any, stream: Stream, tail: int | None = None) -> Recorder:
        recorder = self.follow(broker, stream, tail)
        await until(lambda: recorder.ends)
        return recorder

    async def all_of(self, broker: Any, stream: Stream) -> list[Record]:
        records: Sequence[Record] = await broker.read(stream, 0, 1_000_000)
        return list(records)

    # -- the object

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

    # -- streams

    async def test_creating_twice_keeps_the_records(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 2)
        await broker.create(stream)
        self.assertEqual(ids(await self.all_of(broker, stream)), named(0, 1))

    async def test_opening_makes_nothing(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 2)
        await broker.open(stream)
        self.assertEqual(ids(await self.all_of(broker, stream)), named(0, 1))
        await broker.delete(stream)
        for _ in range(2):
            with self.assertRaises(NoSuchStream):
                await broker.open(stream)

    async def test_creating_at_once_from_many_sides(self) -> None:
        broker = await self.make_broker()
        stream = self.stream()
        await gatherResults([broker.create(stream) for _ in range(5)])
        await self.fill(broker, stream, 0, 1)
        self.assertEqual(ids(await self.all_of(broker, stream)), named(0))

    async def test_a_record_appended_once_created_fired_is_kept(self) -> None:
        broker = await self.make_broker()
        streams = [self.stream() for _ in range(20)]

        async def create_and_append(stream: Stream) -> None:
            await broker.create(stream)
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
        with self.assertRaises(NoSuchStream):
            await self.append(broker, stream, "late")
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

    # -- follow

    async def test_following_from_the_first(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 50)
        follower = await self.followed(broker, stream)
        self.assertEqual(follower.ids, named(*range(50)))
        self.assertEqual(follower.ends, [follower.got[-1].offset])
        self.assertEqual(follower.calls[-1], "caught_up")

    async def test_following_a_tail(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 50)
        end = await broker.end(stream)
        for tail in (1, 10, 49, 50, 51, 5000):
            follower = await self.followed(broker, stream, tail)
            least = named(*range(max(0, 50 - tail), 50))
            self.assertEqual(follower.ids[-len(least) :], least, "at least the tail")
            self.assertEqual(follower.ids, named(*range(50))[-len(follower.got) :])
            self.assertEqual(follower.ends, [end])

    async def test_following_only_what_comes(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 5)
        follower = await self.followed(broker, stream, 0)
        self.assertEqual(follower.ends, [await broker.end(stream)])
        await self.fill(broker, stream, 5, 8)
        await until(lambda: follower.ids[-1:] == ["m7"])
        self.assertEqual(follower.ids[-3:], named(5, 6, 7))

    async def test_following_an_empty_stream(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        for tail in (None, 0, 10):
            follower = await self.followed(broker, stream, tail)
            self.assertEqual(follower.calls, ["caught_up"])
            self.assertEqual(follower.ends, [-1])
        follower = await self.followed(broker, stream)
        await self.fill(broker, stream, 0, 2)
        await until(lambda: len(follower.got) == 2)
        self.assertEqual(follower.ids, named(0, 1))
        self.assertEqual(follower.calls.count("caught_up"), 1)

    async def test_many_followers_of_one_stream(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 20)
        followers = [self.follow(broker, stream) for _ in range(30)]
        await self.fill(broker, stream, 20, 40)
        await until(lambda: all(len(f.got) == 40 and f.ends for f in followers))
        for follower in followers:
            self.assertEqual(follower.ids, named(*range(40)))
            self.assertEqual(follower.calls.count("caught_up"), 1)

    async def test_following_while_others_append(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        followers, acknowledged = [], 0
        for n in range(0, 2000, 100):
            appended = [self.append(broker, stream, f"m{k}") for k in range(n, n + 100)]
            followers.append((self.follow(broker, stream), acknowledged))
            if n % 300 == 0:
                await gatherResults(appended, consumeErrors=True)
                acknowledged = n + 100
            else:
                await pause()
        await until(lambda: all(len(f.got) >= 2000 and f.ends for f, _ in followers))
        for follower, before in followers:
            self.assertEqual(follower.ids, named(*range(2000)))
            self.assertEqual(follower.calls.count("caught_up"), 1)
            until_then = sum(record.offset <= follower.ends[0] for record in follower.got)
            self.assertGreaterEqual(until_then, before)

    async def test_all_up_to_the_end_comes_before_caught_up(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        for n in range(0, 1500, 50):
            self.append(broker, stream, f"m{n}")
            await self.fill(broker, stream, n + 1, n + 50)
        follower = await self.followed(broker, stream)
        self.assertEqual(len(follower.got), 1500)
        self.assertEqual(follower.ends, [await broker.end(stream)])

    async def test_stopping(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 3)
        stopped, at_once = await self.followed(broker, stream), self.follow(broker, stream)
        for follower in (stopped, at_once):
            assert follower.following is not None
            follower.following.stop()
            follower.following.stop()
            follower.may_call = False
        other = await self.followed(broker, stream)
        await self.fill(broker, stream, 3, 6)
        await until(lambda: len(other.got) == 6)
        await broker.delete(stream)
        await until(lambda: "gone" in other.calls)
        self.assertEqual(stopped.ids, named(0, 1, 2))
        self.assertEqual(at_once.calls, [])
        for follower in (stopped, at_once):
            assert follower.following is not None
            follower.following.stop()

    async def test_stopping_inside_a_call(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 3)
        inside = {
            call: self.follow(broker, stream, stop_in=call) for call in ("records", "caught_up")
        }
        await until(lambda: all(call in f.calls for call, f in inside.items()))
        other = await self.followed(broker, stream)
        await self.fill(broker, stream, 3, 6)
        await until(lambda: len(other.got) == 6)
        self.assertEqual(inside["records"].calls, ["records"])
        self.assertEqual(inside["caught_up"].calls[-1], "caught_up")
        self.assertEqual(inside["caught_up"].ids, named(0, 1, 2))

    async def test_a_follower_that_fails_harms_nobody_else(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)

        class Failing(Recorder):
            def records(self, batch: Sequence[Record]) -> None:
                raise RuntimeError("a mistake in a follower")

        failing = Failing()
        failing.may_call = True
        following = broker.follow(stream, None, failing)
        self.addCleanup(following.stop)
        other = await self.followed(broker, stream)
        await self.fill(broker, stream, 0, 3)
        await until(lambda: len(other.got) == 3)
        self.assertEqual(other.ids, named(0, 1, 2))
        self.assertTrue(self.flushLoggedErrors(RuntimeError))

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
        broker.announce("joined", "lobby", b'{"user":"ann"}')
        await self.append(broker, await self.created(broker), "m0")

    # -- going away

    async def test_following_resumes_after_an_interruption(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 5)
        follower = await self.followed(broker, stream)
        await self.interrupt(broker)
        await until(lambda: follower.calls[-1] == "interrupted")
        self.assertIs(broker.ready, False)
        other = await self.elsewhere(broker)
        await self.fill(other, stream, 5, 10)
        await self.leave(other)
        await self.resume(broker)
        await until(lambda: len(follower.ends) == 2 and broker.ready)
        await self.fill(broker, stream, 10, 12)
        await until(lambda: len(follower.got) >= 12)
        self.assertEqual(follower.ids, named(*range(12)))
        self.assertEqual(follower.ends, [follower.got[4].offset, follower.got[9].offset])
        self.assertEqual(follower.calls.count("interrupted"), 1)
        self.assertNotIn("truncated", follower.calls)

    async def test_an_interruption_with_nothing_new(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 2)
        follower = await self.followed(broker, stream)
        for _ in range(2):
            await self.interrupt(broker)
            await until(lambda: follower.calls[-1] == "interrupted")
            await self.resume(broker)
            await until(lambda: follower.calls[-1] == "caught_up")
        self.assertEqual(follower.ids, named(0, 1))
        self.assertEqual(follower.ends, [follower.got[-1].offset] * 3)

    async def test_a_broker_that_is_away_is_unavailable(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 1)
        await self.interrupt(broker)
        await until(lambda: not broker.ready)
        for ask in (
            lambda: broker.create(self.stream()),
            lambda: broker.open(stream),
            lambda: broker.delete(stream),
            lambda: self.append(broker, stream, "never"),
            lambda: broker.read(stream, 0, 10),
            lambda: broker.locate(stream, 0),
            lambda: broker.end(stream),
        ):
            with self.assertRaises(Unavailable):
                await ask()
        broker.broadcast(b"into the void")
        await self.resume(broker)
        await until(lambda: broker.ready)
        self.assertEqual(ids(await self.all_of(broker, stream)), named(0))

    async def test_following_begun_while_the_broker_is_away(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 3)
        await self.interrupt(broker)
        await until(lambda: not broker.ready)
        follower = self.follow(broker, stream)
        await self.resume(broker)
        await until(lambda: follower.ends)
        self.assertEqual(follower.ids, named(0, 1, 2))
        self.assertEqual(follower.calls.count("caught_up"), 1)

    async def test_every_append_is_answered_when_the_broker_goes_away(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        follower = await self.followed(broker, stream)
        outcome: dict[str, bool] = {}

        def note(ok: bool, id: str) -> None:
            outcome[id] = ok

        for n in range(200):
            appended = self.append(broker, stream, f"m{n}")
            appended.addCallbacks(
                lambda _, id: note(True, id),
                lambda failure, id: note(failure.trap(Unavailable) is None, id),
                callbackArgs=(f"m{n}",),
                errbackArgs=(f"m{n}",),
            )
        await self.interrupt(broker)
        await until(lambda: len(outcome) == 200)
        await self.resume(broker)
        await until(lambda: broker.ready and follower.calls[-1] == "caught_up")
        stored = ids(await self.all_of(broker, stream))
        self.assertEqual(stored, sorted(set(stored), key=lambda id: int(id[1:])))
        self.assertLessEqual({id for id, ok in outcome.items() if ok}, set(stored))
        await until(lambda: len(follower.got) == len(stored))
        self.assertEqual(follower.ids, stored)

    async def test_a_stream_deleted_while_the_broker_was_away(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 2)
        follower = await self.followed(broker, stream)
        await self.interrupt(broker)
        await until(lambda: follower.calls[-1] == "interrupted")
        other = await self.elsewhere(broker)
        await other.delete(stream)
        await self.leave(other)
        await self.resume(broker)
        await until(lambda: follower.calls[-1] == "gone")
        self.assertEqual(follower.ids, named(0, 1))

    async def test_stopping_while_the_broker_is_away(self) -> None:
        broker = await self.make_broker()
        stream = await self.created(broker)
        follower, other = await self.followed(broker, stream), await self.followed(broker, stream)
        await self.interrupt(broker)
        await until(lambda: follower.calls[-1] == other.calls[-1] == "interrupted")
        assert follower.following is not None
        follower.following.stop()
        follower.may_call = False
        await self.resume(broker)
        await until(lambda: len(other.ends) == 2)
        self.assertEqual(follower.calls, ["caught_up", "interrupted"])

    # -- retention

    async def test_records_that_retention_removed_unseen(self) -> None:
        broker = await self.make_broker(Retention(size=200_000))
        stream = await self.created(broker)
        await self.fill(broker, stream, 0, 5)
        follower, seen = await self.followed(broker, stream), 5
        await self.interrupt(broker)
        await until(lambda: follower.calls[-1] == "interrupted")
        other = await self.elsewhere(broker)
        await self.fill(other, stream, seen, 30)
        every = await self.all_of(other, stream)
        await self.truncate(other, stream, every[20].offset)
        await self.leave(other)
        await self.resume(broker)
        await until(lambda: len(follower.ends) == 2)
        self.assertEqual(follower.calls.count("truncated"), 1)
        self.assertEqual(follower.calls[follower.calls.index("truncated") + 1], "records")
        kept = await self.all_of(broker, stream)
        self.assertGreaterEqual(kept[0].offset, every[20].offset)
        self.assertEqual([r.offset for r in follower.got[seen:]], [r.offset for r in kept])
        # a start below the oldest record kept is no error
        low = await broker.read(stream, every[1].offset, kept[0].offset + 1)
        self.assertEqual(list(low), kept[:1])
        # who starts now misses nothing that there is
        fresh = await self.followed(broker, stream)
        self.assertNotIn("truncated", fresh.calls)
        self.assertEqual(fresh.got, kept)


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
