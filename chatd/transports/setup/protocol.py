"""Room set-up over raw TCP, for legacy systems (protocol, "Room set-up")."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.access.admission import Admission
from chatd.access.limits import Connections
from chatd.access.overflow import Overflow
from chatd.access.proxies import UNIX
from chatd.access.rate_limit import BAD_IN_A_ROW, too_fast
from chatd.net.tcp import LINGER, forget_unsent, half_close, is_proxied, tune
from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.protocol.json import load_object
from chatd.service.chat import going_down
from chatd.telemetry.access_log import Access
from chatd.telemetry.metrics import Metrics
from chatd.timing.timer_wheel import Deadline
from chatd.transports.setup.json_splitter import MAX_OBJECT, NotAnObject, Splitter
from chatd.transports.setup.operations import SetupOperations

#: Seconds without a request (white space is none) after which a connection is closed, and within
#: which a request must be complete, however steadily its bytes come.
IDLE = 60.0

#: Errors of requests that are wrong in themselves, whichever rooms exist.
_WRONG = frozenset({Code.BAD_REQUEST, Code.UNAUTHORIZED})


class SetupState(Enum):
    """What a set-up connection is doing."""

    #: Waiting for a request, for its turn, or for the client to read.
    READY = auto()
    #: Performing requests, one after the other.
    BUSY = auto()
    #: Closing; what is received is dropped.
    CLOSING = auto()


@define(eq=False)
class Shared:
    """What the set-up connections of a node share."""

    admission: Admission
    metrics: Metrics
    operations: SetupOperations
    connections: Connections
    #: Those that linger until they have read why they are refused.
    overflow: Overflow = field(factory=Overflow)
    protocols: set[SetupProtocol] = field(factory=set)


@implementer(IHalfCloseableProtocol, IPushProducer)
class SetupProtocol(Protocol):
    """One connection. Requests are answered in their order, also after the client has closed its
    side, as ``nc`` does. Nothing is read from a client that does not read its answers."""

    _log = Logger()
    transport: Any

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._splitter = Splitter()
        self._state = SetupState.READY
        self._reading = True
        self._writable = True
        #: The client has closed its side; the node goes down.
        self._ended = self._draining = False
        self._bad = 0
        #: The peer's address, and whose connection it counts as.
        self._address = UNIX
        self._counted: str | None = None
        #: The next request, while it waits for its turn.
        self._found: bytes | None = None
        self._release: Callable[[], None] | None = None
        self._idle: Deadline | None = None

    def connectionMade(self) -> None:
        tune(self.transport)
        self._shared.protocols.add(self)
        self._shared.metrics.connections.labels("setup").inc()
        self.transport.registerProducer(self, True)
        self._idle = self._shared.admission.deadlines.after(IDLE, self._late)
        turns = self._shared.admission.turns
        self._place = turns.place(self._address, self._next, lambda: self._give_up(too_fast()))
        # a proxy stands for many clients, of whom nothing is known yet
        self._count_for(None if is_proxied(self.transport) else self._peer())

    def _peer(self) -> str:
        return getattr(self.transport.getPeer(), "host", UNIX)

    def _count_for(self, address: str | None) -> bool:
        """Count the connection as one of ``address``, None for nobody's, and return True; or else
        give up."""
        self._counted = address
        self._address = address or self._peer()
        self._place.moved(self._address)
        if self._release is not None:
            self._release()
        try:
            self._release = self._shared.connections.admit(address)
        except ChatError as error:
            self._release = self._shared.overflow.admit(self.transport)
            self._give_up(error)
            return False
        return True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = SetupState.CLOSING
        if self in self._shared.protocols:
            self._shared.metrics.connections.labels("setup").dec()
        self._shared.protocols.discard(self)
        if self._idle is not None:
            self._idle.cancel()
        if self._release is not None:
            self._release()
        self._place.leave()
        forget_unsent(self.transport)

    def readConnectionLost(self) -> None:
        self._ended = True
        if self._state is SetupState.CLOSING:
            self.transport.loseConnection()
        self._next()

    def writeConnectionLost(self) -> None:
        """Expected after `half_close`: the client still has to read why it was refused."""

    def dataReceived(self, data: bytes) -> None:
        if self._state is SetupState.CLOSING or self._idle is None:
            return
        begun = self._splitter.begun
        self._place.arrived()
        self._splitter.feed(data)
        # behind ``haproxy:`` it is the proxy's until the client's first bytes come
        if (address := self._peer()) != self._counted and not self._count_for(address):
            return
        if self._splitter.begun and not begun:
            self._stay(IDLE)
        self._next()

    def _next(self) -> None:
        """Perform the received requests, if that is not being done already."""
        if self._state is SetupState.READY:
            self._state = SetupState.BUSY
            Deferred.fromCoroutine(self._perform_all()).addErrback(self._fail)
        self._pace()

    async def _perform_all(self) -> None:
        while (request := self._take()) is not None:
            self._pace()
            try:
                await self._shared.operations.perform(request, self._address)
            except ChatError as error:
                self._refuse(error)
            else:
                self._succeed()
        if self._state is SetupState.BUSY:
            self._state = SetupState.READY
            self._close_if_ended()
            self._pace()

    def _fail(self, failure: Failure) -> None:
        self._log.failure("A set-up request failed.", failure)
        self._give_up(ChatError(Code.UNAVAILABLE, "The server failed; try again."))

    def _close_if_ended(self) -> None:
        """Close after the last request of a client that sends no more, or of a node that drains."""
        ends = self._ended or self._draining
        if not ends or not self._writable or self._found is not None:
            return
        if not len(self._splitter):
            self._close()
        elif self._ended:
            self._give_up(bad_request("This ends before its JSON object does."))
        else:
            self._give_up(going_down())

    def _take(self) -> dict[str, Any] | None:
        """The next request, if there is one and it may be performed now. Gives up on a malformed
        one."""
        if self._state is SetupState.CLOSING or not self._writable:
            return None
        if self._splitter.late_newline():  # the answer is out, and ends with it all the same
            self.transport.write(b"\n")
        try:
            if self._found is None:
                self._found = self._splitter.next()
                if self._found is not None:
                    self._stay(IDLE)
            if self._found is None or not self._place.take():
                return None
            request = load_object(self._found)
        except NotAnObject as error:
            self._give_up(bad_request(str(error)))
            return None
        except ChatError as error:
            self._give_up(error)
            return None
        self._found = None
        return request

    @property
    def busy(self) -> bool:
        """Whether a request is being done."""
        return self._state is SetupState.BUSY

    def drain(self) -> None:
        """Close after answering the received requests."""
        self._draining = True
        self._next()

    def _pace(self) -> None:
        """Pause or resume reading: more than `MAX_OBJECT` unprocessed bytes are not buffered."""
        behind = self._state is SetupState.BUSY and len(self._splitter) > MAX_OBJECT
        reading = self._writable and not behind and self._found is None
        if reading != self._reading and self._state is not SetupState.CLOSING:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _succeed(self) -> None:
        self._bad = 0
        self._log_access(200, "")
        self._answer("200")

    def _refuse(self, error: ChatError) -> None:
        self._bad = self._bad + 1 if error.code in _WRONG else 0
        if self._bad >= BAD_IN_A_ROW:
            self._give_up(error)
            return
        self._count(error)
        self._answer(f"{error.code.http} {error.line()}")

    def _answer(self, line: str, newline: bool = False) -> None:
        # only now, because the newline may have come in a later piece than the object; one that
        # comes later still is seen by `_take`
        end = b"\n" if self._splitter.newline() or newline else b""
        if self._state is not SetupState.CLOSING:
            self.transport.write(line.encode("utf-8", "replace") + end)

    def _give_up(self, error: ChatError) -> None:
        self._count(error)
        self._answer(f"{error.code.http} {error.line()}", self._splitter.ends_line())
        self._state = SetupState.CLOSING
        self._place.leave()
        self._found = None
        if not self._reading:
            self.transport.resumeProducing()  # what comes is dropped: see `half_close`
        self.transport.unregisterProducer()
        if self._ended:
            self.transport.loseConnection()
        else:
            half_close(self.transport)
        self._stay(LINGER)

    def _late(self) -> None:
        """Close in order what was idle: a client that only waits sees an end, not a fault. Abort
        what lingers, or does not read."""
        if self._state is SetupState.CLOSING or not self._writable:
            self.transport.abortConnection()
            return
        self._place.leave()
        self._found = None
        self._close()
        # TLS waits for the client's close_notify
        self._idle = self._shared.admission.deadlines.after(LINGER, self._late)

    def _stay(self, seconds: float) -> None:
        """End the connection in ``seconds``, instead of when it would have been."""
        if self._idle is not None:
            self._idle.move(self._shared.admission.clock.seconds() + seconds)

    def _count(self, error: ChatError) -> None:
        refusals = self._shared.metrics.refusals
        refusals.add(error.code.word, self._address, "SETUP", error.text)
        self._log_access(error.code.http or 0, error.code.word)

    def _log_access(self, status: int, code: str) -> None:
        log = self._shared.admission.access_log
        if log is not None:
            log.write(Access(self._address, "", "SETUP", status, 0, 0.0, code))

    def _close(self) -> None:
        self._state = SetupState.CLOSING
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    # -- IPushProducer -----------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self._writable = False
        self._pace()

    def resumeProducing(self) -> None:
        self._writable = True
        self._next()

    def stopProducing(self) -> None:
        self._state = SetupState.CLOSING
