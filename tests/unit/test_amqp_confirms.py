"""Publishing in confirm mode: one write, every outcome told, everything bounded."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp import confirms
from chatd.amqp.codec import decode_properties, encode_properties
from chatd.amqp.confirms import ConfirmChannel, NotConfirmed, Unroutable, pack_address
from tests.support.amqp_server import Server, content, method_frame


class ConfirmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server().tuned(frame_max=4096)
        self.publisher = self.open()

    def open(self, **limits: Any) -> ConfirmChannel:
        opening = Deferred.fromCoroutine(self.server.client.open_publisher(**limits))
        number = self.server.heard()[-1][0]
        self.server.say(number, "channel.open-ok")
        self.assertEqual(self.server.names(), ["confirm.select"])
        self.server.say(number, "confirm.select-ok")
        return self.successResultOf(opening)

    def publish(self, id: str = "i", key: str = "k", body: bytes = b"x") -> Deferred[None]:
        properties = encode_properties({"message-id": id})
        address = pack_address("chatd", key, True)
        return self.publisher.publish(address, key, properties, body, id)

    def returned(self, id: str = "i", key: str = "k") -> bytes:
        said = method_frame(
            1, "basic.return", reply_code=312, reply_text="NO_ROUTE", routing_key=key
        )
        return said + b"".join(content(1, b"body", {"message-id": id}, pieces=2))

    def test_the_frames(self) -> None:
        body = "größe".encode() * 1000
        self.publish("i1", "raum-ü", body)
        data = self.server.transport.value()
        [(channel, name, args)] = self.server.heard()
        self.assertEqual((channel, name), (1, "basic.publish"))
        self.assertEqual((args["exchange"], args["routing_key"]), ("chatd", "raum-ü"))
        self.assertEqual((args["mandatory"], args["immediate"]), (True, False))
        frames = []
        while data:
            size = int.from_bytes(data[3:7])
            self.assertLessEqual(size + 8, 4096, "as the broker asked")
            self.assertEqual(data[7 + size], 0xCE)
            frames.append((data[0], data[7 : 7 + size]))
            data = data[8 + size :]
        header = frames[1][1]
        self.assertEqual(header[:4] + header[4:12], b"\0\x3c\0\0" + len(body).to_bytes(8))
        self.assertEqual(decode_properties(header[12:]), {"message-id": "i1"})
        self.assertEqual([kind for kind, _ in frames[:2]], [1, 2])
        self.assertEqual({kind for kind, _ in frames[2:]}, {3})
        self.assertEqual(b"".join(part for _, part in frames[2:]), body)

    def test_an_empty_body_has_no_frame(self) -> None:
        self.publish(body=b"")
        self.assertNotIn(b"\xce\x03\0\x01", self.server.sent())

    def test_confirmed_one_by_one_and_together(self) -> None:
        done = [self.publish() for _ in range(6)]
        self.server.say(1, "basic.ack", delivery_tag=2, multiple=False)
        self.successResultOf(done[1])
        self.assertNoResult(done[0])
        self.server.say(1, "basic.ack", delivery_tag=4, multiple=True)
        for one in (done[0], done[2], done[3]):
            self.successResultOf(one)
        self.assertNoResult(done[4])
        self.server.say(1, "basic.ack", delivery_tag=6, multiple=True)
        # what the broker confirms twice, or never got, is no harm
        self.server.say(1, "basic.ack", delivery_tag=6, multiple=False)
        self.server.say(1, "basic.ack", delivery_tag=60, multiple=True)
        self.assertFalse(self.server.transport.aborted)

    def test_refused(self) -> None:
        done = [self.publish() for _ in range(3)]
        self.server.say(1, "basic.nack", delivery_tag=2, multiple=True)
        for one in done[:2]:
            self.failureResultOf(one, NotConfirmed)
        self.assertNoResult(done[2])
        self.server.say(1, "basic.nack", delivery_tag=3)
        self.failureResultOf(done[2], NotConfirmed)

    def test_returned(self) -> None:
        done = [self.publish(id, key) for id, key in (("a", "x"), ("a", "y"), ("b", "y"))]
        self.server.send(self.returned("a", "y"))
        self.assertNoResult(done[1])
        self.server.say(1, "basic.ack", delivery_tag=3, multiple=True)
        self.successResultOf(done[0])
        self.failureResultOf(done[1], Unroutable)
        self.successResultOf(done[2])

    def test_the_same_returned_twice(self) -> None:
        done = [self.publish() for _ in range(3)]
        self.server.send(self.returned(), self.returned())
        self.server.say(1, "basic.ack", delivery_tag=3, multiple=True)
        self.failureResultOf(done[0], Unroutable)
        self.failureResultOf(done[1], Unroutable)
        self.successResultOf(done[2])

    def test_a_return_of_something_else(self) -> None:
        done = self.publish()
        self.server.send(self.returned("other"))
        self.server.say(1, "basic.ack", delivery_tag=1)
        self.successResultOf(done)

    def test_not_in_time(self) -> None:
        early = self.publish()
        self.server.clock.advance(6)
        late = self.publish()
        self.server.clock.advance(4)
        self.failureResultOf(early, NotConfirmed)
        self.assertNoResult(late)
        self.server.say(1, "basic.ack", delivery_tag=2, multiple=True)
        self.successResultOf(late)

    def test_a_bounded_number(self) -> None:
        self.publisher = self.open(limit=3)
        done = [self.publish() for _ in range(3)]
        self.failureResultOf(self.publish(), NotConfirmed)
        self.server.say(2, "basic.ack", delivery_tag=1)
        self.successResultOf(done[0])
        self.assertNoResult(self.publish())
        self.publisher = self.open(limit=3)
        self.failureResultOf(self.publish(), NotConfirmed)

    def test_a_bounded_size(self) -> None:
        self.patch(confirms, "MOST_BYTES", 1000)
        done = [self.publish(body=b"x" * 600) for _ in range(2)]
        self.failureResultOf(self.publish(), NotConfirmed)
        first, self.publisher = self.publisher, self.open()
        self.failureResultOf(self.publish(), NotConfirmed)
        self.server.say(1, "basic.ack", delivery_tag=2, multiple=True)
        self.successResultOf(done[1])
        large = self.publish(body=b"x" * 1001)
        self.publisher, other = first, self.publisher
        self.failureResultOf(self.publish(), NotConfirmed)
        closing = Deferred.fromCoroutine(self.server.client.close_publisher(other))
        self.server.say(2, "channel.close-ok")
        self.successResultOf(closing)
        self.failureResultOf(large, NotConfirmed)
        self.assertNoResult(self.publish())

    def test_the_connection_goes(self) -> None:
        done = self.publish()
        self.server.lose()
        self.failureResultOf(done, NotConfirmed)
        self.failureResultOf(self.publish(), NotConfirmed)
        self.assertEqual(self.server.clock.getDelayedCalls(), [])

    def test_the_channel_goes(self) -> None:
        closed: list[object] = []
        self.publisher = self.open(closed=closed.append)
        done = self.publish()
        self.server.say(2, "channel.close", reply_code=404, reply_text="NOT_FOUND - no exchange")
        self.assertIn("no exchange", str(self.failureResultOf(done, NotConfirmed).value))
        self.failureResultOf(self.publish(), NotConfirmed)
        self.assertEqual(len(closed), 1)
