"""What a node's connections hold."""

from __future__ import annotations

from twisted.internet.tcp import Server

from tests.support.raw import reactor


def connections() -> list[Server]:
    """The node's ends of all TCP connections in this process."""
    return [one for one in {*reactor.getReaders(), *reactor.getWriters()} if type(one) is Server]


def buffered() -> int:
    """Bytes the node holds for clients that do not read, over all connections."""
    return sum(len(one.dataBuffer) + one._tempDataLen for one in connections())
