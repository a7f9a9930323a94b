"""Listening to what nodes tell each other, on a queue that can be replaced."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.rabbitmq.broadcasts import Broadcasts
from tests.support.amqp_server import Server

_OK = {
    "channel.open": {},
    "queue.declare": {"queue": "amq.gen-1"},
    "queue.bind": {},
    "basic.consume": {"consumer_tag": "c"},
    "channel.close": {},
}


class RenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server().tuned(channel_max=2)
        self.broadcasts = Broadcasts()
        listening = Deferred.fromCoroutine(self.broadcasts.connected(self.server.client))
        self.answer()
        self.successResultOf(listening)

    def answer(self) -> list[str]:
        """Answer what is asked until nothing is; the names of the methods."""
        names: list[str] = []
        while heard := self.server.heard():
            for channel, name, _ in heard:
                names.append(name)
                self.server.say(channel, f"{name}-ok", **_OK[name])
        return names

    def renew(self) -> list[str]:
        self.broadcasts.renew("it is time")
        return self.answer()

    def test_on_a_new_queue(self) -> None:
        self.assertEqual(self.renew(), list(_OK))
        self.assertEqual(self.renew(), list(_OK))

    def test_a_fault_is_logged_and_the_next_time_tried_again(self) -> None:
        other = self.server.channel()  # the last one that is allowed
        self.assertEqual(self.renew(), [])
        [failure] = self.flushLoggedErrors()
        self.assertIn("2 channels", str(failure.value))
        self.server.client.abandon(other)
        self.answer()
        self.assertEqual(self.renew(), list(_OK))

    def test_a_refusal_ends_the_connection(self) -> None:
        """Whatever the next one gets, it is told why."""
        self.broadcasts.renew("it is time")
        [(channel, _, _)] = self.server.heard()
        self.server.say(channel, "channel.open-ok")
        self.server.heard()
        self.server.say(channel, "channel.close", reply_code=406, reply_text="no more queues")
        self.assertTrue(self.server.client.ended)
        self.server.lose()
        self.assertEqual(
            [str(reason) for reason in self.server.lost],
            ["no new queue for presence: no more queues"],
        )

    def test_the_connection_ends_meanwhile(self) -> None:
        self.broadcasts.renew("it is time")
        self.server.lose()
        self.broadcasts.lost()
        self.assertEqual(self.flushLoggedErrors(), [])
