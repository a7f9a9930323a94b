"""TLS handshakes, done in turn: each costs more than most requests, and anyone can ask for one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from OpenSSL import SSL
from OpenSSL.SSL import Connection
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from chatd.net.tcp import half_close


class Place(Protocol):
    """A place in line."""

    @property
    def queued(self) -> bool:
        """Whether it waits."""

    def take(self) -> bool:
        """Whether to do one piece of work now; if not, its turn will be told."""

    def leave(self) -> None:
        """The connection is gone."""


#: A place for the connection from an address; then what to call when its turn has come, and when it
#: is given up.
Handshakes = Callable[[str, Callable[[], None], Callable[[], None]], Place]


#: Bytes that are decrypted at once, at most: two records of the largest size.
RECEIVED = 32 * 1024
#: How plain text begins: the method of a request, or a JSON object. TLS begins with 0x16 (RFC 8446,
#: section 5.1).
_TEXT = re.compile(rb"[A-Z{]")


class TransportInTurn(BufferingTLSTransport):
    """A TLS connection that agrees on its keys when it is its turn, and is not read from before."""

    factory: FactoryInTurn
    transport: Any
    wrappedProtocol: Any
    _aborted: bool
    _handshakeDone: bool
    _lostTLSConnection: bool
    _tlsConnection: Connection
    _place: Place | None = None
    _come = b""
    #: The client speaks no TLS, and was told so: what it sends is dropped.
    _plain = False

    def dataReceived(self, data: bytes) -> None:
        if self._handshakeDone:
            super().dataReceived(data)
            return
        if self._plain or (self._place is None and _TEXT.match(data) and self._refuse(data)):
            return
        if self._place is None:  # behind a proxy it is known by now whose connection this is
            peer = getattr(self.transport.getPeer(), "host", "")
            give_up = self.transport.abortConnection
            self._place = self.factory.handshakes(peer, self._go_on, give_up)
        self._come += data
        if self._place.take():
            self._work_off()
        else:
            self.transport.pauseProducing()

    def _refuse(self, data: bytes) -> bool:
        """Tell a client that sends ``data`` that this is TLS, if the port has words for it. The
        deadline of the protocol that waits for the handshake ends the connection."""
        refuse = getattr(self.factory.wrappedFactory, "refuse_plain", None)
        if refuse is None:
            return False
        self._plain = True
        self.transport.write(refuse(self.transport, data))
        half_close(self.transport)
        return True

    def _go_on(self) -> None:
        if self._place is not None and self._place.take():
            self._work_off()
            self.transport.resumeProducing()

    def _work_off(self) -> None:
        come, self._come = self._come, b""
        super().dataReceived(come)

    def _flushReceiveBIO(self) -> None:
        """Hand on together what has come together. Twisted's own hands on each record for itself,
        of which one read has thousands if each is of a byte."""
        come: list[bytes] = []
        ended, failure = False, None
        while not ended and not self._lostTLSConnection:
            try:
                come.append(self._tlsConnection.recv(RECEIVED))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                ended = True
            except SSL.Error:
                ended, failure = True, Failure()
        if come and not self._aborted:
            self.wrappedProtocol.dataReceived(b"".join(come))
        if ended and not self._lostTLSConnection:
            if failure is None:
                self._shutdownTLS()
            self._tlsShutdownFinished(failure)
        self._flushSendBIO()

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:
        super()._tlsShutdownFinished(reason)
        if reason is not None:
            reason.cleanFailure()  # its frames refer to the connection, and to themselves

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._place is not None:
            self._place.leave()
        super().connectionLost(reason)
        self._producer = None  # which refers to this


def choose_protocol(connection: Connection, offered: Sequence[bytes]) -> Any:
    """Choose from the protocols that a client has ``offered`` (ALPN, RFC 7301) one that the port
    speaks. A port that names none ignores the offer. Raises `SSL.Error`, of which the client is
    told, if there is none in common. Twisted's own answers with an internal error in both cases."""
    factory = connection.get_app_data().factory.wrappedFactory
    negotiation = IProtocolNegotiationFactory(factory, None)
    if negotiation is None:
        return SSL.NO_OVERLAPPING_PROTOCOLS
    for protocol in negotiation.acceptableProtocols():
        if protocol in offered:
            return protocol
    raise SSL.Error([("SSL routines", "", "no application protocol")])


class FactoryInTurn(TLSMemoryBIOFactory):
    """Makes TLS connections; ``handshakes`` gives each its place in line. If the factory above it
    has ``refuse_plain(transport, data)``, that returns what is said to a client that sends plain
    ``data``, text, on ``transport``."""

    protocol = TransportInTurn
    handshakes: Handshakes
