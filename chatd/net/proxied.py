"""Connections of proxies that speak the PROXY protocol, which say first whose connection it is.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt (section 2). Twisted's parsers read what
a header says; how it is received is chatd's own, because Twisted's wrapper drops a header that
comes in pieces, and does not tell of a client that has closed its sending side.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.protocols.haproxy._exceptions import InvalidProxyHeader
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

#: Bytes of a header of version 1 with its line's end, at most; and of version 2 up to its length.
V1_BYTES = 107
V2_BEGINS = 16
#: Bytes of a header of version 2 that are kept, at most: up to the addresses of Unix sockets. What
#: follows them, up to 64 KB, is not for us.
V2_KEPT = V2_BEGINS + 2 * 108
#: A connection whose client's address is unknown to the proxy; what may follow is to be ignored.
_UNKNOWN = b"PROXY UNKNOWN"


@implementer(IHalfCloseableProtocol)
class Proxied(ProtocolWrapper):
    """A connection that begins with a PROXY header, which `getPeer` and `getHost` tell of once it
    is there. Without a header, or with one that is wrong, the connection is closed."""

    transport: Any
    wrappedProtocol: Any
    #: What has come of the header, and is kept; None when it is complete.
    _head: bytes | None = b""
    #: How much more has come of it.
    _dropped = 0
    _source: IAddress | None = None
    _destination: IAddress | None = None

    def dataReceived(self, data: bytes) -> None:
        if self._head is None:
            self.wrappedProtocol.dataReceived(data)
            return
        come = self._head + data
        try:
            size = _size(come)
            if size is None or size > self._dropped + len(come):
                self._head = come[:V2_KEPT]
                self._dropped += len(come) - len(self._head)
                return
            self._source, self._destination = _read(come[: min(size, V2_KEPT)])
        except (InvalidProxyHeader, ValueError):
            self.loseConnection()
            return
        self._head = None
        if rest := come[size - self._dropped :]:
            self.wrappedProtocol.dataReceived(rest)

    def getPeer(self) -> IAddress:
        """The client's address; the proxy's where it speaks for itself, or knows none."""
        return self._source or super().getPeer()

    def getHost(self) -> IAddress:
        """The address that the client connected to."""
        return self._destination or super().getHost()

    # -- as a transport does it for a protocol that is not wrapped --------------------------------

    def readConnectionLost(self) -> None:
        """The client has closed its sending side."""
        if self._half_closeable():
            self.wrappedProtocol.readConnectionLost()
        else:
            self.transport.connectionLost(Failure(ConnectionDone()))

    def writeConnectionLost(self) -> None:
        """This side has been closed, which only those do who expect this."""
        if self._half_closeable():
            self.wrappedProtocol.writeConnectionLost()

    def _half_closeable(self) -> bool:
        """Whether the protocol expects half of its connection to close. TLS provides what this
        does, but does nothing of it itself."""
        return bool(IHalfCloseableProtocol.implementedBy(type(self.wrappedProtocol)))


def _size(come: bytes) -> int | None:
    """How many bytes the header that begins ``come`` has, which may be more than have come; None if
    that is not known yet. Raises `InvalidProxyHeader` if it is none."""
    if come.startswith(V2Parser.PREFIX[: len(come)]):
        if len(come) < V2_BEGINS:
            return None
        return V2_BEGINS + int.from_bytes(come[14:16], "big")
    if not come.startswith(b"PROXY "[: len(come)]):
        raise InvalidProxyHeader
    end = come.find(b"\r\n", 0, V1_BYTES)
    if end < 0 and len(come) >= V1_BYTES:
        raise InvalidProxyHeader
    return end + 2 if end >= 0 else None


def _read(head: bytes) -> tuple[IAddress | None, IAddress | None]:
    """The source and destination that a header names. Raises `InvalidProxyHeader` or ValueError for
    what is wrong."""
    if head.startswith(_UNKNOWN):
        return None, None
    said: Any = V2Parser.parse(head) if head.startswith(b"\r") else V1Parser.parse(head[:-2])
    for address in (said.source, said.destination):
        if hasattr(address, "host"):  # a Unix socket has none
            ipaddress.ip_address(address.host)
    return said.source, said.destination


class ProxiedFactory(WrappingFactory):
    """Makes connections `Proxied`."""

    protocol = Proxied
    noisy = False


@implementer(IStreamServerEndpoint)
@frozen
class ProxiedEndpoint:
    """``endpoint``, whose connections begin with a PROXY header."""

    endpoint: IStreamServerEndpoint

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `twisted.internet.interfaces.IStreamServerEndpoint`."""
        listening: Deferred[IListeningPort] = self.endpoint.listen(ProxiedFactory(protocolFactory))
        return listening
