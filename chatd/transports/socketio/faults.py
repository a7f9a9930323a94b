"""Errors of Engine.IO's polling transport (Engine.IO 4, "HTTP long-polling"); codes and texts are
those of stock servers."""

from __future__ import annotations

from attrs import frozen


@frozen
class FaultCode:
    """A number and a text, as in the body of the answer."""

    code: int
    message: str


UNKNOWN_TRANSPORT = FaultCode(0, "Transport unknown")
UNKNOWN_SID = FaultCode(1, "Session ID unknown")
BAD_METHOD = FaultCode(2, "Bad handshake method")
BAD_REQUEST = FaultCode(3, "Bad request")
UNSUPPORTED = FaultCode(5, "Unsupported protocol version")


class EngineFault(Exception):
    """Answered with 400 and a body that names the code."""

    def __init__(self, fault: FaultCode) -> None:
        super().__init__(fault)
        self.fault = fault
