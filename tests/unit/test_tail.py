"""The newest records of a stream are found from its end backwards, in few steps."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.deliveries import Delivery
from chatd.brokers.rabbitmq.records import FENCE
from chatd.brokers.rabbitmq.tail import Tail

WANTED = 100


def record(offset: int) -> Delivery:
    return Delivery(offset, b"x", b"", b"key")


def fence(offset: int) -> Delivery:
    return Delivery(offset, b"", FENCE, b"key")


class TailTests(SynchronousTestCase):
    def gather(self, stream: list[Delivery], chunk: int) -> tuple[Tail, list[int]]:
        """What is gathered of ``stream``, whose last chunk has so many, and where each step
        began."""
        tail, starts = Tail(WANTED), []
        tail.gathered = stream[-chunk:]
        while (start := tail.next_start()) is not None:
            self.assertEqual(tail.gathered, [])
            starts.append(start)
            tail.gathered = [one for one in stream if one.offset >= start]
        return tail, starts

    def test_the_last_chunk_has_enough(self) -> None:
        stream = [record(n) for n in range(1000)]
        tail, starts = self.gather(stream, WANTED)
        self.assertEqual((tail.gathered, starts), (stream[-WANTED:], []))

    def test_the_last_chunk_is_small(self) -> None:
        for chunk in (1, WANTED - 1):
            stream = [record(n) for n in range(1000)]
            tail, starts = self.gather(stream, chunk)
            self.assertEqual(len(starts), 1)
            self.assertTrue(WANTED <= len(tail.gathered) < 2 * WANTED, len(tail.gathered))
            self.assertEqual(tail.gathered[-1], stream[-1])

    def test_a_short_stream(self) -> None:
        for number in (1, 2, WANTED - 1, WANTED):
            stream = [record(n) for n in range(number)]
            tail, starts = self.gather(stream, 1)
            self.assertEqual(tail.gathered, stream)
            self.assertLessEqual(len(starts), 1)

    def test_of_what_retention_has_left(self) -> None:
        stream = [record(n) for n in range(10_000, 10_010)]
        tail, starts = self.gather(stream, 1)
        self.assertEqual(tail.gathered, stream)
        self.assertLessEqual(len(starts), 2)

    def test_among_offsets_that_skip_and_fences(self) -> None:
        """Neither counts as a record; a further step is made where there are too few."""
        stream = [fence(n) if n % 3 else record(n) for n in range(0, 3000, 2)]
        tail, starts = self.gather(stream, 1)
        records = [one for one in tail.gathered if one.body]
        self.assertGreaterEqual(len(records), WANTED)
        self.assertEqual(tail.gathered, stream[-len(tail.gathered) :])
        self.assertEqual(starts, sorted(starts, reverse=True))
        self.assertLessEqual(len(starts), 4)

    def test_behind_very_many_fences(self) -> None:
        stream = [record(n) for n in range(1000)] + [fence(n) for n in range(1000, 50_000)]
        tail, starts = self.gather(stream, 1)
        self.assertGreaterEqual(sum(1 for one in tail.gathered if one.body), WANTED)
        self.assertLess(sum(50_000 - start for start in starts), 4 * 50_000)
