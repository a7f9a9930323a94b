"""Three RabbitMQ nodes that are one broker, started once for this file: leaders of streams die, and
the network between the nodes breaks.

Two leaders die here, in one go; ``make test-leader-kills`` and ``make test-reading-only`` cause as
many faults as are asked for, of one kind each, and print the figures.
"""

from __future__ import annotations

import os
import random
from statistics import median

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chatd.amqp.url import BrokerURL
from chatd.brokers.interfaces import DIRECTORY, NoSuchStream, Stream, Unavailable
from chatd.brokers.rabbitmq import hosting, publisher
from chatd.brokers.rabbitmq.broker import AMQPBroker
from tests.support.cluster import Cluster
from tests.support.leader_kills import LeaderKills
from tests.support.partition import AGREE, Partition
from tests.support.rabbit_home import free_port
from tests.support.reading_only import ReadingOnly
from tests.support.recording import Recorder, body, ids, named, now
from tests.support.tunnel import Tunnel
from tests.support.waiting import pause, until

pytestmark = pytest.mark.rabbitmq

#: Leaders that die under writers, and then, with a node that only reads, die or freeze.
KILLS = int(os.environ.get("TEST_OF_CHATD_KILLS", "1"))
FAULTS = int(os.environ.get("TEST_OF_CHATD_FAULTS", "1"))
#: Seconds: for the start and the end, and for each fault.
FIXED, EACH = 120, 60

cluster: Cluster


def setUpModule() -> None:
    global cluster
    cluster = Cluster().start()


def tearDownModule() -> None:
    cluster.close()


