"""Accepting connections, a few in each turn of the reactor, once the node is ready."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from chatd.net.gate import Gate

#: Connections accepted in one turn of the reactor: some 2 ms of work.
A_TURN = 8


@implementer(IStreamServerEndpoint)
@frozen
class PacedEndpoint:
    """``endpoint``, whose port accepts `A_TURN` connections a turn at most. Twisted's own accept
    twenty more in each turn as long as there are enough, so who connects and hangs up all the time
    would hold up everyone else. With a ``gate`` it accepts none before that is open."""

    endpoint: IStreamServerEndpoint
    gate: Gate | None = None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `twisted.internet.interfaces.IStreamServerEndpoint`."""
        listening: Deferred[IListeningPort] = self.endpoint.listen(protocolFactory)
        return listening.addCallback(self._listening)

    def _listening(self, port: Any) -> Any:
        if isinstance(port, tcp.Port):  # and not of another reactor, or of none
            _pace(port)
            if self.gate is not None:
                self.gate.hold(port)
        return port


def _pace(port: Any) -> None:
    accept = port.doRead

    def accept_few() -> None:
        port.numberAccepts = A_TURN
        accept()

    port.doRead = accept_few
