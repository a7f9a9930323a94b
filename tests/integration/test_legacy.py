"""WebSocket clients that ask for no subprotocol (protocol, "The original's clients")."""

from __future__ import annotations

import json
from typing import Any

from tests.support.serving import Node, ServingTests
from tests.support.tokens import Issuer
from tests.support.waiting import until
from tests.support.ws_client import BINARY, Closed, WebSocket


async def open_legacy(node: Node, query: str, port: str = "websocket") -> WebSocket:
    """A connection that has been greeted."""
    path = "/ws" if port == "http" else "/"
    socket = await node.websocket(f"{path}?{query}", port, protocol=None)
    assert socket.status == 101, socket.answer
    assert await socket.receive_text() == "Connection open"
    return socket


def message(text: Any, **more: Any) -> dict[str, Any]:
    return {"status": "message", "message": text, "username": "ann", "roomname": "lobby", **more}


async def fence(node: Node, socket: WebSocket) -> list[str]:
    """All that ``socket`` has been told up to now."""
    socket.send({"status": "fence"})
    said = []
    while not (text := await socket.receive_text()).startswith("error: bad_request: The status"):
        said.append(text)
    return said


class LegacyTests(ServingTests):
    async def test_bare_texts_to_every_socket(self) -> None:
        node = await self.serve()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        ben = await open_legacy(node, "roomname=lobby&username=ben", "http")
        modern = await node.chat("cid", "lobby")
        for text in ("hello", "", "«❤»\n", '{"type":"message"}'):
            ann.send(message(text))
            for socket in (ann, ben):
                self.assertEqual(await socket.receive_text(), text)
            found = await modern.find("message")
            self.assertEqual((found["text"], found["user"]), (text, "ann"))
        await modern.say("lobby", "from v1", data={"not": "shown"})
        for socket in (ann, ben):
            self.assertEqual(await socket.receive_text(), "from v1")

    async def test_no_subprotocol_is_answered_with_none(self) -> None:
        node = await self.serve()
        socket = await open_legacy(node, "roomname=lobby&username=ann")
        self.assertIsNone(socket.answer.header("sec-websocket-protocol"))

    async def test_spaces_become_underscores(self) -> None:
        node = await self.serve("--room", "Harry_Potter")
        ann = await open_legacy(node, "roomname=Harry%20Potter&username=Ann+Lee")
        ann.send(message("x", roomname="Harry Potter", username="Ann Lee"))
        self.assertEqual(await ann.receive_text(), "x")
        said = (await node.get("/rooms/Harry_Potter/messages?last=1")).json["messages"]
        self.assertEqual(said[0]["user"], "Ann_Lee")
        self.assertEqual((await node.get("/rooms/Harry_Potter")).json["members"], ["Ann_Lee"])

    async def test_live_messages_only(self) -> None:
        node = await self.serve()
        await node.post("/rooms/lobby/messages?username=ben", "before")
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        ben = await node.chat("ben", "lobby")
        ben.send({"type": "typing", "room": "lobby"})
        await ben.say("lobby", "after")
        node.clock.advance(1)
        await ben.find("presence")
        self.assertEqual(await fence(node, ann), ["after"])

    async def test_status_is_accepted_and_ignored(self) -> None:
        node = await self.serve()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        ann.send({"status": "status", "roomname": "lobby", "op": "create_room"})
        self.assertEqual(await fence(node, ann), [])

    async def test_without_a_username(self) -> None:
        """Whoever names nobody is a guest; the frame may still say who speaks."""
        node = await self.serve()
        socket = await open_legacy(node, "roomname=lobby")
        [member] = (await node.get("/rooms/lobby")).json["members"]
        self.assertRegex(member, "^guest-[0-9a-f]{6}$")
        socket.send(message("x"))
        socket.send(message("y", username=None))
        self.assertEqual([await socket.receive_text() for _ in "xy"], ["x", "y"])
        said = (await node.get("/rooms/lobby/messages?last=2")).json["messages"]
        self.assertEqual([m["user"] for m in said], ["ann", member])

    async def test_the_url_says_who_speaks(self) -> None:
        """A proxy may have set it: no frame speaks for another."""
        node = await self.serve()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        ann.send(message("x", username="ben"))
        self.assertRegex(await ann.receive_text(), "^error: bad_request: .*another user")
        ann.send(message("y", username=None))
        self.assertEqual(await ann.receive_text(), "y")

    async def test_anything_else_is_an_error(self) -> None:
        node = await self.serve()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        for frame, code in (
            (b"", "bad_request"),
            (b"hello", "bad_request"),
            (b"[]", "bad_request"),
            (b"{}", "bad_request"),
            (b'{"status":"nonsense"}', "bad_request"),
            (b'{"status":["message"]}', "bad_request"),
            (b'{"type":"join","room":"lobby"}', "bad_request"),
            (json.dumps(message(7)).encode(), "bad_request"),
            (json.dumps(message("x", roomname="nowhere")).encode(), "unknown_room"),
            (json.dumps(message("x", roomname="a/b")).encode(), "bad_request"),
            (json.dumps(message("x", roomname=None)).encode(), "bad_request"),
            (json.dumps(message("x", username="a\nb")).encode(), "bad_request"),
            (json.dumps(message("\ud800")).encode(), "bad_request"),
            (json.dumps(message("x" * 20000)).encode(), "too_large"),
        ):
            ann.frame(frame)
            self.assertRegex(await ann.receive_text(), rf"^error: {code}: .", repr(frame)[:50])
        ann.frame(b'{"status":"status"}', BINARY)
        self.assertRegex(await ann.receive_text(), r"^error: bad_request: .")
        ann.send(message("still here"))
        self.assertEqual(await ann.receive_text(), "still here")

    async def test_what_is_missing_is_called_as_the_original_calls_it(self) -> None:
        node = await self.serve()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        said = {"status": "message", "roomname": "lobby", "username": "ann", "text": "hi"}
        ann.send(said)
        text = 'Give the text as a string, called "message".'
        self.assertEqual(await ann.receive_text(), f"error: bad_request: {text}")
        self.assertEqual((await node.post("/poll", said)).json["text"], text)

    async def test_ten_bad_ones_in_a_row(self) -> None:
        node = await self.serve()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        for _ in range(10):
            ann.frame(b"hello")
        self.assertEqual((await ann.closed()).code, 4400)

    async def test_rate(self) -> None:
        node = await self.serve("--rate=1/s")
        node.clock.hold()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        for text in ("1", "2", "3"):
            ann.send(message(text))
        said = {await ann.receive_text() for _ in range(3)}
        self.assertEqual({text[:20] for text in said}, {"1", "2", "error: rate_limited: "[:20]})

    async def test_the_broker_is_away(self) -> None:
        node = await self.serve()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        node.service.broker.interrupt()
        ann.send(message("lost"))
        self.assertRegex(await ann.receive_text(), "^error: unavailable: ")
        node.service.broker.resume()
        ann.send(message("kept"))
        self.assertEqual(await ann.receive_text(), "kept")

    async def closing(self, node: Node, query: str) -> tuple[str, int]:
        """What is said after the greeting, and the close code."""
        socket = await open_legacy(node, query)
        said = await socket.receive_text()
        try:
            await socket.receive_text()
        except Closed as how:
            return ": ".join(said.split(": ")[:2]), how.code
        raise AssertionError("it stays open")

    async def test_how_it_is_closed(self) -> None:
        node = await self.serve()
        await node.service.chat.directory.create("den", private=True)
        for query, code, close in (
            ("roomname=nowhere&username=ann", "unknown_room", 4404),
            ("roomname=den&username=ann", "forbidden", 4403),
            ("username=ann", "bad_request", 4400),
            ("roomname=&username=ann", "bad_request", 4400),
            ("roomname=a/b&username=ann", "bad_request", 4400),
        ):
            said, how = await self.closing(node, query)
            self.assertEqual((said, how), (f"error: {code}", close), query)

    async def test_tokens(self) -> None:
        """``username`` is ignored, in the URL and in every frame."""
        issuer = Issuer(self.mktemp())
        node = await self.serve(*issuer.options)
        token = issuer.token("ann", node.clock.seconds() + 60)
        ann = await open_legacy(node, f"roomname=lobby&username=mallory&token={token}")
        ann.send(message("x", username="mallory"))
        self.assertEqual(await ann.receive_text(), "x")
        said = await node.get(f"/rooms/lobby/messages?last=1&token={token}")
        self.assertEqual(said.json["messages"][0]["user"], "ann")
        self.assertEqual((await node.websocket("/?roomname=lobby", protocol=None)).status, 401)
        node.clock.advance(60)
        self.assertRegex(await ann.receive_text(), "^error: unauthorized: ")
        self.assertEqual((await ann.closed()).code, 4401)

    async def test_a_room_that_is_deleted(self) -> None:
        node = await self.serve()
        ann = await open_legacy(node, "roomname=lobby&username=ann")
        await fence(node, ann)
        await node.service.chat.directory.delete("lobby")
        self.assertRegex(await ann.receive_text(), "^error: unknown_room: ")
        self.assertEqual((await ann.closed()).code, 4404)

    async def test_a_right_that_is_lost(self) -> None:
        node = await self.serve()
        directory = node.service.chat.directory
        await directory.create("den", private=True)
        await directory.add_member("den", "ann")
        ann = await open_legacy(node, "roomname=den&username=ann")
        await until(lambda: node.service.chat.presence.members("den").count)
        await directory.remove_member("den", "ann")
        self.assertRegex(await ann.receive_text(), "^error: forbidden: ")
        self.assertEqual((await ann.closed()).code, 4403)
