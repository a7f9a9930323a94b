"""Events that pass, in large rooms: some are told in each turn of the reactor."""

from __future__ import annotations

from unittest.mock import patch

from twisted.trial.unittest import TestCase

from chatd.access.rate_limit import Rate
from chatd.presence.board import COALESCE, News
from chatd.rooms import ephemeral
from tests.support.world import Reader, World


class PassingTests(TestCase):
    def setUp(self) -> None:
        self.patch(ephemeral, "A_TURN", 3)
        self.world = World()
        self.readers = [self.world.join("lobby", f"r{n}") for n in range(7)]
        self.world.advance(COALESCE)
        for reader in self.readers:
            reader.frames.clear()

    def typing(self, reader: Reader) -> None:
        self.world.begin(reader.session.typing("lobby"))

    def typed(self, reader: Reader) -> list[str]:
        """Who it saw typing."""
        return [frame["user"] for frame in reader.frames if frame["type"] == "typing"]

    def came(self, reader: Reader) -> list[str]:
        """Of whom it was told that they came."""
        news = [frame for frame in reader.frames if frame["type"] == "presence"]
        return [user for frame in news for user in frame["joined"]]

    def turns(self) -> list[int]:
        """How many have been told of anything after each turn of the reactor, until no more are."""
        seen = [self.told()]

        def look() -> None:
            seen.append(self.told())
            if seen[-1] > seen[-2]:
                self.world.clock.callLater(0, look)

        self.world.clock.callLater(0, look)
        self.world.turn()
        return seen[:-1]

    def told(self) -> int:
        return sum(bool(reader.frames) for reader in self.readers)

    def test_one_who_cannot_be_shown_it_is_one(self) -> None:
        with patch.object(self.readers[1], "notify", side_effect=RuntimeError):
            self.typing(self.readers[-1])
            self.world.turn()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        seen = [self.typed(reader) for reader in self.readers]
        self.assertEqual(seen, [["r6"], [], *[["r6"]] * 4, []])

    def test_some_see_it_in_each_turn(self) -> None:
        self.typing(self.readers[-1])
        self.assertEqual(self.turns(), [3, 6])
        self.assertEqual([self.typed(reader) for reader in self.readers], [["r6"]] * 6 + [[]])

    def test_in_a_small_room_all_see_it_at_once(self) -> None:
        for reader in self.readers[3:]:
            reader.session.leave("lobby")
        self.world.advance(COALESCE)
        self.typing(self.readers[0])
        self.assertEqual([self.typed(reader) for reader in self.readers[1:3]], [["r0"]] * 2)

    def test_who_comes_and_goes_is_told_in_turns_too(self) -> None:
        self.world.join("lobby", "late")
        seen: list[int] = []

        def look() -> None:
            seen.append(sum(self.came(reader) == ["late"] for reader in self.readers))
            if len(seen) < 4:
                self.world.clock.callLater(0, look)

        self.world.clock.callLater(COALESCE, look)
        self.world.advance(COALESCE)
        self.assertEqual(seen, [3, 6, 7, 7])

    def test_who_has_left_meanwhile_sees_nothing(self) -> None:
        self.typing(self.readers[0])
        self.readers[6].session.leave("lobby")
        self.world.turn()
        self.assertEqual(self.typed(self.readers[5]), ["r0"])
        self.assertEqual(self.typed(self.readers[6]), [])

    def test_who_joins_meanwhile_is_not_told_what_was_before(self) -> None:
        self.typing(self.readers[0])
        late = self.world.join("lobby", "late")
        self.world.turn()
        self.assertEqual(self.typed(late), [])

    def test_all_see_events_in_one_order(self) -> None:
        for reader in self.readers[:3]:
            self.typing(reader)
        self.world.turn()
        self.assertEqual(self.typed(self.readers[6]), ["r0", "r1", "r2"])
        self.assertEqual(self.typed(self.readers[1]), ["r0", "r2"])

    def test_in_a_crowd_that_types_some_are_not_shown(self) -> None:
        self.patch(ephemeral, "SHOWN", Rate(14, burst=14))
        for reader in self.readers:
            self.typing(reader)
        self.world.turn()
        self.assertEqual(self.typed(self.readers[6]), ["r0", "r1"], "two for seven")
        self.world.advance(1)
        self.typing(self.readers[5])
        self.world.turn()
        self.assertEqual(self.typed(self.readers[6]), ["r0", "r1", "r5"])

    def test_typing_that_cannot_be_shown_soon_is_not_shown(self) -> None:
        self.patch(ephemeral, "UNDER_WAY", 2)
        for reader in self.readers:
            self.typing(reader)
        self.world.turn()
        self.assertEqual(self.typed(self.readers[6]), ["r0", "r1"])

    def test_who_came_is_told_even_then(self) -> None:
        self.patch(ephemeral, "UNDER_WAY", 2)
        for reader in self.readers[:2]:
            self.typing(reader)
        for user in ("cid", "dan"):
            before = frozenset(reader.identity.user for reader in self.readers)
            news = News.of(8, before, before, before | {user}, complete=True)
            self.world.room().presence(news)
        self.world.turn()
        self.assertEqual([self.came(reader) for reader in self.readers], [["cid", "dan"]] * 7)
        self.assertEqual(self.typed(self.readers[6]), ["r0", "r1"])

    def test_one_whose_connection_fails_holds_up_nobody_else(self) -> None:
        def broken(data: bytes) -> bool:
            raise ValueError("broken")

        self.patch(self.readers[4], "notify", broken)
        self.typing(self.readers[0])
        self.world.turn()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.typed(self.readers[6]), ["r0"])
