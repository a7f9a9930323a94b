"""What an HTTP connection is doing: receiving, answering, or nothing."""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """What a connection is doing."""

    #: Waiting for a request.
    RESTING = auto()
    #: Receiving a request. Once its head is complete, it is being handled, too.
    RECEIVING = auto()
    #: Reading the rest of a malformed head, which may have the Origin.
    READING_ON = auto()
    #: Answering a request. No deadline: waiting polls and event streams have their own.
    ANSWERING = auto()
    #: Closing; what is received is dropped.
    CLOSING = auto()