@pytest.mark.timeout(FIXED + EACH * (KILLS + 2 * FAULTS))
class LeaderTests(TestCase):
    """Leaders of streams die with publishes in flight: nothing that was acknowledged is lost. And a
    chatd node that only reads is not left behind when they die or freeze."""

    timeout = FIXED + EACH * (KILLS + 2 * FAULTS) - 10

    async def test_nothing_is_lost_and_nobody_is_left_behind(self) -> None:
        kills = await self.writers() if KILLS else None
        if kills is not None:
            for _ in range(KILLS):
                await kills.kill_one()
                print(kills.report(), flush=True)
        if FAULTS:
            await self.read_only()
        if kills is not None:
            await kills.more()
            await kills.stop()
            print(kills.report(), flush=True)
            self.assertEqual(await kills.faults(), [])

    async def writers(self) -> LeaderKills:
        """With pauses between their bursts, unless many leaders are to die."""
        kills = LeaderKills(cluster, calm=0.02 if KILLS > 1 else 1.0)
        self.addCleanup(kills.close)
        kills.start_processes()
        await kills.start_clients()
        return kills

    async def read_only(self) -> None:
        """Cause all `FAULTS`. Of several, half freeze a leader; a single one kills it, for RabbitMQ
        takes long to miss a frozen node."""
        site = ReadingOnly(cluster)
        self.addCleanup(deferToThread, site.close)
        site.start_processes()
        await site.start_clients()
        for freeze, number in ((False, FAULTS - FAULTS // 2), (True, FAULTS // 2)):
            for _ in range(number):
                await site.fault(freeze)
            if number:
                published, level = site.published[-number:], site.level[-number:]
                print(
                    f"{'frozen' if freeze else 'killed'} {number} times:"
                    f" published after {median(published):.1f} s (at most {max(published):.1f}),"
                    f" level after {median(level):.1f} s (at most {max(level):.1f})"
                )


class LaggingTests(TestCase):
    """A replica lags behind, on the host that a chatd node reads from."""

    timeout = 60

    async def test_its_end_is_not_the_stream_s(self) -> None:
        """Clients of the other nodes may have read further, and may come with their cursors."""
        writer, reader, stream, recorder = await self.followed(cluster.nodes[1].port)
        cluster.hold_back(*cluster.nodes[:2])
        await self.fill(writer, stream, 3, 6)
        end = reader.end(stream)
        await pause(0.2)
        self.assertNoResult(end)
        self.assertEqual(recorder.ids, named(0, 1, 2))
        cluster.let_go(cluster.nodes[0])
        self.assertEqual(await end, recorder.got[5].offset)

    async def test_who_comes_to_it_does_not_take_the_stream_for_gone(self) -> None:
        """Its room would begin a new life, without all that was said in it."""
        self.patch(publisher, "FENCE_SHOWN", 0.02)
        tunnel = Tunnel(cluster.nodes[2].port)
        self.addCleanup(tunnel.cut)
        writer, reader, stream, recorder = await self.followed(tunnel.listen())
        cluster.hold_back(*cluster.nodes[:2])
        await self.fill(writer, stream, 3, 6)
        await until(lambda: len(recorder.got) == 6)
        await tunnel.cut()
        tunnel.port = cluster.nodes[1].port
        tunnel.listen()
        await until(lambda: reader.ready)
        await pause(1)
        every = (stream, 0, recorder.got[-1].offset + 1)
        with self.assertRaises(Unavailable):  # not only those that are here
            await reader.read(*every)
        cluster.let_go(cluster.nodes[0])
        await self.fill(writer, stream, 6, 7)
        await until(lambda: len(recorder.got) == 7 or "gone" in recorder.calls)
        self.assertEqual(recorder.ids, named(*range(7)))
        self.assertEqual(ids(await reader.read(*every)), named(*range(6)))

    async def followed(self, port: int) -> tuple[AMQPBroker, AMQPBroker, Stream, Recorder]:
        """A stream with three records, which the first node leads: who writes them; who, connected
        to ``port``, follows it; and what that gets."""
        vhost, stream = cluster.vhost(), Stream("lobby", "e1")
        self.addCleanup(cluster.drop_vhost, vhost)
        writer, reader = [await self.broker(n, vhost) for n in (cluster.nodes[0].port, port)]
        await writer.create(stream)
        recorder = Recorder()
        recorder.following = reader.follow(stream, None, recorder)
        recorder.may_call = True
        await self.fill(writer, stream, 0, 3)
        await until(lambda: len(recorder.got) == 3)
        return writer, reader, stream, recorder

    async def broker(self, port: int, vhost: str) -> AMQPBroker:
        url = f"amqp://guest:guest@127.0.0.1:{port}/{vhost}"
        broker = AMQPBroker(reactor, BrokerURL.parse(url))
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: broker.ready)
        return broker

    async def fill(self, broker: AMQPBroker, stream: Stream, first: int, stop: int) -> None:
        for n in range(first, stop):
            await broker.append(stream, body(f"m{n}"), f"m{n}", now())


#: Erlang: let this host alone know another stream, which is one that there is under another name.
_KNOW = "{{ok, Q}} = rabbit_amqqueue:lookup({}), ets:insert(rabbit_queue, setelement(2, Q, {}))"


class ForgetfulTests(TestCase):
    """A host of RabbitMQ lacks a stream that the others have, as after a partition that RabbitMQ
    was told to ignore."""

    timeout = 60

    async def test_its_word_alone_is_not_enough(self) -> None:
        """The stream's room would begin a new life, without all that was said in it."""
        nobody = [free_port(), free_port()]
        self.patch(random, "randrange", lambda count: 0)  # all brokers connect to the first host
        vhost = cluster.vhost()
        self.addCleanup(cluster.drop_vhost, vhost)
        here, forgetful, there = [node.port for node in cluster.nodes]
        writer = await self.broker(vhost, [here])
        await writer.create(Stream("lobby", "e1"))
        stream = Stream("lobby", "e2")
        queues = [f'rabbit_misc:r(<<"{vhost}">>, queue, <<"chatd.room.lobby.e{n}">>)' for n in "12"]
        for node in (cluster.nodes[0], cluster.nodes[2]):
            node.eval(_KNOW.format(*queues))
        asked = await self.broker(vhost, [forgetful, there, here])
        with self.assertRaisesRegex(Unavailable, "do not agree"):
            await asked.open(stream)
        alone = await self.broker(vhost, [forgetful, *nobody])
        with self.assertRaisesRegex(Unavailable, "too few"):
            await alone.exists(stream)
        for node in (cluster.nodes[0], cluster.nodes[2]):
            node.eval(f"ets:delete(rabbit_queue, {queues[1]})")
        with self.assertRaises(NoSuchStream):
            await asked.open(stream)

    async def test_another_directory_does_not_begin_there(self) -> None:
        """Its node would serve an empty one. It goes to a host that has the one there is."""
        self.patch(random, "randrange", lambda count: 0)
        vhost = cluster.vhost()
        self.addCleanup(cluster.drop_vhost, vhost)
        here, forgetful, there = [node.port for node in cluster.nodes]
        writer = await self.broker(vhost, [here])
        await writer.create(Stream("lobby", "e1"))
        names = "chatd.room.lobby.e1", DIRECTORY.name
        known = [f'rabbit_misc:r(<<"{vhost}">>, queue, <<"{name}">>)' for name in names]
        for node in (cluster.nodes[0], cluster.nodes[2]):
            node.eval(_KNOW.format(*known))
            self.addCleanup(node.eval, f"ets:delete(rabbit_queue, {known[1]})")
        broker = await self.broker(vhost, [forgetful, there, here])
        self.patch(broker.hosting, "_patience", 0.0)
        with self.assertRaisesRegex(Unavailable, "do not agree"):
            await broker.create(DIRECTORY)
        await until(lambda: not broker.ready)
        await until(lambda: broker.ready)
        self.assertTrue(await broker.exists(DIRECTORY))
        self.assertEqual(cluster.nodes[1].connections("guest"), 0)

    async def broker(self, vhost: str, ports: list[int]) -> AMQPBroker:
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        broker = AMQPBroker(reactor, BrokerURL.parse(f"amqp://guest:guest@{hosts}/{vhost}"))
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: broker.ready)
        return broker


