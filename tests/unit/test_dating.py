"""Times of messages: the same on every node, whatever other programs claim, from wherever reading
begins."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Retention, Stream
from chatd.protocol.messages import WINDOW, Claim
from chatd.protocol.timestamps import format_time
from chatd.rooms.dating import AHEAD, FOLLOWING, Dates, Dating
from chatd.rooms.start_position import Last
from chatd.timing.wall import WallClock
from tests.support.world import World

DAY = 24 * 3600 * 1000
AGE = 7 * DAY
#: When the room was created, and now.
CREATED, NOW = 1_800_000_000_000, 1_800_000_000_000 + 30 * DAY


def own(*claims: int, created: int = NOW) -> list[int]:
    """The times that chatd's own records are shown with."""
    return Dates(created, AGE).resolve([Claim(time) for time in claims], lambda: NOW)


def times(*claims: int | None, now: int = NOW, created: int = CREATED) -> list[int]:
    """The times that other programs' records are shown with."""
    foreign = [None if time is None else Claim(time, True) for time in claims]
    return Dates(created, AGE).resolve(foreign, lambda: now)


def walk(steps: list[int | None]) -> list[Claim | None]:
    """What chatd writes within the hour (0), and another program that says each time that much more
    than the time before; None: nothing."""
    claims: list[Claim | None] = []
    said = NOW
    for n, step in enumerate(steps):
        said += step or 0
        claims.append(None if step is None else Claim(said if step else NOW + n, bool(step)))
    return claims


#: Many records, with steps that none by itself are too long.
_CLAIMS = st.lists(
    st.sampled_from([0, 1 - AGE, 1 - AGE, None, AHEAD - 1, 900 * DAY]), max_size=60
).map(walk)


