"""What every way to publish over HTTP asks of its caller."""

from __future__ import annotations

from chatd.access.identity import Identity
from chatd.protocol.errors import ChatError, Code
from chatd.transports.http.call import Call


def admit_publish(call: Call, identity: Identity) -> None:
    """Count a publish; `ChatError` for a caller without a name, and for one too many."""
    if not identity.user:
        raise ChatError(Code.UNAUTHORIZED, "Say who you are: add ?username=YOU.")
    call.door.check_rate(identity, call.caller.address)
