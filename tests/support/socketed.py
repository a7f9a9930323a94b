"""A client's end that is written to directly, as one on plain TCP."""

from __future__ import annotations

import json

from chatd.access.identity import Identity
from tests.support.world import LINES, Lines, Reader, World


class Socketed(Reader):
    """A client's end whose ``send`` is like that of a socket with ``space`` bytes left (None: any
    number), behind a transport that keeps what it did not take."""

    def __init__(self, world: World, identity: Identity, encoding: Lines = LINES) -> None:
        super().__init__(world, identity, encoding)
        self.space: int | None = None
        self.broken = False
        #: What has come of a line that is not complete.
        self.begun = b""
        self.kept = b""
        self.asked = 0
        self.send = self._send

    def _send(self, data: bytes) -> int:
        assert not self.kept, "overtaken"
        if self.broken:
            raise ConnectionResetError
        if self.space == 0:
            raise BlockingIOError
        taken = len(data) if self.space is None else min(self.space, len(data))
        if self.space is not None:
            self.space -= taken
        self._receive(data[:taken])
        return taken

    def _receive(self, data: bytes) -> None:
        *lines, self.begun = (self.begun + data).split(b"\n")
        self.frames += [json.loads(line) for line in lines]

    def keep(self, rest: bytes) -> None:
        self.kept += rest
        self.send = None
        self.subscription.send_changed()

    def deliver(self, data: bytes, end: int) -> bool:
        self.asked += 1
        return self.notify(data)

    def notify(self, data: bytes) -> bool:
        if self.send is None:
            return False
        try:
            taken = self._send(data)
        except OSError:
            taken = 0
        if taken < len(data):
            self.keep(data[taken:])
        return True

    def empty(self, space: int | None = None) -> None:
        """The client reads all that is there, and has ``space`` for more."""
        self.space = space
        kept, self.kept = self.kept, b""
        self._receive(kept)
        self.send = self._send
        self.subscription.resume()
