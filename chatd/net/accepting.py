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
_MEMORY = (
    "No memory for another connection ({why}): who connects now has to wait. Give this machine"
    " more, or allow fewer connections."
)
#: What there is too little of, and what to do, by the error of accept(2). A client that has gone
#: before it was accepted is an error, too (ECONNABORTED), and nobody's fault.
_SHORTAGES = {
    "EMFILE": "Too many open files ({why}): who connects now is turned away, unheard. Raise"
    " LimitNOFILE or ulimit -n, or allow fewer connections.",
    "ENFILE": "Too many open files on this machine ({why}): who connects now has to wait. Raise"
    " fs.file-max, or find out what has them open.",
    "ENOBUFS": _MEMORY,
    "ENOMEM": _MEMORY,
}
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
    """Says that there are too few files, or too little memory, for further connections. Twisted
    says so as well, among its routine messages, of which the log has none."""

    _seconds: Callable[[], float]
    #: When each was said last.
    _said: dict[str, float] = field(factory=dict, init=False)
    _log = Logger()

    def __call__(self, event: LogEvent) -> None:
        if not str(event.get("log_format", "")).startswith(_SHORT):
            return
        why = event.get("acceptError", "EMFILE")
        shortage, now = _SHORTAGES.get(why), self._seconds()
        if shortage is not None and now - self._said.get(why, -math.inf) >= AGAIN:
            self._said[why] = now
            self._log.error(shortage, why=why)
