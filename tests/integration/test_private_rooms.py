"""Private rooms: who is in, and who loses a room loses it at once, on every transport and node."""

from __future__ import annotations

import json
from typing import Any

from chatd import tap
from chatd.brokers.memory.broker import MemoryBroker
from tests.support.engine import CLIENTS
from tests.support.guarded import ADMIN_KEY, SETUP_SECRET, GuardedTests, bearing, token
from tests.support.http_client import EventStream
from tests.support.serving import Node
from tests.support.waiting import until
from tests.support.ws_client import WebSocket

REMOVE = {"op": "remove_member", "roomname": "den", "username": "mia"}


class PrivateRoomTests(GuardedTests):
    async def two_nodes(self) -> tuple[Node, Node]:
        """Two nodes on one broker, each in token mode."""
        first = await self.guarded()
        broker: Any = first.service.broker
        assert isinstance(broker, MemoryBroker)
        self.patch(tap, "broker_at", lambda *_: broker.peer())
        second = await self.guarded()
        return first, second

    async def set_up(self, node: Node, **request: Any) -> str:
        raw = await node.raw("setup")
        raw.send(json.dumps({**request, "secret": SETUP_SECRET}).encode() + b"\n")
        answer = (await raw.until(b"\n")).decode()
        raw.abort()
        return answer

    async def everywhere(self, node: Node, user: str) -> Everywhere:
        """``user`` in the den on every transport of ``node``."""
        shown = token(node, user)
        socket = await node.websocket(f"/?token={shown}")
        await socket.join("den")
        old = await node.websocket(f"/?token={shown}&roomname=den", protocol=None)
        await old.receive_text()
        stream = await node.events("/rooms/den/events", **bearing(shown))
        sessions = [await kind.open(node) for kind in CLIENTS]
        for session in sessions:
            await session.connect(token=shown)
            await session.ask("join", {"room": "den"})
        start = (await node.get("/rooms/den", **bearing(shown))).json["cursor"]
        before = node.service.admission.connections.total
        polls = [
            await node.ask("GET", f"{path}&wait=60&after={start}", None, **bearing(shown))
            for path in ("/rooms/den/messages?limit=9", "/poll?roomname=den")
        ]
        await until(lambda: node.service.admission.connections.total == before + 2)
        return Everywhere(self, socket, old, stream, sessions, polls)


class Everywhere:
    """One user's connections, a transport each."""

    def __init__(
        self,
        test: PrivateRoomTests,
        socket: WebSocket,
        old: WebSocket,
        stream: EventStream,
        sessions: list[Any],
        polls: list[Any],
    ) -> None:
        self._test = test
        self._socket = socket
        self._old = old
        self._stream = stream
        self._sessions = sessions
        self._polls = polls

    async def hear(self, text: str) -> None:
        """``text`` is heard on all of them."""
        equal = self._test.assertEqual
        equal((await self._socket.find("message"))["text"], text)
        equal(await self._old.receive_text(), text)
        equal((await self._stream.message()).data["text"], text)
        for session in self._sessions:
            equal((await session.find("message"))["text"], text)
        for poll in self._polls:
            equal([m["text"] for m in (await poll.answer()).json["messages"]], [text])

    async def lose(self, status: int, code: str, close: int) -> None:
        """All of them lose the room."""
        equal = self._test.assertEqual
        equal(await self._socket.find("left"), {"type": "left", "room": "den"})
        error = await self._socket.receive()
        equal((error["type"], error["code"], error["room"]), ("error", code, "den"))
        self._test.assertRegex(await self._old.receive_text(), f"^error: {code}: ")
        equal((await self._old.closed()).code, close)
        with self._test.assertRaises(EOFError):
            await self._stream.message()
        for session in self._sessions:
            equal((await session.find("left"))["room"], "den")
            equal((await session.find("error"))["code"], code)
        for poll in self._polls:
            answer = await poll.answer()
            equal((answer.status, answer.code), (status, code))

    async def stays_out(self) -> None:
        """Nothing more comes of the room, and it is not entered again."""
        answer = await self._socket.ask({"type": "join", "room": "den"})
        answers = [answer, *[await one.ask("join", {"room": "den"}) for one in self._sessions]]
        for answer in answers:
            self._test.assertIn(answer["code"], ("forbidden", "unknown_room"))
        said = [one["type"] for one in await self._socket.fence()]
        self._test.assertEqual(said, [])


