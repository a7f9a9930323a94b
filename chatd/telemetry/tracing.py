"""The id of a request: W3C Trace Context (https://www.w3.org/TR/trace-context/), section 3.2.

It is taken from the request's ``traceparent`` header, or made. It stands in the access log and in
the answer's header ``X-Request-Id``, and is passed on to AMQP programs with what is published.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from secrets import token_hex

#: Version (00 is the only one), trace id, parent id, flags.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

#: The ``traceparent`` of the request being served; "" outside of requests.
TRACE: ContextVar[str] = ContextVar("TRACE", default="")


def trace_of(header: str | None) -> str:
    """The ``traceparent`` of a request: its own ``header`` if that is valid, else a new one."""
    if header is not None and _TRACEPARENT.fullmatch(header):
        return header
    made = token_hex(24)
    return f"00-{made[:32]}-{made[32:]}-00"


def request_id(trace: str) -> str:
    """The trace id in ``trace``, by which a request is found in logs."""
    return trace[3:35]
