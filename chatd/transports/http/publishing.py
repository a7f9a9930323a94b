"""What all routes that publish have in common: a check, and how they refuse for now."""

from __future__ import annotations

from chatd.access.identity import Identity
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.names import message_id
from chatd.protocol.publication import Publication
from chatd.service.chat import going_down
from chatd.transports.http.call import Call

#: The header that may have the id of the message, in place of the body.
KEY = "idempotency-key"


def admit_publish(call: Call, identity: Identity) -> None:
    """Count a publish. Raises `ChatError` unauthorized for a caller without a name, or
    rate_limited."""
    if not identity.user:
        raise ChatError(Code.UNAUTHORIZED, "Say who you are: add ?username=YOU.")
    call.admission.check_rate(identity, call.caller.address)


def publishing(call: Call, publication: Publication, draining: bool) -> None:
    """The message of ``call`` has been read. Raises `ChatError` unavailable, which names it, if the
    node was ``draining`` when the call came; what began before that is finished."""
    call.publishing = publication.content.id
    if draining:
        error = going_down().about(id=call.publishing)
        # a message sent again may be stored since it was first sent
        raise error.before_storing() if publication.after is None else error


def refused(call: Call, error: ChatError) -> ChatError:
    """The answer to a publish that is refused for now with ``error``.

    What `Chat.publish` and `publishing` refuse names the id of the message, and knows whether it
    was stored. What names none was refused before: there are too many requests. Then the id may be
    in the header `KEY`; the body may not have come yet."""
    if error.code is not Code.UNAVAILABLE or error.id is not None:
        return error
    error = error.before_storing()
    try:
        return error.about(id=message_id(call.header(KEY)))
    except ChatError:
        return error  # there is none, or it is not an id