class RemovalTests(PrivateRoomTests):
    async def test_members_hear(self) -> None:
        nodes = await self.two_nodes()
        for node in nodes:
            mia = await self.everywhere(node, "mia")
            other = nodes[0]
            shown = bearing(token(other, "mia"))
            answer = await other.post("/rooms/den/messages", {"text": "hello"}, **shown)
            self.assertEqual(answer.status, 201)
            await mia.hear("hello")

    async def test_a_removed_member_leaves_at_once(self) -> None:
        nodes = await self.two_nodes()
        ways = (
            lambda: self.set_up(nodes[0], **REMOVE),
            lambda: nodes[1].request(
                "DELETE", "/rooms/den/members/mia", None, **bearing(ADMIN_KEY)
            ),
        )
        for remove in ways:
            self.assertEqual(
                await self.set_up(nodes[0], op="add_member", roomname="den", username="mia"), "200"
            )
            self.assertEqual(
                await self.set_up(nodes[1], op="add_member", roomname="den", username="zoe"), "200"
            )
            await until(lambda: all(_members(node) == {"mia", "zoe"} for node in nodes))
            mia = [await self.everywhere(node, "mia") for node in nodes]
            zoe = [await self.everywhere(node, "zoe") for node in nodes]
            await remove()
            for one in mia:
                await one.lose(403, "forbidden", 4403)
            shown = bearing(token(nodes[1], "zoe"))
            await nodes[1].post("/rooms/den/messages", {"text": "she is gone"}, **shown)
            for one in zoe:
                await one.hear("she is gone")
            for one in mia:
                await one.stays_out()

    async def test_who_is_gone_is_not_present(self) -> None:
        node = await self.guarded()
        await self.everywhere(node, "mia")
        self.assertEqual(node.service.chat.presence.members("den").names, ["mia"])
        await self.set_up(node, **REMOVE)
        await until(lambda: node.service.chat.presence.members("den").names == [])

    async def test_a_room_that_becomes_private(self) -> None:
        nodes = await self.two_nodes()
        await nodes[0].request("PUT", "/rooms/den", {"private": False}, **bearing(ADMIN_KEY))
        await until(lambda: not any(_private(node) for node in nodes))
        ann = [await self.everywhere(node, "ann") for node in nodes]
        mia = [await self.everywhere(node, "mia") for node in nodes]
        path = "/rooms/den"
        await nodes[1].request("PUT", path, {"private": True}, **bearing(ADMIN_KEY))
        for one in ann:
            await one.lose(403, "forbidden", 4403)
        await nodes[0].post(
            f"{path}/messages", {"text": "among us"}, **bearing(token(nodes[0], "mia"))
        )
        for one in mia:
            await one.hear("among us")

    async def test_a_room_that_is_deleted(self) -> None:
        nodes = await self.two_nodes()
        mia = [await self.everywhere(node, "mia") for node in nodes]
        self.assertEqual(await self.set_up(nodes[0], op="delete_room", roomname="den"), "200")
        for one in mia:
            await one.lose(404, "unknown_room", 4404)
            await one.stays_out()

    async def test_a_token_that_names_the_room_keeps_it(self) -> None:
        node = await self.guarded()
        shown = token(node, "mia", ["den"])
        socket = await node.websocket(f"/?token={shown}")
        await socket.join("den")
        await self.set_up(node, **REMOVE)
        self.assertEqual(_members(node), set())
        await socket.say("den", "still here")

    async def test_created_private(self) -> None:
        node = await self.guarded()
        for name, create in (
            ("one", lambda: self.set_up(node, roomname="one", private=True)),
            (
                "two",
                lambda: node.request("PUT", "/rooms/two", {"private": True}, **bearing(ADMIN_KEY)),
            ),
        ):
            await create()
            shown = bearing(token(node))
            self.assertEqual((await node.get(f"/rooms/{name}", **shown)).status, 403)
            await self.set_up(node, op="add_member", roomname=name, username="ann")
            answer = await node.get(f"/rooms/{name}", **shown)
            self.assertEqual((answer.status, answer.json["private"]), (200, True))

    async def test_a_member_with_a_space_in_the_name(self) -> None:
        """The set-up port lets in whom it names, and nobody else."""
        node = await self.guarded()
        for op, let_in in (("add_member", {"Ann Smith"}), ("remove_member", set())):
            asked = {"op": op, "roomname": "den", "username": "Ann Smith"}
            self.assertEqual(await self.set_up(node, **asked), "200")
            for user in ("Ann Smith", "Ann_Smith"):
                answer = await node.get("/rooms/den", **bearing(token(node, user)))
                self.assertEqual(answer.status, 200 if user in let_in else 403, (op, user))

    async def test_creating_again_opens_nothing(self) -> None:
        node = await self.guarded()
        self.assertEqual(await self.set_up(node, roomname="den", private=False), "200")
        await node.request("PUT", "/rooms/den", {}, **bearing(ADMIN_KEY))
        self.assertEqual((await node.get("/rooms/den", **bearing(token(node)))).status, 403)

    async def test_members_of_a_deleted_room_are_not_of_the_next(self) -> None:
        node = await self.guarded()
        await self.set_up(node, op="delete_room", roomname="den")
        await self.set_up(node, roomname="den", private=True)
        answer = await node.get("/rooms/den", **bearing(token(node, "mia")))
        self.assertEqual(answer.status, 403)


def _members(node: Node) -> set[str]:
    entry = node.service.chat.directory.find("den")
    return set(entry.members) if entry is not None else set()


def _private(node: Node) -> bool:
    entry = node.service.chat.directory.find("den")
    return entry is None or entry.private
