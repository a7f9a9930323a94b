"""Any sequence of events against a plain list: every reader's history is exactly the list's.

The list holds each record of the room's stream, by offset. Readers join, stall, read on a little,
drop off and resume on another node, while messages come, expire or are truncated, and brokers go
away. A reader may miss a message only where it was told of a gap, and only if it is really gone.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import hypothesis.strategies as st
from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from twisted.python.failure import Failure

from chatd.brokers.interfaces import Retention
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.messages import WINDOW, Content
from chatd.protocol.timestamps import parse_time
from chatd.rooms.start_position import After, Last, Now, Since, Start
from chatd.rooms.subscription import SubscriptionState
from tests.support.publishing import publish
from tests.support.world import Reader, World

AGE = 100
NODES = st.integers(0, 1)
GAP = -2


@define(eq=False)
class Record:
    """One record of the stream; ``id`` is None if it is no message. ``repeats`` is the offset of
    the message whose repetition it is: nobody is shown it while that one is kept."""

    id: str | None
    time: int
    repeats: int | None = None
    truncated: bool = False


@define(eq=False)
class Person:
    """One who reads, over any number of connections."""

    name: str
    start: int
    #: Offsets of the messages it was given, and `GAP`.
    history: list[int] = field(factory=list)
    cursor: Cursor | None = None
    reader: Reader | None = None
    node: int = 0
    seen: int = 0


class Prompt(Reader):
    """A reader that minds how old a message is when it comes."""

    def _take(self, data: bytes) -> bool:
        before = len(self.frames)
        taken = super()._take(data)
        for frame in self.frames[before:]:
            if frame["type"] == "message":
                age = self.world.now - parse_time(frame["time"])
                assert age <= AGE * 1000, "served late"
        return taken


class RoomMachine(RuleBasedStateMachine):
    """The room ``lobby`` on two nodes; the broker of either may go away."""

    people = Bundle("people")

    @initialize()
    def begin(self) -> None:
        self.world = World(nodes=2, retention=Retention(age=AGE), reader=Prompt)
        self.log: list[Record] = []
        self.offsets: defaultdict[str, list[int]] = defaultdict(list)
        self.away = [False, False]
        self.everyone: list[Person] = []
        self.numbers = iter(range(10**9))

    # -- the model

    def lost(self, offset: int) -> bool:
        record = self.log[offset]
        return record.truncated or self.expired(offset)

    def expired(self, offset: int) -> bool:
        return self.log[offset].time < self.world.now - AGE * 1000

    def add(self, id: str | None) -> None:
        """What a reader makes of one more record."""
        first = None
        if id is not None:
            oldest = len(self.log) - WINDOW
            first = next((o for o in self.offsets[id] if o >= oldest), None)
            self.offsets[id].append(len(self.log))
        self.log.append(Record(id, self.world.now, first))

    def messages(self, start: int, stop: int | None = None) -> list[int]:
        """Offsets of messages after ``start`` and before ``stop``."""
        end = len(self.log) if stop is None else stop
        return [
            o
            for o in range(start + 1, end)
            if self.log[o].id is not None and self.log[o].repeats is None
        ]

    def kept(self, prefix: str, back: int) -> str | None:
        """The id of a message well within the window, ``back`` messages ago."""
        if any(record.truncated for record in self.log[-WINDOW:]):
            return None  # a node that has just begun to follow the room may not know it
        recent = self.messages(max(-1, len(self.log) - WINDOW + 50))
        ids = [str(self.log[o].id) for o in recent if not self.lost(o)]
        ids = [id for id in ids if id.startswith(prefix)]
        return ids[-back] if len(ids) >= back else None

    # -- writing

    @rule(node=NODES, number=st.sampled_from([1, 1, 2, 5, 140]))
    def publish(self, node: int, number: int) -> None:
        for _ in range(number):
            id = f"m{next(self.numbers)}"
            chat = self.world.sites[node].chat
            outcome = self.world.begin(publish(chat, "ann", "lobby", id, id))
            self._wait(outcome)
            if isinstance(outcome[0], Failure):
                assert self.away[node], "refused although the broker is there"
                self._unavailable(outcome[0])
                return
            self.add(id)

    @rule(node=NODES, back=st.integers(1, 30))
    def publish_again(self, node: int, back: int) -> None:
        id = self.kept("m", back)
        if id is not None and not self.away[node]:
            chat = self.world.sites[node].chat
            publishing = publish(chat, "ann", "lobby", id, id)
            assert not self.world.do(publishing).new

    @rule(number=st.sampled_from([1, 3, 600]))
    def burst(self, number: int) -> None:
        """Another program writes many at once."""
        for _ in range(number):
            self._store(f"b{next(self.numbers)}")
        self.world.turn()

    def _store(self, id: str) -> None:
        body = Content("raw", id, id).record(self.world.now)
        self.world.broker.store(self.world.stream(), body, self.world.now)
        self.add(id)

    @rule()
    def foreign(self) -> None:
        self.world.foreign("lobby", b"no message")
        self.add(None)

    @rule(back=st.integers(1, 700))
    def repetition(self, back: int) -> None:
        id = self.kept("b", back)
        if id is not None:
            self._store(id)
            self.world.turn()

    @rule(node=NODES, stored=st.booleans())
    def interrupted_in_the_middle(self, node: int, stored: bool) -> None:
        if self.away[node]:
            return
        self.world.room(node=node)
        id = f"m{next(self.numbers)}"
        chat = self.world.sites[node].chat
        outcome = self.world.begin(publish(chat, "ann", "lobby", id, id))
        assert not outcome
        if stored:
            self.add(id)
        self.world.sites[node].broker.interrupt(stored)
        self.away[node] = True
        self._wait(outcome)
        assert outcome[0].value.code is Code.UNAVAILABLE

    def _unavailable(self, failure: Failure) -> None:
        error = failure.value
        assert isinstance(error, ChatError)
        assert error.code is Code.UNAVAILABLE

    def _wait(self, outcome: list[Any]) -> None:
        self.world.turn()
        for _ in range(60):
            if outcome:
                return
            self.world.advance(0.25)
        raise AssertionError("not within 15 s")

    # -- the broker

    @rule(node=NODES)
    def interrupt(self, node: int) -> None:
        if not self.away[node]:
            self.world.sites[node].broker.interrupt()
            self.away[node] = True
            self.world.turn()

    @precondition(lambda self: any(self.away))
    @rule()
    def resume(self) -> None:
        for node, site in enumerate(self.world.sites):
            if self.away[node]:
                site.broker.resume()
                self.away[node] = False
        self.world.advance(2)

    @rule(share=st.floats(0, 1))
    def truncate(self, share: float) -> None:
        before = int(len(self.log) * share)
        self.world.broker.truncate(self.world.stream(), before)
        for record in self.log[:before]:
            record.truncated = True

    @rule(seconds=st.sampled_from([1, 6, 40, 101]))
    def time_passes(self, seconds: int) -> None:
        self.advance_slowly(seconds)

    # -- reading

    @rule(
        target=people,
        node=NODES,
        how=st.sampled_from(["now", "start", "last", "since"]),
        n=st.sampled_from([0, 1, 7, 600]),
    )
    def join(self, node: int, how: str, n: int) -> Any:
        person = Person(f"p{next(self.numbers)}", -1, node=node)
        start: Start = Now()
        since = self.world.now - n * 100
        if how == "start":
            start = After(Cursor(self.world.stream().epoch, -1))
        elif how == "last":
            start = Last(n)
        elif how == "since":
            start = Since(since)
        if not self._connect(person, start):
            return multiple()
        assert person.cursor is not None
        if how != "start":
            person.start = person.cursor.offset
        if how == "last":
            self._check_last(person.start, n)
        if how == "since":
            for offset in self.messages(-1, person.start + 1):
                assert self.log[offset].time < since or self.lost(offset), "since skipped it"
        self.everyone.append(person)
        self._flow(person)
        return person

    def _check_last(self, start: int, n: int) -> None:
        after = [o for o in self.messages(start) if not self.expired(o)]
        if not any(self.away):
            assert len(after) <= n, "more than asked for"
            if len(after) < n:
                assert all(self.lost(o) for o in self.messages(-1, start + 1))

    def _connect(self, person: Person, start: Start) -> bool:
        session, reader = self.world.session(person.name, person.node)
        outcome = self.world.begin(session.join("lobby", reader, start))
        self._wait(outcome)
        joined = outcome[0]
        if isinstance(joined, Failure):
            self._unavailable(joined)
            assert self.away[person.node], "refused although the broker is there"
            session.close()
            return False
        assert joined is not None
        person.reader, person.seen = reader, 0
        person.reader.joined = joined
        person.reader.session = session
        person.cursor = joined.cursor
        if joined.gap:
            person.history.append(GAP)
        return True

    def _flow(self, person: Person) -> None:
        assert person.reader is not None
        person.reader.subscription.resume()
        self.world.turn()

    @rule(person=people)
    def stall(self, person: Person) -> None:
        if person.reader is not None:
            person.reader.stall()

    @rule(person=people, most=st.sampled_from([None, 0, 1, 2]))
    def read_on(self, person: Person, most: int | None) -> None:
        if person.reader is not None:
            person.reader.read_on(most)
            self.world.turn()

    @rule(
        person=people,
        number=st.sampled_from([2, 600]),
        seconds=st.sampled_from([0, 60, 101]),
        share=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
        most=st.sampled_from([None, 1]),
    )
    def nap(
        self, person: Person, number: int, seconds: int, share: float, most: int | None
    ) -> None:
        """What a stalled reader may meet, in the order in which it hurts."""
        self.stall(person)
        self.burst(number)
        self.advance_slowly(seconds)
        self.truncate(share)
        self.burst(1)
        self.read_on(person, most)

    def advance_slowly(self, seconds: int) -> None:
        self.world.advance(seconds)
        self.histories_are_the_lists()

    @rule(person=people)
    def disconnect(self, person: Person) -> None:
        if person.reader is not None:
            self.look(person)
            person.reader.session.close()
            person.reader = None

    @rule(person=people, node=NODES, stalled=st.booleans())
    def come_back(self, person: Person, node: int, stalled: bool) -> None:
        self.disconnect(person)
        person.node = node
        assert person.cursor is not None
        if self._connect(person, After(person.cursor)):
            assert person.reader is not None
            person.reader.writable = not stalled
            self._flow(person)

    # -- what must hold

    def look(self, person: Person) -> None:
        """Note what a person was given since the last look."""
        reader = person.reader
        if reader is None:
            return
        for frame in reader.frames[person.seen :]:
            if frame["type"] == "gap":
                person.history.append(GAP)
                person.cursor = Cursor.parse(frame["cursor"])
            elif frame["type"] == "message":
                cursor = Cursor.parse(frame["cursor"])
                record = self.log[cursor.offset]
                assert record.id == frame["id"], frame
                assert record.repeats is None or self.lost(record.repeats), "a repetition"
                person.history.append(cursor.offset)
                person.cursor = cursor
        person.seen = len(reader.frames)

    @invariant()
    def histories_are_the_lists(self) -> None:
        for person in getattr(self, "everyone", ()):
            self.look(person)
            self._check(person)

    def _check(self, person: Person) -> None:
        at, gap = person.start, False
        for offset in person.history:
            if offset == GAP:
                gap = True
                continue
            assert offset > at, "twice, or out of order"
            self._between(at, offset, gap)
            at, gap = offset, False

    def _between(self, at: int, offset: int, gap: bool) -> None:
        skipped = self.messages(at, offset)
        if gap:
            assert all(self.lost(o) for o in skipped), "a gap hides what is kept"
            assert any(self.lost(o) for o in range(at + 1, offset)), "a gap where nothing is gone"
        else:
            assert skipped == [], f"missed {len(skipped)} messages without a word"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.resume()
        for person in self.everyone:
            if person.reader is None:
                assert person.cursor is not None
                assert self._connect(person, After(person.cursor))
            assert person.reader is not None
            person.reader.read_on()
        self.world.advance(2)
        self.histories_are_the_lists()
        for person in self.everyone:
            assert person.reader is not None
            assert person.reader.state is SubscriptionState.LIVE
            given = [o for o in person.history if o != GAP]
            at = given[-1] if given else person.start
            missing = self.messages(at)
            if person.history[-1:] != [GAP]:
                assert missing == [], f"never given {len(missing)}"
            assert all(self.lost(o) for o in missing), "never given what is kept"


RoomTests = RoomMachine.TestCase
RoomTests.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
