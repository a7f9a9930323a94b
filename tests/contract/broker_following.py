"""What every broker must tell those who follow a stream, also when it goes away and comes back."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import gatherResults

from chatd.brokers.interfaces import (
    Record,
    Retention,
    Unavailable,
)
from tests.contract.broker_case import BrokerCase
from tests.support.recording import Recorder, ids, named
from tests.support.waiting import pause, until


class FollowingSuite(BrokerCase):
    """Streams that are followed."""

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


class InterruptionSuite(BrokerCase):
    """A broker that is away for a while."""

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