#: Erlang: take the replica of a stream from a host.
_TAKE = 'ok = rabbit_stream_queue:delete_replica(<<"{}">>, <<"{}">>, \'{}\')'


class RejoinedTests(TestCase):
    """A host of RabbitMQ has no replica of the streams that were there before it came."""

    timeout = 60

    async def test_its_node_goes_to_another_one(self) -> None:
        self.patch(random, "randrange", lambda count: 0)
        self.patch(hosting, "AT_FIRST", 0.5)
        vhost = cluster.vhost()
        self.addCleanup(cluster.drop_vhost, vhost)
        url = f"amqp://guest:guest@127.0.0.1:{{}},127.0.0.1:{{}}/{vhost}"
        ports = [node.port for node in cluster.nodes]
        broker = AMQPBroker(reactor, BrokerURL.parse(url.format(*ports)))
        broker.startService()
        self.addCleanup(broker.stopService)
        await until(lambda: broker.ready)
        await broker.create(DIRECTORY)
        await broker.append(DIRECTORY, b"{}", "m", now())
        cluster.nodes[0].eval(_TAKE.format(vhost, DIRECTORY.name, cluster.nodes[0].name))
        recorder = Recorder()
        recorder.following = broker.follow(DIRECTORY, None, recorder)
        recorder.may_call = True
        await until(lambda: recorder.got, 30)


@pytest.mark.timeout(240)
class TornApartTests(TestCase):
    """One node is cut off from the others, under three chatd nodes. The last class here, for
    afterwards the RabbitMQ nodes are no longer one broker until they are restarted."""

    timeout = 230

    async def test_once_the_network_is_whole_all_agree_who_is_there(self) -> None:
        site = Partition(cluster)
        self.addCleanup(site.close)
        site.start_processes()
        await site.start_clients()
        await site.cut()
        await site.mend()
        await site.join(0, "late")
        await site.agree(AGREE)
