"""A request's id: W3C Trace Context (https://www.w3.org/TR/trace-context/), section 3.2.

It is taken from the request's ``traceparent`` header, or made; it stands in the access log, in the
header ``X-Request-Id`` of the answer, and goes with what is published to other programs.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from secrets import token_hex

#: Of version 00, the only one there is: version, trace's id, parent's id, flags.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

#: The ``traceparent`` of what is being done; "" for what nobody asked for.
TRACE: ContextVar[str] = ContextVar("TRACE", default="")


def trace_of(header: str | None) -> str:
    """The ``traceparent`` that counts for a request with this header: its own if it is one."""
    if header is not None and _TRACEPARENT.fullmatch(header):
        return header
    return f"00-{token_hex(16)}-{token_hex(8)}-00"


def request_id(trace: str) -> str:
    """The trace's id: what is searched for."""
    return trace[3:35]
