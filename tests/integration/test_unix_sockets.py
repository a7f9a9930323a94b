"""Unix sockets whose place is taken by something: the next start, after a process was killed."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from chatd.net.certificates import Certificates
from chatd.net.endpoints import listen_endpoint
from chatd.net.unix_sockets import UnixEndpoint, is_deserted


@implementer(IStreamServerEndpoint)
class Refusing:
    def listen(self, protocolFactory: object) -> Deferred[IListeningPort]:
        return fail(CannotListenError(None, "", OSError()))


class UnixSocketTests(TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "socket")
        self.lock = f"{self.path}.lock"

    async def listen(self, more: str = "") -> IListeningPort:
        certificates = Certificates(lambda *_: self.fail("there is no TLS"))
        endpoint = listen_endpoint(reactor, f"unix:{self.path}{more}", certificates)
        return await endpoint.listen(Factory())

    def connect(self, most: int) -> int:
        """How many of so many connections there is room for until they are accepted."""
        for number in range(most):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            if client.connect_ex(self.path) == errno.EAGAIN:
                return number
        return most

    async def test_a_crowd_that_connects_at_once(self) -> None:
        for more, room in (("", 100), (":backlog=7", 8)):
            port = await self.listen(more)
            self.assertEqual(self.connect(100), room)
            await maybeDeferred(port.stopListening)

    def test_a_process_that_is_too_busy_to_take_more_is_there(self) -> None:
        with socket.socket(socket.AF_UNIX) as busy:
            busy.bind(self.path)
            busy.listen(0)
            self.connect(100)
            self.assertFalse(is_deserted(self.path))

    async def test_left_by_a_process_that_was_killed(self) -> None:
        """Its place is taken, though its process id is ours by now, as it is in a container."""
        for locked, bound in ((True, True), (True, False), (False, True)):
            if bound:
                with socket.socket(socket.AF_UNIX) as killed:
                    killed.bind(self.path)
            if locked:
                os.symlink(str(os.getpid()), self.lock)
            port = await self.listen()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.path)
            await maybeDeferred(port.stopListening)
            self.assertFalse(os.path.lexists(self.path) or os.path.lexists(self.lock))

    async def test_what_it_cannot_remove_when_it_ends(self) -> None:
        """Somebody else did, and may have put another socket there. It closes, as it should."""
        for other in (None, socket.socket(socket.AF_UNIX)):
            port = await self.listen()
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.connect(self.path)
            os.unlink(self.path)
            os.unlink(self.lock)
            if other is not None:
                self.addCleanup(other.close)
                other.bind(self.path)
                other.listen()
                os.symlink("1", self.lock)
            await maybeDeferred(port.stopListening)
            # it was in the queue, of which nobody takes it any more
            with self.assertRaises(ConnectionResetError):
                client.recv(1)
            self.assertEqual(os.path.exists(self.path), other is not None)
            self.assertEqual(os.path.lexists(self.lock), other is not None)

    def test_what_stays(self) -> None:
        """A socket that somebody listens on, and what is neither a socket nor a lock."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.path)
            other.listen()
            os.symlink("1", self.lock)
            self.try_to_listen()
            self.assertTrue(os.path.exists(self.path) and os.path.lexists(self.lock))
        os.unlink(self.lock)
        os.unlink(self.path)
        for path in (Path(self.path), Path(self.lock)):
            path.write_text("not to be lost")
        self.try_to_listen()
        for path in (Path(self.path), Path(self.lock)):
            self.assertEqual(path.read_text(), "not to be lost")

    def try_to_listen(self) -> None:
        """As far as Twisted is asked to."""
        endpoint = UnixEndpoint(self.path, Refusing())
        self.failureResultOf(endpoint.listen(Factory()), CannotListenError)
