"""Other programs' records: what is too long is refused unparsed, and many are handed over in
slices, in order."""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.codec import encode_properties
from chatd.amqp.deliveries import MAX_PROPERTIES, Delivery
from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq import handover
from chatd.brokers.rabbitmq import records as module
from chatd.brokers.rabbitmq.handover import Handover
from chatd.brokers.rabbitmq.reader import StreamReader
from chatd.brokers.rabbitmq.records import FENCE, FEW, SLICE, SLICE_BYTES, records, slices, weight
from chatd.protocol.cursors import Cursor
from chatd.protocol.json import dump
from chatd.protocol.messages import CONTENT_BYTES, BadRecord, read_message
from chatd.timing.turn_queue import TurnQueue
from tests.support.recording import Recorder
from tests.support.turning import Reactor

STREAM = Stream("lobby", "e1")
JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain"}
OWN = {**JSON, "app-id": "chatd"}


def delivery(
    offset: int, body: bytes, properties: dict[str, Any] = JSON, key: bytes = b"lobby"
) -> Delivery:
    """What another program wrote."""
    return Delivery(offset, body, encode_properties(properties), key)


def fence(offset: int) -> Delivery:
    """What chatd writes to an empty stream."""
    return Delivery(offset, b"", FENCE, b"lobby")


