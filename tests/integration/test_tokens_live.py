"""Tokens while they are in use: renewed, narrowed, run out."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any
from unittest.mock import patch

from joserfc import jwt
from twisted.internet.defer import Deferred

from chatd.protocol.json import dump
from chatd.rooms.history import HistoryPage
from chatd.rooms.room import Room
from chatd.transports.http import rooms
from tests.support.guarded import ADMIN_KEY, KEY, OTHER_KEY, GuardedTests, bearing, token
from tests.support.http_client import HTTP, Answer
from tests.support.kept import Kept
from tests.support.serving import Node
from tests.support.waiting import pause, until
from tests.support.ws_client import CLOSE, WebSocket, welcome


class LiveTests(GuardedTests):
    async def welcome(self, node: Node, shown: str, **more: Any) -> WebSocket:
        """A socket that has been welcomed with a token."""
        socket = await node.websocket(f"/?token={shown}", **more)
        self.assertEqual((await socket.receive())["type"], "welcome")
        return socket

    def change_admin_key(self, node: Node, content: str) -> None:
        path = node.service.settings.config.admin_key
        assert path is not None
        with open(path, "w") as file:
            file.write(content)
        node.service.reloader.reload()


class WhichTokenTests(LiveTests):
    async def test_the_header_wins_on_every_transport(self) -> None:
        node = await self.guarded()
        ann, ben = token(node, "ann"), token(node, "ben")
        for port in ("websocket", "http"):
            socket = await node.websocket(f"/ws?token={ben}", port, **bearing(ann))
            self.assertEqual(await socket.receive(), welcome("ann"), port)
        said = await node.post(f"/rooms/hall/messages?token={ben}", {"text": "x"}, **bearing(ann))
        self.assertEqual(said.status, 201)
        [message] = (await node.get("/rooms/hall/messages?last=1", **bearing(ben))).json["messages"]
        self.assertEqual(message["user"], "ann")

    async def test_the_username_counts_for_nothing_on_every_transport(self) -> None:
        """Not even one that could not be read."""
        node = await self.guarded()
        query = f"username=%ff&token={token(node)}"
        for port in ("websocket", "http"):
            for protocol in ("chatd.v1", None):
                socket = await node.websocket(f"/ws?{query}&roomname=hall", port, protocol)
                self.assertEqual(socket.status, 101, (port, protocol))
        start = (await node.get(f"/rooms/hall/messages?{query}")).json["cursor"]
        for path in (
            f"/rooms/hall/messages?{query}&after={start}&wait=0.01",
            f"/rooms/hall?{query}",
            f"/poll?{query}&roomname=hall",
            f"/socket.io/?{query}&EIO=4&transport=polling",
        ):
            self.assertEqual((await node.get(path)).status, 200, path)
        said = await node.post(f"/rooms/hall/messages?{query}", {"text": "x"})
        self.assertEqual(said.status, 201)
        socket = await node.websocket(
            f"/socket.io/?{query}&EIO=4&transport=websocket", "http", None
        )
        self.assertEqual(socket.status, 101)


class RenewalTests(LiveTests):
    async def test_the_new_expiry_replaces_the_old(self) -> None:
        node = await self.guarded()
        socket = await self.welcome(node, token(node, lives=60))
        await socket.join("hall")
        answer = await socket.ask({"type": "auth", "token": token(node, lives=600)})
        self.assertEqual(answer, welcome("ann"))
        node.clock.advance(100)
        await pause()
        await socket.say("hall", "still here")
        node.clock.advance(502)
        self.assertEqual((await socket.closed()).code, 4401)

    async def test_a_shorter_life_counts_too(self) -> None:
        node = await self.guarded()
        socket = await self.welcome(node, token(node, lives=600))
        await socket.ask({"type": "auth", "token": token(node, lives=60)})
        node.clock.advance(62)
        self.assertEqual((await socket.closed()).code, 4401)

    async def test_what_is_asked_under_one_that_has_expired_unnoticed(self) -> None:
        """The process was stopped, and reads what was sent before it sees what time it is."""
        node = await self.guarded()
        shown = token(node, lives=60)
        socket = await self.welcome(node, shown)
        await socket.join("hall")
        original = await node.websocket(f"/?roomname=hall&token={shown}", protocol=None)
        node.clock.stand_still(100)
        for text in ("1", "2"):
            socket.send({"type": "message", "room": "hall", "text": text})
            original.send({"status": "message", "message": text, "roomname": "hall"})
        self.assertEqual((await socket.closed()).code, 4401)
        self.assertEqual((await original.closed()).code, 4401)
        said = await node.get(f"/rooms/hall/messages?last=9&token={token(node)}")
        self.assertEqual(said.json["messages"], [])

    async def test_a_new_one_that_came_before_that_was_noticed(self) -> None:
        node = await self.guarded()
        socket = await self.welcome(node, token(node, lives=60))
        await socket.join("hall")
        node.clock.stand_still(100)
        answer = await socket.ask({"type": "auth", "token": token(node)})
        self.assertEqual(answer, welcome("ann"))
        await socket.say("hall", "still here")

    async def test_what_is_refused_changes_nothing(self) -> None:
        node = await self.guarded()
        socket = await self.welcome(node, token(node, rooms=["hall"], lives=60))
        await socket.join("hall")
        for shown, code in (
            (token(node, "ben"), "forbidden"),
            (token(node, key=OTHER_KEY), "unauthorized"),
            (token(node, lives=-1), "unauthorized"),
            ("", "unauthorized"),
            (None, "bad_request"),
            (7, "bad_request"),
        ):
            answer = await socket.ask_for("error", {"type": "auth", "token": shown})
            self.assertEqual(answer["code"], code)
            self.assertNotIn(str(shown or "eyJ"), answer["text"])
        await socket.say("hall", "still ann")
        node.clock.advance(62)
        self.assertEqual((await socket.closed()).code, 4401)

    async def test_narrower_rooms_are_left(self) -> None:
        node = await self.guarded()
        socket = await self.welcome(node, token(node, rooms=["hall", "den", "lobby"]))
        for room in ("hall", "den", "lobby"):
            await socket.join(room)
        socket.send({"type": "auth", "token": token(node, rooms=["hall"])})
        said = [one for one in await socket.fence() if one["type"] != "presence"]
        self.assertEqual(
            [(one["type"], one.get("room"), one.get("code")) for one in said],
            [
                ("left", "den", None),
                ("error", "den", "forbidden"),
                ("left", "lobby", None),
                ("error", "lobby", "forbidden"),
                ("welcome", None, None),
            ],
        )
        other = await self.welcome(node, token(node, "mia"))
        for room in ("lobby", "den", "hall"):
            await other.say(room, f"in {room}")
        self.assertEqual((await socket.find("message"))["text"], "in hall")
        answer = await socket.ask_for("error", {"type": "join", "room": "den"})
        self.assertEqual(answer["code"], "forbidden")

    async def test_wider_rooms_are_open(self) -> None:
        node = await self.guarded()
        socket = await self.welcome(node, token(node, rooms=[]))
        answer = await socket.ask({"type": "join", "room": "den"})
        self.assertEqual(answer["code"], "forbidden")
        await socket.ask({"type": "auth", "token": token(node, rooms=["den"])})
        self.assertEqual((await socket.join("den"))["room"], "den")

    async def test_a_join_under_way_has_the_new_rights(self) -> None:
        node = await self.guarded()
        socket = await self.welcome(node, token(node, rooms=["den"]))
        frames = [
            {"type": "join", "room": "den", "last": 10},
            {"type": "auth", "token": token(node, rooms=["hall"])},
        ]
        for frame in frames:
            socket.send(frame)
        heard = await socket.find("error")
        self.assertEqual((heard["code"], heard["room"]), ("forbidden", "den"))
        mia = await self.welcome(node, token(node, "mia"))
        await mia.say("den", "a secret")
        self.assertNotIn("message", [one["type"] for one in await socket.fence()])


class ExpiryTests(LiveTests):
    async def test_websocket(self) -> None:
        node = await self.guarded()
        socket = await self.welcome(node, token(node, lives=60))
        await socket.join("hall")
        node.clock.advance(59)
        await socket.say("hall", "still here")
        node.clock.advance(2)
        heard = await socket.find("error")
        self.assertEqual(heard["code"], "unauthorized")
        self.assertEqual((await socket.closed()).code, 4401)

    async def test_nothing_is_said_or_heard_after_the_close(self) -> None:
        """Also by a client that does not answer the close frame."""
        node = await self.guarded()
        deaf = await self.welcome(node, token(node, lives=60))
        await deaf.join("hall")
        other = await self.welcome(node, token(node, "mia", lives=6000))
        node.clock.advance(62)
        while (await deaf.receive_frame())[0] != CLOSE:
            pass
        deaf.send({"type": "message", "room": "hall", "text": "from beyond", "id": "late"})
        await other.join("hall")
        await other.say("hall", "not for the dead")
        members = (await node.get("/rooms/hall", **bearing(token(node, "mia")))).json["members"]
        self.assertEqual(members, ["mia"])
        node.clock.advance(11)
        self.assertEqual(await deaf.raw.rest(), b"")
        answer = await node.get("/rooms/hall/messages?last=9", **bearing(token(node, "mia")))
        self.assertEqual([m["text"] for m in answer.json["messages"]], ["not for the dead"])

    async def test_the_originals_clients(self) -> None:
        node = await self.guarded()
        path = f"/?token={token(node, lives=60)}&roomname=hall"
        socket = await node.websocket(path, protocol=None)
        self.assertEqual(await socket.receive_text(), "Connection open")
        node.clock.advance(62)
        self.assertRegex(await socket.receive_text(), "^error: unauthorized: ")
        self.assertEqual((await socket.closed()).code, 4401)

    async def test_an_event_stream_ends(self) -> None:
        node = await self.guarded()
        shown = token(node, lives=60)
        stream = await node.events("/rooms/hall/events", **bearing(shown))
        node.clock.advance(58)
        await node.post("/rooms/hall/messages", {"text": "x"}, **bearing(token(node, "mia")))
        self.assertEqual((await stream.message()).data["text"], "x")
        node.clock.advance(4)
        with self.assertRaises(EOFError):
            while True:
                await stream.next()
        again = await node.get("/rooms/hall/events", **bearing(shown))
        self.assertEqual((again.status, again.code), (401, "unauthorized"))

    async def test_a_waiting_poll_is_refused(self) -> None:
        node = await self.guarded()
        start = (await node.get("/rooms/hall/messages", **bearing(token(node)))).json["cursor"]
        for path in (f"/rooms/hall/messages?after={start}&wait=60", "/poll?roomname=hall&wait=60"):
            if path.startswith("/poll"):
                path += f"&after={start}"
            http = await node.ask("GET", path, None, **bearing(token(node, lives=30)))
            await until(lambda: node.service.admission.connections.total == 1)
            await pause(0.02)
            node.clock.advance(31)
            answer = await http.answer()
            self.assertEqual((answer.status, answer.code), (401, "unauthorized"))
            self.assertEqual(node.service.admission.connections.total, 0)

    async def test_who_waits_for_the_past_is_refused(self) -> None:
        node = await self.guarded()
        start = (await node.get("/rooms/hall/messages", **bearing(token(node)))).json["cursor"]

        async def slow(*_: object) -> None:
            await Deferred()

        for path in (f"messages?before={start}", "messages?last=1", "events?last=1"):
            with (
                patch("chatd.service.chat.find", slow),
                patch("chatd.service.chat.look_back", slow),
                patch("chatd.service.session.find", slow),
            ):
                shown = bearing(token(node, lives=30))
                http = await node.ask("GET", f"/rooms/hall/{path}", None, **shown)
                await until(lambda: len(node.service.admission.standing) == 1)
                node.clock.advance(31)
                answer = await http.answer()
            self.assertEqual((answer.status, answer.code), (401, "unauthorized"), path)
            self.assertEqual(node.service.admission.connections.total, 0, path)

    async def test_a_waiting_poll_still_gets_what_comes_before(self) -> None:
        node = await self.guarded()
        start = (await node.get("/rooms/hall/messages", **bearing(token(node)))).json["cursor"]
        path = f"/rooms/hall/messages?after={start}&wait=60"
        http = await node.ask("GET", path, None, **bearing(token(node, lives=30)))
        await until(lambda: node.service.admission.connections.total == 1)
        node.clock.advance(20)
        await node.post("/rooms/hall/messages", {"text": "x"}, **bearing(token(node)))
        self.assertEqual(len((await http.answer()).json["messages"]), 1)


class KeptExpiryTests(Kept, ExpiryTests):
    """On connections that are kept: polls go past twisted.web."""


class LongAnswerTests(LiveTests):
    async def test_a_long_answer_ends(self) -> None:
        """Which its client may read for an hour: as one to a reader who has lost its right."""
        node = await self.guarded("--rate=1000/s")
        shown, page = bearing(token(node)), Room.page
        start = (await node.get("/rooms/hall/messages", **shown)).json["cursor"]
        writer = await self.welcome(node, token(node))
        for _ in range(40):
            writer.send({"type": "message", "room": "hall", "text": "x" * 10_000})
        for _ in range(40):
            await writer.find("ack")
        end = (await node.get("/rooms/hall/messages", **shown)).json["cursor"]

        async def asked(place: str) -> Answer:
            """The answer to who asks with a token that expires when some of it has been sent."""
            pages, shown = count(), bearing(token(node, lives=30))

            async def slow(room: Room, *place: Any) -> HistoryPage:
                if next(pages) == 4:
                    node.clock.advance(31)
                return await page(room, *place)

            with patch.object(Room, "page", slow):
                return await node.get(f"/rooms/hall/messages?{place}&limit=1000", **shown)

        answer = (await asked(f"after={start}")).json
        self.assertIn(len(answer["messages"]), range(10, 30))
        self.assertEqual(answer["cursor"], answer["messages"][-1]["cursor"])
        cut = Deferred.fromCoroutine(asked(f"before={end}"))
        await self.assertFailure(cut, ConnectionError)

    async def test_lists_for_administrators_end(self) -> None:
        """Cut off, for a part would look like all: with an admin key that is another one now, and
        with an admin's token that expires."""
        node = await self.guarded()
        self.patch(rooms, "ROOMS", 1)
        self.patch(rooms, "MEMBERS", 1)
        for name in ("ann", "ben", "cleo"):
            await node.service.chat.directory.add_member("den", name)
        lists = ("/rooms", "/rooms?details=1", "/rooms/den/members")

        def written(number: int, then: Callable[[], None]) -> Any:
            """Do ``then`` after so many parts of an answer."""
            parts = count()

            def counted(value: object) -> bytes:
                if next(parts) == number:
                    then()
                return dump(value)

            return patch.object(rooms, "dump", counted)

        def new_key() -> None:
            self.change_admin_key(node, "another-key-of-administrators")

        for path in lists:
            self.change_admin_key(node, ADMIN_KEY)
            with written(100, new_key):
                answer = await node.get(path, **bearing(ADMIN_KEY))
            self.assertEqual(answer.status, 200, path)
            with written(2, new_key):
                cut = Deferred.fromCoroutine(node.get(path, **bearing(ADMIN_KEY)))
                await self.assertFailure(cut, ConnectionError)
            shown = bearing(token(node, admin=True, lives=30))
            with written(2, lambda: node.clock.advance(31)):
                cut = Deferred.fromCoroutine(node.get(path, **shown))
                await self.assertFailure(cut, ConnectionError)


