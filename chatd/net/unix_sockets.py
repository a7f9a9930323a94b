"""Unix sockets in the file system: what is left of one whose process was killed, and what a process
leaves that ends in order."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

#: What an attempt to connect says where no process listens: the socket is left over, or there is
#: none.
_NOBODY = (errno.ECONNREFUSED, errno.ENOENT)


def is_socket(path: str) -> bool:
    """Whether a Unix socket is at ``path``."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False  # a link that leads nowhere


def is_deserted(path: str) -> bool:
    """Whether no process listens on the socket at ``path``, or there is none."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a process may be too busy to take us
        return probe.connect_ex(path) in _NOBODY


@implementer(IStreamServerEndpoint)
@frozen
class UnixEndpoint:
    """What a ``unix:`` string describes: ``endpoint``, whose socket is at ``path``.

    Twisted takes a socket for left over if the process id in the lock beside it is nobody's. Where
    ids come again, as in a container, in which ours is always the same, it would refuse for ever.
    """

    path: str
    endpoint: IStreamServerEndpoint

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `twisted.internet.interfaces.IStreamServerEndpoint`."""
        if is_deserted(self.path):
            _clear(self.path)
        listening: Deferred[IListeningPort] = self.endpoint.listen(protocolFactory)
        return listening.addCallback(self._listening)

    def _listening(self, port: Any) -> Any:
        if isinstance(port, unix.Port):  # and not of another reactor, or of none
            _close_in_order(port, self.path)
        return port


def _close_in_order(port: Any, path: str) -> None:
    port.connectionLost = partial(_close, port, path, _identity(path))


def _close(port: Any, path: str, identity: tuple[int, int] | None, reason: Failure) -> None:
    """Close ``port``, and remove its socket at ``path``, and the lock, unless they are gone, others
    have put their own there, or only root may write in the folder. Twisted's own fails then,
    and leaves the port open, in whose queue clients wait."""
    if _identity(path) == identity:
        with suppress(OSError):
            os.unlink(path)
    if port.lockFile is not None:
        with suppress(OSError, ValueError):  # the latter if it is another process's
            port.lockFile.unlock()
    tcp.Port.connectionLost(port, reason)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _clear(path: str) -> None:
    """Remove the socket at ``path``, and Twisted's lock beside it, which is a link to a process id;
    nothing else."""
    lock = f"{path}.lock"
    with suppress(OSError):  # listening says what stays in the way
        if os.path.islink(lock):
            os.unlink(lock)
        if is_socket(path):
            os.unlink(path)