class RuleTests(SynchronousTestCase):
    def test_without_a_time_it_is_that_of_the_nearest_before_it(self) -> None:
        one, two = CREATED + DAY, CREATED + 2 * DAY
        found = times(None, one, None, None, two, None)
        self.assertEqual(found, [CREATED, one, one, one, two, two])

    def test_older_than_retention(self) -> None:
        one = NOW - DAY
        found = times(one, 0, one - AGE - 1, one - AGE, one, created=one - 1000)
        self.assertEqual(found, [one] * 3 + [one - AGE, one])
        self.assertEqual(times(0, 1000), [CREATED, CREATED])

    def test_ahead(self) -> None:
        """More than an hour ahead of now, and of the newest record that chatd wrote."""
        for ahead, shown in ((AHEAD, NOW + AHEAD), (AHEAD + 1, CREATED)):
            self.assertEqual(times(NOW + ahead), [shown])
        # a node's clock may be ahead, and who publishes there goes by it
        later = NOW + 3 * AHEAD
        for ahead, shown in ((AHEAD, later + AHEAD), (AHEAD + 1, later)):
            claims = [Claim(later), Claim(later + ahead, foreign=True)]
            found = Dates(CREATED, AGE).resolve(claims, lambda: NOW)
            self.assertEqual(found, [later, shown])
        # a pause is no fault
        self.assertEqual(times(NOW - DAY, NOW), [NOW - DAY, NOW])

    def test_not_led_astray_step_by_step(self) -> None:
        """Neither back nor ahead, however many steps another program takes."""
        step = AGE - 1000
        back = [Claim(NOW - n * step, foreign=True) for n in range(5)]
        ahead = [Claim(NOW + n * (AHEAD - 1000), foreign=True) for n in range(1, 200)]
        dates = Dates(CREATED, AGE)
        found = dates.resolve([Claim(NOW), *back, Claim(NOW + 1)], lambda: NOW)
        self.assertEqual(found, [NOW, NOW, *[NOW - step] * 4, NOW + 1])
        found = dates.resolve([*ahead, Claim(NOW + 2)], lambda: NOW)
        self.assertLessEqual(max(found), NOW + AHEAD)
        self.assertEqual(found[-1], NOW + 2)

    def test_ahead_of_both_neighbours(self) -> None:
        one = NOW - DAY
        self.assertEqual(times(one, one + 2 * AHEAD, one + 1), [one, one, one + 1])
        self.assertEqual(times(one, one + AHEAD // 2, one + 1), [one, one + AHEAD // 2, one + 1])
        later = one + 5 * AHEAD
        self.assertEqual(times(one, later, later), [one, later, later])
        # an hour ahead of the one before it, whatever comes
        self.assertEqual(times(one, one + AHEAD, one - 1), [one, one + AHEAD, one - 1])
        self.assertEqual(times(one, one + AHEAD + 1, one - 1), [one, one, one - 1])
        # an hour ahead of the one after it
        for late, shown in ((0, one + 2 * AHEAD), (1, one)):
            found = times(one, one + 2 * AHEAD + late, one + AHEAD)
            self.assertEqual(found, [one, shown, one + AHEAD])
        # so many records are searched for one with a time
        for between, shown in ((FOLLOWING - 1, one), (FOLLOWING, one + 2 * AHEAD)):
            found = times(one, one + 2 * AHEAD, *[None] * between, one)
            self.assertEqual(found[1], shown, between)

    def test_how_long_the_newest_counts(self) -> None:
        old = NOW - AGE - 1
        for between, shown in ((WINDOW - 1, NOW), (WINDOW, old)):
            found = times(NOW, *[None] * between, old)
            self.assertEqual((found[0], found[-1]), (NOW, shown), between)
        # and chatd's newest
        late = Claim(NOW + 3 * AHEAD + 1, foreign=True)
        for between, shown in ((WINDOW - 1, late.time), (WINDOW, CREATED)):
            claims = [Claim(NOW + 2 * AHEAD + 1), *[None] * between, late]
            found = Dates(CREATED, AGE).resolve(claims, lambda: NOW)
            self.assertEqual(found[-1], shown, between)

    def test_by_the_retention(self) -> None:
        clock = Clock()
        clock.advance(NOW // 1000)
        dating = Dating(WallClock(clock), Retention(age=7200))
        for earlier, shown in ((7_200_000, NOW - 7_200_000), (7_200_001, NOW)):
            dates = dating.dates(Stream("lobby", "1", created=CREATED))
            self.assertEqual(dates.resolve([Claim(NOW)], dating.now), [NOW])
            self.assertEqual(dates.resolve([Claim(NOW - earlier)], dating.now), [shown])

    def test_a_clock_that_was_set_right(self) -> None:
        """What was said, or the room made, while it was far ahead has no say afterwards."""
        ahead = NOW + 30 * DAY
        dates = Dates(CREATED, AGE)
        self.assertEqual(dates.resolve([Claim(ahead)], lambda: ahead), [ahead])
        for time in (NOW, NOW + 1000, NOW - AGE):
            self.assertEqual(dates.resolve([Claim(time)], lambda: NOW), [time])
        self.assertEqual(own(NOW - AGE, created=ahead), [NOW - AGE])
        self.assertEqual(own(NOW - AGE - 1, created=ahead), [ahead])

    def test_ahead_of_now(self) -> None:
        one = NOW - DAY
        self.assertEqual(times(one, NOW + 2 * AHEAD), [one, one])
        self.assertEqual(times(one, NOW + 100 * DAY, NOW + 100 * DAY, one), [one] * 4)
        self.assertEqual(times(one, NOW), [one, NOW])

    def test_chatds_own(self) -> None:
        """Its own records are doubted beyond the retention only, so that a clock which is wrong by
        less decides nothing, here or on another node, nor spoils what others say later."""
        for later in (2 * AHEAD, AGE):
            self.assertEqual(own(NOW + later), [NOW + later])
            self.assertEqual(own(NOW + later, NOW), [NOW + later, NOW])
            # nor what other programs say later
            mixed = [Claim(NOW + later), Claim(NOW, foreign=True)]
            self.assertEqual(Dates(NOW, AGE).resolve(mixed, lambda: NOW), [NOW + later, NOW])
        self.assertEqual(own(NOW + AGE + 1), [NOW])
        self.assertEqual(own(NOW - AGE - 1, NOW - AGE), [NOW, NOW - AGE])
        # in a room that was silent for longer, too
        for ahead, shown in ((0, NOW), (AGE, NOW + AGE), (AGE + 1, CREATED)):
            self.assertEqual(own(NOW + ahead, created=CREATED), [shown])
            self.assertEqual(own(NOW + ahead, NOW, created=CREATED), [shown, NOW])

    def test_a_long_run_without_times(self) -> None:
        one = NOW - DAY
        found = times(one, *[None] * (WINDOW + 5))
        self.assertEqual(found, [one] * (WINDOW + 1) + [CREATED] * 5)

    def test_the_same_after_years(self) -> None:
        one = NOW - DAY
        claims = [one, None, one + 9 * AHEAD, one + 1, 0, None, one + 2]
        self.assertEqual(times(*claims), times(*claims, now=NOW + 1000 * DAY))

    @given(_CLAIMS, st.lists(st.integers(1, 20), max_size=20))
    def test_however_they_are_read(self, claims: list[Claim | None], sizes: list[int]) -> None:
        """All at once, or in batches, at whose end it is not known what follows: that concerns
        other programs' records alone."""
        whole = Dates(CREATED, AGE).resolve(claims, lambda: NOW)
        dates, parts, rest = Dates(CREATED, AGE), [], list(claims)
        for size in [*sizes, len(rest)]:
            parts += dates.resolve(rest[:size], lambda: NOW)
            rest = rest[size:]
        own = [i for i, one in enumerate(claims) if one is not None and not one.foreign]
        self.assertEqual([parts[i] for i in own], [whole[i] for i in own])

    @given(_CLAIMS, st.integers(0, 900 * DAY))
    def test_chatds_own_keep_their_time(self, claims: list[Claim | None], later: int) -> None:
        """Whatever others claim, and whenever it is read."""
        found = Dates(CREATED, AGE).resolve(claims, lambda: NOW + later)
        for claim, time in zip(claims, found, strict=True):
            if claim is not None and not claim.foreign:
                self.assertEqual(time, claim.time)

    @given(_CLAIMS, st.integers(0, 900 * DAY))
    def test_the_same_whenever_it_is_read(self, claims: list[Claim | None], later: int) -> None:
        """But for what came from the future, and so was not true when it came."""
        claims = [one for one in claims if one is None or one.time <= NOW + AHEAD]
        early, late = (
            Dates(CREATED, AGE).resolve(claims, partial(int, now)) for now in (NOW, NOW + later)
        )
        self.assertEqual(early, late)

    @given(
        st.lists(
            st.none()
            | st.integers(NOW - AHEAD // 2, NOW)
            | st.sampled_from([0, 1, NOW + 2 * AHEAD, NOW + 900 * DAY, 2**53]),
            min_size=1,
            max_size=60,
        ),
        st.integers(0, 60),
    )
    def test_alike_from_wherever_reading_begins(self, claims: list[Any], start: int) -> None:
        """Once a record has come whose time nobody doubts."""
        claims = [NOW - AHEAD // 2, *claims]
        whole, part = times(*claims), times(*claims[start:])
        sure = [
            i
            for i, claim in enumerate(claims)
            if i >= start and claim is not None and NOW - AHEAD // 2 <= claim <= NOW
        ]
        if sure and start < len(claims):
            self.assertEqual(whole[sure[0] :], part[sure[0] - start :])


class RoomTests(SynchronousTestCase):
    """Two nodes, and one that comes later, show the same."""

    def setUp(self) -> None:
        self.world = World(nodes=2, retention=Retention(age=1800))
        self.created = self.world.stream().created

    def store(self, id: str, time: str | None) -> None:
        record = {"id": id, "user": "cron", "text": id, "time": time}
        body = {name: value for name, value in record.items() if value is not None}
        self.world.foreign("lobby", json.dumps(body).encode())

    def seen(self, node: int = 0) -> list[tuple[str, str]]:
        reader = self.world.join("lobby", f"reader{node}", Last(100), node=node)
        return [(m["id"], m["time"]) for m in reader.messages]

    def test_the_room_knows_when_it_was_created(self) -> None:
        self.assertAlmostEqual(self.created, self.world.now, delta=1000)

    def test_all_show_the_same_for_good(self) -> None:
        live = self.world.join("lobby", "live")
        self.store("first", None)
        self.world.advance(100)
        self.world.say("lobby", "hello", id="second")
        second = self.world.now
        self.world.advance(100)
        self.store("third", None)
        self.store("of-1970", format_time(1000))
        self.store("of-2099", "2099-01-01T00:00:00.000Z")
        self.world.advance(100)
        self.world.say("lobby", "bye", id="last")
        created, said = format_time(self.created), format_time(second)
        expected = [
            ("first", created),
            ("second", said),
            ("third", said),
            ("of-1970", said),
            ("of-2099", said),
            ("last", format_time(self.world.now)),
        ]
        self.assertEqual([(m["id"], m["time"]) for m in live.messages], expected)
        for node in (0, 1):
            self.assertEqual(self.seen(node), expected)
        self.world.advance(200)
        self.world.add_site()
        self.assertEqual(self.seen(2), expected)

    def test_nodes_whose_clocks_differ(self) -> None:
        """What is said at a node is shown with that node's time, by all and for good: whether
        anything follows, and whatever their clocks say."""
        month = 30 * 24 * 3600
        for ahead, silence in ((-3 * 3600, 0), (3 * 3600, 3600), (3 * 3600, month)):
            self.world = World(nodes=2)
            self.world.add_site(ahead)
            live = [self.world.join("lobby", f"live{n}", node=n) for n in range(3)]
            self.world.clock.advance(silence)
            said = []
            for place, node in enumerate((0, 2, 0, 2, 1, 2)):
                self.world.say("lobby", f"m{place}", id=f"m{place}", node=node)
                now = self.world.now + (ahead * 1000 if node == 2 else 0)
                said.append((f"m{place}", format_time(now)))
                for reader in live:
                    shown = [(m["id"], m["time"]) for m in reader.messages]
                    self.assertEqual(shown, said, (ahead, reader.identity.user))
                self.world.add_site(-ahead)
                self.assertEqual(self.seen(len(self.world.sites) - 1), said, ahead)
                self.world.advance(60)

    def test_what_other_programs_claim_repeats_nothing(self) -> None:
        """A message that is sent again under its id is shown once, by all, with its time: whatever
        stands around it, and whether it is read as it comes or later."""
        for step in (-6.9 * 24 * 3_600_000, 3_500_000.0):
            self.world = World(nodes=2)
            live = self.world.join("lobby", "live")
            said: dict[str, str] = {}
            for n in range(3):
                self.world.say("lobby", "mine", id=f"m{n}")
                said[f"m{n}"] = format_time(self.world.now)
                for further in range(4 * n, 4 * n + 4):
                    self.store(f"f{further}", format_time(int(self.world.now + further * step)))
                for node in (0, 1):
                    self.world.say("lobby", "mine", id=f"m{n}", node=node)
                self.world.advance(60)
            expected = list(said.items())
            shown = [(m["id"], m["time"]) for m in live.messages if m["id"] in said]
            self.assertEqual(shown, expected)
            self.world.advance(3600)
            self.world.add_site()
            for node in range(3):
                self.assertEqual([one for one in self.seen(node) if one[0] in said], expected)

    def test_from_the_broker_too(self) -> None:
        self.world.say("lobby", "hello", id="dated")
        said = format_time(self.world.now)
        self.world.advance(100)
        for n in range(900):
            self.store(f"n{n}", None)
        self.world.say("lobby", "x" * 10, id="end")
        for _ in range(700):
            self.store(f"m{_}", None)
        reader = self.world.join("lobby", "reader", Last(1000))
        old = [m["time"] for m in reader.messages if m["id"].startswith("n")]
        self.assertGreater(len(old), 200)
        self.assertEqual(set(old), {said})

    def test_what_has_no_time_does_not_expire_by_that_of_another(self) -> None:
        self.world.say("lobby", "hello")
        self.world.advance(2000)
        self.store("news", None)
        self.assertEqual([id for id, _ in self.seen()][-1:], ["news"])
