"""Rooms and their administration: ``/rooms`` and below (protocol, "HTTP")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any

from attrs import frozen

from chatd.access.rights import WITHDRAWN, no_longer_valid
from chatd.directory.projection import RoomEntry
from chatd.protocol.errors import bad_request
from chatd.protocol.json import dump, load_sent
from chatd.protocol.names import room_name, user_name
from chatd.service.administration import Administration
from chatd.service.chat import Chat
from chatd.service.room_details import room_details
from chatd.timing.turn_queue import TurnQueue
from chatd.transports.http.answer import Pieces
from chatd.transports.http.call import Call, Reply, Route
from chatd.transports.http.parameters import limit_of, name_of

#: Rooms in one piece of the list of all rooms.
ROOMS = 200
#: Members in one piece of the list of a room's, and of those that are sorted in one turn.
MEMBERS, SORTED = 2000, 10_000


class RoomRoutes:
    """Rooms and their members, over HTTP."""

    def __init__(self, chat: Chat, administration: Administration) -> None:
        self._chat = chat
        self._administration = administration
        self._directory = chat.directory

    def routes(self) -> list[Route]:
        """The routes of this module."""
        return [
            Route("/rooms", {"GET": self.list}),
            Route("/rooms/{room}", {"GET": self.show, "PUT": self.create, "DELETE": self.delete}),
            Route("/rooms/{room}/members", {"GET": self.members}),
            Route("/rooms/{room}/members/{user}", {"PUT": self.add, "DELETE": self.remove}),
        ]

    async def show(self, call: Call, room: str) -> Reply:
        """GET a room, for anyone who may join it, and for administrators."""
        name = room_name(room)
        if call.admission.rights.administers(call.token, call.caller.address):
            attached = await self._chat.rooms.open(await self._directory.look_up(name))
            entry = self._directory.get(name)
        else:
            identity = call.identify()
            attached = await self._chat.room_to_read(identity, name)
            entry = self._chat.entry(identity, name)
        members = self._chat.presence.members(name)
        return Reply(
            200,
            {
                "room": name,
                "private": entry.private,
                "cursor": f"{attached.stream.life}:{attached.head}",
                "members": members.names,
                "count": members.count,
            },
        )

    async def list(self, call: Call) -> Reply:
        """GET all rooms, by name; with ``after`` those that come after that one, with ``limit`` so
        many of them at most, with ``details=1`` how much each keeps and when something was said
        last."""
        _check_admin(call)
        after = name_of(call, "after")
        limit = limit_of(call) if call.query("limit") is not None else None
        if call.query("details") not in (None, "1"):
            raise bad_request("details is 1, or left out.")
        self._directory.check_loaded()
        await self._directory.sync.reach()  # who lists the rooms may do without those not listed
        entries = self._directory.page(after, limit)
        pages = _RoomPages(entries, self._chat, call.query("details") is not None)
        return Reply(200, _WhileAdmin(call, pages))

    async def create(self, call: Call, room: str) -> Reply:
        """PUT a room: 201 if it is new, else 200. ``private`` changes an existing room, too."""
        _check_admin(call)
        name = room_name(room)
        body = await call.body()
        _check_admin(call)  # again: it may have taken a while, and the key be another one by now
        wanted = load_sent(body) if body.strip() else {}
        private = wanted.get("private")
        if private is not None and not isinstance(private, bool):
            raise bad_request("private is true or false.")
        new = await self._administration.put(name, private, call.caller.address)
        shown = {"room": name, "private": self._directory.get(name).private}
        return Reply(201 if new else 200, shown)

    async def delete(self, call: Call, room: str) -> Reply:
        """DELETE a room with its messages."""
        _check_admin(call)
        name = (await self._directory.look_up(room_name(room))).name
        await self._directory.delete(name)
        return Reply(204)

    async def members(self, call: Call, room: str) -> Reply:
        """GET who may be in a room while it is private, and who is in it now."""
        _check_admin(call)
        entry = await self._directory.look_up(room_name(room))
        present = self._chat.presence.members(entry.name)
        begun = {"room": entry.name, "private": entry.private}
        ended = {"present": present.names, "count": present.count}
        if len(entry.members) <= MEMBERS:
            return Reply(200, {**begun, "members": sorted(entry.members), **ended})
        turns = self._chat.rooms.node.turns
        pages = _MemberPages(entry.members, dump(begun), dump(ended), turns)
        return Reply(200, _WhileAdmin(call, pages))

    async def add(self, call: Call, room: str, user: str) -> Reply:
        """PUT a member."""
        _check_admin(call)
        await self._directory.add_member(room_name(room), user_name(user))
        return Reply(204)

    async def remove(self, call: Call, room: str, user: str) -> Reply:
        """DELETE a member."""
        _check_admin(call)
        await self._directory.remove_member(room_name(room), user_name(user))
        return Reply(204)


def _check_admin(call: Call) -> None:
    """See `Rights.check_admin`."""
    call.admission.rights.check_admin(call.token, call.caller.address)


@frozen
class _WhileAdmin:
    """The ``pages`` of a list, for as long as who asked for it is an administrator: reading it may
    take an hour. A part of it would look like all."""

    _call: Call
    _pages: Pieces

    async def next(self) -> bytes:
        """See `chatd.transports.http.answer.Pieces`."""
        page = await self._pages.next()
        if page and not self._call.admission.rights.still_administers(self._call.token):
            raise no_longer_valid(WITHDRAWN)
        return page


class _RoomPages:
    """The list of all rooms, `ROOMS` at a time; with ``details`` those that the broker tells."""

    def __init__(self, entries: Sequence[RoomEntry], chat: Chat, details: bool) -> None:
        self._entries = entries
        self._chat = chat
        self._details = details
        self._at = 0

    async def next(self) -> bytes:
        """See `chatd.transports.http.answer.Pieces`."""
        if self._at > len(self._entries):
            return b""
        shown = self._entries[self._at : self._at + ROOMS]
        plain: list[dict[str, Any]] = [{}] * len(shown)
        details = await room_details(self._chat, shown) if self._details else plain
        begun = b"," if self._at and shown else b"" if self._at else b'{"rooms":['
        self._at += ROOMS
        ended = b"]}\n" if self._at > len(self._entries) else b""
        return begun + b",".join(map(self._shown, shown, details)) + ended

    def _shown(self, entry: RoomEntry, details: dict[str, Any]) -> bytes:
        count = self._chat.presence.count(entry.name)
        return dump({"room": entry.name, "private": entry.private, "count": count, **details})


class _MemberPages:
    """A room with many ``members``, sorted and written in turns; between ``begun`` and ``ended``,
    which are JSON objects."""

    def __init__(
        self, members: Iterable[str], begun: bytes, ended: bytes, turns: TurnQueue
    ) -> None:
        names = list(members)
        self._runs = [names[at : at + SORTED] for at in range(0, len(names), SORTED)]
        self._names: Iterator[str] | None = None
        self._between = begun[:-1] + b',"members":['
        self._ended = b"]," + ended[1:] + b"\n"
        self._turns = turns

    async def next(self) -> bytes:
        """See `chatd.transports.http.answer.Pieces`."""
        if self._names is None:
            for run in self._runs:
                run.sort()
                await self._turns.wait()
            self._names = merge(*self._runs)
        between, self._between = self._between, b","
        if shown := list(islice(self._names, MEMBERS)):
            return between + dump(shown)[1:-1]
        ended, self._ended = self._ended, b""
        return ended
