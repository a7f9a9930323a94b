"""Channels for publishing that are replaced because records were not there, connection for
connection."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.interfaces import Stream
from chatd.brokers.rabbitmq.publish_channels import OLD, RETIRE, TRUST, PublishChannels
from chatd.brokers.rabbitmq.refused_records import AGAIN
from tests.support.amqp_server import Server

LOBBY, DEN, SHUT = Stream("lobby", "1"), Stream("den", "2"), Stream("shut", "3")


class ChannelsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server().tuned()
        self.server.clock.advance(TRUST)
        self.channels = PublishChannels(self.server.clock)
        self.connect(self.server)

    def connect(self, server: Server) -> None:
        connecting = Deferred.fromCoroutine(self.channels.connected(server.client))
        server.answer()
        self.successResultOf(connecting)

    def reconnect(self) -> None:
        self.channels.lost()
        self.server.lose()
        self.server = Server().tuned()
        self.connect(self.server)

    def refuse(self, number: int) -> None:
        """The broker closes a channel because of a record for a room that is refused."""
        why = "ACCESS_REFUSED - access to topic 'shut' in exchange 'chatd' in vhost '/' refused"
        self.server.say(number, "channel.close", reply_code=403, reply_text=why)

    def number(self, stream: Stream) -> int:
        """Of the channel that a record goes over."""
        publisher = self.channels.of(stream, 1)
        self.assertFalse(publisher.closed)
        return publisher.channel

    def distrust(self, times: int = 1) -> list[str]:
        """Records in the lobby are missing: each time those over the channel before. What is asked
        the last time."""
        asked = []
        for _ in range(times):
            self.server.clock.advance(0.1)
            distrusted = Deferred.fromCoroutine(
                self.channels.distrust(LOBBY, self.server.clock.seconds())
            )
            asked = self.server.answer()
            self.successResultOf(distrusted)
        return asked


class TroubledTests(ChannelsCase):
    def test_once_all_publish_on_another_and_twice_one_has_its_own(self) -> None:
        first = self.number(LOBBY)
        self.distrust()
        shared = self.number(LOBBY)
        self.assertNotEqual(shared, first)
        self.distrust()
        self.assertNotEqual(self.number(LOBBY), shared)
        self.assertEqual(self.number(DEN), shared)

    def test_what_was_sent_over_the_channel_before_says_nothing_of_this_one(self) -> None:
        before = self.server.clock.seconds()
        self.distrust()
        shared = self.number(LOBBY)
        again = Deferred.fromCoroutine(self.channels.distrust(LOBBY, before))
        self.successResultOf(again)
        self.assertEqual((self.number(LOBBY), self.server.answer()), (shared, []))

    def test_it_is_waited_for_what_is_being_closed(self) -> None:
        """Records that were sent over it may be stored yet."""
        for own in (False, True):
            if own:
                self.distrust()
            self.server.clock.advance(1)
            since = self.server.clock.seconds()
            self.server.clock.advance(0.1)
            both = [Deferred.fromCoroutine(self.channels.distrust(LOBBY, since))]
            for asked in ("channel.open", "confirm.select"):
                [(number, name, _)] = self.server.heard()
                self.assertEqual(name, asked)
                self.server.say(number, f"{name}-ok")
            both.append(Deferred.fromCoroutine(self.channels.distrust(LOBBY, since)))
            for done in both:
                self.assertNoResult(done)
            self.assertEqual(self.server.answer(), ["channel.close"])
            for done in both:
                self.successResultOf(done)

    def test_all_that_it_may_have_been_sent_over_are_closed(self) -> None:
        self.server.clock.advance(1)
        self.channels.leader_changed()
        self.server.answer()
        self.server.clock.advance(0.1)
        distrusting = Deferred.fromCoroutine(self.channels.distrust(LOBBY, 2 * TRUST))
        self.assertEqual(self.server.answer().count("channel.close"), 2)
        self.successResultOf(distrusting)
        self.server.clock.advance(RETIRE)
        self.assertEqual(self.server.answer(), [])

    def test_three_times_on_a_connection_that_is_old(self) -> None:
        """On another one the channel is replaced once more."""
        asked = self.distrust(3)
        self.assertEqual(asked, ["channel.open", "confirm.select", "channel.close"])
        self.assertFalse(self.server.client.ended)
        self.setUp()
        self.distrust(2)
        self.server.clock.advance(OLD)
        self.distrust()
        self.assertTrue(self.server.client.ended)

    def test_what_was_only_late_does_not_count(self) -> None:
        self.distrust()  # that was not
        self.server.clock.advance(OLD)
        for _ in range(4):
            self.distrust()
            self.channels.trust(LOBBY)
            self.channels.trust(DEN)
        self.distrust()
        self.assertFalse(self.server.client.ended)
        self.distrust()
        self.assertTrue(self.server.client.ended)

    def test_one_that_was_too_young_is_left_once_it_is_old(self) -> None:
        """If they are missing still; the next one is tried as this one was."""
        self.distrust(4)
        self.assertFalse(self.server.client.ended)
        self.server.clock.advance(OLD)
        self.distrust()
        self.assertTrue(self.server.client.ended)
        clock = self.server.clock
        self.reconnect()
        self.server.clock = clock
        clock.advance(OLD)
        self.distrust(2)
        self.assertFalse(self.server.client.ended)

    def test_a_channel_of_its_own_is_given_back(self) -> None:
        self.distrust(2)
        self.server.clock.advance(TRUST)
        Deferred.fromCoroutine(self.channels.distrust(DEN, 0.0))
        self.assertEqual(self.number(LOBBY), self.number(DEN))
        self.server.clock.advance(RETIRE)
        self.assertEqual(self.server.answer(), ["channel.close"])
        self.reconnect()

    def test_the_next_connection_has_channels_of_its_own(self) -> None:
        self.distrust(2)
        self.reconnect()
        self.assertEqual(self.number(LOBBY), self.number(DEN))

    def test_nothing_is_closed_on_it_because_of_the_one_before(self) -> None:
        clock = self.server.clock
        clock.advance(1)
        self.channels.leader_changed()
        self.server.answer()
        self.reconnect()
        clock.advance(RETIRE)
        self.assertEqual(self.server.heard(), [])
        self.number(LOBBY)

    def test_the_others_go_on_at_once_however_often_one_is_refused(self) -> None:
        for _ in range(3):
            self.refuse(self.number(DEN))
            self.number(DEN)
            self.server.answer()
        self.distrust(2)
        self.refuse(self.number(LOBBY))
        self.assertEqual(self.number(LOBBY), self.number(DEN))

    def test_who_was_refused_is_apart_from_the_others(self) -> None:
        """On the next connection, too; the channel there is another one."""
        self.refuse(self.number(SHUT))
        self.server.answer()
        self.server.clock.advance(AGAIN)
        for _ in range(2):
            self.assertNotEqual(self.number(SHUT), self.number(DEN))
            self.refuse(self.number(SHUT))
            self.server.answer()
            self.server.clock.advance(AGAIN)
        clock = self.server.clock
        self.reconnect()
        clock.advance(AGAIN)
        self.assertNotEqual(self.number(SHUT), self.number(DEN))

    def test_few_have_their_own(self) -> None:
        self.patch(self.channels, "_most_own", 0)
        self.distrust(2)
        self.assertEqual(self.number(LOBBY), self.number(DEN))


class WantedTests(ChannelsCase):
    """Somebody wants to send several records of a stream at once, and in order."""

    def lane(self, stream: Stream = LOBBY, more: bool = True) -> int | None:
        """The number of the channel that keeps the order."""
        lane = self.channels.lane(stream, more)
        return lane.channel if lane is not None else None

    def given(self, stream: Stream = LOBBY) -> int:
        """Ask for a channel, and have it."""
        self.lane(stream)
        self.assertEqual(self.server.answer(), ["channel.open", "confirm.select"])
        lane = self.lane(stream, False)
        assert lane is not None
        return lane

    def test_it_gets_a_channel_that_no_other_stream_uses(self) -> None:
        shared = self.number(LOBBY)
        self.assertIsNone(self.lane(more=False))
        self.assertEqual(self.server.heard(), [])
        own = self.given()
        self.assertEqual((self.number(LOBBY), self.number(DEN)), (own, shared))
        self.assertNotEqual(own, shared)

    def test_one_is_opened_however_often_it_is_asked_for(self) -> None:
        self.assertIsNone(self.lane())
        self.assertIsNone(self.lane())
        self.given()
        self.lane()
        self.assertEqual(self.server.heard(), [])

    def test_it_is_the_same_when_leaders_change(self) -> None:
        own = self.given()
        self.server.clock.advance(1)
        self.channels.leader_changed()
        self.server.answer()
        self.assertEqual((self.lane(), self.number(LOBBY)), (own, own))

    def test_it_is_another_one_once_records_are_missing(self) -> None:
        own, shared = self.given(), self.number(DEN)
        asked = self.distrust()
        self.assertEqual(asked, ["channel.open", "confirm.select", "channel.close"])
        self.assertNotIn(self.lane(), (own, shared, None))
        self.assertEqual(self.number(DEN), shared)

    def test_it_is_given_back_when_nobody_needs_it_any_more(self) -> None:
        self.given()
        self.server.clock.advance(TRUST / 2)
        self.lane()
        self.server.clock.advance(TRUST - 1)
        self.given(DEN)
        self.assertIsNotNone(self.lane(more=False))
        self.server.clock.advance(1)
        self.given(Stream("hall", "1"))
        self.assertIsNone(self.lane(more=False))
        self.assertIsNotNone(self.lane(DEN, more=False))
        self.server.clock.advance(RETIRE)
        self.assertEqual(self.server.answer(), ["channel.close"])

    def test_it_is_given_back_also_where_nobody_wants_another_one(self) -> None:
        """Nothing goes on looking for such channels once there are none, or no connection."""
        clock = self.server.clock
        calls = len(clock.getDelayedCalls())
        self.given()
        clock.advance(TRUST / 2)
        self.lane()
        for _ in range(2):
            clock.advance(TRUST)
        self.assertIsNone(self.lane(more=False))
        clock.advance(RETIRE)
        self.assertEqual(self.server.answer(), ["channel.close"])
        self.assertEqual(len(clock.getDelayedCalls()), calls)
        self.given()
        self.reconnect()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_none_after_a_record_that_had_nowhere_to_go(self) -> None:
        """The channel has counted it, the stream has not."""
        own = self.given()
        self.channels.out_of_step(LOBBY)
        self.assertIsNone(self.lane(more=False))
        self.server.clock.advance(RETIRE)
        self.assertEqual(self.server.answer(), ["channel.close"])
        self.assertNotEqual(self.given(), own)

    def test_none_for_a_room_that_is_refused(self) -> None:
        own = self.given(SHUT)
        self.refuse(own)
        self.server.answer()
        self.assertIsNone(self.lane(SHUT))
        self.assertEqual(self.server.answer(), [])

    def test_none_once_the_broker_has_closed_it(self) -> None:
        self.refuse(self.given())
        self.assertIsNone(self.lane(more=False))

    def test_none_while_the_broker_takes_nothing(self) -> None:
        self.server.say(0, "connection.blocked", reason="low on memory")
        self.assertIsNone(self.lane())
        self.assertEqual(self.server.heard(), [])

    def test_none_without_a_connection(self) -> None:
        self.given()
        self.channels.lost()
        self.assertIsNone(self.lane())
        self.channels.out_of_step(LOBBY)

    def test_the_connection_ends_while_it_is_opened(self) -> None:
        self.lane()
        self.reconnect()
        self.assertIsNone(self.lane(more=False))
        self.given()

    def test_it_is_opened_too_late_for_its_connection(self) -> None:
        """The next one is there already."""
        before = self.server
        self.lane()
        self.channels.lost()
        self.server = Server().tuned()
        self.connect(self.server)
        before.answer()
        self.assertIsNone(self.lane(more=False))

    def test_nothing_is_taken_from_a_stream_that_has_none(self) -> None:
        shared = self.number(LOBBY)
        self.channels.out_of_step(LOBBY)
        self.assertEqual(self.number(LOBBY), shared)
        self.server.clock.advance(RETIRE)
        self.assertEqual(self.server.heard(), [])

    def test_few_get_one(self) -> None:
        self.patch(self.channels, "_most_own", 2)
        self.assertEqual([self.lane(one) for one in (LOBBY, DEN, SHUT)], [None] * 3)
        self.assertEqual(self.server.answer().count("channel.open"), 2)
        self.assertIsNone(self.lane(SHUT, False))

    def test_half_of_the_channels_are_for_all_else(self) -> None:
        self.channels.lost()
        self.server = Server().tuned(channel_max=8)
        self.connect(self.server)
        for n in range(8):
            self.lane(Stream(f"room{n}", "1"))
            self.server.answer()
        self.assertEqual(len(self.server.client.channels), 4)
        self.assertFalse(self.server.client.ended)
