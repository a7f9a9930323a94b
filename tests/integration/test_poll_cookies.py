"""``/poll`` with a cookie, as the original has it (protocol, "HTTP")."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from chatd.transports.http.legacy_poll import COOKIES
from tests.support.http_client import Answer
from tests.support.polls import FORM, MESSAGES, say, texts, waiting
from tests.support.serving import Node, ServingTests


class Poller:
    """A browser that polls ``/poll`` and keeps its cookies."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.jar: dict[str, str] = {}

    async def poll(self, query: str) -> Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        answer = await self.node.get(f"/poll?{query}", cookie=cookies)
        for cookie in answer.headers.getRawHeaders("set-cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self.jar[name] = value
            if "Max-Age=0" in cookie:
                del self.jar[name]
        return answer


class CookieTests(ServingTests):
    async def test_each_poller_gets_every_message(self) -> None:
        node = await self.serve("--rate=1000/s")
        await say(node, "before")
        pollers = [(Poller(node), f"roomname=lobby&username={user}") for user in ("ann", "ben")]
        for poller, query in pollers:
            first = await poller.poll(query)
            cursor = (await node.get("/rooms/lobby")).json["cursor"]
            expected = {"roomname": "lobby", "messages": [], "cursor": cursor, "gap": False}
            self.assertEqual((first.status, first.json), (200, expected))
        await say(node, "1", "2")
        for poller, query in pollers:
            self.assertEqual(texts(await poller.poll(query)), ["1", "2"])
            self.assertEqual(texts(await poller.poll(query)), [])

    async def test_a_cookie_for_each_room_and_user(self) -> None:
        """One browser, two users and two rooms."""
        node = await self.serve("--room=lobby", "--room=other", "--rate=1000/s")
        browser = Poller(node)
        places = [f"roomname={r}&username={u}" for r in ("lobby", "other") for u in ("ann", "ben")]
        for place in places:
            await browser.poll(place)
        self.assertEqual(len(browser.jar), 4)
        await say(node, "x")
        await say(node, "y", room="other")
        for place in places:
            expected = ["x"] if "lobby" in place else ["y"]
            self.assertEqual(texts(await browser.poll(place)), expected, place)

    async def test_a_browser_that_was_in_many_rooms(self) -> None:
        """It sends the cookies of all of them with each request. Those of long ago are removed,
        before its requests are too large for anyone to answer."""
        node = await self.serve("--rate=1000/s")
        browser = Poller(node)
        browser.jar["login"] = "x"
        for n in range(COOKIES + 30):
            browser.jar[f"chatd_{n:020x}"] = "a:1"
            if n % 3 == 0:
                await browser.poll("roomname=lobby&username=ann")
                if n == 0:
                    (own,) = browser.jar.keys() - {"login", f"chatd_{n:020x}"}
                self.assertIn(own, browser.jar)
        await say(node, "x")
        self.assertEqual(texts(await browser.poll("roomname=lobby&username=ann")), ["x"])
        self.assertEqual(len(browser.jar), COOKIES + len(["login"]))
        self.assertIn("login", browser.jar)
        self.assertIn(f"chatd_{COOKIES + 29:020x}", browser.jar)
        self.assertNotIn(f"chatd_{0:020x}", browser.jar)
        few = Poller(node)
        few.jar = dict(list(browser.jar.items())[-COOKIES + 1 :])
        answer = await few.poll("roomname=lobby&username=ben")
        self.assertEqual(len(answer.headers.getRawHeaders("set-cookie") or ()), 1)

    async def test_two_tabs(self) -> None:
        """They share a cookie; ``after`` wins over it."""
        node = await self.serve()
        browser = Poller(node)
        query = "roomname=lobby&username=ann"
        start = (await browser.poll(query)).json["cursor"]
        await say(node, "1", "2")
        self.assertEqual(texts(await browser.poll(query)), ["1", "2"])
        self.assertEqual(texts(await browser.poll(query)), [])
        self.assertEqual(texts(await browser.poll(f"{query}&after={start}")), ["1", "2"])

    async def test_it_waits(self) -> None:
        node = await self.serve()
        browser = Poller(node)
        query = "roomname=lobby&username=ann"
        await browser.poll(query)
        [(name, value)] = browser.jar.items()
        poll = await waiting(node, f"/poll?{query}&wait=30", cookie=f"{name}={value}")
        await say(node, "x")
        self.assertEqual(texts(await poll.answer()), ["x"])

    async def test_the_first_call_never_waits(self) -> None:
        node = await self.serve()
        self.assertEqual((await Poller(node).poll("roomname=lobby&wait=60")).status, 200)

    async def test_two_cookies_of_one_name(self) -> None:
        """The one with the longer path, which is the poller's own, comes first (RFC 6265, 5.4)."""
        node = await self.serve()
        browser = Poller(node)
        query = "roomname=lobby&username=ann"
        await browser.poll(query)
        [(name, own)] = browser.jar.items()
        await say(node, "1", "2")
        await browser.poll(query)
        other = browser.jar[name]
        self.assertNotEqual(own, other)
        for before in ("", "a=b,c; ", f"x{name}=y; {name}; "):
            cookie = f"{before}{name}={own}; {name}={other}"
            self.assertEqual(texts(await node.get(f"/poll?{query}", cookie=cookie)), ["1", "2"])
            cookie = f"{before}{name}={other}; {name}={own}"
            self.assertEqual(texts(await node.get(f"/poll?{query}", cookie=cookie)), [])

    async def test_head_takes_nothing(self) -> None:
        """Who asks for the headers alone gets no messages, and no cookie that skips them; it does
        not wait, and is not there."""
        node = await self.serve()
        browser = Poller(node)
        query = "roomname=lobby&username=ann"
        await browser.poll(query)
        [(name, value)] = browser.jar.items()
        ahead = node.service.chat.presence.members("lobby").names
        await say(node, "1", "2")
        for path in (
            f"/poll?{query}&wait=60",
            "/poll?roomname=lobby&username=zoe",
            f"{MESSAGES}?username=zoe&after={value}&wait=60",
            f"{MESSAGES}?username=zoe",
        ):
            answer = await node.request("HEAD", path, cookie=f"{name}={value}")
            self.assertEqual((answer.status, answer.header("set-cookie")), (200, None), path)
        start = (await node.get("/rooms/lobby")).json["cursor"]
        path = f"{MESSAGES}?username=zoe&after={start}&wait=60"
        self.assertEqual((await node.request("HEAD", path)).body, b"")
        self.assertEqual(node.service.chat.presence.members("lobby").names, ahead)
        self.assertEqual(texts(await browser.poll(query)), ["1", "2"])

    async def test_not_a_cookie_of_ours(self) -> None:
        node = await self.serve()
        browser = Poller(node)
        await browser.poll("roomname=lobby")
        [name] = browser.jar
        for value in ("", "x", "0:0:0", '"', "%ff", "x" * 4000):
            browser.jar[name] = value
            answer = await browser.poll("roomname=lobby")
            self.assertEqual((answer.status, texts(answer)), (200, []), value)
            self.assertRegex(browser.jar[name], "^[0-9a-f]+:-1$")

    async def test_the_cookie(self) -> None:
        node = await self.serve("--trusted-proxy=127.0.0.1")
        answer = await node.get("/poll?roomname=lobby&username=ann")
        name, *attributes = str(answer.header("set-cookie")).split("; ")
        self.assertRegex(name, r"^[a-z0-9_]+=[0-9a-f]+:-1$")
        self.assertEqual({a.lower() for a in attributes}, {"httponly", "samesite=lax"})
        answer = await node.get("/poll?roomname=lobby", x_forwarded_proto="https")
        self.assertIn("; Secure", str(answer.header("set-cookie")))

    async def test_bad_requests(self) -> None:
        node = await self.serve()
        for query in (
            "",
            "roomname=",
            "roomname=a/b",
            "roomname=lobby&username=",
            "roomname=lobby&wait=x",
            "roomname=lobby&after=x",
            "roomname=lobby&after=",
        ):
            answer = await node.get(f"/poll?{query}")
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), query)

    async def test_spaces(self) -> None:
        node = await self.serve("--room=Harry_Potter")
        browser = Poller(node)
        query = "roomname=Harry%20Potter&username=Ann+Lee"
        self.assertEqual((await browser.poll(query)).json["roomname"], "Harry_Potter")
        self.assertEqual((await node.get("/rooms/Harry_Potter")).json["members"], ["Ann_Lee"])
        await self.send(node, message="x", roomname="Harry Potter", username="Ann Lee")
        [message] = (await browser.poll(query)).json["messages"]
        self.assertEqual((message["room"], message["user"]), ("Harry_Potter", "Ann_Lee"))

    async def send(self, node: Node, **value: Any) -> Answer:
        return await node.post("/poll", {"status": "message", **value})

    async def test_publish(self) -> None:
        node = await self.serve()
        answer = await self.send(node, message="«hi»", username="ann", roomname="lobby")
        self.assertEqual(answer.status, 200)
        [message] = (await node.get(f"{MESSAGES}?last=1")).json["messages"]
        self.assertEqual((message["user"], message["text"]), ("ann", "«hi»"))
        self.assertEqual(answer.json, {"id": message["id"]})

    async def test_publish_again(self) -> None:
        """A refusal for now names the id under which to send again."""
        node = await self.serve()
        said = {"status": "message", "message": "x", "username": "ann", "roomname": "lobby"}
        for text in ("x", "y"):
            answer = await node.post("/poll", {**said, "message": text}, idempotency_key="k-1")
            self.assertEqual((answer.status, answer.json), (200, {"id": "k-1"}))
        [message] = (await node.get(f"{MESSAGES}?last=9")).json["messages"]
        self.assertEqual((message["id"], message["text"]), ("k-1", "x"))
        answer = await node.post("/poll", said, idempotency_key="a b")
        self.assertEqual((answer.status, answer.code), (400, "bad_request"))

    async def test_publish_whatever_it_is_called(self) -> None:
        """The original sent JSON with jQuery, as a form by its name."""
        node = await self.serve()
        body = b'{"status":"message","message":"a=b&c=d","username":"ann","roomname":"lobby"}'
        for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
            self.assertEqual((await node.post("/poll", body, content_type=kind)).status, 200)
        [message] = (await node.get(f"{MESSAGES}?last=1")).json["messages"]
        self.assertEqual(message["text"], "a=b&c=d")

    async def test_the_url_says_who_speaks_and_where(self) -> None:
        """A proxy may have set it: no body, a form neither, speaks for another."""
        node = await self.serve("--room=lobby", "--room=other", "--rate=1000/s")
        said = {"status": "message", "message": "x", "roomname": "lobby"}
        for send in (json.dumps, urlencode):
            for query, more, status in (
                ("username=ann", {}, 200),
                ("username=ann", {"username": "ann"}, 200),
                ("username=ann", {"username": "ben"}, 400),
                ("username=ann&roomname=lobby", {}, 200),
                ("username=ann&roomname=other", {}, 400),
                ("username=ann&roomname=other", {"roomname": "other"}, 200),
            ):
                body = send({**said, **more})
                answer = await node.post(f"/poll?{query}", body, content_type=FORM)
                self.assertEqual(answer.status, status, (query, answer.body))
        for room in ("lobby", "other"):
            messages = (await node.get(f"/rooms/{room}/messages?last=1000")).json["messages"]
            self.assertEqual({m["user"] for m in messages}, {"ann"})

    async def test_publish_refused(self) -> None:
        node = await self.serve()
        whole = {"message": "x", "username": "ann", "roomname": "lobby"}
        for wrong, status, code in (
            ({"username": None}, 401, "unauthorized"),
            ({"username": "a\nb"}, 400, "bad_request"),
            ({"username": 7}, 400, "bad_request"),
            ({"roomname": 7}, 400, "bad_request"),
            ({"roomname": "nowhere"}, 404, "unknown_room"),
            ({"message": 7}, 400, "bad_request"),
            ({"message": "x" * 16385}, 413, "too_large"),
            ({"status": "nonsense"}, 400, "bad_request"),
        ):
            answer = await self.send(node, **{**whole, **wrong})
            self.assertEqual((answer.status, answer.code), (status, code), wrong)
        for body in (b"", b"hello", b"[]", b"{}"):
            answer = await node.post("/poll", body)
            self.assertEqual((answer.status, answer.code), (400, "bad_request"), body)
