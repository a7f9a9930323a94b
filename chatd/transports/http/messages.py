"""Messages over HTTP: long-poll, publish, and ``/poll`` for pollers that keep no cursor."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from chatd.access.identity import Identity
from chatd.protocol.messages import (
    ChatError,
    Code,
    Cursor,
    Message,
    bad_request,
    dump,
    load_object,
    room_name,
)
from chatd.rooms.start_position import After, Last, Now, Since, Start
from chatd.service.chat import Answer, Chat, Receipt
from chatd.transports.http.parameters import LIMIT, limit_of, start_of, wait_of
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


async def held_poll(
    pollers: Pollers, call: Call, identity: Identity, name: str, start: Start, limit: int
) -> Answer:
    """`Chat.poll`, counted as a connection while it may wait, and given up with the client.

    A named caller is present by it, unless it only looks back, which waits for nothing.
    """
    wait, address = wait_of(call), call.caller.address
    poller = identity.user and (wait or not isinstance(start, Last | Since))
    release = call.door.connections.admit(address) if wait else lambda: None
    try:
        if poller:
            pollers.seen(identity, name, address)
        if identity.expires is not None:
            wait = min(wait, max(0.0, identity.expires - call.door.clock.seconds()))
        found = await call.with_client(pollers.chat.poll(identity, name, start, limit, wait))
        if wait and not found.messages:
            call.door.check_expiry(identity)
        if poller:
            pollers.seen(identity, name, address)
        return found
    finally:
        release()


async def publish(
    chat: Chat, call: Call, identity: Identity, room: str, text: Any, data: Any, id: Any
) -> Receipt:
    """Publish for a caller that must have a name."""
    if not identity.user:
        raise ChatError(Code.UNAUTHORIZED, "Say who you are: add ?username=YOU.")
    call.door.check_rate(identity, call.caller.address)
    return await chat.publish(identity, room, text, data, id)


def listing(messages: Sequence[Message]) -> bytes:
    """The messages as a JSON array."""
    return b"[" + b",".join([m.json for m in messages]) + b"]"


class Messages:
    """``/rooms/{room}/messages``."""

    def __init__(self, chat: Chat, pollers: Pollers) -> None:
        self._chat = chat
        self._pollers = pollers

    async def read(self, call: Call, room: str) -> Reply:
        """GET: what lies after the cursor; with ``wait``, the next message if nothing does."""
        identity = call.identify()
        name = room_name(room)
        start = start_of(call)
        answer = await held_poll(self._pollers, call, identity, name, start, limit_of(call, start))
        body = b'{"room":%s,"messages":%s,"cursor":"%s","gap":%s}\n' % (
            dump(name),
            listing(answer.messages),
            str(answer.cursor).encode("ascii"),
            b"true" if answer.gap else b"false",
        )
        return Reply(200, body)

    async def publish(self, call: Call, room: str) -> Reply:
        """POST: 201, or 200 where this node knows the id to be stored already."""
        identity = call.identify()
        text, data, id = _content(call)
        key = call.header("idempotency-key")
        if key is not None:
            if id not in (None, key):
                raise bad_request("The id and the Idempotency-Key differ; send one of them.")
            id = key
        receipt = await publish(self._chat, call, identity, room_name(room), text, data, id)
        return Reply(201 if receipt.new else 200, {"id": receipt.id})


def _content(call: Call) -> tuple[Any, Any, Any]:
    """Text, data and id of a publish, from the three forms of body."""
    if call.media_type == "text/plain":
        try:
            return call.body().decode("utf-8"), None, None
        except UnicodeDecodeError:
            raise bad_request("The text is not UTF-8.") from None
    if call.media_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        text = call.query("text")
        if text is None:
            raise bad_request(
                "The form has no field text (for JSON, send Content-Type: application/json)."
            )
        return text, None, call.query("id")
    value = call.json()
    return value.get("text"), value.get("data"), value.get("id")


class Poll:
    """``/poll``: the cursor rides in a cookie (RFC 6265), one for each room and user."""

    def __init__(self, chat: Chat, pollers: Pollers) -> None:
        self._chat = chat
        self._pollers = pollers

    async def read(self, call: Call) -> Reply:
        """GET: the messages since this poller's last call."""
        identity = call.identify(legacy=True)
        name = room_name(call.query("roomname"), legacy=True)
        cookie = _cookie(name, identity.user)
        after = call.query("after")
        start: Start = After(Cursor.parse(after)) if after is not None else _ridden(call, cookie)
        answer = await held_poll(self._pollers, call, identity, name, start, LIMIT)
        body = b'{"roomname":%s,"messages":%s,"cursor":"%s","gap":%s}\n' % (
            dump(name),
            listing(answer.messages),
            str(answer.cursor).encode("ascii"),
            b"true" if answer.gap else b"false",
        )
        # no Path: it follows the URL, under whatever prefix a proxy shows this
        carried = f"{cookie}={answer.cursor}; HttpOnly; {_sent_by(call)}"
        return Reply(200, body, headers={"Set-Cookie": carried})

    async def publish(self, call: Call) -> Reply:
        """POST: the original's ``{"status":"message","message","username","roomname"}``."""
        try:
            value = load_object(call.body())
        except ChatError:
            if call.query("message") is None:
                raise
            value = {k: call.query(k) for k in ("message", "username", "roomname")}
            value["status"] = "message"
        if value.get("status") == "status":
            return Reply(200, {})
        if value.get("status") != "message":
            raise bad_request('The status is "message" or "status".')
        username = value.get("username", call.query("username"))
        identity = call.door.identify(call.token, username, legacy=True)
        name = room_name(value.get("roomname"), legacy=True)
        receipt = await publish(self._chat, call, identity, name, value.get("message"), None, None)
        return Reply(200, {"id": receipt.id})


def _cookie(room: str, user: str) -> str:
    return "chatd_" + sha256(f"{room}\n{user}".encode()).hexdigest()[:20]


def _sent_by(call: Call) -> str:
    """The cookie's attributes that say which pages' requests carry it (RFC 6265bis, section 5.6.7).

    Pages of ``--origin`` are mostly of another site, and browsers take ``None`` over https only.
    """
    if call.caller.scheme != "https":
        return "SameSite=Lax"
    listed = call.door.gate.cors_headers(call.header("origin"))
    return f"SameSite={'None' if _CREDENTIALS in listed else 'Lax'}; Secure"


_CREDENTIALS = "Access-Control-Allow-Credentials"


def _ridden(call: Call, cookie: str) -> Start:
    value = call.request.getCookie(cookie.encode("ascii"))
    try:
        return After(Cursor.parse(value.decode("latin-1"))) if value is not None else Now()
    except ChatError:
        return Now()  # not a cookie of ours: begin anew
