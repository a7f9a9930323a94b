"""The AMQP connection against a broker in memory: every trap of txAMQP, and every kind of junk."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from txamqp.client import ChannelClosed, Closed, ConnectionClosed

from chatd.amqp.channel import printable, reason_of
from chatd.amqp.frames import FRAME_MAX
from tests.support.amqp_server import Consuming, Server, delivery, method_frame


class HandshakeTests(SynchronousTestCase):
    def test_header(self) -> None:
        self.assertEqual(Server().header, b"AMQP\0\0\x09\x01")

    def test_handshake(self) -> None:
        server = Server(heartbeat=20)
        opened = server.client.authenticate("ann", "s3crét", "PLAIN")
        server.say(0, "connection.start", mechanisms="PLAIN AMQPLAIN", server_properties={"a": 1})
        [(_, name, start)] = server.heard()
        self.assertEqual(name, "connection.start-ok")
        self.assertEqual((start["mechanism"], start["response"]), ("PLAIN", "\0ann\0s3crét"))
        capabilities = start["client_properties"]["capabilities"]
        for wanted in ("basic.nack", "publisher_confirms", "consumer_cancel_notify"):
            self.assertIs(capabilities[wanted], True)
        self.assertIs(capabilities["connection.blocked"], True)
        server.say(0, "connection.tune", channel_max=2047, frame_max=0, heartbeat=60)
        [(_, _, tuned), (_, name, open_)] = server.heard()
        self.assertEqual(tuned, {"channel_max": 2047, "frame_max": FRAME_MAX, "heartbeat": 20})
        self.assertEqual((name, open_["virtual_host"]), ("connection.open", "chat"))
        self.assertNoResult(opened)
        server.say(0, "connection.open-ok")
        self.successResultOf(opened)

    def test_heartbeat_is_the_smaller_one(self) -> None:
        for wished, offered, settled in ((20, 5, 5), (5, 20, 5), (0, 60, 0), (20, 0, 20)):
            server = Server(heartbeat=wished)
            self.assertEqual(server.client.tune(0, 4096, offered), (4096, settled))
            server.lose()

    def test_refused(self) -> None:
        server = Server()
        opened = server.client.authenticate("ann", "no", "PLAIN")
        server.say(0, "connection.start", mechanisms="PLAIN")
        server.sent()
        server.say(0, "connection.close", reply_code=403, reply_text="ACCESS_REFUSED - no")
        self.assertEqual(server.names(), ["connection.close-ok"])
        reason = reason_of(self.failureResultOf(opened, Closed))
        self.assertEqual((reason.code, reason.text), (403, "ACCESS_REFUSED - no"))
        self.assertTrue(server.transport.disconnecting)
        server.lose()
        self.assertEqual(server.lost, [reason])

    def test_no_common_mechanism(self) -> None:
        server = Server()
        opened = server.client.authenticate("ann", "no", "PLAIN")
        server.say(0, "connection.start", mechanisms="EXTERNAL")
        self.assertTrue(server.transport.aborted)
        server.lose()
        self.failureResultOf(opened, Closed)
        self.assertIn("EXTERNAL", server.lost[0].text)


class HeartbeatTests(SynchronousTestCase):
    def test_sent_when_nothing_else_was(self) -> None:
        server = Server(heartbeat=10).tuned()
        server.clock.advance(5)
        server.clock.advance(5)
        self.assertEqual(server.sent(), b"\x08\0\0\0\0\0\0\xce")
        server.client.send(b"")
        server.clock.advance(5)
        self.assertEqual(server.sent(), b"")
        server.lose()
        self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_a_silent_broker_is_dead_after_two_intervals(self) -> None:
        server = Server(heartbeat=10).tuned()
        for _ in range(20):
            server.clock.advance(5)
            server.send(b"\x08\0\0\0\0\0\0\xce")
        self.assertFalse(server.transport.aborted)
        server.clock.pump([5, 5, 5, 4])
        self.assertFalse(server.transport.aborted)
        server.clock.pump([1, 5])
        self.assertTrue(server.transport.aborted)
        server.lose()
        self.assertIn("silent", server.lost[0].text)


class ChannelTests(Consuming):
    def test_replies_may_overtake_one_another(self) -> None:
        consuming = self.server.client.consume(
            self.channel, "q", "d", lambda batch: None, lambda: None, {}
        )
        asking = self.channel.basic_qos(prefetch_count=1)
        self.server.say(1, "basic.qos-ok")
        self.successResultOf(asking)
        self.assertNoResult(consuming)
        self.server.say(1, "basic.consume-ok", consumer_tag="d")
        self.assertEqual(self.successResultOf(consuming).consumer_tag, "d")

    def test_a_thousand_calls_fail_together(self) -> None:
        calls = [self.channel.queue_declare(queue=f"q{n}") for n in range(1000)]
        self.server.lose()
        for call in calls:
            self.failureResultOf(call, Closed)
        self.failureResultOf(self.channel.basic_qos(), Closed)

    def test_closed_by_the_server(self) -> None:
        reasons: list[object] = []
        self.channel.on_close = reasons.append
        declaring = self.channel.queue_declare(queue="q")
        self.server.sent()
        self.server.say(
            1, "channel.close", reply_code=406, reply_text="PRECONDITION_FAILED", method_id=10
        )
        self.assertEqual(self.server.names(), ["channel.close-ok"])
        reason = reason_of(self.failureResultOf(declaring, ChannelClosed))
        self.assertEqual((reasons, reason.code), ([reason], 406))
        self.failureResultOf(self.channel.basic_qos(), ChannelClosed)
        again = self.server.channel()
        self.assertNotEqual(again.id, 1)
        self.consume(again, "c", self.batches.append)
        # RabbitMQ may go on on the old one, for a moment
        self.server.send(*delivery(1, "c", 7, b"old"), method_frame(1, "basic.qos-ok"))
        self.server.send(*delivery(2, "c", 1, b"x"))
        self.assertEqual([channel for channel, _, _ in self.server.heard()], [2])
        self.assertEqual(self.bodies, [b"x"])

    def test_closing_acknowledges_nothing_more(self) -> None:
        pending = self.channel.queue_declare(queue="q")
        closing = Deferred.fromCoroutine(self.server.client.close_channel(self.channel))
        self.server.sent()
        self.server.send(*delivery(1, "c", 1, b"late"), method_frame(1, "queue.declare-ok"))
        self.assertEqual((self.server.sent(), self.batches), (b"", []))
        self.assertNoResult(closing)
        self.server.say(1, "channel.close-ok")
        self.successResultOf(closing)
        self.successResultOf(pending)

    def test_a_number_comes_again_when_all_were_used(self) -> None:
        server = Server().tuned(channel_max=2)
        first, second = server.channel(), server.channel()
        server.say(1, "channel.close", reply_code=404)
        again = server.channel()
        self.assertEqual((first.id, second.id, again.id), (1, 2, 1))
        self.assertIsNot(again, first)
        server.client.consume(again, "q", "c", lambda batch: None, lambda: None, {})
        server.sent()
        server.send(*delivery(1, "c", 1, b"x"))
        self.assertEqual(server.names(), ["basic.ack"])

    def test_numbers_are_bounded(self) -> None:
        server = Server().tuned(channel_max=2)
        server.channel(), server.channel()
        more = Deferred.fromCoroutine(server.client.open_channel())
        self.assertIn("2 channels", str(self.failureResultOf(more).value))

    def test_nobody_waits_any_more_for_one_to_open(self) -> None:
        server = Server().tuned(channel_max=1)
        opening = Deferred.fromCoroutine(server.client.open_channel())
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        self.assertEqual(server.names(), ["channel.open", "channel.close"])
        server.say(1, "channel.open-ok")
        server.say(1, "channel.close-ok")
        self.assertFalse(server.client.ended)
        self.assertEqual(server.channel().id, 1)

    def test_opening_one_when_all_of_it_is_garbage(self) -> None:
        """There is no connection to say it on. (A coroutine that the collector finds ends with
        ``GeneratorExit``; what it refers to may have been finalized before.)"""
        server = Server().tuned()
        opening = server.client.open_channel()
        opening.send(None)
        self.assertEqual(server.names(), ["channel.open"])
        opening.close()
        self.assertEqual(server.names(), [])

    def test_flow(self) -> None:
        self.server.say(1, "channel.flow", active=True)
        self.assertEqual(self.server.names(), ["channel.flow-ok"])


class ConnectionTests(Consuming):
    def test_blocked(self) -> None:
        """An alarm is said once, and so is its end."""
        self.assertIsNone(self.server.client.blocked)
        with capturedLogs() as events:
            for why in ("low on memory", "low on memory & disk"):
                self.server.say(0, "connection.blocked", reason=why)
                self.assertEqual(self.server.client.blocked, why)
            self.server.clock.advance(12)
            self.server.say(0, "connection.unblocked")
        self.assertIsNone(self.server.client.blocked)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "RabbitMQ takes no messages: low on memory",
                "RabbitMQ takes messages again after 12 s",
            ],
        )

    def test_closed_by_the_server(self) -> None:
        asking = self.channel.basic_qos()
        self.server.sent()
        self.server.say(0, "connection.close", reply_code=320, reply_text="CONNECTION_FORCED")
        self.assertEqual(self.server.names(), ["connection.close-ok"])
        self.failureResultOf(asking, ConnectionClosed)
        self.server.lose()
        self.assertEqual([reason.code for reason in self.server.lost], [320])

    def test_given_up(self) -> None:
        """Those who wait for an answer are told why; how the transport ended says nothing."""
        asking = self.channel.basic_qos()
        self.server.client.fail("the broker has fallen silent")
        self.server.lose()
        reason = reason_of(self.failureResultOf(asking, Closed))
        self.assertEqual(reason.text, "the broker has fallen silent")

    def test_who_is_told_of_the_end_opens_another_channel(self) -> None:
        opening: list[Deferred[object]] = []

        def again(_: object) -> None:
            if len(opening) < 5:
                opening.append(Deferred.fromCoroutine(self.server.client.open_channel()))
                opening[-1].addErrback(again)

        self.channel.basic_qos().addErrback(again)
        self.server.say(0, "connection.close", reply_code=320, reply_text="CONNECTION_FORCED")
        self.server.lose()
        self.assertEqual([reason.code for reason in self.server.lost], [320])
        self.assertEqual(len(opening), 5)

    def test_what_it_says_is_fit_for_a_log(self) -> None:
        said = "low\x1b[2J on\nmemory: grüße"
        self.server.say(0, "connection.blocked", reason=said)
        self.assertEqual(self.server.client.blocked, "low\\x1b[2J on\\nmemory: grüße")
        self.server.say(0, "connection.close", reply_code=320, reply_text=f"{said}\u2028\u202e")
        self.server.lose()
        self.assertEqual(self.server.lost[0].text, "low\\x1b[2J on\\nmemory: grüße\\u2028\\u202e")
        self.assertEqual(printable("ü".encode() + b"\xc3"), "ü\\xc3")

    def test_congestion(self) -> None:
        producer = self.server.transport.producer
        assert producer is not None
        self.assertFalse(self.server.client.congestion.full)
        producer.pauseProducing()
        self.assertTrue(self.server.client.congestion.full)
        producer.resumeProducing()
        self.assertFalse(self.server.client.congestion.full)
