"""Rooms over WebSocket: joining, messages, presence, typing (protocol, "WebSocket")."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from chatd.access.identity import Identity
from chatd.rooms.room import Room
from chatd.service.chat import Chat
from chatd.service.session import MAX_ROOMS
from tests.support.serving import ServingTests
from tests.support.waiting import until
from tests.support.ws_client import WebSocket

MESSAGE = {"type": "message", "room": "lobby", "text": "x"}


class RoomTests(ServingTests):
    async def test_join(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        joined = await ann.join("lobby")
        cursor = joined.pop("cursor")
        self.assertEqual(
            joined,
            {"type": "joined", "room": "lobby", "members": ["ann"], "count": 1, "gap": False},
        )
        self.assertEqual(cursor, (await node.get("/rooms/lobby")).json["cursor"])

    async def test_starts(self) -> None:
        """``after``, ``last`` and ``since``; C0 is where what follows continues."""
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        seen = []
        for n in range(4):
            ann.send({**MESSAGE, "text": str(n)})
            seen.append(await ann.find("message"))
            node.clock.advance(2)
        await ann.fence()
        before = (await node.get("/rooms/lobby/messages?last=1000")).json["messages"]
        self.assertEqual(before, seen)
        for start, texts in (
            ({}, []),
            ({"last": 0}, []),
            ({"last": 2}, ["2", "3"]),
            ({"last": 1000}, ["0", "1", "2", "3"]),
            ({"after": seen[1]["cursor"]}, ["2", "3"]),
            ({"after": seen[3]["cursor"]}, []),
            ({"since": seen[2]["time"]}, ["2", "3"]),
            ({"since": "2020-01-01T00:00:00Z"}, ["0", "1", "2", "3"]),
            ({"since": "2999-01-01T00:00:00+01:00"}, []),
            ({"since": None, "last": 1}, ["3"]),
        ):
            ben = await node.chat("ben")
            joined = await ben.join("lobby", **start)
            self.assertFalse(joined["gap"])
            backlog = [m for m in await ben.fence() if m["type"] == "message"]
            self.assertEqual([m["text"] for m in backlog], texts, start)
            cid = await node.chat("cid")
            await cid.join("lobby", after=joined["cursor"])
            again = [m for m in await cid.fence() if m["type"] == "message"]
            self.assertEqual(again, backlog, start)

    async def test_typing_right_after_a_join(self) -> None:
        """Requests about a room take effect in order, also where it has to be opened first."""
        node = await self.serve("--room=cold")
        bob = await node.chat("bob")
        ann = await node.chat("ann")
        bob.send({"type": "join", "room": "cold"})
        await bob.find("joined")
        for kind in ("join", "typing"):
            ann.send({"type": kind, "room": "cold"})
        self.assertEqual((await ann.receive())["type"], "joined")
        self.assertEqual((await bob.find("typing"))["user"], "ann")

    async def test_typing_after_having_left(self) -> None:
        """Is as new as the one who has come."""
        node = await self.serve()
        ann, bob = [await node.chat(user, "lobby") for user in ("ann", "bob")]
        for _ in range(2):
            ann.send({"type": "typing", "room": "lobby"})
            await bob.find("typing")
            await ann.ask({"type": "leave", "room": "lobby"})
            await ann.join("lobby")

    async def test_nobody_is_shown_typing_to_oneself(self) -> None:
        """A user with several connections is one member."""
        node = await self.serve()
        here, there, bob = [await node.chat(u, "lobby") for u in ("ann", "ann", "bob")]
        here.send({"type": "typing", "room": "lobby"})
        await bob.find("typing")
        for ann in (here, there):
            self.assertNotIn("typing", [frame["type"] for frame in await ann.fence()])

    async def test_a_room_left_makes_place_for_another(self) -> None:
        """Also while requests about it are under way."""
        node = await self.serve(*(f"--room=r{n}" for n in range(MAX_ROOMS + 1)))
        ann = await node.chat("ann", *(f"r{n}" for n in range(MAX_ROOMS)))
        attach = Chat.room
        held: list[Deferred[None]] = []

        async def slow(chat: Chat, identity: Identity, name: str) -> Room:
            if name == "r0":
                held.append(Deferred())
                await held[-1]
            return await attach(chat, identity, name)

        self.patch(Chat, "room", slow)
        ann.send({"type": "join", "room": "r0"})
        ann.send({"type": "leave", "room": "r0"})
        joined = await ann.ask({"type": "join", "room": f"r{MAX_ROOMS}"})
        self.assertEqual((joined["type"], joined["room"]), ("joined", f"r{MAX_ROOMS}"))
        held[0].callback(None)
        self.assertEqual((await ann.find("left"))["room"], "r0")
        self.assertEqual((await ann.ask({"type": "join", "room": "r0"}))["code"], "bad_request")

    async def test_bad_starts(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        for start in (
            {"after": "x"},
            {"after": 7},
            {"after": "0:0:0"},
            {"last": -1},
            {"last": 1001},
            {"last": 1.5},
            {"last": "3"},
            {"last": True},
            {"since": "yesterday"},
            {"since": 3},
            {"since": "2026-11-24"},
            {"after": "0:1", "last": 3},
            {"last": 3, "since": "2020-01-01T00:00:00Z"},
        ):
            error = await ann.ask({"type": "join", "room": "lobby", **start})
            self.assertEqual((error["code"], error["room"]), ("bad_request", "lobby"), start)
            await ann.fence()

    async def test_a_gap(self) -> None:
        """An earlier life of the room, and a cursor from beyond its end."""
        node = await self.serve("--room", "lobby", "--room", "other")
        ann = await node.chat("ann")
        old = (await ann.join("lobby"))["cursor"]
        await ann.say("lobby", "x")
        await node.service.chat.directory.delete("lobby")
        await node.service.chat.directory.create("lobby")
        await ann.join("lobby")
        ann.send(MESSAGE)
        newest = await ann.find("message")
        epoch = newest["cursor"].partition(":")[0]
        for cursor in (old, f"{epoch}:99", (await ann.join("other"))["cursor"]):
            ben = await node.chat("ben")
            joined = await ben.join("lobby", after=cursor)
            self.assertTrue(joined["gap"], cursor)
            self.assertEqual(await ben.find("message"), newest)

    async def test_joining_twice_moves_the_cursor(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        for text in ("one", "two"):
            ann.send({**MESSAGE, "text": text})
            self.assertEqual((await ann.find("message"))["text"], text)
        for text in ("two", "one"):
            # back by one, by two
            await ann.join("lobby", last=1 if text == "two" else 2)
            self.assertEqual((await ann.find("message"))["text"], text)
        self.assertEqual((await ann.find("message"))["text"], "two")
        self.assertEqual(len(await ann.fence()), 0)
        self.assertEqual((await node.get("/rooms/lobby")).json["count"], 1)
        await ann.say("lobby", "three")
        self.assertEqual([said["text"] for said in await ann.fence()], ["three"])

    async def test_leave(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        self.assertEqual(
            await ann.ask({"type": "leave", "room": "lobby"}), {"type": "left", "room": "lobby"}
        )
        await ann.say("lobby", "publishing needs no joining")
        self.assertEqual(await ann.fence(), [])
        self.assertEqual((await node.get("/rooms/lobby")).json["members"], [])

    async def test_many_rooms(self) -> None:
        rooms = [f"r{n}" for n in range(101)]
        node = await self.serve(*(f"--room={room}" for room in rooms))
        ann = await node.chat("ann", *rooms[:100])
        error = await ann.ask({"type": "join", "room": rooms[100]})
        self.assertEqual((error["code"], error["room"]), ("bad_request", rooms[100]))
        await ann.join(rooms[0])
        await ann.ask({"type": "leave", "room": rooms[5]})
        await ann.join(rooms[100])
        ben = await node.chat("ben")
        for room in (rooms[99], rooms[100]):
            await ben.say(room, "x")
            self.assertEqual((await ann.find("message"))["room"], room)

    async def test_a_room_that_is_deleted(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        await ann.fence()
        await node.service.chat.directory.delete("lobby")
        self.assertEqual(await ann.receive(), {"type": "left", "room": "lobby"})
        error = await ann.receive()
        self.assertEqual((error["code"], error["room"]), ("unknown_room", "lobby"))
        error = await ann.ask({**MESSAGE, "id": "k"})
        self.assertEqual(
            (error["code"], error["room"], error["id"]), ("unknown_room", "lobby", "k")
        )

    async def test_a_right_that_is_lost(self) -> None:
        node = await self.serve("--rate=1000/s")
        directory = node.service.chat.directory
        await directory.create("den", private=True)
        await directory.add_member("den", "ann")
        ann = await node.chat("ann", "den")
        ben = await node.chat("ben")
        error = await ben.ask({"type": "join", "room": "den"})
        self.assertEqual((error["code"], error["room"]), ("forbidden", "den"))
        error = await ben.ask({**MESSAGE, "room": "den"})
        self.assertEqual(error["code"], "forbidden")
        await ann.fence()
        await directory.remove_member("den", "ann")
        self.assertEqual(await ann.receive(), {"type": "left", "room": "den"})
        error = await ann.receive()
        self.assertEqual((error["code"], error["room"]), ("forbidden", "den"))
        self.assertEqual(await ann.fence(), [])


class PresenceTests(ServingTests):
    async def told(self, socket: WebSocket) -> dict[str, Any]:
        event = await socket.find("presence")
        return {key: event[key] for key in ("joined", "left", "count")}

    async def test_comings_and_goings_are_coalesced(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        node.clock.advance(1)
        self.assertEqual(await self.told(ann), {"joined": ["ann"], "left": [], "count": 1})
        ben, cid = [await node.chat(user, "lobby") for user in ("ben", "cid")]
        await (await node.chat("dot", "lobby")).ask({"type": "leave", "room": "lobby"})
        node.clock.advance(1)
        told = await self.told(ann)
        self.assertEqual((set(told["joined"]) - {"dot"}, told["count"]), ({"ben", "cid"}, 3))
        for socket in (ben, cid):
            socket.raw.abort()
        await until(lambda: len(node.service.ways.websockets.connections) == 2)
        self.assertEqual(await ann.fence(), [])
        node.clock.advance(1)
        self.assertEqual(await self.told(ann), {"joined": [], "left": ["ben", "cid"], "count": 1})

    async def test_several_connections_are_one_member(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann", "lobby")
        twice = await node.websocket("/?username=ben&roomname=lobby")
        again = await node.chat("ben")
        joined = await again.join("lobby")
        self.assertEqual((joined["members"], joined["count"]), (["ann", "ben"], 2))
        twice.raw.abort()
        await until(lambda: len(node.service.ways.websockets.connections) == 2)
        node.clock.advance(1)
        self.assertNotIn("ben", (await self.told(ann))["left"])
        self.assertEqual((await node.get("/rooms/lobby")).json["count"], 2)
        again.raw.abort()
        await until(lambda: len(node.service.ways.websockets.connections) == 1)
        node.clock.advance(1)
        self.assertEqual(await self.told(ann), {"joined": [], "left": ["ben"], "count": 1})

    async def test_above_the_limit_only_the_count(self) -> None:
        node = await self.serve()
        self.assertEqual(node.service.chat.presence.limit, 200)
        node.service.chat.presence.limit = 2
        ann = await node.chat("ann", "lobby")
        node.clock.advance(1)
        await self.told(ann)
        for user in ("ben", "cid", "dot"):
            last = await node.chat(user)
            joined = await last.join("lobby")
        self.assertEqual((len(joined["members"]), joined["count"]), (2, 4))
        node.clock.advance(1)
        self.assertEqual(await self.told(ann), {"joined": [], "left": [], "count": 4})


class TypingTests(ServingTests):
    async def test_typing(self) -> None:
        node = await self.serve()
        ann, ben, other = [await node.chat(u, "lobby") for u in ("ann", "ben", "ben")]
        for socket in (ann, ben, other):
            await socket.fence()
        ann.send({"type": "typing", "room": "lobby"})
        for socket in (ben, other):
            expected = {"type": "typing", "room": "lobby", "user": "ann"}
            self.assertEqual(await socket.find("typing"), expected)
        self.assertNotIn("typing", [said["type"] for said in await ann.fence()])
        stored = await node.get("/rooms/lobby/messages?last=10")
        self.assertEqual(stored.json["messages"], [])

    async def test_in_a_room_not_joined(self) -> None:
        node = await self.serve()
        ann = await node.chat("ann")
        for room in ("lobby", "nowhere"):
            error = await ann.ask({"type": "typing", "room": room})
            self.assertEqual((error["code"], error["room"]), ("not_joined", room))
