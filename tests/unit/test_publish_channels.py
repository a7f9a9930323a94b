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

    def test_the_limit_for_records_is_not_told_in_time(self) -> None:
        server = Server().tuned()
        channels = PublishChannels(server.clock)
        connecting = Deferred.fromCoroutine(channels.connected(server.client))
        server.say(server.heard()[0][0], "channel.open-ok")
        server.say(server.heard()[0][0], "confirm.select-ok")
        learning = server.heard()[0][0]
        server.say(learning, "channel.open-ok")
        server.sent()
        server.clock.advance(LEARN)
        self.assertIn((learning, "channel.close"), [(n, name) for n, name, _ in server.heard()])
        server.lose()
        channels.lost()
        self.successResultOf(connecting)

    def test_no_channel_is_left(self) -> None:
        server = Server().tuned(channel_max=2)
        channels = PublishChannels(server.clock)
        connecting = Deferred.fromCoroutine(channels.connected(server.client))
        server.say(server.heard()[0][0], "channel.open-ok")
        server.say(server.heard()[0][0], "confirm.select-ok")
        server.say(server.heard()[0][0], "channel.open-ok")
        server.clock.advance(LEARN)  # its channel is not closed yet
        self.successResultOf(connecting)
        self.assertTrue(server.client.ended)
        channels.lost()
        server.lose()
