"""A port that cannot be opened names its option."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from chatd.errors import StartError
from chatd.net import ports


class Endpoint:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def listen(self, factory: object) -> Deferred[Any]:
        return fail(self.error)


class PortTests(SynchronousTestCase):
    def said(self, error: Exception) -> str:
        """What is said where listening fails with ``error``."""
        self.patch(ports, "listen_endpoint", lambda *_: Endpoint(error))
        factory: Any = Factory()
        certificates: Any = None
        [service] = ports.ports(None, "http", ("an endpoint",), factory, certificates)
        with self.assertRaises(StartError) as caught:
            service.privilegedStartService()
        return str(caught.exception)

    def test_the_option_and_the_place(self) -> None:
        why = OSError(98, "Address already in use")
        for interface, port, place in (
            ("", 80, "*:80"),
            ("::1", 80, "::1:80"),
            (None, b"/run/ch\xc3\xa4t", "/run/chät"),
            (None, "/run/chat", "/run/chat"),
        ):
            self.assertEqual(
                self.said(CannotListenError(interface, port, why)),
                f"--http: cannot listen on {place}: [Errno 98] Address already in use",
            )
        self.assertEqual(self.said(why), "--http: cannot listen: [Errno 98] Address already in use")