def many(first: int, stop: int) -> list[Delivery]:
    """Records of a quarter of a slice each."""
    return [delivery(n, b"x" * (SLICE_BYTES // 4 - 100), TEXT) for n in range(first, stop)]


class ReasonCase(SynchronousTestCase):
    def reason(self, body: bytes, properties: dict[str, Any] = JSON) -> str:
        """Why it is skipped; "" if it is shown."""
        [record] = records([delivery(7, body, properties)], STREAM)
        if record.fault:
            return record.fault
        try:
            read_message("lobby", Cursor("e1", 7), record.body, record.foreign)
        except BadRecord as e:
            return str(e)
        return ""


class ReasonTests(ReasonCase):
    def test_what_can_be_read_and_not_be_written(self) -> None:
        """It lacks no id, since it would get one."""
        for body in (b'{"text":"\\ud800"}', b'{"text":"x","data":{"n":1e999}}'):
            self.assertIn("UTF-8 JSON cannot carry", self.reason(body), body)


class UserTests(SynchronousTestCase):
    def user(self, **properties: Any) -> str:
        """Who wrote a text with these properties."""
        [record] = records([delivery(7, b"hi", {**TEXT, **properties})], STREAM)
        return read_message("lobby", Cursor("e1", 7), record.body, record.foreign).user

    def test_whoever_the_program_says(self) -> None:
        """Under the very name that they have on every transport: else a repeat is not known."""
        for name in ("Ann Smith", "O'Brien", "auth0|abc123"):
            self.assertEqual(self.user(headers={"user": name}), name)
            self.assertEqual(self.user(**{"app-id": name}), name)
        self.assertEqual(self.user(headers={"user": "Bjo\u0308rn"}), "Bj\xf6rn")

    def test_what_is_no_name(self) -> None:
        for name in (" Ann", "Ann  Smith", "", "\u3164", "x" * 65, 5, None):
            self.assertEqual(self.user(headers={"user": name}, **{"app-id": "bot"}), "bot")
            self.assertEqual(self.user(headers={"user": name}), "amqp")


class SizeTests(ReasonCase):
    def test_what_fits_is_shown_however_it_is_written(self) -> None:
        """In escapes it is up to six times as long, and white space is for nothing."""
        for unit in ("a", "\x01", '"', "\\", "\n", " ", "é", "\u4e00", "😀", "\\u", "\\\\n"):
            text = unit * (CONTENT_BYTES // len(unit.encode()))
            record = {"id": "k" * 64, "user": "\u0344" * 32, "text": text}
            escaped = "".join(f"\\u{ord(c):04x}" for c in text if ord(c) < 0x10000)
            for body in (
                json.dumps(record),
                json.dumps(record, ensure_ascii=False),
                json.dumps(record, indent=200_000),
                '{"text":"' + escaped + '"}',
            ):
                self.assertEqual(self.reason(body.encode()), "", body[:300])
            data = {"a": [text[:1000]] * 10 + ["\\" * 1000]}
            body = json.dumps({"text": "x", "data": data}, indent=8)
            self.assertEqual(self.reason(body.encode()), "", body[:300])

    def test_what_does_not_is_not_parsed(self) -> None:
        parsed: list[bytes] = []
        self.patch(module, "load_object", parsed.append)
        dense = b'{"text":"x","data":{"a":[' + b'{"":0},' * 10_000 + b"1]}}"
        content = "Text and data are at most 65536 bytes."
        for properties in (JSON, OWN, {}, {"content-type": "application/x-json"}):
            self.assertEqual(self.reason(dense, properties), content)
        hidden = b'{"text":"' + b"\\\\u" * 20_000 + b'","data":{"a":[' + dense + b"]}}"
        self.assertEqual(self.reason(hidden), content)
        text = "A text is at most 65536 bytes of UTF-8."
        self.assertEqual(self.reason(dense, TEXT), text)
        for body in (b"x", b"[1]", b" 5,", b"\xff"):
            for properties in (TEXT, {}, {"content-type": "a/b"}):
                long = body * (CONTENT_BYTES // len(body) + 1)
                self.assertEqual(self.reason(long, properties), text, (body, properties))
        self.assertEqual(parsed, [])

    def test_to_the_byte(self) -> None:
        for properties in (TEXT, {}):
            self.assertEqual(self.reason(b"x" * CONTENT_BYTES, properties), "")
            self.assertNotEqual(self.reason(b"x" * (CONTENT_BYTES + 1), properties), "")

    def test_properties_that_cannot_be_read(self) -> None:
        """The body is then no message, however good it looks, and is not what is complained of."""
        whole = dump({"id": "m1", "user": "ann", "text": "hi", "time": "2026-01-01T00:00:00.000Z"})
        long = {"headers": {"a": "x" * MAX_PROPERTIES}}
        for body, properties in ((b"hi", TEXT), (whole, JSON), (b"hi", {})):
            why = self.reason(body, {**properties, **long})
            self.assertEqual(why, "Its properties cannot be read: the properties are too long.")

    def test_a_record_that_is_too_long_takes_no_memory(self) -> None:
        long = delivery(3, b"x" * 1024 * 1024)
        self.assertEqual([record.body for record in records([long], STREAM)], [b""])


class SlicesTests(SynchronousTestCase):
    def check(self, batch: list[Delivery]) -> list[int]:
        """The sizes of the slices, which are all of it, in order."""
        parts = slices(batch)
        self.assertEqual([one for part in parts for one in part], batch)
        return [len(part) for part in parts]

    def test_by_number(self) -> None:
        few = [delivery(n, b"x") for n in range(2 * SLICE + 1)]
        self.assertEqual(self.check(few), [SLICE, SLICE, 1])
        self.assertEqual(self.check(few[:SLICE]), [SLICE])
        self.assertEqual(self.check([]), [0])

    def test_by_bytes(self) -> None:
        self.assertEqual(self.check(many(0, 9)), [4, 4, 1])
        huge = delivery(9, b"x" * 1024 * 1024)
        self.assertEqual(self.check([*many(0, 2), huge, huge, *many(0, 2)]), [2, 1, 1, 2])

    def test_by_properties(self) -> None:
        laden = [delivery(n, b"x", {"headers": {"k": "v" * 9000}}) for n in range(3)]
        self.assertEqual(self.check(laden), [1, 1, 1])
        self.assertEqual(weight(Delivery(0, b"x", b"p" * FEW, b"")), 1 + FEW)


class HandoverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Reactor()
        self.turns = TurnQueue(self.clock, 1)
        self.follower, self.handover = self.follow()

    def follow(self) -> tuple[Recorder, Handover]:
        follower = Recorder()
        follower.may_call = True
        return follower, Handover(STREAM, follower, self.turns)

    def offsets(self) -> list[int]:
        return [record.offset for record in self.follower.got]

    def turn(self) -> int:
        """The number of records that are handed over in the next turn."""
        before = len(self.follower.got)
        self.clock.advance(0)
        return len(self.follower.got) - before

    def test_little_is_handed_over_at_once(self) -> None:
        self.handover.take(many(0, 4))
        self.handover.level()
        self.assertEqual(self.follower.calls, ["records", "caught_up"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_more_than_may_wait_waits_no_longer(self) -> None:
        """Another program writes faster than slices are handed over."""
        batch = many(0, 9)
        self.patch(handover, "WAITING_BYTES", sum(weight(one) for one in batch[:5]))
        self.handover.take(batch)
        self.assertEqual(self.offsets(), [*range(4)])
        self.handover.take(many(9, 13))
        self.assertEqual(self.offsets(), [*range(8)])
        self.assertEqual([self.turn(), self.turn(), self.turn()], [4, 1, 0])
        self.handover.take(many(13, 18))
        self.assertEqual(self.offsets(), [*range(13)], "what was handed over does not count")

    def test_much_is_handed_over_in_slices(self) -> None:
        """What comes meanwhile, and what is told, keeps its place."""
        self.handover.take(many(0, 9))
        self.handover.level()
        self.assertEqual((self.offsets(), self.handover.seen), ([], 8))
        self.assertEqual([self.turn(), self.turn()], [4, 4])
        self.handover.take(many(9, 10))
        self.handover.interrupted()
        self.handover.resume()
        self.handover.take(many(12, 13))
        self.assertEqual([self.turn() for _ in range(5)], [1, 1, 1, 0, 0])
        self.assertEqual(self.offsets(), [*range(10), 12])
        self.assertEqual(
            self.follower.calls,
            [*["records"] * 3, "caught_up", "records", "interrupted", "truncated", "records"],
        )
        self.assertEqual(self.follower.ends, [8])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_came_twice_is_handed_over_once(self) -> None:
        self.handover.take(many(0, 9))
        self.handover.resume()
        self.handover.take(many(8, 20))
        for _ in range(6):
            self.turn()
        self.assertEqual(self.offsets(), list(range(20)))

    def test_one_slice_in_a_turn_whoever_follows(self) -> None:
        other, handover = self.follow()
        self.handover.take(many(0, 9))
        handover.take(many(0, 9))
        for turn in range(1, 7):
            self.clock.advance(0)
            self.assertLessEqual(len(self.follower.got) + len(other.got), 4 * turn)
        self.assertEqual((len(self.follower.got), len(other.got)), (9, 9))

    def test_many_small_batches_are_handed_over_together(self) -> None:
        """Else more could come than is handed over."""
        self.handover.take(many(0, 5))
        for n in range(5, 105):
            self.handover.take([delivery(n, b"x", TEXT)])
        self.assertEqual([self.turn(), self.turn()], [4, 101])

    def test_the_tail(self) -> None:
        """The newest so many records; fences do not count."""
        batch = [fence(0), *many(1, 9), fence(9), delivery(10, b"", JSON, b"other"), fence(11)]
        for most, kept in ((3, [7, 8, 10]), (0, []), (99, [*range(1, 9), 10])):
            self.follower, self.handover = self.follow()
            self.handover.take(batch, most)
            self.handover.level()
            for _ in range(4):
                self.turn()
            self.assertEqual((self.offsets(), self.follower.ends), (kept, [10]), most)
            self.assertEqual(self.handover.seen, 11)

    def test_a_stream_of_fences(self) -> None:
        self.handover.take([fence(5), fence(6)])
        self.handover.level()
        self.assertEqual((self.follower.calls, self.follower.ends), (["caught_up"], [4]))

    def test_nothing_comes_after_the_end(self) -> None:
        self.handover.take(many(0, 9))
        self.turn()
        self.handover.stop()
        self.assertEqual([self.turn(), self.turn()], [0, 0])

    def test_a_stream_that_is_gone(self) -> None:
        self.handover.take(many(0, 9))
        self.handover.level()
        self.handover.gone()
        self.handover.stop()
        self.turn()
        self.assertEqual(self.follower.calls, ["gone"])


class Pool:
    """Channels that have read ``gathered``."""

    def __init__(self, gathered: list[Delivery]) -> None:
        self.gathered = gathered

    def run(self, task: object) -> Deferred[list[Delivery]]:
        return succeed(self.gathered)


class ReaderTests(SynchronousTestCase):
    def test_a_range_is_converted_in_slices(self) -> None:
        clock = Reactor()
        turns = TurnQueue(clock, 1)
        one, other = (
            StreamReader(cast(Any, None), cast(Any, Pool(many(0, n))), cast(Any, None), turns)
            for n in (9, 4)
        )
        reading = one.read(STREAM, 0, 9)
        for _ in range(3):
            self.assertNoResult(reading)
            clock.advance(0)
        self.assertEqual(self.successResultOf(reading), records(many(0, 9), STREAM))
        self.assertEqual(len(self.successResultOf(other.read(STREAM, 0, 4))), 4)
