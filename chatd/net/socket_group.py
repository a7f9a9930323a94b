"""Sockets that are all sent the same bytes: by a loop, or in one system call.

Python's own part of a ``send`` is a tenth of what it costs, and `chatd.net.io_uring` saves that.
Many containers forbid io_uring, and not every kernel has it; so the loop is always there, and a
ring is tried before it is trusted.
"""

from __future__ import annotations

import resource
import socket
from array import array
from collections.abc import Callable

from twisted.logger import Logger

from chatd.net.io_uring import LARGEST, Ring

#: Sockets in a group from which on the ring is used; for fewer a loop costs as little.
LARGE = 32
#: The most sockets that are in the ring's table; the kernel keeps some 16 bytes for each place.
PLACES = 65536

#: A socket's own ``send``.
Send = Callable[[bytes], int]


class SharedRing:
    """The ring of a node, opened when the first large group asks for it. ``opening`` makes one with
    so many places."""

    _log = Logger()

    def __init__(self, opening: Callable[[int], Ring] = Ring) -> None:
        self._opening: Callable[[int], Ring] | None = opening
        self._ring: Ring | None = None

    def get(self) -> Ring | None:
        """The ring, None if there is none."""
        if self._opening is not None:
            opening, self._opening = self._opening, None
            self._ring = self._open(opening)
        if self._ring is not None and self._ring.closed:  # by itself
            self._log.warn("io_uring failed: large rooms are sent to socket by socket from now on")
            self._ring = None
        return self._ring

    def close(self) -> None:
        """Let go of all sockets. There is no ring from now on."""
        self._opening = None
        ring, self._ring = self._ring, None
        if ring is not None and not ring.closed:
            ring.close()

    def _open(self, opening: Callable[[int], Ring]) -> Ring | None:
        without = "Large rooms are sent to socket by socket: "
        try:
            ring = opening(min(PLACES, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        except OSError as e:
            self._log.info(without + "no io_uring here ({why})", why=e)
            return None
        if fault := tried(ring):
            ring.close()
            self._log.warn(without + "io_uring of this kernel {fault}", fault=fault)
            return None
        self._log.info("Large rooms are sent to in batches, by io_uring")
        return ring


class SocketGroup:
    """Sockets by their ``send``, in the order in which they were added, but for those who took the
    place of one that left."""

    def __init__(self, ring: SharedRing) -> None:
        self._shared = ring
        self._sends: list[Send] = []
        #: Whether the ring may be used, and the sockets' places in it while it is.
        self._usable = True
        self._ring: Ring | None = None
        self._places: array[int] = array("i")

    def __len__(self) -> int:
        return len(self._sends)

    def append(self, send: Send) -> None:
        """Add a socket."""
        self._sends.append(send)
        self._enter(send)

    def remove(self, index: int) -> None:
        """Take out the socket at ``index``; the last one takes its place."""
        last = self._sends.pop()
        if index < len(self._sends):
            self._sends[index] = last
        if self._ring is not None:
            self._ring.remove(self._places[index])
            place = self._places.pop()
            if index < len(self._places):
                self._places[index] = place

    def clear(self) -> None:
        """Take all out. Nobody is added after this."""
        self._leave()
        self._sends.clear()

    def send(self, data: bytes) -> list[tuple[int, int]]:
        """Send ``data``. Returns the indexes of those who did not take all of it, and how many
        bytes each of these took."""
        if len(self._sends) < LARGE or len(data) > LARGEST:
            return self._send_to_each(data)
        ring = self._ring
        if ring is None or ring.closed:
            ring = self._join()
        return self._send_to_each(data) if ring is None else ring.send(self._places, data)

    def _send_to_each(self, data: bytes) -> list[tuple[int, int]]:
        size, short = len(data), []
        sends = enumerate(self._sends)
        while True:
            try:
                for index, send in sends:
                    if (taken := send(data)) != size:
                        short.append((index, taken))
            except OSError:  # it takes nothing now, or the reactor finds that it never will
                short.append((index, 0))
            else:
                return short

    def _join(self) -> Ring | None:
        """Put all sockets into the ring, if there is one to be had."""
        ring = self._shared.get()
        if self._ring is not None:  # which has closed itself
            self._leave()
        elif self._usable:
            self._ring = ring
            self._usable = self._ring is not None
            for send in self._sends:
                self._enter(send)
        return self._ring

    def _enter(self, send: Send) -> None:
        """Put a socket into the ring, if it is used."""
        if self._ring is None:
            return
        try:
            self._places.append(self._ring.add(_socket(send).fileno()))
        except OSError:
            self._leave()

    def _leave(self) -> None:
        """Take all sockets out of the ring, for good."""
        for place in self._places:
            if self._ring is not None:
                self._ring.remove(place)
        self._ring, self._places = None, array("i")
        self._usable = False


def _socket(send: Send) -> socket.socket:
    """The socket that ``send`` is of. Raises OSError if it is of something else."""
    found = getattr(send, "__self__", None)
    if isinstance(found, socket.socket):
        return found
    raise OSError("not a socket's")


def tried(ring: Ring) -> str | None:
    """What ``ring`` does otherwise than `socket.socket.send`, if anything."""
    near, far = socket.socketpair()
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        far.setblocking(False)
        try:
            place = ring.add(near.fileno())
            fault = _compared(lambda data: ring.send(array("i", [place]), data), far)
            ring.remove(place)
        except OSError as e:
            return f"fails ({e})"
    return "fails" if ring.closed else fault


def _compared(send: Callable[[bytes], list[tuple[int, int]]], far: socket.socket) -> str | None:
    data = bytes(range(256)) * (LARGEST // 256)
    taken = sum(size for _, size in send(data))
    if not 0 < taken < LARGEST or far.recv(taken) != data[:taken]:
        return "miscounts what a socket takes"
    if send(b"hello") or far.recv(5) != b"hello":
        return "does not send"
    send(data)
    if send(data) != [(0, 0)]:
        return "does not tell of a full socket"
    far.close()
    return None if send(data) == [(0, 0)] else "does not tell of a broken socket"
