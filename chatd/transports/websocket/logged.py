"""A WebSocket connection in the access log: one line, when it was refused or is over."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from attrs import define

from chatd.access.admission import Admission
from chatd.protocol.errors import ChatError
from chatd.telemetry.access_log import Access
from chatd.telemetry.tracing import TRACE, request_id, trace_of

#: Characters of a path that are kept for the log, which has them when the connection ends.
PATH = 200


@define(eq=False)
class Logged:
    """What the log will say of a connection from ``address``, as far as it is known."""

    address: str
    path: str = "-"
    user: str = ""
    trace: str = ""
    began: float = 0.0

    def begin(self, path: str, traceparent: str | None, admission: Admission) -> None:
        """Its request is here."""
        self.path, self.trace = path[:PATH], trace_of(traceparent)
        self.began = admission.clock.seconds()

    def traced(self, call: Callable[[bytes, bool], None], payload: bytes, binary: bool) -> None:
        """Make a ``call`` that serves the client, with what it sent, under its trace."""
        before = TRACE.set(self.trace)
        try:
            call(payload, binary)
        finally:
            TRACE.reset(before)

    def refused(self, admission: Admission, error: ChatError, status: int) -> None:
        """The handshake was refused with ``error``, by an answer with ``status``."""
        self._write(admission, status, error.code.word)

    def ended(self, admission: Admission, user: str) -> None:
        """The connection, which was ``user``'s, is over."""
        self.user = user
        self._write(admission, HTTPStatus.SWITCHING_PROTOCOLS, "")

    def _write(self, admission: Admission, status: int, code: str) -> None:
        if admission.access_log is not None:
            seconds = admission.clock.seconds() - self.began if self.began else 0.0
            what, id = f"WEBSOCKET {self.path}", request_id(self.trace)
            admission.access_log.write(
                Access(self.address, self.user, what, status, 0, seconds, code, id)
            )
