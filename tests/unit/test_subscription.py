"""A subscriber is a cursor: it falls behind, reads on, and is live again without gap or double."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from chatd.directory.directory import Directory
from chatd.presence import missed
from chatd.presence.missed import GROUPS, ListedBefore
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import Code
from chatd.rooms.audience import BATCH_BYTES
from chatd.rooms.blocks import READERS
from chatd.rooms.cache import RECENT_MESSAGES
from chatd.rooms.history import PAGE_BYTES, PAGE_MESSAGES, HistoryPage
from chatd.rooms.read_queue import ReadQueue
from chatd.rooms.registry import SWEEP
from chatd.rooms.room import IDLE
from chatd.rooms.start_position import After, Last, Now, Start
from chatd.rooms.subscription import SubscriptionState
from tests.support.world import Reader, World


def names(start: int, stop: int) -> list[str]:
    return [f"m{n}" for n in range(start, stop)]


class SubscriptionCase(TestCase):
    def setUp(self) -> None:
        self.world = World()
        self.said = 0

    def say(self, count: int) -> None:
        """As one batch: what the stream brings in one go."""
        self.world.store("lobby", *names(self.said, self.said + count))
        self.said += count

    def join(self, user: str = "bob", **more: Any) -> Reader:
        return self.world.join("lobby", user, **more)

    def place(self, offset: int) -> After:
        return After(Cursor(self.world.stream().epoch, offset))


class FallingBehindTests(SubscriptionCase):
    def test_who_stalls_is_left_alone_and_reads_on_from_memory(self) -> None:
        bob = self.join()
        self.say(2)
        bob.stall()
        self.say(3)
        self.assertIs(bob.state, SubscriptionState.BEHIND)
        refused = bob.refused
        self.say(3)
        self.assertEqual(bob.refused, refused, "it was offered more before it was writable")
        self.assertEqual(bob.subscription.offset, 1)
        bob.read_on()  # no turn of the reactor: one synchronous step
        self.assertEqual(bob.texts, names(0, 8))
        self.assertIs(bob.state, SubscriptionState.LIVE)
        self.say(1)
        self.assertEqual(bob.texts, names(0, 9))

    def test_reads_on_from_the_broker_when_the_cache_has_moved_on(self) -> None:
        bob = self.join()
        self.say(1)
        bob.stall()
        self.say(3 * RECENT_MESSAGES)
        bob.read_on()
        self.assertIs(bob.state, SubscriptionState.READING)
        self.world.turn()
        self.assertEqual(bob.texts, names(0, self.said))
        self.assertIs(bob.state, SubscriptionState.LIVE)

    def test_what_it_reads_is_counted_to_its_address(self) -> None:
        bob = self.join()
        bob.identity = bob.identity.at("192.0.2.7")
        bob.stall()
        self.say(RECENT_MESSAGES + 10)
        with mock.patch.object(ReadQueue, "run", autospec=True, side_effect=ReadQueue.run) as run:
            bob.read_on()
        self.assertEqual({call.args[1] for call in run.call_args_list}, {"192.0.2.7"})

    def test_messages_that_come_while_a_page_is_read(self) -> None:
        bob = self.join(stalled=True)
        self.say(RECENT_MESSAGES + 10)
        bob.read_on()
        for _ in range(5):
            self.say(50)
        self.assertEqual(bob.texts, names(0, self.said))

    def test_stalls_again_and_again_at_every_step(self) -> None:
        bob = self.join(stalled=True)
        self.say(2 * RECENT_MESSAGES)
        for _ in range(40):
            bob.read_on(most=1)
            self.world.turn()
            self.say(3)
        bob.read_on()
        self.world.turn()
        self.assertEqual(bob.texts, names(0, self.said))
        self.assertIs(bob.state, SubscriptionState.LIVE)

    def test_refuses_the_second_batch_of_a_burst(self) -> None:
        bob = self.join()
        bob.most = 1
        big = "x" * (BATCH_BYTES // 3)
        self.world.store("lobby", *(f"{n}{big}" for n in range(10)))
        self.assertTrue(0 < len(bob.texts) < 10)
        bob.read_on()
        self.assertEqual([text[0] for text in bob.texts], [str(n) for n in range(10)])

    def test_drains_while_it_is_live_or_reading(self) -> None:
        bob = self.join()
        self.say(1)
        bob.read_on()
        bob.stall()
        self.say(2 * RECENT_MESSAGES)
        bob.read_on()
        bob.read_on()
        self.world.turn()
        self.say(1)
        self.assertEqual(bob.texts, names(0, self.said))

    def test_leaves_while_a_page_is_read(self) -> None:
        bob = self.join(stalled=True)
        self.say(2 * RECENT_MESSAGES)
        bob.read_on()
        bob.session.leave("lobby")
        self.world.turn()
        self.say(1)
        bob.read_on()
        self.assertEqual(bob.texts, [])
        self.assertIs(bob.state, SubscriptionState.CLOSED)

    def test_a_page_from_before_it_was_moved_is_not_delivered(self) -> None:
        """Though another one is being read by then."""
        bob = self.join()
        self.say(1)
        bob.stall()
        self.say(3 * RECENT_MESSAGES)
        pages: list[Deferred[HistoryPage]] = []

        async def page(offset: int, limit: int, asker: str) -> HistoryPage:
            pages.append(Deferred())
            return await pages[-1]

        room = self.world.room()
        with mock.patch.object(room, "page", page):
            bob.read_on()
            bob.subscription.lost(9)
            bob.subscription.resume()
            self.assertEqual(len(pages), 2)
            pages[0].callback(HistoryPage([], self.said - 1, gap=False))
            self.assertEqual(bob.subscription.offset, 9)
            pages[1].callback(HistoryPage([], 9, gap=False))
        self.world.turn()
        self.assertEqual(bob.texts, ["m0", "GAP", *names(10, self.said)])

    def test_one_who_stalls_holds_up_nobody(self) -> None:
        readers = [self.join(f"r{n}") for n in range(20)]
        for reader in readers[::2]:
            reader.stall()
        self.say(5)
        for number, reader in enumerate(readers):
            self.assertEqual(reader.texts, [] if number % 2 == 0 else names(0, 5))


class BoundsTests(SubscriptionCase):
    """What is handed over at once, and so what a stalled client may cost."""

    def test_catching_up_goes_in_pages_bounded_in_bytes(self) -> None:
        for count in (8, RECENT_MESSAGES + 200):
            bob = self.join(f"bob{count}", stalled=True)
            text = "y" * 5000
            self.world.store("lobby", *(f"{count}.{n}{text}" for n in range(count)))
            bob.read_on()
            self.world.turn()
            self.assertEqual(len(bob.texts), count)
            self.assertLessEqual(max(bob.sizes), PAGE_BYTES + 6000)

    def test_and_in_number(self) -> None:
        bob = self.join(stalled=True)
        self.say(PAGE_MESSAGES + 1)
        with mock.patch.object(Reader, "deliver", autospec=True, side_effect=Reader.deliver) as to:
            bob.read_on(most=1)
        self.assertEqual(bob.texts, names(0, PAGE_MESSAGES))
        self.assertEqual(to.call_args_list[0].args[2], PAGE_MESSAGES - 1)

    def test_a_burst_goes_in_batches_bounded_in_bytes(self) -> None:
        bob = self.join()
        self.world.store("lobby", *(f"{n}{'z' * 10_000}" for n in range(50)))
        self.assertEqual(len(bob.texts), 50)
        self.assertLessEqual(max(bob.sizes), BATCH_BYTES + 11_000)

    def test_a_page_larger_than_all_memory(self) -> None:
        world = World(budget=20_000)
        bob = world.join("lobby", "bob", stalled=True)
        other = world.join("lobby", "other")
        texts = [f"{n}{'w' * 15_000}" for n in range(40)]
        for text in texts:
            world.store("lobby", text)
        bob.read_on()
        world.turn()
        self.assertEqual(bob.texts, texts)
        self.assertEqual(other.texts, texts)

    def test_readers_take_turns(self) -> None:
        readers = [self.join(f"r{n}", stalled=True) for n in range(3 * READERS)]
        self.say(3 * RECENT_MESSAGES)
        order: list[Reader] = []
        with mock.patch.object(Reader, "deliver", autospec=True, side_effect=Reader.deliver) as to:
            for reader in readers:
                reader.read_on()
            self.world.turn()
            order = [call.args[0] for call in to.call_args_list]
        for reader in readers:
            self.assertEqual(reader.texts, names(0, self.said))
        pages = dict.fromkeys(readers, 0)
        for reader in order[: 8 * len(readers)]:  # as many as come from the broker
            pages[reader] += 1
            ahead = max(pages.values()) - min(pages.values())
            self.assertLessEqual(ahead, 1, "somebody was served out of turn")


class GapTests(SubscriptionCase):
    def overtaken(self, reader: Reader, before: int) -> None:
        self.world.broker.truncate(self.world.stream(), before)

    def test_retention_overtakes_a_stalled_reader(self) -> None:
        bob = self.join()
        self.say(3)
        bob.stall()
        self.say(3 * RECENT_MESSAGES)
        self.overtaken(bob, 100)
        bob.read_on()
        self.world.turn()
        self.assertEqual(bob.texts, [*names(0, 3), "GAP", *names(100, self.said)])
        gap = next(f for f in bob.frames if f["type"] == "gap")
        self.assertEqual(Cursor.parse(gap["cursor"]).offset, 99)

    def test_the_gap_itself_is_refused(self) -> None:
        bob = self.join(stalled=True)
        self.say(3 * RECENT_MESSAGES)
        self.overtaken(bob, 100)
        bob.read_on()
        bob.stall()
        self.world.turn()
        self.assertEqual(bob.texts, [])
        bob.read_on(most=1)
        self.world.turn()
        self.assertEqual(bob.texts, ["GAP"])
        bob.read_on()
        self.world.turn()
        self.assertEqual(bob.texts, ["GAP", *names(100, self.said)])

    def test_overtaken_twice(self) -> None:
        bob = self.join(stalled=True)
        self.say(3 * RECENT_MESSAGES)
        self.overtaken(bob, 100)
        bob.read_on(most=2)
        self.world.turn()
        self.overtaken(bob, 500)
        self.world.advance(6)
        bob.read_on()
        self.world.turn()
        page = names(100, 100 + PAGE_MESSAGES)
        self.assertEqual(bob.texts, ["GAP", *page, "GAP", *names(500, self.said)])

    def test_everything_is_gone(self) -> None:
        bob = self.join(stalled=True)
        self.say(3 * RECENT_MESSAGES)
        self.overtaken(bob, self.said)
        self.world.room().recent.clear(self.said - 1)
        bob.read_on()
        self.world.turn()
        self.assertEqual(bob.texts, ["GAP"])
        self.say(1)
        self.assertEqual(bob.texts, ["GAP", *names(self.said - 1, self.said)])

    def test_a_gap_that_a_transport_asks_to_be_told(self) -> None:
        bob = self.join()
        bob.stall()
        bob.subscription.gap()
        self.assertEqual(bob.texts, [])
        bob.read_on()
        cursor = str(bob.subscription.cursor)
        self.assertEqual(bob.frames, [{"type": "gap", "room": "lobby", "cursor": cursor}])


class MissedPresenceTests(SubscriptionCase):
    def members(self) -> set[str]:
        return set(self.world.sites[0].presence.members("lobby").names)

    def test_told_when_it_drains_again(self) -> None:
        bob, cid = self.join("bob"), self.join("cid")
        self.world.advance(2)
        bob.stall()
        ann = self.join("ann")
        self.world.advance(2)
        cid.session.close()
        self.world.advance(2)
        bob.read_on()
        frames = [f for f in bob.frames if f["type"] == "presence"]
        self.assertEqual(frames[-1]["joined"], ["ann"])
        self.assertEqual(frames[-1]["left"], ["cid"])
        self.assertEqual(frames[-1]["count"], 2)
        self.assertEqual(bob.present, self.members())
        ann.session.close()
        self.world.advance(2)
        self.assertEqual(bob.present, {"bob"})

    def test_of_all_from_the_first_one_missed(self) -> None:
        bob = self.join("bob")
        self.world.advance(2)
        bob.stall()
        for user in ("ann", "cid", "dan"):
            self.join(user)
            self.world.advance(2)
        bob.read_on()
        self.assertEqual(bob.frames[-1]["joined"], ["ann", "cid", "dan"])
        self.assertEqual(bob.frames[-1]["room"], "lobby")

    def listed(self, reader: Reader) -> ListedBefore:
        """What its list of members is taken for."""
        assert reader.subscription._missed is not None
        return reader.subscription._missed[0].now()

    def test_those_who_began_to_miss_some_at_many_times(self) -> None:
        stalled = [self.join(f"r{n}") for n in range(3 * GROUPS)]
        guests = [self.join(f"u{n}") for n in range(5)]
        self.world.advance(2)
        for n, reader in enumerate(stalled):
            reader.stall()
            guests.pop(n % 5).session.close()
            self.world.advance(2)
            guests.append(self.join(f"u{3 * n % 7}"))
            self.world.advance(2)
        lists = {self.listed(reader) for reader in stalled}
        self.assertEqual(len(lists), GROUPS, "each has a list of members of its own")
        for reader in reversed(stalled):
            reader.read_on()
            self.assertEqual(reader.present, self.members())
        lists.clear()
        stalled[-1].stall()
        self.join("last")
        self.world.advance(2)
        self.assertEqual(len(self.world.room().missed._groups), 1, "the others are forgotten")

    def test_of_those_whose_lists_are_one_few_names_are_kept(self) -> None:
        readers = [f"r{n}" for n in range(GROUPS + 2)]
        self.patch(missed, "NAMES", len(readers) + 6)
        stalled = [self.join(name) for name in readers]
        self.world.advance(2)
        for n, reader in enumerate(stalled):
            guests = [self.join(f"u{n}-{m}") for m in range(5)]
            self.world.advance(2)
            reader.stall()
            for guest in guests:
                guest.session.close()
            self.world.advance(2)
        oldest = self.listed(stalled[0])
        self.assertIs(oldest, self.listed(stalled[2]))
        self.assertIsNot(oldest, self.listed(stalled[3]))
        self.assertEqual(len(oldest.before), missed.NAMES)
        self.assertLess({*readers, *(f"u2-{m}" for m in range(5))}, oldest.before)

    def test_the_number_alone_above_the_limit(self) -> None:
        self.world = World(limit=2)
        bob = self.join("bob")
        for n in range(3):
            self.join(f"r{n}")
        self.world.advance(2)
        bob.stall()
        self.join("last")
        self.world.advance(2)
        bob.read_on()
        frame = bob.frames[-1]
        self.assertEqual((frame["joined"], frame["left"], frame["count"]), ([], [], 5))

    def test_before_the_messages_it_missed(self) -> None:
        bob = self.join("bob")
        bob.stall()
        self.join("ann")
        self.world.advance(2)
        self.say(1)
        bob.read_on(most=1)
        self.assertEqual([f["type"] for f in bob.frames], ["presence"])
        bob.read_on()
        self.assertEqual([f["type"] for f in bob.frames], ["presence", "message"])

    def crowd(self, name: str, number: int) -> list[Reader]:
        readers = [self.world.join("lobby", f"{name}{n}") for n in range(number)]
        self.world.advance(2)
        return readers

    def gone(self, readers: list[Reader]) -> None:
        for reader in readers:
            reader.session.close()
        self.world.advance(2)

    def test_however_many_came_and_went_meanwhile(self) -> None:
        bob = self.join("bob")
        early = self.crowd("early", 50)
        bob.stall()
        for n in range(15):
            self.gone(self.crowd(f"passing{n}-", 100))
        self.gone(early[:25])
        self.crowd("late", 100)
        bob.read_on()
        self.assertEqual(bob.present, set(self.world.sites[0].presence.members("lobby").names))
        self.assertEqual(bob.frames[-1]["count"], 126)
        self.assertLess(len(bob.frames[-1]["left"]), 200)

    def test_a_room_that_comes_down_through_the_limit(self) -> None:
        self.world = World(limit=3)
        ann, cat = [self.world.join("lobby", user) for user in ("ann", "cat")]
        cat.stall()
        crowd = self.crowd("user", 4)
        late = self.world.join("lobby", "late")
        self.assertEqual(ann.frames[-1]["count"], 6)
        self.gone([*crowd[1:], late])
        cat.read_on()
        for reader in (ann, cat, crowd[0]):
            self.assertEqual(reader.present, {"ann", "cat", "user0"})
            self.assertEqual(reader.frames[-1]["count"], 3)


class SessionTests(SubscriptionCase):
    """What one connection asks of one room, one after another."""

    def test_joining_again_moves_the_cursor(self) -> None:
        self.say(5)
        session, _ = self.world.session("bob")
        ends = [Reader(self.world, session.identity) for _ in range(3)]
        starts: list[Start] = [Now(), self.place(1), Last(1)]
        for end, start in zip(ends, starts, strict=True):
            joined = self.world.do(session.join("lobby", end, start))
            assert joined is not None
            end.joined = joined
            joined.subscription.resume()
        self.say(1)
        self.assertEqual([end.texts for end in ends], [[], names(2, 5), names(4, 6)])
        self.assertEqual(self.world.sites[0].presence.members("lobby").count, 1)

    def test_two_joins_crossing_are_answered_in_order(self) -> None:
        self.say(3 * RECENT_MESSAGES)
        session, reader = self.world.session("bob")
        answered: list[str] = []

        async def join(name: str, offset: int) -> None:
            joined = await session.join("lobby", reader, self.place(offset))
            assert joined is not None
            answered.append(name)
            self.assertIs(
                joined.subscription.state, SubscriptionState.BEHIND, "closed before it was told"
            )

        for work in (join("first", 3), join("second", self.said - 1), join("third", 9)):
            self.world.begin(work)
        self.world.turn()
        self.assertEqual(answered, ["first", "second", "third"])

    def test_a_leave_that_crosses_a_join_comes_after_it(self) -> None:
        self.say(3 * RECENT_MESSAGES)
        session, reader = self.world.session("bob")
        answered: list[str] = []

        async def join() -> None:
            await session.join("lobby", reader, self.place(3))
            answered.append("joined")

        async def leave() -> None:
            await session.leave_in_turn("lobby")
            answered.append("left")

        self.world.begin(join())
        self.world.begin(leave())
        self.world.turn()
        self.assertEqual(answered, ["joined", "left"])
        self.assertEqual(session.joined, {})

    def test_the_connection_ends_while_a_join_is_under_way(self) -> None:
        self.say(3 * RECENT_MESSAGES)
        session, reader = self.world.session("bob")
        joining = self.world.begin(session.join("lobby", reader, self.place(3)))
        session.close()
        self.world.turn()
        self.assertEqual(joining, [None])
        self.assertFalse(self.world.room().subscriptions)

    def test_the_room_is_kept_for_one_who_is_long_in_coming(self) -> None:
        """A client that does not read is not answered yet, and nobody else is in the room."""
        session, reader = self.world.session("bob")
        reads: Deferred[None] = Deferred()

        async def ready() -> bool:
            await reads
            return True

        joining = self.world.begin(session.join("lobby", reader, Now(), ready))
        self.world.advance(IDLE + 2 * SWEEP)
        self.assertEqual(session.chat.waiting, 1)
        reads.callback(None)
        self.assertEqual(session.chat.waiting, 0)
        [joined] = joining
        reader.joined = joined
        joined.subscription.resume()
        self.say(1)
        self.assertEqual(reader.texts, names(0, 1))

    def test_what_is_gone_by_the_time_that_the_client_is_ready(self) -> None:
        """The room, its life, the right to be in it: nobody joins what was looked at before."""
        changes: list[tuple[Callable[[Directory], Coroutine[Any, Any, Any]], Code]] = [
            (lambda rooms: rooms.set_private("lobby", True), Code.FORBIDDEN),
            (lambda rooms: rooms.renew(self.world.stream()), Code.UNAVAILABLE),
            (lambda rooms: rooms.delete("lobby"), Code.UNKNOWN_ROOM),
        ]
        for change, code in changes:
            self.setUp()
            session, reader = self.world.session("bob")
            ready = partial(self._after, change)
            refused = self.world.error(session.join("lobby", reader, Now(), ready))
            self.assertIs(refused.code, code)
            self.assertEqual((session.joined, session.chat.waiting), ({}, 0))
            self.assertEqual(self.world.sites[0].presence.members("lobby").count, 0)

    async def _after(self, change: Callable[[Directory], Coroutine[Any, Any, Any]]) -> bool:
        """The client is ready once ``change`` is done."""
        await change(self.world.sites[0].directory)
        return True

    def test_nobody_is_there_to_be_told_of_a_join(self) -> None:
        session, reader = self.world.session("bob")

        async def ready() -> bool:
            return False

        self.assertIsNone(self.world.do(session.join("lobby", reader, Now(), ready)))
        self.assertFalse(self.world.room().subscriptions)
        self.assertEqual(self.world.sites[0].presence.members("lobby").count, 0)
