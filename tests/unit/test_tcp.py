"""`chatd.net.tcp.send_now`: straight to the socket where nothing else waits, and nothing lost."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from twisted.internet.tcp import Connection

from chatd.net.tcp import send_now


class _Socket:
    """Takes so many bytes of each write; None for no more at present."""

    def __init__(self, takes: int | None) -> None:
        self._takes = takes
        self.sent = b""

    def send(self, data: bytes) -> int:
        if self._takes is None:
            raise BlockingIOError
        self.sent += data[: self._takes]
        return len(data[: self._takes])


class _Connection(Connection):
    """A connection that has not sent ``waiting`` yet."""

    def __init__(self, takes: int | None, waiting: bytes = b"", tls: bool = False) -> None:
        self.socket: Any = _Socket(takes)
        self.dataBuffer, self._tempDataBuffer, self.TLS = waiting, [], tls
        self.kept: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.kept.append(data)


class SendTests(TestCase):
    def test_what_goes_where(self) -> None:
        for connection, sent, kept in (
            (_Connection(9), b"hello", []),
            (_Connection(2), b"he", [b"llo"]),
            (_Connection(None), b"", [b"hello"]),
            (_Connection(9, waiting=b"before"), b"", [b"hello"]),
            (_Connection(9, tls=True), b"", [b"hello"]),
        ):
            send_now(connection, b"hello")
            self.assertEqual((connection.socket.sent, connection.kept), (sent, kept))
