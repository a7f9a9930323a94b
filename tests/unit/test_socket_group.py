"""Groups of sockets that are sent the same bytes: by a loop, or by a ring of the kernel's."""

from __future__ import annotations

import errno
import os
import socket
from array import array
from random import Random
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatd.net import io_uring, socket_group
from chatd.net.io_uring import LARGEST, Ring
from chatd.net.socket_group import LARGE, SharedRing, SocketGroup, tried


def forbidden(places: int) -> Ring:
    """What opening a ring comes to in many containers."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


class Client:
    """A client's end, ours, and what our end did not take yet."""

    def __init__(self, space: int | None = None) -> None:
        self.ours, self.theirs = socket.socketpair()
        if space is not None:
            self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, space)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.kept = b""
        self.got = b""

    def read(self) -> bytes:
        """All that has come until now."""
        try:
            while data := self.theirs.recv(1 << 20):
                self.got += data
        except BlockingIOError:
            pass
        return self.got

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class GroupCase(SynchronousTestCase):
    """A group, and those who are in it."""

    #: What there is.
    has_ring = True

    def setUp(self) -> None:
        self.shared = SharedRing(Ring if self.has_ring else forbidden)
        self.addCleanup(self.shared.close)
        self.group = SocketGroup(self.shared)
        self.inside: list[Client] = []

    def client(self, space: int | None = None) -> Client:
        client = Client(space)
        self.addCleanup(client.close)
        return client

    def add(self, *clients: Client) -> None:
        for client in clients:
            self.inside.append(client)
            self.group.append(client.ours.send)

    def fill(self, count: int) -> list[Client]:
        """So many more."""
        clients = [self.client() for _ in range(count)]
        self.add(*clients)
        return clients

    def take_out(self, client: Client) -> None:
        index = self.inside.index(client)
        self.group.remove(index)
        last = self.inside.pop()
        if last is not client:
            self.inside[index] = last

    def send(self, data: bytes) -> dict[Client, int]:
        """What those took who did not take all."""
        return {self.inside[index]: taken for index, taken in self.group.send(data)}


