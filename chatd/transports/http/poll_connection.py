"""An HTTP connection on which usual polls do not go through twisted.web."""

from __future__ import annotations

from typing import Protocol

from chatd.net.tcp import send_now
from chatd.transports.http.connection import HTTPConnection
from chatd.transports.http.phase import Phase
from chatd.transports.http.usual_poll import BEGINNING, UsualPoll

#: What ends a head.
END = b"\r\n"


class Takes(Protocol):
    """What may answer a request itself."""

    def take(self, connection: PollConnection, data: bytes) -> bool:
        """See `chatd.transports.http.waiting_poll.UsualPolls`."""


class PollConnection(HTTPConnection):
    """Offers what comes to ``polls`` first, where a request begins."""

    #: The last one, which the next is expected to be like.
    usual: UsualPoll | None = None

    def __init__(self, polls: Takes) -> None:
        super().__init__()
        self._polls = polls

    def dataReceived(self, data: bytes) -> None:
        if data.startswith(BEGINNING) and self._rests():
            self.line.arrived()
            if self._polls.take(self, data):
                return
        super().dataReceived(data)

    def _rests(self) -> bool:
        """Whether what comes now begins a request, and is not to be kept for later."""
        waits = self._buffer or self._busyReceiving or self.paused
        return self._state is Phase.RESTING and self.persistent and not waits

    def begin(self, poll: object) -> None:
        """Answer ``poll`` next. What else comes is kept, as during a request of twisted.web's."""
        self._state = Phase.ANSWERING
        self._handlingRequest = True
        self.setRawMode()
        self.requests.append(poll)

    def answered(self, poll: object, answer: bytes) -> None:
        """Write the ``answer`` to ``poll``, and go on."""
        send_now(self.transport, answer)
        self.requestDone(poll)

    def hand_back(self, poll: object, head: bytes, since: float) -> None:
        """Have twisted.web answer the request ``head``, which waits ``since`` then, in place of
        ``poll``."""
        self.requests.remove(poll)
        self._handlingRequest = False
        self._state = Phase.RESTING
        self.setLineMode()
        ahead, self._dataBuffer = self._dataBuffer, []
        super().dataReceived(head.removesuffix(END))
        self.requests[-1].began = since
        super().dataReceived(END)
        if ahead:
            super().dataReceived(b"".join(ahead))
        self._end_if_all_is_said()
