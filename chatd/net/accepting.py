"""Accepting connections, a few in each turn of the reactor, once the node is ready."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from chatd.net.gate import Gate

#: Connections accepted in one turn of the reactor: some 2 ms of work.
A_TURN = 8
#: How what Twisted says begins where a connection is closed at once, or not even accepted.
_SHORT = ("EMFILE encountered", "Could not accept")
#: Seconds after which it is said again.
AGAIN = 60.0


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
            _tell_shortage(port)
            if self.gate is not None:
                self.gate.hold(port)
        return port


def _pace(port: Any) -> None:
    accept = port.doRead

    def accept_few() -> None:
        port.numberAccepts = A_TURN
        accept()

    port.doRead = accept_few


def _tell_shortage(port: Any) -> None:
    namespace = port._logger.namespace
    port._logger = Logger(namespace, observer=_Shortage(port.reactor.seconds))


@implementer(ILogObserver)
@define(eq=False)
class _Shortage:
    """Says that there are too few files for further connections. Twisted says so as well, among its
    routine messages, of which the log has none."""

    _seconds: Callable[[], float]
    _said: float = field(default=-math.inf, init=False)
    _log = Logger()

    def __call__(self, event: LogEvent) -> None:
        now = self._seconds()
        short = str(event.get("log_format", "")).startswith(_SHORT)
        if short and now - self._said >= AGAIN:
            self._said = now
            self._log.error(
                "Too many open files ({why}): who connects now is turned away, unheard. Raise"
                " LimitNOFILE or ulimit -n, or allow fewer connections.",
                why=event.get("acceptError", "EMFILE"),
            )