class EveryWay:
    """What holds for a loop and for a ring."""

    def test_all_get_all_in_order(self: Any) -> None:
        clients = self.fill(700)
        said = [b"%d" % number * number for number in range(1, 20)]
        for data in said:
            self.assertEqual(self.send(data), {})
        self.assertEqual({client.read() for client in clients}, {b"".join(said)})

    def test_what_a_full_socket_took(self: Any) -> None:
        clients = self.fill(LARGE)
        slow = self.client(space=4096)
        self.add(slow)
        self.fill(LARGE)
        data = os.urandom(20000)
        short = self.send(data)
        self.assertEqual(list(short), [slow])
        self.assertEqual(slow.read(), data[: short[slow]])
        self.assertTrue(0 < short[slow] < len(data))
        self.send(data)
        self.assertEqual(self.send(data), {slow: 0}, "a full socket took something")
        self.assertEqual(clients[0].read(), data * 3)

    def test_a_broken_socket_holds_up_nobody(self: Any) -> None:
        clients = self.fill(LARGE + 3)
        for client in (clients[0], clients[7], clients[-1]):
            client.theirs.close()
        self.assertEqual(self.send(b"hi"), {clients[0]: 0, clients[7]: 0, clients[-1]: 0})
        self.assertEqual({client.read() for client in clients[1:7]}, {b"hi"})

    def test_one_that_we_closed_and_did_not_take_out(self: Any) -> None:
        clients = self.fill(LARGE)
        clients[3].ours.shutdown(socket.SHUT_RDWR)  # as Twisted does
        clients[3].ours.close()
        self.assertEqual(self.send(b"hi"), {clients[3]: 0})

    def test_more_than_a_ring_sends_at_once(self: Any) -> None:
        clients = [self.client(space=4 * LARGEST) for _ in range(LARGE)]
        self.add(*clients)
        self.assertEqual(self.send(b"x" * (LARGEST + 1)), {})
        self.assertEqual({len(client.read()) for client in clients}, {LARGEST + 1})

    def test_everyone_gets_all_while_they_come_and_go(self: Any) -> None:
        random = Random(15)
        everyone = [self.client(space=random.choice((2048, 5000, None))) for _ in range(120)]
        due: dict[Client, bytes] = dict.fromkeys(everyone, b"")
        outside = list(everyone)
        for _ in range(400):
            for client in random.sample(outside, min(len(outside), random.randrange(8))):
                client.read()
                client.kept = client.kept[client.ours.send(client.kept) :] if client.kept else b""
                if not client.kept:
                    outside.remove(client)
                    self.add(client)
            for client in random.sample(self.inside, random.randrange(len(self.inside) // 8 + 1)):
                self.take_out(client)
                outside.append(client)
            data = os.urandom(random.choice((3, 300, 3000)))
            for client in self.inside:
                due[client] += data
            for client, taken in self.send(data).items():
                client.kept = data[taken:]
                self.take_out(client)
                outside.append(client)
        for client in everyone:
            self.assertEqual(client.read() + client.kept, due[client])


class LoopTests(EveryWay, GroupCase):
    has_ring = False

    def test_it_is_asked_for_once_and_said_once(self) -> None:
        with capturedLogs() as events:
            self.fill(LARGE)
            self.send(b"a")
            self.send(b"b")
            SocketGroup(self.shared)
        said = [formatEvent(event) for event in events]
        self.assertEqual(len(said), 1)
        self.assertIn("no io_uring here ([Errno 1] Operation not permitted)", said[0])


class RingCase(GroupCase):
    """Where there is a ring; `entered` counts its system calls."""

    def setUp(self) -> None:
        super().setUp()
        try:
            Ring(1).close()
        except OSError as e:
            raise SkipTest(f"no io_uring on this machine: {e}") from None
        self.entered = self.registered = 0
        self.syscall = io_uring._syscall
        self.patch(io_uring, "_syscall", self._count)

    def _count(self, number: int, *arguments: int) -> int:
        self.entered += number == io_uring._ENTER
        self.registered += number == io_uring._REGISTER
        return int(self.syscall(number, *arguments))

    def entries(self, data: bytes) -> int:
        """How many system calls the ring needs to send this."""
        before = self.entered
        self.send(data)
        return self.entered - before


class RingTests(EveryWay, RingCase):
    def test_one_system_call_for_all(self) -> None:
        clients = self.fill(socket_group.LARGE)
        self.send(b"a")  # which opens and tries the ring
        self.assertEqual(self.entries(b"b"), 1)
        self.assertEqual({client.read() for client in clients}, {b"ab"})

    def test_a_small_group_does_without(self) -> None:
        clients = self.fill(LARGE - 1)
        self.assertEqual(self.entries(b"a"), 0)
        self.fill(1)
        self.assertGreater(self.entries(b"b"), 0)
        for client in clients:
            self.take_out(client)
        self.assertEqual(self.entries(b"c"), 0)
        self.add(*clients)
        self.assertEqual(self.entries(b"d"), 1)
        self.assertEqual({client.read() for client in clients}, {b"abd"})

    def test_a_descriptor_that_is_used_again_gets_nothing_that_was_for_the_one_before(self) -> None:
        clients = self.fill(LARGE)
        self.send(b"a")
        gone = clients[5]
        number = gone.ours.fileno()
        gone.ours.close()  # and is not taken out yet
        stranger = self.client()
        self.assertEqual(stranger.ours.fileno(), number)
        self.send(b"b")
        self.assertEqual(stranger.read(), b"")
        self.take_out(gone)
        self.send(b"c")
        self.assertEqual(stranger.read(), b"")

    def test_a_socket_that_left_is_closed_when_we_close_it(self) -> None:
        clients = self.fill(LARGE + 2)
        self.send(b"a")
        self.take_out(clients[0])
        clients[0].ours.close()
        self.assertEqual(clients[0].theirs.recv(9), b"a")
        self.assertEqual(clients[0].theirs.recv(9), b"", "it is still open")
        clients[1].ours.close()
        self.group.clear()
        self.assertEqual(clients[1].theirs.recv(9), b"a")
        self.assertEqual(clients[1].theirs.recv(9), b"", "it is still open")

    def test_places_are_used_again(self) -> None:
        self.patch(socket_group, "PLACES", LARGE + 1)
        clients = self.fill(LARGE)
        for _ in range(5):
            self.send(b"a")
            self.take_out(clients[2])
            self.add(clients[2])
        self.assertEqual(self.entries(b"b"), 1)
        self.assertEqual({client.read() for client in clients}, {b"aaaaab"})

    def test_who_finds_no_place_is_sent_to_by_the_loop(self) -> None:
        self.patch(socket_group, "PLACES", LARGE + 1)
        clients = self.fill(LARGE)
        self.send(b"a")
        clients += self.fill(2)
        before = self.registered
        self.assertEqual(self.entries(b"b"), 0)
        self.assertEqual(self.registered, before, "it is tried again with each message")
        self.assertEqual({client.read() for client in clients[:LARGE]}, {b"ab"})
        self.assertEqual({client.read() for client in clients[LARGE:]}, {b"b"})
        other = SocketGroup(self.shared)  # the places of the first are free again
        self.group, self.inside = other, []
        others = self.fill(LARGE)
        self.assertEqual(self.entries(b"c"), 1)
        self.assertEqual({client.read() for client in others}, {b"c"})

    def test_what_is_no_socket_is_sent_to_by_the_loop(self) -> None:
        clients = self.fill(LARGE)
        got: list[bytes] = []

        def send(data: bytes) -> int:
            got.append(data)
            return len(data)

        self.group.append(send)
        self.assertEqual(self.group.send(b"hi"), [])
        self.assertEqual((got, clients[0].read()), ([b"hi"], b"hi"))

    def test_after_the_node_has_stopped(self) -> None:
        clients = self.fill(LARGE)
        self.send(b"a")
        self.shared.close()
        self.assertEqual(self.entries(b"b"), 0)
        self.assertEqual({client.read() for client in clients}, {b"ab"})


class FaultTests(RingCase):
    """A kernel that does not do what it should. Mocked: ours does."""

    def test_what_the_kernel_did_not_try_is_told_and_nothing_is_sent_twice(self) -> None:
        clients = self.fill(LARGE)
        self.send(b"a")
        self.patch(io_uring, "_syscall", self._half)
        with capturedLogs() as events:
            short = self.send(b"b")
            self.assertEqual(short, dict.fromkeys(clients[LARGE // 2 :], 0))
            self.assertEqual(self.send(b"c"), {})
            self.send(b"d")
        half = LARGE // 2
        self.assertEqual({client.read() for client in clients[:half]}, {b"abcd"})
        self.assertEqual({client.read() for client in clients[half:]}, {b"acd"})
        self.assertEqual(len([e for e in events if "io_uring failed" in formatEvent(e)]), 1)
        clients[0].ours.close()
        self.assertEqual(clients[0].theirs.recv(1), b"", "the ring that failed still holds it")

    def _half(self, number: int, *arguments: int) -> int:
        if number == io_uring._ENTER:
            arguments = (arguments[0], arguments[1] // 2, *arguments[2:])
        return int(self.syscall(number, *arguments))

    def test_a_kernel_that_does_otherwise_is_found_out(self) -> None:
        for way, fault in (
            (lambda result: [], "miscounts what a socket takes"),
            (lambda result: [(0, LARGEST // 2)] if result else [], "miscounts"),
            (lambda result: result or [(0, 0)], "does not send"),
            (lambda result: [(0, 1)] if result == [(0, 0)] else result, "does not tell of a full"),
        ):
            ring = Ring(4)
            self.assertIsNone(tried(ring))
            real = ring.send

            def other(
                places: array[int], data: bytes, way: Any = way, real: Any = real
            ) -> list[tuple[int, int]]:
                result: list[tuple[int, int]] = way(real(places, data))
                return result

            self.patch(ring, "send", other)
            self.assertIn(fault, str(tried(ring)))
            ring.close()

    def test_one_that_only_says_that_it_sends_is_found_out(self) -> None:
        for said in ([(0, 100)], []):
            ring = Ring(4)
            self.patch(ring, "send", lambda places, data, said=said: said)
            self.assertIsNotNone(tried(ring))
            ring.close()

    def test_one_that_cannot_register_is_found_out(self) -> None:
        self.patch(io_uring, "_syscall", self._refuse_to_register)
        ring = Ring(4)
        self.assertIn("fails", str(tried(ring)))
        ring.close()

    def test_a_closed_one_does_not_reach_into_another(self) -> None:
        ring = Ring(4)
        ring.close()
        other = Ring(4)  # with the number of the first
        with self.assertRaises(OSError):
            ring.add(0)
        other.close()

    def test_one_that_does_not_let_go_is_found_out(self) -> None:
        ring = Ring(4)
        registered = ring._register
        self.patch(ring, "_register", lambda place, fd: registered(place if fd >= 0 else 99, fd))
        self.assertEqual(tried(ring), "fails")
        self.assertTrue(ring.closed)

    def test_one_that_does_not_let_go_is_closed(self) -> None:
        clients = self.fill(LARGE)
        self.send(b"a")
        self.patch(io_uring, "_syscall", self._refuse_to_register)
        self.take_out(clients[0])
        clients[0].ours.close()
        self.assertEqual((clients[0].theirs.recv(9), clients[0].theirs.recv(9)), (b"a", b""))
        self.add(self.client())
        self.assertEqual(self.send(b"b"), {})
        self.assertEqual({client.read() for client in clients[1:]}, {b"ab"})

    def _refuse_to_register(self, number: int, *arguments: int) -> int:
        if number == io_uring._REGISTER and arguments[1] == io_uring._REGISTER_FILES_UPDATE:
            return -1
        return int(self.syscall(number, *arguments))

    def test_who_was_found_out_is_not_used(self) -> None:
        self.patch(socket_group, "tried", lambda ring: "does not send")
        clients = self.fill(LARGE)
        with capturedLogs() as events:
            self.assertEqual(self.entries(b"a"), 0)
        self.assertEqual({client.read() for client in clients}, {b"a"})
        self.assertIn("io_uring of this kernel does not send", formatEvent(events[0]))
