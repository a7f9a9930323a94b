"""The harness itself: nodes that are shared, speak TLS, and never outlive the tests. Those that
freeze: `tests.system.test_whole_node`; that die and come back: `tests.system.test_failures`."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import AbstractContextManager

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from twisted.trial.unittest import TestCase

from tests.support import rabbit_run
from tests.support.daemon import ROOT
from tests.support.pika_client import pika_channel
from tests.support.rabbit import Node, shared_node
from tests.support.rabbit_home import free_port

pytestmark = pytest.mark.rabbitmq


_STREAM = {"x-queue-type": "stream"}


def _channel(url: str) -> AbstractContextManager[BlockingChannel]:
    return pika_channel(pika.URLParameters(url))


def _first(channel: BlockingChannel, queue: str) -> bytes:
    """A stream's first record."""
    channel.basic_qos(prefetch_count=1)
    for _, _, body in channel.consume(queue, arguments={"x-stream-offset": "first"}):
        return bytes(body)
    raise AssertionError("the stream ended")


class SharedNodeTests(TestCase):
    """The node most tests use."""

    def test_there_is_one(self) -> None:
        self.assertIs(shared_node(), shared_node())

    def test_other_processes_are_told_of_it(self) -> None:
        self.patch(os, "environ", dict(os.environ))
        rabbit_run.serve(shared_node)
        script = "from tests.support.rabbit import shared_node as s; print(s().url(s().vhost()))"
        command = [sys.executable, "-c", script]
        told = subprocess.run(
            command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True, check=True
        )
        with _channel(told.stdout.strip()) as channel:
            self.assertTrue(channel.is_open)
        start, _, vhost = told.stdout.strip().rpartition("/")
        self.assertEqual(f"{start}/%2F", shared_node().url())
        shared_node().drop_vhost(vhost)

    def test_one_that_does_not_start_is_told_too(self) -> None:
        def start() -> None:
            raise RuntimeError("no disk")

        self.patch(os, "environ", dict(os.environ))
        rabbit_run.serve(start)
        with self.assertRaisesRegex(RuntimeError, "no disk"):
            rabbit_run.ask()

    def test_vhosts_are_new_and_apart(self) -> None:
        node = shared_node()
        one, other = node.vhost(), node.vhost()
        self.addCleanup(node.drop_vhost, one)
        self.addCleanup(node.drop_vhost, other)
        with _channel(node.url(one)) as channel:
            channel.queue_declare("s", durable=True, arguments=_STREAM)
            channel.basic_publish("", "s", b"kept")
        with _channel(node.url(one)) as channel:
            self.assertEqual(_first(channel, "s"), b"kept")
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
        self.addCleanup(node.drop_vhost, vhost)
        self.assertIn(vhost, node.ctl("list_vhosts", "--silent").split())

    def test_dropped_vhosts_are_gone(self) -> None:
        node = shared_node()
        vhost = node.vhost()
        self.assertEqual(node.eval(f'rabbit_vhost:exists(<<"{vhost}">>)'), "true")
        node.drop_vhost(vhost)
        self.assertEqual(node.eval(f'rabbit_vhost:exists(<<"{vhost}">>)'), "false")

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
            cwd=ROOT,
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


class OtherApplicationsTests(TestCase):
    """A node with plugins, such as the one that ``make bench`` compares chatd with."""

    def test_are_configured(self) -> None:
        port = free_port()
        listens = f'{{tcp_config, [{{ip, "127.0.0.1"}}, {{port, {port}}}]}}'
        node = Node(plugins="rabbitmq_web_stomp", others=[f"{{rabbitmq_web_stomp, [{listens}]}}"])
        self.addCleanup(node.close)
        node.start()
        socket.create_connection(("127.0.0.1", port)).close()
