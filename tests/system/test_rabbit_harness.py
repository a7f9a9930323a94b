"""The harness itself: nodes that keep data, freeze, speak TLS, and never outlive the tests."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from twisted.trial.unittest import TestCase

from tests.support.rabbit import Node, shared_node
from tests.support.rabbit_home import free_port

pytestmark = pytest.mark.rabbitmq

_STREAM = {"x-queue-type": "stream"}


@contextlib.contextmanager
def _channel(url: str) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
    finally:
        connection.close()


def _read_one(url: str, queue: str) -> bytes:
    """Read a stream's first record; a node that starts has its streams a moment after its ports."""
    while True:
        try:
            with _channel(url) as channel:
                return _first(channel, queue)
        except pika.exceptions.ChannelClosedByBroker as error:
            if "home node" not in error.reply_text:
                raise


def _first(channel: BlockingChannel, queue: str) -> bytes:
    channel.basic_qos(prefetch_count=1)
    for _, _, body in channel.consume(queue, arguments={"x-stream-offset": "first"}):
        return bytes(body)
    raise AssertionError("the stream ended")


class SharedNodeTests(TestCase):
    """The node most tests use."""

    def test_there_is_one(self) -> None:
        self.assertIs(shared_node(), shared_node())

    def test_vhosts_are_new_and_apart(self) -> None:
        node = shared_node()
        one, other = node.vhost(), node.vhost()
        self.addCleanup(node.drop_vhost, one)
        self.addCleanup(node.drop_vhost, other)
        with _channel(node.url(one)) as channel:
            channel.queue_declare("s", durable=True, arguments=_STREAM)
            channel.basic_publish("", "s", b"kept")
        self.assertEqual(_read_one(node.url(one), "s"), b"kept")
        with _channel(node.url(other)) as channel:
            with self.assertRaises(pika.exceptions.ChannelClosedByBroker) as caught:
                channel.queue_declare("s", passive=True)
            self.assertEqual(caught.exception.reply_code, 404)

    def test_eval_tells_what_went_wrong(self) -> None:
        self.assertEqual(shared_node().eval("1 + 1"), "2")
        with self.assertRaisesRegex(RuntimeError, "badarith"):
            shared_node().eval("1 + a")

    def test_ctl(self) -> None:
        node = shared_node()
        vhost = node.vhost()
        self.assertIn(vhost, node.ctl("list_vhosts", "--silent"))
        node.drop_vhost(vhost)
        self.assertNotIn(vhost, node.ctl("list_vhosts", "--silent").split())

    def test_mutual_tls(self) -> None:
        node = shared_node()
        certificates = node.certificates
        assert certificates is not None
        context = ssl.create_default_context(cafile=str(certificates.authority))
        context.load_cert_chain(certificates.client_certificate, certificates.client_key)
        address = ("127.0.0.1", node.tls_port)
        with (
            socket.create_connection(address) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(b"AMQP\0\0\x09\x01")
            self.assertEqual(client.recv(1), b"\1")
        stranger = ssl.create_default_context(cafile=str(certificates.authority))
        with (
            socket.create_connection(address) as plain,
            stranger.wrap_socket(plain, server_hostname="localhost") as client,
            self.assertRaises(ssl.SSLError),
        ):
            client.recv(1)


class NodeTests(TestCase):
    """What may be done to a node of one's own."""

    node: Node

    @classmethod
    def setUpClass(cls) -> None:
        cls.node = Node().start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.node.close()

    def test_what_was_confirmed_survives_kill_and_start_on_the_same_ports(self) -> None:
        with _channel(self.node.url()) as channel:
            channel.queue_declare("s", durable=True, arguments=_STREAM)
            channel.basic_publish("", "s", b"kept")
        self.node.kill()
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.node.port)).close()
        self.node.start()
        self.assertEqual(_read_one(self.node.url(), "s"), b"kept")

    def test_a_frozen_node_accepts_and_says_nothing_until_it_thaws(self) -> None:
        with socket.create_connection(("127.0.0.1", self.node.port)) as client:
            self.node.freeze()
            try:
                client.sendall(b"AMQP\0\0\x09\x01")
                client.settimeout(0.3)
                with self.assertRaises(TimeoutError):
                    client.recv(1)
            finally:
                self.node.thaw()
            client.settimeout(10)
            self.assertEqual(client.recv(1), b"\1")

    def test_an_alarm_blocks_publishers(self) -> None:
        blocked: list[object] = []
        connection = pika.BlockingConnection(pika.URLParameters(self.node.url()))
        self.addCleanup(connection.close)
        connection.add_on_connection_blocked_callback(lambda *args: blocked.append(args))
        channel = connection.channel()
        self.node.alarm(True)
        self.addCleanup(self.node.alarm, False)
        while not blocked:
            # The broker says so when something is published after it has heard of the alarm.
            channel.basic_publish("", "nowhere", b"")
            connection.process_data_events(0.1)


class LeakTests(TestCase):
    """However the test process ends, nothing of RabbitMQ is left running."""

    def test_nodes_die_with_a_killed_process_even_frozen(self) -> None:
        script = (
            "from pathlib import Path\n"
            "from tests.support.rabbit import Node\n"
            "from tests.support.rabbit_home import home\n"
            "nodes = [Node().start(wait=False) for _ in range(2)]\n"
            "name = Path(f'/proc/{nodes[1].process.pid}/comm')\n"
            "while name.read_text() != 'beam.smp\\n': pass\n"
            "nodes[1].freeze()\n"
            "print(*(p.pid for p in home().processes), home().folder, flush=True)\n"
            "input()\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdin is not None
        *pids, folder = child.stdout.readline().split()
        watched = [os.pidfd_open(int(pid)) for pid in pids]
        self.assertEqual(len(watched), 3)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdin.close()
        child.stdout.close()
        for fd in watched:
            # Readable once the process has ended.
            self.assertTrue(select.select([fd], [], [], 10)[0])
            os.close(fd)
        subprocess.run(["rm", "-r", folder], check=True)

    def test_ports_are_claimed_once(self) -> None:
        ports = {free_port() for _ in range(50)}
        self.assertEqual(len(ports), 50)
