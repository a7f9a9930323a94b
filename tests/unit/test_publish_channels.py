"""The channels for publishing, on a broker in memory that stops answering."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.rabbitmq.publish_channels import ANSWER, LEARN, PublishChannels
from tests.support.amqp_server import Server


class SilentTests(SynchronousTestCase):
    def test_a_connection_that_is_given_up_is_not_asked_again(self) -> None:
        """There is a moment in which it has ended and is not closed yet."""
        server = Server().tuned()
        channels = PublishChannels(server.clock)
        connecting = Deferred.fromCoroutine(channels.connected(server.client))
        server.say(server.heard()[0][0], "channel.open-ok")
        server.say(server.heard()[0][0], "confirm.select-ok")
        server.clock.advance(LEARN)
        self.assertNoResult(connecting)
        server.clock.advance(ANSWER)
        self.assertTrue(server.client.ended)
        self.assertFalse(server.client.closed)
        self.successResultOf(connecting)
        channels.lost()
        server.lose()
        self.assertEqual(server.lost[0].text, "no channel could be opened")
