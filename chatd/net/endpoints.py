"""Server endpoints from endpoint strings.

They are Twisted's own (`twisted.internet.endpoints.serverFromString`), except ``ssl:``, whose
certificate chatd can replace on SIGHUP, ``unix:``, which takes the place of a socket that a killed
process left, and ``haproxy:``, whose header comes before anything else, a TLS handshake, too.
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
from chatd.net.proxied import ProxiedEndpoint
from chatd.net.unix_sockets import UnixEndpoint

#: Connections that wait to be accepted (listen(2)), where an endpoint string does not say. A crowd
#: that comes back at once has to find room: who finds none tries again after 1, 3, 7 and 15 s.
BACKLOG = 1024
#: Kinds of endpoints that can be told.
_TOLD = ("tcp", "tcp6", "tls", "unix")


@implementer(IStreamServerEndpoint)
@frozen
class TLSEndpoint:
    """What an ``ssl:`` string describes."""

    tcp: IStreamServerEndpoint
    certificate: Certificate
    handshakes: Handshakes

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `twisted.internet.interfaces.IStreamServerEndpoint`."""
        factory = FactoryInTurn(self.certificate, False, protocolFactory)
        factory.handshakes = self.handshakes
        listening: Deferred[IListeningPort] = self.tcp.listen(factory)
        return listening


def listen_endpoint(reactor: Any, text: str, certificates: Certificates) -> IStreamServerEndpoint:
    """The server endpoint for the string ``text``. The certificate of an ``ssl:`` endpoint is added
    to ``certificates``. Raises `StartError` for a malformed string, and for files that cannot be
    used."""
    try:
        description = Description.parse(text)
        described = description.inner or description
        if described.kind == "systemd":
            inherited.check_domain(described.text, described.arguments["domain"])
        if described.kind != "ssl":
            return _proxied(description, _twisteds(reactor, described))
    except StartError:
        raise
    except Exception as e:  # other kinds are plug-ins, which may raise anything
        raise StartError(f"{text}: {str(e) or type(e).__name__}") from None
    certificate = Certificate(described)
    certificates.add(certificate)
    tcp = TCP4ServerEndpoint(
        reactor,
        int(described.arguments["port"]),
        int(described.arguments.get("backlog", BACKLOG)),
        described.arguments.get("interface", ""),
    )
    return TLSEndpoint(_proxied(description, tcp), certificate, certificates.handshakes)


def _proxied(outer: Description, endpoint: IStreamServerEndpoint) -> IStreamServerEndpoint:
    return endpoint if outer.inner is None else ProxiedEndpoint(endpoint)


def _twisteds(reactor: Any, description: Description) -> IStreamServerEndpoint:
    text = description.text
    if description.kind in _TOLD and "backlog" not in description.arguments:
        text = f"{text}:backlog={BACKLOG}"
    endpoint = cast(IStreamServerEndpoint, serverFromString(reactor, text))
    if description.kind != "unix":
        return endpoint
    return UnixEndpoint(description.arguments["address"], endpoint)
