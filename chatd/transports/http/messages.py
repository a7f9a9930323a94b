"""``/rooms/{room}/messages``: reading, long-polling and publishing (protocol, "HTTP")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from attrs import frozen

from chatd.access.identity import Identity
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.protocol.json import dump, load_sent
from chatd.protocol.messages import Message
from chatd.protocol.names import room_name
from chatd.service.chat import Chat
from chatd.transports.http.body import FORM, MULTIPART, TEXT, MediaType, NotSupported
from chatd.transports.http.call import Call, Reply, Route
from chatd.transports.http.legacy_poll import Poll
from chatd.transports.http.long_poll import MessagePages, commas, held_poll, while_proved
from chatd.transports.http.parameters import before_of, limit_of, start_of
from chatd.transports.http.poll_presence import Pollers
from chatd.transports.http.publishing import KEY, admit_publish, publishing, refused

#: Answers that are kept for those who wait for the same.
ANSWERS = 8


def routes(chat: Chat, pollers: Pollers) -> list[Route]:
    """The routes of this module."""
    messages = Messages(chat, pollers)
    poll = Poll(chat, pollers)
    return [
        Route(
            "/rooms/{room}/messages",
            {"GET": messages.read, "POST": messages.publish},
            {"POST": refused},
            drains=True,
        ),
        Route("/poll", {"GET": poll.read, "POST": poll.publish}, {"POST": refused}, drains=True),
    ]


class Messages:
    """``/rooms/{room}/messages``."""

    def __init__(self, chat: Chat, pollers: Pollers) -> None:
        self._chat = chat
        self._pollers = pollers

    async def read(self, call: Call, room: str) -> Reply:
        """GET: messages after a cursor; with ``wait``, waiting for the next if there are none; with
        ``before``, messages before a cursor."""
        self._chat.check_draining()
        identity = call.identify()
        name = room_name(room)
        before = before_of(call)
        if before is not None:
            return await self._look_back(call, identity, name, before)
        start = start_of(call)
        found = await held_poll(self._pollers, call, identity, name, start, limit_of(call, start))
        rest = found.rest
        if rest is None:
            return Reply(200, page(name, tuple(found.messages), found.cursor, found.gap))
        begun = _begun(name, found.messages)
        ended, proved = (lambda: _ended(rest.cursor, found.gap)), _proved(call, identity)
        return Reply(200, MessagePages(begun, rest, ended, proved))

    async def _look_back(self, call: Call, identity: Identity, name: str, before: Cursor) -> Reply:
        looking = self._chat.look_back(identity, name, before, limit_of(call))
        found = await while_proved(call, identity, looking)
        rest = found.rest
        first = found.messages[0].cursor if found.messages else before
        begun = _begun(name, found.messages)
        ended = b'],"cursor":"%s","more":%s,"gap":%s}\n' % (
            str(first).encode("ascii"),
            b"true" if found.more else b"false",
            b"true" if found.gap else b"false",
        )
        if rest is None:
            return Reply(200, begun + ended)

        def end() -> bytes:
            if not rest.complete:
                # who goes on looking back from the first message never gets what is missing
                raise ChatError(Code.UNAVAILABLE, "The newest messages of this answer are missing.")
            return ended

        return Reply(200, MessagePages(begun, rest, end, _proved(call, identity)))

    async def publish(self, call: Call, room: str) -> Reply:
        """POST: 201, or 200 if this node knows that the id is stored already."""
        draining = self._chat.draining
        kind = _kind(call)
        name = room_name(room)
        identity = call.identify()
        named = bool(identity.user)
        if named or not kind.is_form:
            admit_publish(call, identity)
            await self._check_entry(identity, name)
        content = _content(kind, await call.body())
        if kind.is_form:
            identity = call.identify(named=content.username)
            if not named:
                admit_publish(call, identity)
        id = _one_id(content.id, call.header(KEY))
        publication = self._chat.publication(
            identity, name, content.text, content.data, id, content.after
        )
        publishing(call, publication, draining)
        receipt = await call.with_client(self._chat.repeated(identity, publication))
        if receipt is None:
            receipt = await self._chat.publish(identity, publication)
        return Reply(201 if receipt.new else 200, {"id": receipt.id})

    async def _check_entry(self, identity: Identity, name: str) -> None:
        """Refuse a message before it is read, unless it is refused for now only: that answer names
        the message."""
        try:
            await self._chat.admit(identity, name)
        except ChatError as e:
            if e.code is not Code.UNAVAILABLE:
                raise


def _proved(call: Call, identity: Identity) -> Callable[[], bool]:
    """A function that tells whether ``identity`` is still valid."""
    rights = call.admission.rights
    return lambda: rights.withdrawn(identity) is None


@lru_cache(maxsize=ANSWERS)
def page(name: str, messages: tuple[Message, ...], cursor: Cursor, gap: bool) -> bytes:
    """A whole answer. Encoded once for all who wait at the same cursor: they get the same messages
    of the room's cache."""
    return _begun(name, messages) + _ended(cursor, gap)


def _ended(cursor: Cursor, gap: bool) -> bytes:
    told = b"true" if gap else b"false"
    return b'],"cursor":"%s","gap":%s}\n' % (str(cursor).encode("ascii"), told)


def _begun(name: str, messages: Sequence[Message]) -> bytes:
    return b'{"room":%s,"messages":[%s' % (dump(name), commas(messages))


@frozen
class _Content:
    """The fields of a body, unchecked."""

    text: Any
    data: Any = None
    id: Any = None
    after: Any = None
    username: str | None = None


def _kind(call: Call) -> MediaType:
    """The media type of a body with a message. Raises `NotSupported`."""
    kind = call.media_type()
    if not (kind.is_json or kind.is_form or kind.name == TEXT):
        raise NotSupported(f"Send application/json, {FORM}, {MULTIPART} or {TEXT}.")
    if kind.name != TEXT and kind.charset != "utf-8":
        raise NotSupported("Send UTF-8.")
    return kind


def _content(kind: MediaType, body: bytes) -> _Content:
    if kind.name == TEXT:
        return _Content(kind.text(body))
    if kind.is_form:
        form = kind.form(body)
        text = form.get("text")
        if text is None:
            raise bad_request(
                "The form has no field text (for JSON, send Content-Type: application/json)."
            )
        return _Content(
            text, id=form.get("id"), after=form.get("after"), username=form.get("username")
        )
    value = load_sent(body)
    return _Content(value.get("text"), value.get("data"), value.get("id"), value.get("after"))


def _one_id(id: Any, key: str | None) -> Any:
    """The id in the body or in the Idempotency-Key header, which must not differ."""
    if key is not None and id not in (None, key):
        raise bad_request("The id and the Idempotency-Key differ; send one of them.")
    return id if key is None else key
