"""Messages that expire, and their ids with them."""

from __future__ import annotations

from typing import Any
from unittest import mock

from chatd.brokers.interfaces import Retention
from chatd.protocol.messages import Content
from chatd.rooms.start_position import Last, Since
from tests.support.rooms import RoomCase


class ExpiryTests(RoomCase):
    def make(self, **more: Any) -> None:
        super().make(**({"retention": Retention(age=100)} | more))

    def test_an_id_expires_with_its_message(self) -> None:
        """To who publishes, and to who reads what other programs wrote."""
        bob = self.join()
        self.world.say("lobby", "one", id="k")
        self.world.store("lobby", "two")
        self.world.advance(99.9)
        self.assertFalse(self.world.say("lobby", "again", id="k"))
        self.world.store("lobby", "two")
        self.assertEqual(bob.texts, ["one", "two"])
        self.world.advance(100.1)
        self.assertTrue(self.world.say("lobby", "anew", id="k"))
        self.world.store("lobby", "two")
        self.assertEqual(bob.texts, ["one", "two", "anew", "two"])

    def test_never_served_late(self) -> None:
        self.join("keeper")
        self.world.say("lobby", "old")
        self.world.advance(60)
        self.world.say("lobby", "new")
        self.world.advance(39.9)
        self.assertEqual(self.resumed(), ["old", "new"])
        self.world.advance(0.2)
        for start in (Last(10), Since(0)):
            self.assertEqual(self.world.join("lobby", "x", start).texts, ["new"], start)
        late = self.join("late", -1)
        self.assertEqual(late.texts, ["new"])
        self.assertTrue(late.joined is not None and late.joined.gap)
        self.world.advance(60)
        self.assertEqual(self.world.join("lobby", "x", Last(10)).texts, [])

    def test_who_has_read_what_expired_is_told_of_no_gap(self) -> None:
        bob = self.join("bob")
        self.world.say("lobby", "old")
        self.world.advance(101)
        self.world.say("lobby", "new")
        again = self.world.resume("lobby", bob)
        self.assertEqual(again.texts, [])
        self.assertTrue(again.joined is not None and not again.joined.gap)

    def test_expired_behind_a_stalled_reader(self) -> None:
        bob = self.join("bob", stalled=True)
        self.world.say("lobby", "old")
        self.world.advance(101)
        self.world.say("lobby", "new")
        bob.read_on()
        self.world.turn()
        self.assertEqual(bob.texts, ["GAP", "new"])

    def test_expired_while_the_broker_was_away(self) -> None:
        # this broker still has them, as one that drops whole segments would
        bob = self.join("bob")
        broker = self.world.broker
        with mock.patch("chatd.brokers.memory.log.MemoryLog.trim_age"):
            broker.interrupt()
            past = self.world.now - 101_000
            stored = [Content("a", f"m{n}", f"m{n}").record(past) for n in range(2)]
            for body in stored:
                broker.store(self.world.stream(), body, self.world.now)
            broker.store(self.world.stream(), Content("a", "n", "new").record(self.world.now), 0)
            with mock.patch(
                "chatd.brokers.memory.log.MemoryLog.since",
                lambda log, start, stop, now: [
                    e.record for e in log.entries[log.at_offset(start) :]
                ],
            ):
                broker.resume()
                self.world.turn()
        self.assertEqual(bob.texts, ["GAP", "new"])

    def test_a_message_that_has_expired_when_it_comes_is_shown_to_nobody(self) -> None:
        bob = self.join("bob")
        self.world.store("lobby", "one")
        self.world.store("lobby", "ancient", time=self.world.now - 101_000)
        self.world.store("lobby", "two")
        self.assertEqual(bob.texts, ["one", "GAP", "two"])
        self.assertEqual(self.resumed(), ["one", "GAP", "two"])

    def test_expired_while_the_process_stood_still(self) -> None:
        bob = self.join("bob")
        self.world.say("lobby", "one")
        stream, broker = self.world.stream(), self.world.broker
        for text in ("late", "later"):
            broker.store(stream, Content("a", text, text).record(self.world.now), self.world.now)
        self.world.clock.rightNow += 101  # what is due comes after it, as when a process is thawed
        broker.store(stream, Content("a", "new", "new").record(self.world.now), self.world.now)
        self.world.turn()
        self.assertEqual(bob.texts, ["one", "GAP", "new"])
        self.assertEqual(self.world.resume("lobby", bob).texts, [])

    def test_a_node_that_attaches_serves_nothing_expired(self) -> None:
        self.world.store("lobby", "a", "b")
        self.world.advance(101)
        self.assertEqual(self.world.join("lobby", "x", Last(10)).texts, [])
        late = self.join("late", -1)
        self.assertTrue(late.joined is not None and late.joined.gap)
        self.world.say("lobby", "c")
        self.assertEqual(late.texts, ["c"])
