"""Whether the directory can be read and written: proved by a record that comes back.

A node whose directory cannot be written makes no rooms, and one that cannot read it does not learn
of them; RabbitMQ may serve connections, and even what a replica holds, while a stream has no leader
(``docs/rabbitmq.rst``). So the proof is a **probe**: an event that changes nothing, appended and
read back like any other.

The directory is kept for ever, so probes are few: one when the directory was loaded, one after each
interruption or sign of trouble, and while somebody asks, ever more seldom as long as all is well.
"""

from __future__ import annotations

from enum import Enum, auto

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.directory.directory import Directory
from chatd.protocol.errors import ChatError

#: Seconds that a probe may take.
PATIENCE = 5.0
#: Seconds for which a proof is enough, at first and at most: twice as long after each.
FRESH, FRESHEST = 10.0, 600.0
#: Seconds between probes while they fail, at first and at most.
AGAIN, SLOWEST = 1.0, 30.0


class ProbeState(Enum):
    """What is known."""

    #: Nothing since the directory was, or became, unreadable.
    NONE = auto()
    #: The newest probe came back.
    GIVEN = auto()
    #: The newest probe did not.
    FAILED = auto()


class Readiness:
    """Whether ``directory`` can be read and written. `start` it after the directory."""

    _log = Logger()

    def __init__(self, directory: Directory, clock: IReactorTime) -> None:
        self.proof = ProbeState.NONE
        self._directory = directory
        self._clock = clock
        self._fresh = FRESH
        self._again = AGAIN
        self._given = 0.0
        self._probing = False
        #: Something happened while a probe was under way, which may prove what was before.
        self._doubted = False
        self._retry: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to prove it, now if the directory is at its end."""
        self._directory.on_level = self._levelled
        self._levelled(self._directory.level)

    @property
    def ready(self) -> bool:
        """Whether the directory is at its end and its newest probe came back. An old proof is
        renewed, and meanwhile believed."""
        if self.proof is ProbeState.GIVEN and self._clock.seconds() - self._given >= self._fresh:
            self._fresh = min(FRESHEST, 2 * self._fresh)
            self._probe()
        return self._directory.level and self.proof is ProbeState.GIVEN

    def doubt(self) -> None:
        """Something that was sent to the broker did not come back: prove it anew."""
        if self.proof is ProbeState.GIVEN:
            self._fresh = FRESH
            self._probe()

    def _levelled(self, level: bool) -> None:
        self.proof = ProbeState.NONE
        self._fresh, self._again = FRESH, AGAIN
        if level:
            self._probe()

    def _probe(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None
        if not self._directory.level:
            return  # it says when it is
        if self._probing:
            self._doubted = True
            return
        self._probing = True
        probe = Deferred.fromCoroutine(self._directory.probe(PATIENCE))
        probe.addCallbacks(self._proved, self._failed)

    def _proved(self, _: object) -> None:
        self._probing = False
        self.proof, self._given, self._again = ProbeState.GIVEN, self._clock.seconds(), AGAIN
        self._once_more()

    def _failed(self, failure: Failure) -> None:
        self._probing = False
        error = failure.value
        if not isinstance(error, ChatError):
            self._log.failure("Probing the directory failed", failure)
        elif self.proof is not ProbeState.FAILED:
            self._log.warn("The directory cannot be written: {why}", why=error.text)
        self.proof, self._doubted = ProbeState.FAILED, False
        self._retry = self._clock.callLater(self._again, self._probe)
        self._again = min(SLOWEST, 2 * self._again)

    def _once_more(self) -> None:
        if self._doubted:
            self._doubted = False
            self._probe()
