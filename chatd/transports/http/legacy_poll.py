"""``/poll``, for pollers that cannot keep a cursor (protocol, "Legacy polling")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError, bad_request
from chatd.protocol.json import dump, load_sent
from chatd.protocol.messages import legacy_text
from chatd.protocol.names import room_name
from chatd.rooms.start_position import After, Now, Start
from chatd.service.chat import Chat
from chatd.transports.http.body import NotSupported
from chatd.transports.http.call import Call, Reply
from chatd.transports.http.long_poll import held_poll, listing
from chatd.transports.http.parameters import LIMIT
from chatd.transports.http.poll_presence import Pollers
from chatd.transports.http.publishing import KEY, admit_publish, publishing
from chatd.transports.pairs import Pairs

#: Cookies that a client may keep, for as many rooms and users: it sends all of them with each
#: request, also for other pages, and many servers take 8 KiB of them. Those kept for longest go
#: first, a few with each answer, whose head has limits as well.
COOKIES, FORGOTTEN = 128, 4
_COOKIE = re.compile(r"chatd_[0-9a-f]{20}")


class Poll:
    """``/poll``: the cursor is in a cookie (RFC 6265), one for each room and user."""

    def __init__(self, chat: Chat, pollers: Pollers) -> None:
        self._chat = chat
        self._pollers = pollers

    async def read(self, call: Call) -> Reply:
        """GET: the messages since the poller's last call."""
        self._chat.check_draining()
        identity = call.identify(legacy=True)
        name = room_name(call.query("roomname"), legacy=True)
        cookie = _cookie(name, identity.user)
        after = call.query("after")
        start: Start = After(Cursor.parse(after)) if after is not None else _ridden(call, cookie)
        forgotten = _forgotten(call, cookie)
        answer = await held_poll(self._pollers, call, identity, name, start, LIMIT)
        body = b'{"roomname":%s,"messages":%s,"cursor":"%s","gap":%s}\n' % (
            dump(name),
            listing(answer.messages),
            str(answer.cursor).encode("ascii"),
            b"true" if answer.gap else b"false",
        )
        if not call.asks_for_head:  # the messages are not sent: the poller has still to get them
            _set(call, cookie, str(answer.cursor), forgotten)
        return Reply(200, body)

    async def publish(self, call: Call) -> Reply:
        """POST: the original's ``{"status":"message","message","username","roomname"}``. The id, of
        which the original knows nothing, may be in a header."""
        draining = self._chat.draining
        identity = call.identify(legacy=True)
        if identity.user:
            admit_publish(call, identity)
        value = _request(call, await call.body())
        if value.get("status") == "status":
            self._chat.check_draining()
            return Reply(200, {})
        if value.get("status") != "message":
            raise bad_request('The status is "message" or "status".')
        named = bool(identity.user)
        identity = call.identify(legacy=True, named=value.get("username"))
        if not named:
            admit_publish(call, identity)
        given = [n for n in (call.query("roomname"), value.get("roomname")) if n is not None]
        rooms = {room_name(name, legacy=True) for name in given or [None]}
        if len(rooms) > 1:
            raise bad_request("The body names another room than the URL; name one.")
        (name,) = rooms
        id = call.header(KEY)
        text = legacy_text(value.get("message"))
        publication = self._chat.publication(identity, name, text, id=id)
        publishing(call, publication, draining)
        receipt = await call.with_client(self._chat.repeated(identity, publication))
        if receipt is None:
            receipt = await self._chat.publish(identity, publication)
        return Reply(200, {"id": receipt.id})


def _request(call: Call, body: bytes) -> dict[str, Any]:
    """Parse a body: as JSON, whatever its media type, because the original's clients send a wrong
    one; else as a form, whose field ``message`` may be in the URL instead."""
    kind = call.media_type()
    if kind.charset != "utf-8":
        raise NotSupported("Send UTF-8.")
    try:
        return load_sent(body)
    except ChatError:
        form = kind.form(body) if kind.is_form else Pairs({})
        value = {name: form.get(name) for name in ("message", "username", "roomname")}
        if value["message"] is None:
            value["message"] = call.query("message")
        if value["message"] is None:
            raise
        return {**value, "status": "message"}


def _cookie(room: str, user: str) -> str:
    return "chatd_" + sha256(f"{room}\n{user}".encode()).hexdigest()[:20]


def _forgotten(call: Call, cookie: str) -> list[str]:
    """Other cookies of ours that the client is to forget, for it keeps too many."""
    others = [name for name in call.cookies() if name != cookie and _COOKIE.fullmatch(name)]
    return others[: max(0, min(FORGOTTEN, len(others) + 1 - COOKIES))]


def _set(call: Call, cookie: str, value: str, forgotten: Sequence[str]) -> None:
    """Set the cookie, with a SameSite attribute (RFC 6265bis, section 5.6.7), and remove those
    ``forgotten``.

    Pages of ``--origin`` are usually of another site, so they need ``None``, which browsers accept
    over https only. Without a Path the cookie follows the URL, also under a proxy's prefix.
    """
    secure = call.caller.scheme == "https"
    listed = _CREDENTIALS in call.admission.origin_policy.cors_headers(call.header("origin"))
    site = "none" if secure and listed else "lax"
    add = partial(call.request.addCookie, secure=secure, httpOnly=True, sameSite=site)
    add(cookie, value)
    for name in forgotten:
        add(name, "", max_age="0")


_CREDENTIALS = "Access-Control-Allow-Credentials"


def _ridden(call: Call, cookie: str) -> Start:
    value = call.cookie(cookie)
    try:
        return After(Cursor.parse(value)) if value is not None else Now()
    except ChatError:
        return Now()  # not a cookie by chatd
