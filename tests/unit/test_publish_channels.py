"""The channels for publishing, on a broker in memory that stops answering, or takes no messages."""

from __future__ import annotations

from unittest import mock

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from txamqp.message import Message

from chatd.amqp.channel import Reason, reason_of
from chatd.brokers.interfaces import NotStored, Stream, TooLarge, Unavailable
from chatd.brokers.rabbitmq.channel_opener import ANSWER
from chatd.brokers.rabbitmq.consumer import StreamConsumer
from chatd.brokers.rabbitmq.publish_channels import APART, LEARN, RETIRE, PublishChannels
from chatd.brokers.rabbitmq.publisher import StreamPublisher
from chatd.brokers.rabbitmq.refused_records import RefusedRecords
from chatd.brokers.rabbitmq.shared_channels import SharedChannels
from tests.support.amqp_server import Server, method

LOBBY, SHUT = Stream("lobby", "1"), Stream("shut", "2")
ALARM = "low on memory"
REFUSED = "ACCESS_REFUSED - access to topic 'shut' in exchange 'chatd' in vhost '/' refused"


class SilentTests(SynchronousTestCase):
    def test_a_connection_that_is_given_up_is_not_asked_again(self) -> None:
        """There is a moment in which it has ended and is not closed yet."""
        server = Server().tuned()
        channels = PublishChannels(server.clock)
        connecting = Deferred.fromCoroutine(channels.connected(server.client))
        server.say(server.heard()[0][0], "channel.open-ok")
        server.say(server.heard()[0][0], "confirm.select-ok")
        self.assertNoResult(connecting)
        server.clock.pump([1.0] * int(ANSWER))
        self.assertTrue(server.client.ended)
        self.assertFalse(server.client.closed)
        self.successResultOf(connecting)
        channels.lost()
        server.lose()
        self.assertEqual(server.lost[0].text, "no channel could be opened")

    def test_no_channel_is_left(self) -> None:
        server = Server().tuned(channel_max=1)
        channels = PublishChannels(server.clock)
        connecting = Deferred.fromCoroutine(channels.connected(server.client))
        server.say(server.heard()[0][0], "channel.open-ok")
        server.say(server.heard()[0][0], "confirm.select-ok")
        self.successResultOf(connecting)
        self.assertTrue(server.client.ended)
        channels.lost()
        server.lose()
        self.assertEqual(server.lost[0].text, "the broker allows 1 channels only")

    def test_no_channel_is_left_to_ask_for_the_limit(self) -> None:
        """Then it is not known; that is no reason for a traceback in the log."""
        server = Server().tuned(channel_max=2)
        channels = PublishChannels(server.clock)
        connecting = Deferred.fromCoroutine(channels.connected(server.client))
        for _ in range(2):
            server.say(server.heard()[0][0], "channel.open-ok")
            server.say(server.heard()[0][0], "confirm.select-ok")
        self.successResultOf(connecting)
        self.successResultOf(channels.learn(server.client))
        self.assertFalse(server.client.ended)
        channels.of(LOBBY, 1)


class Answered(SynchronousTestCase):
    """Helper: a broker that answers, and reads nothing more from who has published while there is
    an alarm."""

    def setUp(self) -> None:
        self.server = Server().tuned()
        self.publisher = StreamPublisher(self.server.clock, lambda _: succeed(None))
        self.alarm = False
        self.unread: list[tuple[int, str]] = []
        #: What the answers are to a basic.qos, which comes after the message for the limit.
        self.limit = 0

    def answer(self) -> None:
        """Answer as RabbitMQ does, until there is nothing more to answer."""
        while heard := self.server.heard():
            self.unread += [(number, name) for number, name, _ in heard]
            if self.server.client.blocked is None:
                self.read()

    def read(self) -> None:
        while self.unread:
            number, name = self.unread.pop(0)
            if name == "basic.publish":
                if self.alarm:
                    self.server.say(0, "connection.blocked", reason=ALARM)
                    return
            elif name == "basic.qos" and self.limit:
                why = f"PRECONDITION_FAILED - message size is larger than max size {self.limit}"
                self.server.say(number, "channel.close", reply_code=406, reply_text=why)
            elif not name.endswith("-ok"):
                self.server.say(number, f"{name}-ok")

    def over(self) -> None:
        """The alarm."""
        self.alarm = False
        self.server.say(0, "connection.unblocked")
        self.read()
        self.answer()

    def connect(self) -> None:
        connecting = Deferred.fromCoroutine(self.publisher.connected(self.server.client))
        self.answer()
        self.wait(LEARN)
        self.successResultOf(connecting)

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.server.clock.advance(0.5)
            self.answer()


