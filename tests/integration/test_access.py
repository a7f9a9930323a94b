"""Every route and request, and every kind of caller: who may do what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.guarded import (
    ADMIN_KEY,
    OTHER_KEY,
    SETUP_SECRET,
    GuardedTests,
    bearing,
    furnish,
    token,
)
from tests.support.routes import ADMINISTRATION, CLIENT, PAGES, Ask, reading, writing
from tests.support.serving import Node

UNAUTHORIZED, FORBIDDEN = (401, "unauthorized"), (403, "forbidden")

Outcome = int | tuple[int, str]


def callers(node: Node) -> dict[str, str | None]:
    """What each kind of caller shows in token mode."""
    return {
        "nobody": None,
        "malformed": "no.token",
        "expired": token(node, lives=-1),
        "not yet": token(node, nbf=node.clock.seconds() + 60),
        "wrong key": token(node, key=OTHER_KEY),
        "admin by the wrong key": token(node, key=OTHER_KEY, admin=True),
        "wrong admin key": ADMIN_KEY[:-1],
        "admin key": ADMIN_KEY,
        "user": token(node),
        "named": token(node, rooms=["den", "hall"]),
        "prefixed": token(node, rooms=["de*", "ha*"]),
        "elsewhere": token(node, rooms=["other", "ha", "de", "halls*"]),
        "nowhere": token(node, rooms=[]),
        "member": token(node, "mia"),
        "member sent elsewhere": token(node, "mia", ["other"]),
        "admin": token(node, "ada", admin=True),
    }


REFUSED = dict.fromkeys(
    (
        *("nobody", "malformed", "expired", "not yet"),
        *("wrong key", "admin by the wrong key", "wrong admin key"),
    ),
    UNAUTHORIZED,
)

#: By who asks, what is refused; whoever is not named may.
PUBLIC: Mapping[str, Outcome] = {
    **REFUSED,
    "admin key": UNAUTHORIZED,
    "elsewhere": FORBIDDEN,
    "nowhere": FORBIDDEN,
    "member sent elsewhere": FORBIDDEN,
}

PRIVATE: Mapping[str, Outcome] = {
    **REFUSED,
    "admin key": UNAUTHORIZED,
    **dict.fromkeys(["user", "elsewhere", "nowhere", "admin"], FORBIDDEN),
}

ADMIN: Mapping[str, Outcome] = {
    **REFUSED,
    **dict.fromkeys(["user", "named", "prefixed", "elsewhere", "nowhere"], FORBIDDEN),
    **dict.fromkeys(["member", "member sent elsewhere"], FORBIDDEN),
}


def _but_administrators(
    ask: Ask, room: str, refused: Mapping[str, Outcome]
) -> Mapping[str, Outcome]:
    """Administrators are told what a room is, whoever may be in it; they are not let in."""
    told = ("admin", "admin key") if ask.path == f"/rooms/{room}" else ()
    return {name: outcome for name, outcome in refused.items() if name not in told}


class HTTPTests(GuardedTests):
    async def outcome(self, node: Node, ask: Ask, shown: str | None, how: str) -> Outcome:
        """The status, and the code of a refusal."""
        path, headers = ask.path, {}
        if shown is not None and how == "header":
            headers = bearing(shown)
        elif shown is not None:
            path += f"{'&' if '?' in path else '?'}token={shown}"
        http = await node.ask(ask.method, path, ask.body, **headers)
        head = await http.head()
        if head.status < 400 or ask.method == "HEAD":
            http.raw.abort()
            return head.status
        answer = json.loads(await http.body(head))
        self.assertNotIn(shown or "a secret", answer["text"])
        return head.status, answer["code"]

    async def meet(self, node: Node, ask: Ask, refused: Mapping[str, Outcome]) -> None:
        for name, shown in callers(node).items():
            await _restore(node)
            before = _rooms(node)
            expected = refused.get(name, ask.allowed)
            if ask.method == "HEAD" and isinstance(expected, tuple):
                expected = expected[0]
            for how in ("header", "query"):
                outcome = await self.outcome(node, ask, shown, how)
                self.assertEqual(outcome, expected, f"{ask} by {name} ({how})")
                if name in refused:
                    self.assertEqual(_rooms(node), before, f"{ask} by {name} changed something")
                else:
                    await _restore(node)

    async def test_pages(self) -> None:
        node = await self.guarded()
        for ask in [*PAGES, *CLIENT]:
            await self.meet(node, ask, {})

    async def test_a_public_room(self) -> None:
        node = await self.guarded("--rate", "1000/s")
        for ask in reading("hall") + writing("hall"):
            await self.meet(node, ask, _but_administrators(ask, "hall", PUBLIC))

    async def test_a_private_room(self) -> None:
        node = await self.guarded("--rate", "1000/s")
        for ask in reading("den") + writing("den"):
            await self.meet(node, ask, _but_administrators(ask, "den", PRIVATE))

    async def test_administration(self) -> None:
        node = await self.guarded()
        for ask in ADMINISTRATION:
            await self.meet(node, ask, ADMIN)

    async def test_nothing_was_said_by_who_may_not(self) -> None:
        node = await self.guarded()
        for name, shown in callers(node).items():
            if name in PRIVATE:
                said = {"text": "x"}
                headers = bearing(shown) if shown else {}
                await node.post("/rooms/den/messages", said, **headers)
        shown = token(node, "mia")
        answer = await node.get("/rooms/den/messages?last=100", **bearing(shown))
        self.assertEqual(answer.json["messages"], [])

    async def test_open_mode(self) -> None:
        node = await self.serve("--rate", "1000/s", *self.locks())
        await furnish(node)
        for room, asks, refused in (
            ("hall", reading("hall"), {}),
            ("hall", writing("hall"), {"nobody": UNAUTHORIZED}),
            ("den", reading("den"), {"nobody": FORBIDDEN, "ann": FORBIDDEN}),
            ("den", writing("den"), {"nobody": UNAUTHORIZED, "ann": FORBIDDEN}),
        ):
            for ask in asks:
                for user in ("nobody", "ann", "mia"):
                    path = ask.path
                    if user != "nobody":
                        path += f"{'&' if '?' in path else '?'}username={user}"
                    named = Ask(ask.method, path, ask.body, ask.allowed)
                    expected: Outcome = refused.get(user, ask.allowed)
                    if ask.method == "HEAD" and isinstance(expected, tuple):
                        expected = expected[0]
                    outcome = await self.outcome(node, named, None, "query")
                    self.assertEqual(outcome, expected, f"{room}: {named} by {user}")

    async def test_administration_in_open_mode(self) -> None:
        for options, outcomes in (
            (self.locks(), {None: UNAUTHORIZED, "guess": UNAUTHORIZED, ADMIN_KEY: None}),
            ([], {None: FORBIDDEN, "guess": FORBIDDEN, ADMIN_KEY: FORBIDDEN}),
        ):
            node = await self.serve(*options)
            await furnish(node)
            for ask in ADMINISTRATION:
                for shown, expected in outcomes.items():
                    await _restore(node)
                    outcome = await self.outcome(node, ask, shown, "header")
                    self.assertEqual(outcome, expected or ask.allowed, f"{ask} with {shown}")


def _rooms(node: Node) -> dict[str, tuple[bool, set[str]]]:
    return {e.name: (e.private, set(e.members)) for e in node.service.chat.directory}


async def _restore(node: Node) -> None:
    """The rooms as `furnish` makes them."""
    directory = node.service.chat.directory
    if directory.find("made") is not None:
        await directory.delete("made")
    await directory.create("doomed")
    await directory.set_private("den", True)
    await directory.add_member("den", "mia")
    await directory.remove_member("den", "zoe")


#: Requests on a socket about a room; what is answered when that is allowed.
ON_A_SOCKET: tuple[tuple[dict[str, Any], str], ...] = (
    ({"type": "message", "text": "x"}, "ack"),
    ({"type": "join"}, "joined"),
    ({"type": "join", "last": 5}, "joined"),
)


class WebSocketTests(GuardedTests):
    async def test_handshakes(self) -> None:
        node = await self.guarded()
        for protocol in ("chatd.v1", None):
            for path, port in (("/", "websocket"), ("/ws", "http")):
                for name, shown in callers(node).items():
                    query, headers = (f"?token={shown}", {}) if shown else ("", {})
                    if shown and protocol is None:
                        query, headers = "", bearing(shown)
                    socket = await node.websocket(path + query, port, protocol, **headers)
                    refused = name in REFUSED or name == "admin key"
                    self.assertEqual(socket.status, 401 if refused else 101, (name, port))
                    if refused:
                        self.assertEqual(socket.answer.code, "unauthorized")
                    socket.raw.abort()

    async def test_requests(self) -> None:
        node = await self.guarded()
        for room, refused in (("hall", PUBLIC), ("den", PRIVATE)):
            for name, shown in callers(node).items():
                if refused.get(name) == UNAUTHORIZED:
                    continue  # not even welcome
                socket = await node.websocket(f"/?token={shown}")
                self.assertEqual((await socket.receive())["type"], "welcome")
                for request, answer in ON_A_SOCKET:
                    heard = await socket.ask_for(
                        "error" if name in refused else answer, {**request, "room": room}
                    )
                    if name in refused:
                        self.assertEqual(heard["code"], "forbidden", (name, request))
                        self.assertEqual(heard["room"], room)
                allowed = name not in refused
                socket.send({"type": "typing", "room": room})
                said = [one for one in await socket.fence() if one["type"] == "error"]
                codes = [one["code"] for one in said]
                self.assertEqual(codes, [] if allowed else ["not_joined"], name)
                socket.raw.abort()

    async def test_roomname_in_the_url(self) -> None:
        node = await self.guarded()
        for name, shown in callers(node).items():
            if PRIVATE.get(name) == UNAUTHORIZED:
                continue
            socket = await node.websocket(f"/?token={shown}&roomname=den")
            await socket.receive()
            heard = await socket.receive()
            self.assertEqual(heard["type"], "error" if name in PRIVATE else "joined", name)
            socket.raw.abort()

    async def test_the_originals_clients(self) -> None:
        node = await self.guarded()
        for room, refused in (("hall", PUBLIC), ("den", PRIVATE)):
            for name, shown in callers(node).items():
                if refused.get(name) == UNAUTHORIZED:
                    continue
                # whoever it says it is, the token counts
                path = f"/?token={shown}&roomname={room}&username=mia"
                socket = await node.websocket(path, protocol=None)
                self.assertEqual(await socket.receive_text(), "Connection open")
                said = {"status": "message", "message": name, "username": "mia", "roomname": room}
                if name in refused:
                    self.assertRegex(await socket.receive_text(), "^error: forbidden: ")
                    how = await socket.closed()
                    self.assertEqual(how.code, 4403)
                else:
                    socket.send(said)
                    self.assertEqual(await socket.receive_text(), name)
                    socket.raw.abort()

    async def test_open_mode(self) -> None:
        node = await self.serve()
        await furnish(node)
        for user, room, answer in (
            ("ann", "hall", "joined"),
            ("ann", "den", "error"),
            ("mia", "den", "joined"),
        ):
            socket = await node.websocket(f"/?username={user}")
            await socket.receive()
            self.assertEqual((await socket.ask({"type": "join", "room": room}))["type"], answer)
        socket = await node.websocket()
        await socket.receive()
        heard = await socket.ask({"type": "join", "room": "den"})
        self.assertEqual(heard["code"], "forbidden")
        heard = await socket.ask({"type": "auth", "token": "x"})
        self.assertEqual(heard["code"], "bad_request")


SETUP = (
    {"op": "create_room", "roomname": "made"},
    {"roomname": "made", "status": "status", "op": "create_room"},
    {"op": "add_member", "roomname": "den", "username": "zoe"},
    {"op": "remove_member", "roomname": "den", "username": "mia"},
    {"op": "delete_room", "roomname": "doomed"},
)


class SetupTests(GuardedTests):
    async def say(self, node: Node, request: Mapping[str, Any]) -> str:
        raw = await node.raw("setup")
        raw.send(json.dumps(request).encode() + b"\n")
        answer = (await raw.until(b"\n")).decode()
        raw.abort()
        return answer

    async def test_with_a_secret(self) -> None:
        node = await self.guarded()
        await node.service.chat.directory.create("doomed")
        before = _rooms(node)
        for request in SETUP:
            for shown in (
                {},
                {"secret": SETUP_SECRET[:-1]},
                {"secret": SETUP_SECRET + "x"},
                {"secret": ADMIN_KEY},
                {"secret": ""},
                {"secret": None},
                {"secret": [SETUP_SECRET]},
                {"secret": "\ud800"},
            ):
                answer = await self.say(node, {**request, **shown})
                self.assertRegex(answer, "^401 unauthorized: ", (request, shown))
                self.assertEqual(_rooms(node), before)
        for request in SETUP:
            answer = await self.say(node, {**request, "secret": SETUP_SECRET})
            self.assertEqual(answer, "200", request)
        self.assertEqual(
            _rooms(node),
            {"lobby": (False, set()), "hall": (False, set()), "made": (False, set())}
            | {"den": (True, {"zoe"})},
        )

    async def test_without_a_secret(self) -> None:
        node = await self.serve()
        await furnish(node)
        for request in SETUP:
            self.assertEqual(await self.say(node, request), "200", request)
