"""Server endpoints from endpoint strings.

They are Twisted's own (`twisted.internet.endpoints.serverFromString`), except ``ssl:``, whose
certificate chatd can replace on SIGHUP, and ``unix:``, which takes the place of a socket that a
killed process left.
"""

from __future__ import annotations

from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from chatd.errors import StartError
from chatd.net import inherited
from chatd.net.certificates import Certificate, Certificates
from chatd.net.descriptions import Description
from chatd.net.handshakes import FactoryInTurn, Handshakes
from chatd.net.unix_sockets import UnixEndpoint


@implementer(IStreamServerEndpoint)
@frozen
class TLSEndpoint:
    """What an ``ssl:`` string describes."""

    tcp: TCP4ServerEndpoint
    certificate: Certificate
    handshakes: Handshakes

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `twisted.internet.interfaces.IStreamServerEndpoint`."""
        factory = FactoryInTurn(self.certificate, False, protocolFactory)
        factory.handshakes = self.handshakes
        return cast("Deferred[IListeningPort]", self.tcp.listen(factory))


def listen_endpoint(reactor: Any, text: str, certificates: Certificates) -> IStreamServerEndpoint:
    """The server endpoint for the string ``text``. The certificate of an ``ssl:`` endpoint is added
    to ``certificates``. Raises `StartError` for a malformed string, and for files that cannot be
    used."""
    try:
        description = Description.parse(text)
        if description.kind == "systemd":
            inherited.check_domain(text, description.arguments["domain"])
        if description.kind != "ssl":
            return _twisteds(reactor, description)
    except StartError:
        raise
    except Exception as e:  # other kinds are plug-ins, which may raise anything
        raise StartError(f"{text}: {str(e) or type(e).__name__}") from None
    certificate = Certificate(description)
    certificates.add(certificate)
    tcp = TCP4ServerEndpoint(
        reactor,
        int(description.arguments["port"]),
        int(description.arguments.get("backlog", "50")),
        description.arguments.get("interface", ""),
    )
    return TLSEndpoint(tcp, certificate, certificates.handshakes)


def _twisteds(reactor: Any, description: Description) -> IStreamServerEndpoint:
    endpoint = cast(IStreamServerEndpoint, serverFromString(reactor, description.text))
    described = description.inner or description
    if described.kind != "unix":
        return endpoint
    return UnixEndpoint(described.arguments["address"], endpoint)