class AlarmTests(Answered):
    """RabbitMQ is short of memory: it reads nothing more from a connection that has published."""

    def test_a_connection_that_is_made_meanwhile_is_kept(self) -> None:
        self.alarm, self.limit = True, 1000
        self.connect()
        self.assertEqual(self.publisher.blocked, ALARM)
        self.assertFalse(self.publisher.ready)
        self.wait(60)
        self.assertFalse(self.server.client.ended)
        refused = self.publisher.append(LOBBY, b"{}", "m", 0)
        self.assertIn(ALARM, str(self.failureResultOf(refused, NotStored).value))
        self.over()
        self.assertTrue(self.publisher.ready)
        # the message for the limit was only held up
        self.publisher.channels.of(LOBBY, 1000)
        self.assertRaises(TooLarge, self.publisher.channels.of, LOBBY, 1001)

    def test_the_limit_is_known_before_anything_is_published(self) -> None:
        self.limit = 1000
        connecting = Deferred.fromCoroutine(self.publisher.connected(self.server.client))
        self.answer()
        self.successResultOf(connecting)
        self.assertRaises(TooLarge, self.publisher.channels.of, LOBBY, 1001)

    def test_the_next_connection_may_take_larger_ones(self) -> None:
        self.limit = 1000
        self.connect()
        self.publisher.lost(Reason(0, "lost"))
        self.server, self.limit = Server().tuned(), 0
        self.connect()
        self.publisher.channels.of(LOBBY, 1001)

    def test_channels_after_a_refusal_are_waited_for(self) -> None:
        self.connect()
        self.alarm = True
        publish = self.publisher.append(SHUT, b"{}", "m", 0)
        number = self.server.heard()[0][0]
        self.server.say(0, "connection.blocked", reason=ALARM)
        self.server.say(number, "channel.close", reply_code=403, reply_text=REFUSED)
        self.failureResultOf(publish, Unavailable)
        self.answer()
        self.wait(10 * ANSWER)
        self.assertFalse(self.server.client.ended)
        self.over()
        self.wait(2 * ANSWER)
        self.assertFalse(self.server.client.ended)
        self.publisher.append(LOBBY, b"{}", "m", 0)
        self.assertEqual([name for _, name, _ in self.server.heard()], ["basic.publish"])

    def test_so_are_those_that_were_replaced(self) -> None:
        self.connect()
        self.wait(APART)
        self.publisher.channels.leader_changed()
        self.answer()
        self.alarm = True
        self.publisher.append(LOBBY, b"{}", "m", 0).addErrback(lambda _: None)
        self.answer()
        self.assertEqual(self.publisher.blocked, ALARM)
        self.wait(RETIRE + 2 * ANSWER)
        self.assertFalse(self.server.client.ended)

    def test_a_broker_that_reads_and_is_silent_is_left(self) -> None:
        self.connect()
        self.wait(APART)
        self.publisher.channels.leader_changed()
        self.server.clock.pump([1.0] * int(ANSWER))
        self.assertTrue(self.server.client.ended)


