"""Services that listen, one for each endpoint string."""

from __future__ import annotations

from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.internet.interfaces import IProtocolFactory

from chatd.errors import StartError
from chatd.net.accepting import PacedEndpoint
from chatd.net.certificates import Certificates
from chatd.net.endpoints import listen_endpoint


def ports(
    reactor: Any,
    name: str,
    texts: tuple[str, ...],
    factory: IProtocolFactory,
    certificates: Certificates,
) -> list[StreamServerEndpointService]:
    """A service for each endpoint string of ``texts``, called ``name:text``, that serves
    ``factory``. `StartError` for an endpoint that cannot be. A port that is in use ends the start
    with `CannotListenError`."""
    services = []
    for text in texts:
        try:
            endpoint = listen_endpoint(reactor, text, certificates)
        except StartError as e:
            raise StartError(f"--{name}: {e}") from None
        service = StreamServerEndpointService(PacedEndpoint(endpoint), factory)
        # raised, not logged: what `twisted.application.strports.service` does too
        service._raiseSynchronously = True
        service.setName(f"{name}:{text}")
        services.append(service)
    return services
