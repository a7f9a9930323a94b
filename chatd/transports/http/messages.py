"""``/rooms/{room}/messages``: read, wait for the next, publish."""

from __future__ import annotations

from typing import Any

from chatd.access.identity import Identity
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import bad_request
from chatd.protocol.json import dump
from chatd.protocol.names import room_name
from chatd.service.chat import Chat
from chatd.transports.http.legacy_poll import Poll
from chatd.transports.http.long_poll import held_poll, listing, publish
from chatd.transports.http.parameters import before_of, limit_of, start_of
from chatd.transports.http.poll_presence import Pollers
from chatd.transports.http.router import Call, Reply, Route


def routes(chat: Chat, pollers: Pollers) -> list[Route]:
    """The routes of this module."""
    messages = Messages(chat, pollers)
    poll = Poll(chat, pollers)
    return [
        Route("/rooms/{room}/messages", {"GET": messages.read, "POST": messages.publish}),
        Route("/poll", {"GET": poll.read, "POST": poll.publish}),
    ]


class Messages:
    """``/rooms/{room}/messages``."""

    def __init__(self, chat: Chat, pollers: Pollers) -> None:
        self._chat = chat
        self._pollers = pollers

    async def read(self, call: Call, room: str) -> Reply:
        """GET: what lies after the cursor; with ``wait``, the next message if nothing does. With
        ``before``, what lies before it."""
        identity = call.identify()
        name = room_name(room)
        before = before_of(call)
        if before is not None:
            return await self._look_back(call, identity, name, before)
        start = start_of(call)
        answer = await held_poll(self._pollers, call, identity, name, start, limit_of(call, start))
        body = b'{"room":%s,"messages":%s,"cursor":"%s","gap":%s}\n' % (
            dump(name),
            listing(answer.messages),
            str(answer.cursor).encode("ascii"),
            b"true" if answer.gap else b"false",
        )
        return Reply(200, body)

    async def _look_back(self, call: Call, identity: Identity, name: str, before: Cursor) -> Reply:
        looking = self._chat.look_back(identity, name, before, limit_of(call))
        found = await call.with_client(looking)
        first = found.messages[0].cursor if found.messages else before
        body = b'{"room":%s,"messages":%s,"cursor":"%s","more":%s,"gap":%s}\n' % (
            dump(name),
            listing(found.messages),
            str(first).encode("ascii"),
            b"true" if found.more else b"false",
            b"true" if found.gap else b"false",
        )
        return Reply(200, body)

    async def publish(self, call: Call, room: str) -> Reply:
        """POST: 201, or 200 where this node knows the id to be stored already."""
        identity = call.identify(named=call.field("username"))
        text, data, id, after = _content(call)
        key = call.header("idempotency-key")
        if key is not None:
            if id not in (None, key):
                raise bad_request("The id and the Idempotency-Key differ; send one of them.")
            id = key
        receipt = await publish(self._chat, call, identity, room_name(room), text, data, id, after)
        return Reply(201 if receipt.new else 200, {"id": receipt.id})


def _content(call: Call) -> tuple[Any, Any, Any, Any]:
    """Text, data, id and ``after`` of a publish, from the three forms of body."""
    if call.media_type == "text/plain":
        try:
            return call.body().decode("utf-8"), None, None, None
        except UnicodeDecodeError:
            raise bad_request("The text is not UTF-8.") from None
    if call.media_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        text = call.field("text")
        if text is None:
            raise bad_request(
                "The form has no field text (for JSON, send Content-Type: application/json)."
            )
        return text, None, call.field("id"), call.field("after")
    value = call.json()
    return value.get("text"), value.get("data"), value.get("id"), value.get("after")