class UnroutableTests(Answered):
    """The stream was unbound with several records under way."""

    def test_they_are_sent_again_in_the_order_in_which_they_were_sent(self) -> None:
        self.connect()
        restores: list[Deferred[None]] = []

        def restore(stream: Stream) -> Deferred[None]:
            restores.append(Deferred())
            return restores[-1]

        bodies = [b"first", b"second", b"third"]
        with mock.patch.object(self.publisher, "_restore", restore):
            for body in bodies:
                self.publisher.append(LOBBY, body, body.decode(), 0)
            used = self.publisher.channels.of(LOBBY, 1)
            for number, body in enumerate(bodies, 1):
                used.returned("lobby", body.decode())
                used.acked(number, False)
        self.server.clock.advance(0)
        self.server.sent()
        for restored in reversed(restores):
            restored.callback(None)
        self.server.clock.advance(0)  # what goes together is written together
        again = self.server.sent()
        self.assertEqual(sorted(bodies, key=again.index), bodies)

    def test_its_own_channel_is_given_back(self) -> None:
        """The channel has counted a record that the stream has not, so it is as a shared one."""
        self.connect()
        channels = self.publisher.channels
        channels.lane(LOBBY, True)
        self.answer()
        own = channels.lane(LOBBY, False)
        assert own is not None
        done = self.publisher.append(LOBBY, b"lost", "lost", 0)
        own.returned("lobby", "lost")
        own.acked(1, False)
        self.assertNotIn(own, (channels.lane(LOBBY, False), channels.of(LOBBY, 1)))
        channels.of(LOBBY, 1).acked(1, False)
        self.successResultOf(done)


class OwnTests(Answered):
    """Records of a stream are missing again and again: it gets a channel of its own."""

    def test_asked_for_twice_at_once_it_is_one_channel(self) -> None:
        self.connect()
        channels, client = self.publisher.channels, self.server.client

        def distrust() -> Deferred[None]:
            return Deferred.fromCoroutine(channels.distrust(LOBBY, self.server.clock.seconds()))

        self.wait(1)
        first = distrust()
        self.answer()
        self.successResultOf(first)
        shared = channels.of(LOBBY, 1)
        for _ in range(2):
            self.wait(1)
            before = channels.of(LOBBY, 1)
            both = [distrust(), distrust()]
            self.answer()
            for done in both:
                self.successResultOf(done)
            own = channels.of(LOBBY, 1)
            self.assertNotIn(own, (before, shared))
            self.assertEqual(channels.of(SHUT, 1), shared)
            # and the spare one
            self.assertEqual(len(client.publishers), 3)


class AllowedTests(Answered):
    """RabbitMQ ends a connection: its user or its host has all channels that it may have."""

    STREAMS = tuple(Stream(f"room{n}", "1") for n in range(6))
    REASON = Reason(
        530,
        "NOT_ALLOWED - number of channels opened for user 'ann' has reached the maximum allowed"
        " user limit of (9)",
    )

    def own(self) -> list[Stream]:
        """The streams that have a channel of their own, once all have wanted one."""
        channels = self.publisher.channels
        for stream in self.STREAMS:
            channels.lane(stream, True)
        self.answer()
        return [stream for stream in self.STREAMS if channels.lane(stream, False) is not None]

    def lost(self, reason: Reason) -> None:
        self.publisher.lost(reason)
        self.server = Server().tuned()
        self.connect()

    def test_half_as_many_have_their_own_then(self) -> None:
        """Or the next connection would end as this one did, again and again."""
        self.connect()
        self.assertEqual(len(self.own()), 6)
        for left in (3, 1, 0, 0):
            self.lost(self.REASON)
            self.assertEqual(len(self.own()), left)

    def test_whatever_connection_it_ended(self) -> None:
        self.connect()
        self.own()
        self.publisher.channels.ended(self.REASON)
        self.assertEqual(self.own(), list(self.STREAMS[:3]))
        self.wait(RETIRE)
        # those, the shared one and the spare one
        self.assertEqual(len(self.server.client.publishers), 5)

    def test_other_ends_change_nothing(self) -> None:
        self.connect()
        self.own()
        for reason in (Reason(0, "lost"), Reason(530, "NOT_ALLOWED - vhost chat not found")):
            self.lost(reason)
            self.assertEqual(len(self.own()), 6)


class ReplacedTests(SynchronousTestCase):
    def test_the_broker_closes_a_replaced_channel(self) -> None:
        """When its time is up, another one may have its number."""
        server = Server().tuned(channel_max=4)
        channels = PublishChannels(server.clock)
        connecting = Deferred.fromCoroutine(channels.connected(server.client))
        self.answer(server)
        self.successResultOf(connecting)
        server.clock.advance(APART)
        channels.leader_changed()
        self.answer(server)
        why = "PRECONDITION_FAILED - message size 9 is larger than configured max size 8"
        server.say(1, "channel.close", reply_code=406, reply_text=why)
        for _ in range(2):
            server.clock.advance(APART)
            channels.leader_changed()
            self.answer(server)
        used = channels.of(LOBBY, 1)
        self.assertEqual(used.channel, 1)
        server.clock.advance(RETIRE - 2 * APART)
        self.answer(server)
        self.assertIs(server.client.publishers.get(1), used)

    def answer(self, server: Server) -> None:
        """Answer what is asked until nothing is."""
        while heard := server.heard():
            for channel, name, _ in heard:
                if not name.endswith("-ok"):
                    server.say(channel, f"{name}-ok")


