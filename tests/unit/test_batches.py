"""What an audience hands over at once, and how much it keeps for those whose turn is later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from chatd.net.socket_group import SharedRing
from chatd.protocol.cursors import Cursor
from chatd.protocol.messages import Message
from chatd.rooms import audience
from chatd.rooms.audience import Audience
from tests.support.world import Lines


class BatchesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(audience, "GROUP", 2)
        self.patch(audience, "BATCH_BYTES", 1000)
        self.patch(audience, "WAITING_BYTES", 1000)
        self.encoding = Lines()
        self.waiting: list[Callable[[], None]] = []
        turns = mock.Mock()
        turns.add.side_effect = self.waiting.append
        self.audience = Audience(turns, SharedRing(), mock.Mock())
        self.said = 0

    def join(self, count: int) -> list[list[int]]:
        """So many join; how many messages each gets in each of its writes."""
        return [self._join()[1] for _ in range(count)]

    def _join(self) -> tuple[Any, list[int]]:
        writes: list[int] = []

        def send(data: bytes) -> int:
            writes.append(data.count(b"\n"))
            return len(data)

        one = mock.Mock()
        one.subscriber.encoding, one.subscriber.send = self.encoding, send
        self.audience.add(one)
        return one, writes

    def say(self, *sizes: int) -> None:
        """Messages of so many bytes come, together."""
        new: Sequence[Message] = [
            Message(Cursor("e", self.said + n), f"m{n}", "ann", "hi", 0, b"x" * size)
            for n, size in enumerate(sizes)
        ]
        self.said += len(new)
        self.audience.send(new)

    def turn(self) -> None:
        """One turn of the reactor."""
        waiting = self.waiting.copy()
        self.waiting.clear()
        for call in waiting:
            call()


class WrittenTests(BatchesCase):
    def test_as_many_at_once_as_may_be(self) -> None:
        """One message is never divided."""
        [writes] = self.join(1)
        self.say(400, 400, 200, 1, 1200, 500, 500, 1)
        self.assertEqual(writes, [3, 1, 1, 2, 1])
        self.say(1200)
        self.say(600, 600)
        self.assertEqual(writes[5:], [1, 1, 1])

    def test_in_order_to_who_waits_when_the_others_leave(self) -> None:
        first = [self._join()[0] for _ in range(2)]
        [last] = self.join(1)
        self.say(10)
        self.assertEqual(last, [])
        for one in first:
            self.audience.remove(one)
        self.say(10)
        self.assertEqual(last, [], "it has yet to get the first one")
        self.turn()
        self.assertEqual(last, [2])

    def test_groups_of_one_share_a_turn(self) -> None:
        gone, left = [], []
        for _ in range(4):
            gone.append(self._join()[0])
            left.append(self._join()[1])
        for one in gone:
            self.audience.remove(one)
        self.say(10)
        self.assertEqual(left, [[1], [1], [], []])
        self.turn()
        self.assertEqual(left, [[1]] * 4)


class KeptTests(BatchesCase):
    """With more than `WAITING_BYTES` nobody waits."""

    def test_until_it_is_too_much(self) -> None:
        groups = self.join(6)
        self.say(500)
        self.say(500)
        self.assertEqual(groups, [[1]] * 2 + [[]] * 4)
        self.say(1)
        self.assertEqual([sum(writes) for writes in groups], [3] * 6)
        self.assertEqual(self.audience._messages, [])
        self.turn()
        self.say(1000)
        self.assertEqual([sum(writes) for writes in groups], [4] * 2 + [3] * 4)

    def test_what_all_have_had_does_not_count(self) -> None:
        groups = self.join(4)
        for n in range(20):
            self.say(400)
            sent = sum(sum(writes) for writes in groups)
            self.turn()
            more = sum(sum(writes) for writes in groups) - sent
            self.assertLessEqual(more, 4, (n, "all were served in one turn"))

    def test_what_only_some_have_had_does(self) -> None:
        groups = self.join(6)
        for _ in range(2):
            self.say(100)
        self.turn()
        self.turn()
        self.say(400)
        self.say(500)
        self.assertNotEqual(len({sum(writes) for writes in groups}), 1)
        self.say(101)
        self.assertEqual({sum(writes) for writes in groups}, {5})
