"""The check that all routes make before publishing."""

from __future__ import annotations

from chatd.access.identity import Identity
from chatd.protocol.errors import ChatError, Code
from chatd.transports.http.call import Call


def admit_publish(call: Call, identity: Identity) -> None:
    """Count a publish. Raises `ChatError` unauthorized for a caller without a name, or
    rate_limited."""
    if not identity.user:
        raise ChatError(Code.UNAUTHORIZED, "Say who you are: add ?username=YOU.")
    call.admission.check_rate(identity, call.caller.address)
