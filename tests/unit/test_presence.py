"""Who is here: a snapshot, and what is told after it, always add up to what is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from chatd.presence.board import COALESCE, SHOWN, News, PresenceBoard
from chatd.timing import turn_queue


class Board:
    """Everybody in every room is shown the same; so one notebook is enough."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, list[str], list[str], int]] = []
        self.news: list[News] = []

    def show(self, room: str, news: News) -> None:
        self.shown.append((room, news.joined, news.left, news.count))
        self.news.append(news)

    def show_typing(self, room: str, user: str) -> None:
        raise AssertionError("nobody types here")


class Counted(dict[str, dict[str, int]]):
    """Counts the names that were looked at."""

    seen = 0

    def __iter__(self) -> Iterator[str]:
        for name in super().__iter__():
            self.seen += 1
            yield name


class PresenceTests(TestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, limit: int = 200) -> None:
        self.clock = Clock()
        self.presence = PresenceBoard(self.clock, "here", limit)
        self.board = Board()
        self.presence.show_to(self.board)
        self.local: list[tuple[str, str, bool]] = []
        self.presence.on_local = lambda *told: self.local.append(told)

    def names(self, room: str = "lobby") -> list[str]:
        return self.presence.members(room).names

    def test_told_after_about_a_second_and_all_at_once(self) -> None:
        for n in range(100):
            self.presence.enter("lobby", f"u{n:02}")
            self.clock.advance(0.001)
        self.assertEqual(self.board.shown, [])
        self.clock.advance(COALESCE)
        self.assertEqual(self.board.shown, [("lobby", [f"u{n:02}" for n in range(100)], [], 100)])
        self.clock.advance(10)
        self.assertEqual(len(self.board.shown), 1)

    def test_several_connections_are_one_member(self) -> None:
        for _ in range(3):
            self.presence.enter("lobby", "ann")
        self.clock.advance(1)
        for _ in range(2):
            self.presence.leave("lobby", "ann")
        self.clock.advance(1)
        self.assertEqual(self.board.shown, [("lobby", ["ann"], [], 1)])
        self.presence.leave("lobby", "ann")
        self.clock.advance(1)
        self.assertEqual(self.board.shown[1:], [("lobby", [], ["ann"], 0)])
        self.assertEqual(self.local, [("lobby", "ann", True), ("lobby", "ann", False)])

    def test_who_comes_back_within_the_second_is_no_news(self) -> None:
        self.presence.enter("lobby", "ann")
        self.clock.advance(1)
        self.presence.leave("lobby", "ann")
        self.presence.enter("lobby", "ann")
        self.clock.advance(1)
        self.assertEqual(len(self.board.shown), 1)

    def test_but_is_for_one_who_was_shown_that_it_had_gone(self) -> None:
        self.presence.enter("lobby", "ann")
        self.presence.enter("lobby", "bob")
        self.clock.advance(1)
        self.presence.leave("lobby", "ann")
        self.assertEqual(self.names(), ["bob"])
        self.presence.enter("lobby", "ann")
        self.clock.advance(1)
        self.assertEqual(self.board.shown[1:], [("lobby", ["ann"], [], 2)])

    def test_leaving_without_having_come(self) -> None:
        self.presence.leave("lobby", "ann")
        self.presence.remote("there", "lobby", "ann", here=False)
        self.assertEqual(self.names(), [])
        self.clock.advance(1)
        self.assertEqual((self.board.shown, self.local), ([], []))

    def test_only_the_number_above_the_limit(self) -> None:
        self.make(limit=3)
        for user in "abc":
            self.presence.enter("lobby", user)
        self.clock.advance(1)
        self.presence.enter("lobby", "d")
        self.clock.advance(1)
        self.assertEqual(
            self.board.shown, [("lobby", ["a", "b", "c"], [], 3), ("lobby", [], [], 4)]
        )
        members = self.presence.members("lobby")
        self.assertEqual((len(members.names), members.count), (3, 4))
        self.presence.leave("lobby", "a")
        self.clock.advance(1)
        # and all names again once it has come down to it
        self.assertEqual(self.board.shown[2:], [("lobby", ["b", "c", "d"], ["a"], 3)])

    def test_what_is_held_above_the_limit_is_bounded(self) -> None:
        """However many come, look and go: names that were shown are told to have gone at last."""
        self.make(limit=10)
        held: set[str] = set()
        for n in range(3 * SHOWN):
            self.presence.enter("lobby", f"u{n}")
            held.update(self.names())
            if n >= 20:
                self.presence.leave("lobby", f"u{n - 20}")
            if n % 50 == 0:
                self.clock.advance(1)
        for _, joined, left, count in self.board.shown:
            self.assertTrue(count <= 10 or not joined, count)
            self.assertLessEqual(len(joined) + len(left), SHOWN + 60)
            held.difference_update(left)
        self.assertLessEqual(len(held), SHOWN + 60)
        for n in range(3 * SHOWN - 20, 3 * SHOWN - 5):
            self.presence.leave("lobby", f"u{n}")
        self.clock.advance(1)
        held |= set(self.board.shown[-1][1])
        held -= set(self.board.shown[-1][2])
        self.assertEqual(held, set(self.names()))
        self.assertEqual(len(held), 5)

    def test_what_is_shown_within_a_second_is_bounded(self) -> None:
        """Who comes to a crowd with many others at once sees none but those that some know."""
        self.make(limit=10)
        for n in range(3 * SHOWN):
            self.presence.enter("lobby", f"u{n}")
            self.names()
            if n >= 20:
                self.presence.leave("lobby", f"u{n - 20}")
        self.assertLessEqual(len(self.presence._rooms["lobby"].held_by_some), SHOWN)

    def test_who_was_told_another_number_than_the_others_is_put_right(self) -> None:
        """Though the number is again what the others were told."""
        self.make(limit=3)
        for user in "abcd":
            self.presence.enter("lobby", user)
        self.clock.advance(1)
        self.presence.enter("lobby", "e")
        self.assertEqual(self.presence.members("lobby").count, 5)
        self.presence.leave("lobby", "e")
        self.clock.advance(1)
        self.assertEqual(self.board.shown, [("lobby", [], [], 4)] * 2)

    def test_a_look_costs_no_more_in_a_crowd(self) -> None:
        """What a join costs does not grow with those who came in the same second."""
        self.make(limit=10)
        for n in range(2000):
            self.presence.enter("lobby", f"u{n}")
        board = self.presence._rooms["lobby"]
        board.here = Counted(board.here)
        for _ in range(100):
            self.names()
        self.assertLessEqual(board.here.seen, 100 * 11)

    def test_the_number_alone_has_no_consequences(self) -> None:
        self.presence.enter("lobby", "ann")
        self.assertEqual((self.presence.count("lobby"), self.presence.count("attic")), (1, 0))
        self.presence.leave("lobby", "ann")
        self.clock.advance(1)
        self.assertEqual(self.board.shown, [])

    def test_users_of_other_nodes(self) -> None:
        self.presence.enter("lobby", "ann")
        self.presence.remote("there", "lobby", "ann", here=True)
        self.presence.remote("there", "lobby", "bob", here=True)
        self.presence.leave("lobby", "ann")
        self.assertEqual(self.names(), ["ann", "bob"])
        self.assertEqual(self.presence.local(), {})
        self.presence.drop("there")
        self.assertEqual(self.names(), [])

    def test_replacing_what_a_node_said(self) -> None:
        self.presence.remote("there", "lobby", "ann", here=True)
        self.presence.remote("there", "attic", "ann", here=True)
        self.presence.remote("elsewhere", "lobby", "cid", here=True)
        self.presence.replace("there", {"lobby": ["bob"]})
        self.assertEqual((self.names(), self.names("attic")), (["bob", "cid"], []))

    def test_an_empty_room_is_forgotten(self) -> None:
        self.presence.enter("lobby", "ann")
        self.presence.leave("lobby", "ann")
        self.clock.advance(1)
        self.presence.members("elsewhere")
        self.assertEqual(self.presence._rooms, {})

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("enter"), st.sampled_from("abcd")),
                st.tuples(st.just("leave"), st.sampled_from("abcd")),
                st.tuples(st.just("come"), st.sampled_from("abcd")),
                st.tuples(st.just("go"), st.sampled_from("abcd")),
                st.tuples(st.just("look"), st.none()),
                st.tuples(st.just("wait"), st.sampled_from([0.3, 1.0])),
                st.tuples(st.just("drop"), st.none()),
            ),
            max_size=40,
        ),
        st.sampled_from([1, 2, 3, 200]),
        st.integers(0, 10),
    )
    def test_snapshot_and_what_is_told_add_up(
        self, steps: list[tuple[str, object]], limit: int, missed: int
    ) -> None:
        """Whenever somebody looks (joins, that is), whatever limit the room passes, and however
        many of the first frames are missed and told as one."""
        self.make(limit)
        looks: list[tuple[set[str], int]] = []
        for what, value in steps:
            if what == "enter":
                self.presence.enter("lobby", str(value))
            elif what == "leave":
                self.presence.leave("lobby", str(value))
            elif what in ("come", "go"):
                self.presence.remote("there", "lobby", str(value), what == "come")
            elif what == "drop":
                self.presence.drop("there")
            elif what == "wait":
                self.clock.advance(float(str(value)))
            else:
                looks.append((set(self.names()), len(self.board.shown)))
        self.clock.advance(COALESCE)
        final = self.presence.members("lobby")
        for names, start in looks:
            news = self.board.news[start:]
            if missed and news:
                late = news[:missed]
                news = [late[-1].since(late[0]), *news[missed:]]
            for one in news:
                names = (names | set(one.joined)) - set(one.left)
            if final.count <= limit:
                self.assertEqual(names, set(final.names))
            if news:
                self.assertEqual(news[-1].count, final.count)


