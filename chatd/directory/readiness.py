"""Whether the directory can be read and written, proved by a record that is read back.

A node whose directory cannot be written makes no rooms; one that cannot read it does not learn of
new rooms. RabbitMQ may serve connections, and even what a replica holds, while a stream has no
leader (``docs/rabbitmq.rst``). So the proof is a **probe**: an event that changes nothing, appended
and read back like any other.

The directory is kept for ever, so probes are rare: one after loading, one after each interruption
or sign of trouble, and, while somebody asks, more and more seldom as long as all is well.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.directory.stream import DirectoryStream
from chatd.protocol.errors import ChatError

#: Seconds that a probe may take.
PATIENCE = 5.0
#: Seconds for which a proof counts, at first and at most; it doubles with each proof.
FRESH, FRESHEST = 10.0, 600.0
#: Seconds between probes while they fail, at first and at most.
AGAIN, SLOWEST = 1.0, 30.0


class ProbeState(Enum):
    """The outcome of the newest probe."""

    #: No probe has ended since the directory became level.
    NONE = auto()
    #: It came back.
    GIVEN = auto()
    #: It did not.
    FAILED = auto()


class _Probing(Enum):
    NO = auto()
    YES = auto()
    #: There was another reason to probe since the probe under way was sent.
    AND_ONCE_MORE = auto()


class Readiness:
    """Whether the directory behind ``stream`` can be read and written. `start` it after the
    directory."""

    _log = Logger()

    def __init__(
        self, stream: DirectoryStream, clock: IReactorTime, blocked: Callable[[], str] = str
    ) -> None:
        self.proof = ProbeState.NONE
        self._stream = stream
        self._clock = clock
        self._blocked = blocked
        self._fresh = FRESH
        self._again = AGAIN
        self._given = 0.0
        self._probing = _Probing.NO
        self._retry: IDelayedCall | None = None

    def start(self) -> None:
        """Probe whenever the directory becomes level, and now if it is."""
        self._stream.on_level = self._levelled
        self._levelled(self._stream.level)

    @property
    def read(self) -> bool:
        """Whether the directory is level."""
        return self._stream.level

    @property
    def ready(self) -> bool:
        """Whether the directory is level and the newest probe came back. An old proof is renewed,
        and counts meanwhile. While the broker takes no records (``blocked`` says why) they can all
        be read, so a node that sent its clients away would help nobody."""
        if self.proof is ProbeState.GIVEN and self._clock.seconds() - self._given >= self._fresh:
            self._fresh = min(FRESHEST, 2 * self._fresh)
            self._probe()
        return self._stream.level and (self.proof is ProbeState.GIVEN or bool(self._blocked()))

    def doubt(self) -> None:
        """Probe again: something that was sent to the broker did not come back."""
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
        if not self._stream.level:
            return  # `_levelled` is called when it is
        if self._probing is not _Probing.NO:
            self._probing = _Probing.AND_ONCE_MORE
            return
        self._probing = _Probing.YES
        probe = Deferred.fromCoroutine(self._stream.probe(PATIENCE))
        probe.addCallbacks(self._proved, self._failed)

    def _proved(self, _: object) -> None:
        doubted, self._probing = self._probing is _Probing.AND_ONCE_MORE, _Probing.NO
        self.proof, self._given, self._again = ProbeState.GIVEN, self._clock.seconds(), AGAIN
        if doubted:
            self._probe()

    def _failed(self, failure: Failure) -> None:
        self._probing = _Probing.NO
        error = failure.value
        if not isinstance(error, ChatError):
            self._log.failure("Probing the directory failed", failure)
        elif self._blocked():
            # it says nothing of the directory: an earlier proof counts on, or all nodes would be
            # sent no clients just when the alarm has ended
            self._retry = self._clock.callLater(AGAIN, self._probe)
            return
        elif self.proof is not ProbeState.FAILED:
            self._log.warn("The directory cannot be written: {why}", why=error.text)
        self.proof = ProbeState.FAILED
        self._retry = self._clock.callLater(self._again, self._probe)
        self._again = min(SLOWEST, 2 * self._again)
