"""The set-up connections of a node."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from chatd.access.admission import Admission
from chatd.access.limits import Connections
from chatd.access.proxies import UNIX
from chatd.protocol.errors import bad_request
from chatd.service.administration import Administration
from chatd.telemetry.metrics import Metrics
from chatd.transports.setup.operations import SetupOperations
from chatd.transports.setup.protocol import SetupProtocol, Shared

#: Set-up connections of a node, in all and per address: few systems create rooms.
MAX_CONNECTIONS = 1000
MAX_PER_ADDRESS = 200


class SetupFactory(Factory):
    """Makes set-up connections."""

    noisy = False

    def __init__(
        self, administration: Administration, admission: Admission, metrics: Metrics
    ) -> None:
        operations = SetupOperations(administration, admission.rights)
        self.connections = Connections(MAX_CONNECTIONS, MAX_PER_ADDRESS)
        self._shared = Shared(admission, metrics, operations, self.connections)
        self.protocols = self._shared.protocols

    def buildProtocol(self, addr: IAddress | None) -> SetupProtocol:
        return SetupProtocol(self._shared)

    def refuse_plain(self, transport: Any, data: bytes) -> bytes:
        """See `chatd.net.handshakes.FactoryInTurn`."""
        error = bad_request("This port speaks TLS.")
        address = getattr(transport.getPeer(), "host", UNIX)
        self._shared.metrics.refusals.add(error.code.word, address, "SETUP", error.text)
        end = "\n" if data.endswith(b"\n") else ""
        return f"{error.code.http} {error.line()}{end}".encode()

    @property
    def in_hand(self) -> int:
        """How many requests are being done."""
        return sum(protocol.busy for protocol in self.protocols)

    @property
    def leaving(self) -> int:
        """None: a connection without a request is of no use to anyone."""
        return 0

    def drain(self, others: int) -> None:
        """Close all connections, each after the answer to its request."""
        for protocol in list(self.protocols):
            protocol.drain()