class KeyChangeTests(LiveTests):
    async def change(self, node: Node, content: bytes) -> None:
        """SIGHUP itself is in ``test_reload``."""
        tokens = node.service.admission.rights.tokens
        assert tokens is not None
        with open(tokens.path, "wb") as file:
            file.write(content)
        node.service.reloader.reload()

    async def test_what_the_new_key_does_not_verify_ends(self) -> None:
        """On every transport, and nothing that it does verify."""
        node = await self.guarded()
        old = token(node)
        legacy = await node.websocket(f"/?roomname=hall&token={old}", protocol=None)
        socket = await self.welcome(node, old)
        await socket.join("hall")
        stream = await node.events("/rooms/hall/events", **bearing(old))
        cursor = (await node.get("/rooms/hall/messages", **bearing(old))).json["cursor"]
        path = f"/rooms/hall/messages?after={cursor}&wait=60"
        polls = [await node.ask("GET", path, None, **bearing(old)) for _ in range(2)]
        await until(lambda: len(node.service.admission.standing) == 5)
        await self.change(node, KEY.raw_value)
        await socket.say("hall", "nobody is dropped by a file that says the same")
        self.assertEqual([(await poll.answer()).status for poll in polls], [200, 200])
        cursor = (await node.get("/rooms/hall/messages", **bearing(old))).json["cursor"]
        path = f"/rooms/hall/messages?after={cursor}&wait=60"
        poll = await node.ask("GET", path, None, **bearing(old))
        await until(lambda: len(node.service.admission.standing) == 4)
        await self.change(node, OTHER_KEY.raw_value)
        self.assertEqual((await socket.closed()).code, 4401)
        self.assertEqual((await legacy.closed()).code, 4401)
        answer = await poll.answer()
        self.assertEqual((answer.status, answer.code), (401, "unauthorized"))
        with self.assertRaises(EOFError):
            while True:
                await stream.next()
        self.assertEqual(len(node.service.admission.standing), 0)
        self.assertEqual((await node.get("/rooms/hall", **bearing(old))).status, 401)

    async def test_whose_body_is_still_to_come_is_judged_when_it_has(self) -> None:
        """Nothing is stored, and no room made, with a key that was replaced meanwhile."""
        node = await self.guarded()
        admin = token(node, admin=True)
        for method, path, shown, sent in (
            ("POST", "/rooms/hall/messages", token(node), '{"text":"x"}'),
            ("POST", "/poll?roomname=hall", token(node), '{"status":"message","message":"x"}'),
            ("PUT", "/rooms/new", admin, "{}"),
            ("PUT", "/rooms/new", ADMIN_KEY, "{}"),
        ):
            raw = await node.raw("http")
            lines = f"Content-Length: {len(sent)}\r\nAuthorization: Bearer {shown}"
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"
            raw.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
            await raw.until(b"100 Continue\r\n\r\n")
            await self.change(node, OTHER_KEY.raw_value)
            self.change_admin_key(node, "another-key-of-administrators")
            raw.send(sent.encode())
            answer = await HTTP(raw, method).answer()
            self.assertIn(answer.status, (401, 403), (path, answer))
            await self.change(node, KEY.raw_value)
            self.change_admin_key(node, ADMIN_KEY)
        said = await node.get("/rooms/hall/messages?last=10", **bearing(token(node)))
        self.assertEqual(said.json["messages"], [])
        self.assertIsNone(node.service.chat.directory.find("new"))

    async def test_a_renewed_socket_goes_on(self) -> None:
        node = await self.guarded()
        new = token(node, key=OTHER_KEY)
        keys = [dict(key.as_dict(), kid=kid) for kid, key in (("1", KEY), ("2", OTHER_KEY))]
        await self.change(node, json.dumps({"keys": keys}).encode())
        claims = {"sub": "ann", "exp": node.clock.seconds() + 600}
        shown = [
            jwt.encode({"alg": "HS256", "kid": kid}, claims, key)
            for kid, key in (("1", KEY), ("2", OTHER_KEY))
        ]
        socket, other = await self.welcome(node, shown[0]), await self.welcome(node, shown[0])
        answer = await socket.ask({"type": "auth", "token": shown[1]})
        self.assertEqual(answer["type"], "welcome")
        await self.change(node, json.dumps({"keys": keys[1:]}).encode())
        self.assertEqual((await other.closed()).code, 4401)
        self.assertEqual((await socket.join("hall"))["room"], "hall")
        self.assertEqual((await node.get("/rooms/hall", **bearing(new))).status, 200)

    async def test_a_bad_file_is_logged_and_changes_nothing(self) -> None:
        node = await self.guarded()
        tokens = node.service.admission.rights.tokens
        assert tokens is not None
        with open(tokens.path, "wb"):
            pass
        node.service.reloader.reload()
        self.assertEqual((await node.get("/rooms/hall", **bearing(token(node)))).status, 200)


class KeptKeyChangeTests(Kept, KeyChangeTests):
    """On connections that are kept: polls go past twisted.web."""
