"""What comes of a publish: a receipt, or the error to answer."""

from __future__ import annotations

from attrs import frozen
from twisted.python.failure import Failure

from chatd.brokers.interfaces import NoSuchStream, NotStored, TooLarge, Unavailable
from chatd.directory.unavailable import unavailable
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.publication import Publication


@frozen
class Receipt:
    """The message ``id`` is stored. ``new`` is False if this node knew that already."""

    id: str
    new: bool


def receipt(new: bool, publication: Publication) -> Receipt:
    """The receipt for what was stored, now (``new``) or before."""
    return Receipt(publication.content.id, new)


def before_storing(error: ChatError, publication: Publication) -> ChatError:
    """The answer to a publish that has failed with ``error`` before anything was done."""
    if error.code is not Code.UNAVAILABLE:
        return error
    return error.before_storing().about(publication.room, publication.content.id)


def not_stored(failure: Failure, publication: Publication) -> Failure:
    """Raise the answer to a publish that has failed with an error of the broker's."""
    error, name, key = failure.value, publication.room, publication.content.id
    if isinstance(error, Unavailable):
        raise unavailable(error).about(name, key) from None
    if isinstance(error, NoSuchStream):
        raise unavailable(NotStored("the room begins anew")).about(name, key) from None
    if isinstance(error, TooLarge):
        raise ChatError(Code.TOO_LARGE, f"{error}.", room=name, id=key) from None
    return failure