class ManyRoomsTests(TestCase):
    """News of many rooms at once is told in turns of the reactor."""

    def setUp(self) -> None:
        self.patch(turn_queue, "A_TURN", 2)
        self.clock = Clock()
        self.presence = PresenceBoard(self.clock, "here")
        self.board = Board()
        self.presence.show_to(self.board)
        self.rooms = [f"r{n}" for n in range(6)]
        for room in self.rooms:
            self.presence.enter(room, "ann")

    def when_told_first(self, call: Callable[[], None]) -> None:
        """Call ``call`` once some rooms were told, and others wait for their turns."""
        self.clock.callLater(COALESCE, lambda: self.clock.callLater(0, call))
        self.clock.advance(COALESCE)

    def test_some_in_each_turn(self) -> None:
        seen: list[int] = []
        self.when_told_first(lambda: seen.append(len(self.board.shown)))
        self.assertEqual(seen, [4])
        self.assertEqual(self.board.shown, [(room, ["ann"], [], 1) for room in self.rooms])

    def test_what_takes_longer_than_until_the_next_news_is_told_all_the_same(self) -> None:
        show = self.board.show

        def slow(room: str, news: News) -> None:
            show(room, news)
            self.clock.rightNow += 2 * COALESCE
            self.presence.enter("r0", "bob")

        self.patch(self.board, "show", slow)
        for _ in range(20):
            self.clock.advance(COALESCE)
        self.assertEqual(
            sorted(self.board.shown),
            [("r0", ["ann"], [], 1), ("r0", ["bob"], [], 2)]
            + [(room, ["ann"], [], 1) for room in self.rooms[1:]],
        )

    def test_what_happens_before_its_turn_is_told_with_it(self) -> None:
        def change() -> None:
            self.presence.enter("r5", "bob")
            self.presence.leave("r5", "ann")
            self.presence.leave("r4", "ann")

        self.when_told_first(change)
        self.assertEqual(self.board.shown[4:], [("r5", ["bob"], [], 1)])
        self.clock.advance(2 * COALESCE)
        self.assertEqual(len(self.board.shown), 5, "nothing is told twice")
        self.assertEqual(self.presence.count("r4"), 0)

    def test_who_joins_before_its_turn_is_told_nothing_that_it_knows_otherwise(self) -> None:
        """A client whose list has bob need not be told of him, but one without him must be."""

        def join() -> None:
            self.presence.enter("r5", "bob")
            self.assertEqual(self.presence.members("r5").names, ["ann", "bob"])
            self.presence.leave("r5", "bob")

        self.when_told_first(join)
        self.assertEqual(self.board.shown[-1], ("r5", ["ann"], ["bob"], 1))
