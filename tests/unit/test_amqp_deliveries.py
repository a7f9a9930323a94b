"""Deliveries through the hot path: whole or in pieces, batched, exact; and every kind of junk."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from chatd.amqp.codec import ProtocolError
from chatd.amqp.deliveries import ACKNOWLEDGED, MAX_BODY, Delivery, stream_offset
from chatd.amqp.frames import FRAME_MAX, LARGEST
from tests.support.amqp_server import Consuming, content, delivery, frame, method_frame


class DeliveryTests(Consuming):
    def test_one_batch_and_one_acknowledgement_a_read(self) -> None:
        frames = [f for n in range(5) for f in delivery(1, "c", n + 1, b"%d" % n, 100 + n)]
        self.server.send(*frames)
        self.assertEqual(len(self.batches), 1)
        self.assertEqual([one.offset for one in self.batches[0]], [100, 101, 102, 103, 104])
        self.assertEqual(self.bodies, [b"0", b"1", b"2", b"3", b"4"])
        self.assertEqual(
            self.server.heard(), [(1, "basic.ack", {"delivery_tag": 5, "multiple": True})]
        )

    def test_acknowledgements_that_may_wait(self) -> None:
        """They wait for so many deliveries, for a second, or until they are asked for."""
        client = self.server.client
        client.deliveries.slacken(1, 3)
        clock, end = self.server.clock, ACKNOWLEDGED

        def deliver(*tags: int) -> list[int]:
            self.server.send(*[f for n in tags for f in delivery(1, "c", n, b"x", 100 + n)])
            return [args["delivery_tag"] for _, _, args in self.server.heard()]

        self.assertEqual([deliver(1), deliver(2, 3), len(self.batches)], [[], [], 2])
        self.assertEqual(deliver(4), [4])
        self.assertEqual([deliver(5), deliver(6, 7)], [[], []])
        self.server.clock.advance(end)
        self.assertEqual([args["delivery_tag"] for _, _, args in self.server.heard()], [7])
        self.assertEqual([*clock.getDelayedCalls(), *deliver(8, 9)], [])
        client.deliveries.acknowledge()
        self.assertEqual([args["delivery_tag"] for _, _, args in self.server.heard()], [9])
        self.server.clock.advance(end)
        self.assertEqual([self.server.heard(), clock.getDelayedCalls()], [[], []])
        self.assertEqual(deliver(10), [])
        self.server.lose()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_channel_of_the_same_number_begins_anew(self) -> None:
        self.server.client.deliveries.slacken(1, 3)
        self.server.send(*[f for n in range(1, 4) for f in delivery(1, "c", n, b"x", n)])
        self.server.client.deliveries.close_channel(1)
        self.server.client.deliveries.open_channel(1)
        self.consume(self.channel, "d", self.batches.append)
        self.server.send(*delivery(1, "d", 1, b"x", 7))
        [(_, _, args)] = self.server.heard()
        self.assertEqual(args["delivery_tag"], 1, "it has no slack, and nothing was taken")

    def test_bodies_are_bytes_and_exact(self) -> None:
        for n, body in enumerate(("zwölf".encode(), b"\xff\xfe\xce", b"", b"\xce" * 9, b"\0")):
            for pieces in (1, 3):
                with self.subTest(body=body, pieces=pieces):
                    self.server.send(*delivery(1, "c", n + 1, body, n, pieces=pieces))
                    self.assertEqual(self.bodies[-1], body)
                    self.server.send(*delivery(1, "c", n + 1, b"next"))
                    self.assertEqual(self.bodies[-1], b"next")

    def test_byte_by_byte(self) -> None:
        data = b"".join(
            delivery(1, "c", 1, b"one", 1) + delivery(1, "c", 2, b"", 2) + delivery(1, "c", 3, b"3")
        )
        for n in range(len(data)):
            self.server.send(data[n : n + 1])
        self.assertEqual(self.bodies, [b"one", b"", b"3"])

    @given(st.lists(st.integers(1, 200), min_size=1, max_size=30))
    def test_cut_anywhere(self, cuts: list[int]) -> None:
        self.setUp()
        data = b"".join(
            [f for n in range(9) for f in delivery(1, "c", n, bytes([n]) * n * 9, n, None, 2)]
        )
        for cut in cuts:
            self.server.send(data[:cut])
            data = data[cut:]
        self.server.send(data)
        self.assertEqual(self.bodies, [bytes([n]) * n * 9 for n in range(9)])

    def test_channels_may_interleave(self) -> None:
        other = self.server.channel()
        others: list[list[Delivery]] = []
        self.consume(other, "d", others.append)
        one, two = delivery(1, "c", 1, b"one" * 9, 1, None, 3), delivery(2, "d", 1, b"two" * 9)
        self.server.send(one[0], two[0], one[1], two[1], one[2], *two[2:], *one[3:])
        self.assertEqual(self.bodies, [b"one" * 9])
        self.assertEqual([b.body for batch in others for b in batch], [b"two" * 9])
        self.assertEqual({channel for channel, _, _ in self.server.heard()}, {1, 2})

    def test_properties(self) -> None:
        given = {
            "content-type": "text/plain",
            "content-encoding": "x",
            "headers": {"user": "jürgen", "zz": 1},
            "app-id": "other",
        }
        self.server.send(*delivery(1, "c", 1, b"x", 77, given))
        [[got]] = self.batches
        self.assertEqual(got.offset, 77)
        self.assertEqual(got.properties()["headers"]["user"], "jürgen")
        self.assertEqual(got.properties()["app-id"], "other")

    def test_what_is_no_stream_has_no_offset(self) -> None:
        self.server.send(*delivery(1, "c", 1, b"x"))
        self.server.send(*delivery(1, "c", 2, b"x", None, {"headers": {"a": 1}}))
        fake = {"headers": {"a": "\x0fx-stream-offsetl" + "\0" * 8}}
        self.server.send(*delivery(1, "c", 3, b"x", None, fake))
        self.assertEqual([batch[0].offset for batch in self.batches], [-1, -1, -1])

    def test_headers_a_little_too_large(self) -> None:
        """RabbitMQ adds its own to a header frame that is as large as may be already."""
        size = FRAME_MAX - 40
        frames = delivery(1, "c", 1, b"x", 5, {"headers": {"a": "x" * size}})
        self.assertGreater(len(frames[1]), FRAME_MAX)
        self.server.send(*frames, *delivery(1, "c", 2, b"y", 6))
        for one in (*delivery(1, "c", 3, b"x", 7, {"headers": {"a": "x" * size}}),):
            self.server.send(one)
        got = [one for batch in self.batches for one in batch]
        self.assertEqual([(one.offset, one.body) for one in got], [(5, b"x"), (6, b"y"), (7, b"x")])
        with self.assertRaises(ProtocolError):
            got[0].properties()

    def test_headers_of_any_size(self) -> None:
        """A broker may allow others larger frames than us."""
        huge = {"headers": {"a": "x" * 5 * LARGEST}}
        data = b"".join(
            [
                *delivery(1, "c", 1, b"one", 10),
                *delivery(1, "c", 2, b"two", 11, huge),
                *delivery(1, "c", 3, b"", 12, huge),
                *delivery(1, "c", 4, b"four", 13),
            ]
        )
        for step in (len(data), 65_536, 1_000_003, 4099):
            with self.subTest(step=step):
                self.setUp()
                for start in range(0, len(data), step):
                    self.server.send(data[start : start + step])
                got = [one for batch in self.batches for one in batch]
                self.assertEqual([one.offset for one in got], [10, 11, 12, 13])
                self.assertEqual(self.bodies, [b"one", b"two", b"", b"four"])
                self.assertFalse(self.server.transport.aborted)

    def test_headers_nobody_can_read(self) -> None:
        """What another program writes into its headers ends no connection, and hides no offset."""
        offset = b"\x0fx-stream-offsetl" + (7).to_bytes(8)
        deep = b"".join(b"\x01kF" + (6 * n).to_bytes(4) for n in range(40, 0, -1)) + b"\0" * 6
        for n, field in enumerate((b"\x01kA\0\0\0\x02??", b"\x01kF\0\0\0\x01\xff", deep)):
            for table in (offset + field, field + offset):
                with self.subTest(table=table):
                    raw = b"\x20\0" + len(table).to_bytes(4) + table
                    self.assertEqual(stream_offset(raw), 7 if n < 2 or table[0] == 15 else -1)
        for table in (b"\x01k?xx", b"\x01kS\xff\xff\xff\xff", b"\xff"):
            raw = b"\x20\0" + len(table).to_bytes(4) + table
            head = b"\0\x3c\0\0" + (1).to_bytes(8) + raw
            deliver = delivery(1, "c", 1, b"x")[0]
            self.setUp()
            self.server.send(*delivery(1, "c", 1, b"x", 41))
            self.server.send(deliver, frame(2, 1, head), frame(3, 1, b"x"))
            self.assertEqual([batch[0].offset for batch in self.batches], [41, 42])

    def test_the_routing_key(self) -> None:
        self.server.send(*delivery(1, "c", 1, b"x", 1), *delivery(1, "c", 2, b"y" * 9, 2, None, 3))
        self.assertEqual([one.key for batch in self.batches for one in batch], [b"r", b"r"])

    def test_a_huge_body_is_cut_not_kept(self) -> None:
        frames = delivery(1, "c", 1, b"x" * (3 * MAX_BODY), 5, pieces=30)
        for one in frames:
            self.server.send(one)
        self.assertEqual(len(self.bodies[0]), MAX_BODY)

    def test_a_consumer_that_fails_harms_nobody(self) -> None:
        def failing(batch: Sequence[Delivery]) -> None:
            raise RuntimeError("a mistake")

        self.consume(self.channel, "bad", failing)
        self.server.send(*delivery(1, "bad", 1, b"x"), *delivery(1, "c", 2, b"y"))
        self.assertEqual(self.bodies, [b"y"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_cancelling(self) -> None:
        self.server.client.cancel(self.channel, "c")
        self.assertEqual(self.server.names(), ["basic.cancel"])
        self.server.client.cancel(self.channel, "c")
        self.server.send(*delivery(1, "c", 9, b"late"))
        self.assertEqual(self.batches, [])
        # else the broker would keep it for ever
        self.assertEqual(self.server.names(), ["basic.ack"])

    def test_a_consumer_may_cancel_another_of_the_same_batch(self) -> None:
        client = self.server.client
        self.consume(self.channel, "b", lambda batch: client.cancel(self.channel, "c"))
        self.server.send(*delivery(1, "b", 1, b"x"), *delivery(1, "c", 2, b"y"))
        self.assertEqual(self.batches, [])

    def test_the_server_may_cancel(self) -> None:
        self.server.say(1, "basic.cancel", consumer_tag="c", nowait=True)
        self.assertEqual(self.batches, [[]])
        self.server.say(1, "basic.cancel", consumer_tag="c", nowait=True)
        self.assertEqual(self.batches, [[]])

    def test_deliveries_come_before_what_follows_them(self) -> None:
        asking = self.channel.basic_qos(prefetch_count=1)
        seen: list[int] = []
        asking.addCallback(lambda _: seen.append(len(self.batches)))
        self.server.send(*delivery(1, "c", 1, b"x"), method_frame(1, "basic.qos-ok"))
        self.assertEqual(seen, [1])


class JunkTests(Consuming):
    """Whatever comes, the connection ends with a line in the log, and nothing else happens."""

    def check(self, *data: bytes) -> None:
        self.server.send(*data)
        self.assertTrue(self.server.transport.aborted)
        self.assertEqual(self.batches, [])
        self.server.lose()
        self.assertEqual(len(self.server.lost), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_another_protocol(self) -> None:
        self.check(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def test_another_version(self) -> None:
        self.check(b"AMQP\0\0\x09\x01")

    def test_no_end_mark(self) -> None:
        self.check(method_frame(1, "basic.qos-ok")[:-1] + b"\0")

    def test_excessive_size(self) -> None:
        self.check(b"\x01\0\0\xff\xff\xff\xff\0")

    def test_unknown_method(self) -> None:
        self.check(frame(1, 1, b"\0\x3c\0\x01"))

    def test_unopened_channel(self) -> None:
        self.check(method_frame(9, "basic.qos-ok"))

    def test_unasked_reply(self) -> None:
        self.check(method_frame(1, "queue.declare-ok"))

    def test_content_out_of_place(self) -> None:
        self.check(content(1, b"x", {})[0])

    def test_delivery_in_a_delivery(self) -> None:
        self.check(delivery(1, "c", 1, b"x")[0], *delivery(1, "c", 2, b"y"))

    def test_more_body_than_announced(self) -> None:
        self.check(*delivery(1, "c", 1, b"x")[:2], frame(3, 1, b"xyz"))

    def test_two_headers(self) -> None:
        one = delivery(1, "c", 1, b"xy", pieces=2)
        self.check(one[0], one[1], one[1])

    def test_short_delivery(self) -> None:
        self.check(frame(1, 1, b"\0\x3c\0\x3c"))

    def test_short_header(self) -> None:
        self.check(delivery(1, "c", 1, b"x")[0], frame(2, 1, b"\0"))

    def test_excessive_size_of_a_method(self) -> None:
        self.check(b"\x01\0\x01" + (LARGEST + 1).to_bytes(4) + b"\0\x3c\0\x3c")

    def test_excessive_size_of_a_body(self) -> None:
        one = delivery(1, "c", 1, b"x")
        self.check(one[0], one[1], b"\x03\0\x01" + (LARGEST + 1).to_bytes(4) + b"x" * 20)

    def test_excessive_size_out_of_place(self) -> None:
        self.check(b"\x02\0\x01" + (LARGEST + 1).to_bytes(4) + b"x" * 20)

    def test_what_only_clients_say(self) -> None:
        self.check(method_frame(1, "basic.consume"))

    def test_a_second_tune(self) -> None:
        self.check(method_frame(0, "connection.tune"))

    @given(st.binary(max_size=300), st.integers(0, 300))
    def test_anything(self, noise: bytes, place: int) -> None:
        self.setUp()
        good = b"".join(f for n in range(4) for f in delivery(1, "c", n, b"xyz", n))
        self.server.send(good[:place] + noise + good[place:])
        self.server.send(good)
        self.server.lose()
        self.assertEqual(len(self.server.lost), 1)
