"""A port that cannot be opened names its option."""

from __future__ import annotations

import errno
import os
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
        why = OSError(errno.EADDRINUSE, "Address already in use")
        said = (
            "Address already in use; stop what listens there (ss -ltnp names it), or give another"
        )
        for interface, port, place in (
            ("", 80, "*:80"),
            ("::1", 80, "::1:80"),
            (None, b"/run/ch\xc3\xa4t", "/run/chät"),
            (None, "/run/chat", "/run/chat"),
        ):
            self.assertEqual(
                self.said(CannotListenError(interface, port, why)),
                f"--http: cannot listen on {place}: {said}",
            )
        self.assertEqual(self.said(why), f"--http: cannot listen: {said}")

    def test_what_to_do(self) -> None:
        """Never the number of an error, and advice only where it is of use."""
        for number, port, said in (
            (errno.EACCES, 443, "Permission denied; this user needs CAP_NET_BIND_SERVICE"),
            (errno.EACCES, 8443, "Permission denied"),
            (errno.EACCES, "/run/chat", "Permission denied"),
            (errno.EADDRNOTAVAIL, 80, "Cannot assign requested address; this machine has no such"),
            (errno.EAFNOSUPPORT, 80, "Address family not supported by protocol; this machine has"),
            (errno.EMFILE, 80, "Too many open files"),
        ):
            told = self.said(CannotListenError("", port, OSError(number, os.strerror(number))))
            what = told.partition(": cannot listen on ")[2].partition(": ")[2]
            self.assertTrue(what.startswith(said) if ";" in said else what == said, told)
        self.assertIn(": no lock", self.said(CannotListenError(None, "/run/chat", "no lock")))
