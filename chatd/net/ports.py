"""Services that listen, one for each endpoint string."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from attrs import frozen
from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.errors import StartError
from chatd.net.accepting import PacedEndpoint
from chatd.net.cannot_listen import why_not
from chatd.net.certificates import Certificates
from chatd.net.endpoints import listen_endpoint
from chatd.net.gate import Gate


@implementer(IStreamServerEndpoint)
@frozen
class _Named:
    """``endpoint``, given by ``option``, which is named where it cannot be listened on."""

    option: str
    endpoint: IStreamServerEndpoint

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `twisted.internet.interfaces.IStreamServerEndpoint`."""
        listening: Deferred[IListeningPort] = self.endpoint.listen(protocolFactory)
        return listening.addErrback(self._refused)

    def _refused(self, failure: Failure) -> NoReturn:
        failure.trap(CannotListenError, OSError)
        error, where, port = failure.value, "", None
        if isinstance(error, CannotListenError):
            where, port = f" on {_place(error)}", error.port
            error = error.socketError
        why = why_not(error, port if isinstance(port, int) else None)
        raise StartError(f"--{self.option}: cannot listen{where}: {why}") from None


def _place(error: CannotListenError) -> str:
    """Where it could not be listened: a port, or the path of a socket."""
    if isinstance(error.port, int):
        return f"{error.interface or '*'}:{error.port}"
    return os.fsdecode(error.port)


def ports(
    reactor: Any,
    name: str,
    texts: tuple[str, ...],
    factory: IProtocolFactory,
    certificates: Certificates,
    gate: Gate | None = None,
) -> list[StreamServerEndpointService]:
    """A service for each endpoint string of ``texts``, called ``name:text``, that serves
    ``factory``, once the ``gate`` is open if there is one. `StartError` for an endpoint that cannot
    be; so ends the start, too, where one cannot be listened on."""
    services = []
    for text in texts:
        try:
            endpoint = listen_endpoint(reactor, text, certificates)
        except StartError as e:
            raise StartError(f"--{name}: {e}") from None
        service = StreamServerEndpointService(_Named(name, PacedEndpoint(endpoint, gate)), factory)
        # raised, not logged: what `twisted.application.strports.service` does too
        service._raiseSynchronously = True
        service.setName(f"{name}:{text}")
        services.append(service)
    return services