class NameTests(SynchronousTestCase):
    """Names that have a character which is not shown as it is: U+200C, between Persian letters."""

    NAME = "نامه\u200cای"

    def test_the_room_is_known_as_refused(self) -> None:
        refused = RefusedRecords(Clock())
        stream = Stream(self.NAME, "1")
        for text in (REFUSED, REFUSED.replace("'shut'", f"'{self.NAME}'")):
            words = Message(method("channel.close"), [403, text.encode(), 0, 0])
            self.assertTrue(refused.note(reason_of(words)))
        self.assertTrue(refused.known(stream))
        with self.assertRaises(NotStored) as raised:
            refused.check(stream, 1)
        self.assertIn("نامه\\u200cای", str(raised.exception))

    def test_the_stream_is_known_as_the_cause(self) -> None:
        """Of the closing of a channel that others share."""
        server = Server().tuned()
        channels = SharedChannels(server.client)
        broken: list[tuple[str, str]] = []
        for stream in (Stream("lobby", "1"), Stream(self.NAME, "1")):
            owner = mock.Mock(detached=lambda why, name=stream.room: told(name, why))
            channels.attach(StreamConsumer(server.client, stream.name, "first", owner), False)

        def told(name: str, why: str) -> None:
            broken.append((name, why[:14]))

        number = server.heard()[0][0]
        server.say(number, "channel.open-ok")
        server.say(number, "basic.qos-ok")
        why = f"ACCESS_REFUSED - read access to queue '{stream.name}' in vhost '/' refused"
        server.say(number, "channel.close", reply_code=403, reply_text=why)
        self.assertEqual(sorted(broken), [("lobby", ""), (self.NAME, "ACCESS_REFUSED")])


class SharedChannelTests(SynchronousTestCase):
    """Channels that consumers share, where the broker has none for us."""

    def setUp(self) -> None:
        self.broken: list[str] = []

    def attach(self, channels: SharedChannels, name: str, apart: bool = False) -> None:
        def detached(why: str) -> None:
            self.assertTrue(why)  # lest it is tried again at once
            self.broken.append(name)

        owner = mock.Mock(detached=detached)
        channels.attach(StreamConsumer(channels.client, name, "first", owner), apart)

    def test_none_is_left(self) -> None:
        """Who waits for one tries again later, when others may have been given back."""
        server = Server().tuned(channel_max=1)
        channels = SharedChannels(server.client)
        taken = server.channel()
        self.attach(channels, "a")
        self.assertEqual(self.broken, ["a"])
        self.assertEqual(server.names(), [])
        closing = Deferred.fromCoroutine(server.client.close_channel(taken))
        server.say(taken.id, "channel.close-ok")
        self.successResultOf(closing)
        server.sent()
        self.attach(channels, "a")
        server.say(server.heard()[0][0], "channel.open-ok")
        server.say(server.heard()[0][0], "basic.qos-ok")
        self.assertEqual(server.names(), ["basic.consume"])
        self.assertEqual(self.broken, ["a"])

    def test_the_broker_closes_it_before_it_is_used(self) -> None:
        for answered in ("", "channel.open-ok"):
            with self.subTest(answered=answered):
                self.broken.clear()
                server = Server().tuned()
                channels = SharedChannels(server.client)
                self.attach(channels, "a")
                self.attach(channels, "b")
                if answered:
                    server.say(1, answered)
                server.say(1, "channel.close", reply_code=541, reply_text="INTERNAL_ERROR")
                self.assertEqual(sorted(self.broken), ["a", "b"])
                server.sent()
                self.attach(channels, "a")
                self.assertEqual(server.heard()[0][:2], (2, "channel.open"))
