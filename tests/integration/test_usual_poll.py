"""Polls that do not go through twisted.web: what holds for the others holds for them."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from chatd.access.rate_limit import Rate
from chatd.transports.http import waiting_poll
from chatd.transports.http.connection import REST
from chatd.transports.http.poll_connection import PollConnection
from tests.support.guarded import GuardedTests, bearing, token
from tests.support.http_client import HTTP, Answer
from tests.support.kept import taken
from tests.support.raw import Raw
from tests.support.waiting import pause, until

MESSAGES = "/rooms/lobby/messages"


def texts(answer: Answer) -> list[str]:
    return [message["text"] for message in answer.json["messages"]]


def request(path: str, *lines: str) -> bytes:
    """A request as a browser would send it."""
    first = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: keep-alive"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


class UsualTests(GuardedTests):
    """One connection at a time, byte by byte."""

    async def begin(self, *options: str) -> None:
        self.node = await self.serve("--rate=1000/s", *options)
        self.cursor = (await self.node.get(MESSAGES)).json["cursor"]
        self.taken = taken(self.node)
        #: Bytes that the node has read.
        self.read = 0
        receive = PollConnection.dataReceived

        def received(connection: PollConnection, data: bytes) -> None:
            receive(connection, data)
            self.read += len(data)

        self.patch(PollConnection, "dataReceived", received)

    async def sent(self, raw: Raw, data: bytes) -> None:
        """Send ``data``, and wait until the node has taken it up."""
        there = self.read + len(data)
        raw.send(data)
        await until(lambda: self.read == there)

    def path(self, more: str = "", wait: float = 30) -> str:
        return f"{MESSAGES}?after={self.cursor}&wait={wait:g}{more}"

    async def poll(self, more: str = "", *lines: str, raw: Raw | None = None) -> Raw:
        """A poll that waits, without twisted.web."""
        raw = await self.node.raw("http") if raw is None else raw
        there = self.node.service.ways.polls.in_hand
        raw.send(request(self.path(more), *lines))
        await until(lambda: self.node.service.ways.polls.in_hand == there + 1)
        return raw

    async def say(self, *texts: str) -> None:
        for text in texts:
            answer = await self.node.post(f"{MESSAGES}?username=ben", {"text": text})
            assert answer.status == 201, answer

    async def answer(self, raw: Raw) -> Answer:
        answer = await HTTP(raw, "GET").answer()
        if answer.status == 200:
            self.cursor = answer.json["cursor"]
        return answer

    async def logged(self, path: str) -> dict[str, Any]:
        """The one line of the access log at ``path`` that is about ann, once it is there."""

        def lines() -> list[dict[str, Any]]:
            with open(path) as file:
                found = [json.loads(line) for line in file]
            return [line for line in found if line["user"] == "ann"]

        await until(lambda: len(lines()) == 1)
        return lines()[0]

    def counts(self) -> list[int]:
        """All that a poll is counted as."""
        ways, admission = self.node.service.ways, self.node.service.admission
        room = next(iter(self.node.service.chat.rooms))
        counted = [ways.polls.in_hand, admission.connections.total, admission.requests.total]
        return [*counted, len(room.waiting), len(ways.polls.deadlines)]


class OneConnectionTests(UsualTests):
    async def test_one_after_the_other(self) -> None:
        await self.begin()
        raw = await self.node.raw("http")
        for text in ("a", "b", "c"):
            await self.poll("&username=ann", raw=raw)
            await self.say(text)
            answer = await self.answer(raw)
            self.assertEqual((answer.status, texts(answer)), (200, [text]))
        self.assertEqual(self.taken, [True] * 3)
        self.assertEqual(self.counts(), [0] * 5)

    async def test_what_is_there_is_answered_at_once(self) -> None:
        await self.begin()
        await self.say("a", "b", "c")
        raw = await self.node.raw("http")
        for expected in (["a", "b"], ["c"]):
            raw.send(request(self.path("&limit=2")))
            self.assertEqual(texts(await self.answer(raw)), expected)
        self.assertEqual(self.taken, [True, True])
        self.assertEqual(self.counts(), [0] * 5)

    async def test_its_answer_is_what_twisted_web_would_write(self) -> None:
        await self.begin("--origin=https://a.example", "--origin=https://b.example")
        for lines in ((), ("Origin: https://a.example",), ("Origin: https://b.example",)):
            answers = []
            for odd in ((), ("Expect: nothing",)):
                await self.say("x")
                with patch("chatd.transports.http.response_headers.http_date", return_value="now"):
                    waiting_poll._whole.cache_clear()
                    raw = await self.node.raw("http")
                    raw.send(request(self.path("&limit=1"), *lines, *odd))
                    answers.append(await raw.until(b"\r\n\r\n"))
            self.assertEqual(answers[0], answers[1])
        self.assertEqual(self.taken, [True, False] * 3)

    async def test_the_next_request_comes_while_it_waits(self) -> None:
        await self.begin()
        raw = await self.poll()
        probe = request("/healthz")
        await self.sent(raw, probe[:9])
        await self.sent(raw, probe[9:] + request(self.path()))
        await self.say("x")
        for _ in range(3):
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)
        self.assertEqual(self.counts(), [0] * 5)

    async def test_the_next_poll_comes_while_it_waits(self) -> None:
        """And could be answered at once: then its answer, without "y", would come first."""
        await self.begin()
        before = self.cursor
        await self.say("x")
        self.cursor = (await self.node.get(MESSAGES)).json["cursor"]
        raw = await self.poll()
        await self.sent(raw, request(f"{MESSAGES}?after={before}&wait=30"))
        await self.say("y")
        self.assertEqual(texts(await HTTP(raw, "GET").answer()), ["y"])
        self.assertEqual(texts(await HTTP(raw, "GET").answer()), ["x", "y"])

    async def test_pipelined_polls(self) -> None:
        await self.begin()
        await self.say("x")
        raw = await self.node.raw("http")
        raw.send(request(self.path()) * 3)
        for _ in range(3):
            self.assertEqual(texts(await HTTP(raw, "GET").answer()), ["x"])

    async def test_one_that_comes_in_pieces(self) -> None:
        await self.begin()
        await self.say("x")
        raw = await self.node.raw("http")
        sent = request(self.path())
        for cut in (1, 12, 40, len(sent) - 1):
            await self.sent(raw, sent[:cut])
            raw.send(sent[cut:])
            self.assertEqual(texts(await HTTP(raw, "GET").answer()), ["x"], cut)
        self.assertNotIn(True, self.taken)

    async def test_who_hangs_up(self) -> None:
        await self.begin()
        raws = [await self.poll("&username=ann") for _ in range(3)]
        self.assertEqual(self.counts(), [3, 3, 3, 3, 3])
        for raw in raws:
            raw.abort()
        await until(lambda: self.counts() == [0] * 5)

    async def test_who_has_no_more_to_ask(self) -> None:
        await self.begin()
        raw = await self.poll()
        raw.end()
        await pause(0.01)
        await self.say("x")
        self.assertEqual(texts(await self.answer(raw)), ["x"])
        self.assertEqual(await raw.rest(), b"")

    async def test_idle_after_an_answer(self) -> None:
        """The connection stays open for a while after each, and no longer."""
        await self.begin()
        raw = await self.node.raw("http")
        for _ in range(3):
            await self.poll(raw=raw)
            self.node.clock.advance(29)
            await self.say("x")
            await self.answer(raw)
            self.node.clock.advance(50)
            await pause(0.005)
        self.node.clock.advance(REST - 50 + 2)
        self.assertEqual(await raw.rest(), b"")

    async def test_who_does_not_read(self) -> None:
        """No answer is lost, and none is made for who left too much unread."""
        await self.begin()
        await self.say(*["x" * 15_000] * 3)
        raw = await self.node.raw("http")
        raw.transport.pauseProducing()
        for _ in range(60):
            raw.send(request(self.path()))
            await pause(0.002)
        self.assertLess(self.taken.count(True), 60)
        raw.transport.resumeProducing()
        for _ in range(60):
            self.assertEqual(len(texts(await HTTP(raw, "GET").answer())), 3)

    async def test_a_node_that_goes_down(self) -> None:
        """It answers who waits, at once and with nothing, and refuses who asks now. Each answer is
        the last on its connection: a proxy would send the next request to this node again."""
        await self.begin()
        raws = [await self.poll("&username=ann") for _ in range(40)]
        raw = await self.poll("&username=ben")
        await self.say("x")
        await self.answer(raw)
        for one in raws:
            await HTTP(one, "GET").answer()
            await self.poll("&username=ann", raw=one)
        stopped = self.node.drain()
        raw.send(request(self.path("&username=ben")))
        self.assertEqual((await self.answer(raw)).status, 503)
        for raw in raws:
            answer = await HTTP(raw, "GET").answer()
            self.assertEqual((texts(answer), answer.json["cursor"]), ([], self.cursor))
            self.assertEqual(answer.header("connection"), "close")
            self.assertEqual(await raw.rest(), b"")
        await stopped
        self.assertEqual(self.node.service.ways.polls.in_hand, 0)

    async def test_an_answer_in_pieces_is_twisted_webs(self) -> None:
        await self.begin()
        raw = await self.node.raw("http")
        for size, count, past in ((15_000, 3, True), (16_000, 3, False), (15_000, 8, False)):
            await self.say(*["x" * size] * count)
            raw.send(request(self.path()))
            self.assertEqual(len(texts(await self.answer(raw))), count)
            self.assertEqual(self.taken[-1], past, (size, count))

    async def test_news_of_others(self) -> None:
        """Whoever is woken, and has nothing to be told, goes on waiting."""
        await self.begin()
        await self.node.service.chat.directory.add_member("lobby", "ann")
        raw = await self.poll("&username=ann")
        await self.node.service.chat.directory.set_private("lobby", True)
        await pause(0.01)
        self.assertEqual(self.counts()[:4], [1] * 4)
        await self.node.service.chat.directory.set_private("lobby", False)
        await self.say("x")
        self.assertEqual(texts(await self.answer(raw)), ["x"])

    async def test_nobody_is_not_counted(self) -> None:
        await self.begin()
        raw = await self.poll()
        presence = self.node.service.chat.presence
        self.assertEqual(presence.members("lobby").count, 0)
        await self.say("x")
        await self.answer(raw)
        self.assertEqual(presence.members("lobby").count, 0)

    async def test_many_messages_at_once_while_it_waits(self) -> None:
        """More than are answered without twisted.web: it answers, as of when the poll came."""
        await self.begin()
        raw = await self.poll("&limit=1000")
        room = next(iter(self.node.service.chat.rooms))
        with patch.object(room.waiting, "wake"):
            await self.say(*["x" * 15_000] * 8)
        room.waiting.wake()
        self.assertEqual(len(texts(await self.answer(raw))), 8)
        self.assertEqual(self.counts(), [0] * 5)

    async def test_what_came_meanwhile_follows_what_twisted_web_takes_over(self) -> None:
        await self.begin()
        raw = await self.poll()
        await self.sent(raw, request("/healthz") + request("/rooms/lobby")[:9])
        await self.node.service.chat.directory.delete("lobby")
        raw.send(request("/rooms/lobby")[9:])
        for status in (404, 200, 404):
            self.assertEqual((await HTTP(raw, "GET").answer()).status, status)

    async def test_a_fault_of_ours_is_logged_and_twisted_web_answers(self) -> None:
        await self.begin()
        raw = await self.poll()
        with patch.object(waiting_poll, "at_hand", side_effect=RuntimeError):
            await self.say("x")
        self.assertEqual(texts(await self.answer(raw)), ["x"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class RuleTests(UsualTests):
    """Rules that change between two polls of one connection, or while one waits."""

    async def test_what_was_judged_by_other_rules_is_judged_anew(self) -> None:
        path = self.file('origin = ["https://a.example"]\n')
        await self.begin("--config", path)
        raw = await self.poll("", "Origin: https://a.example")
        await self.say("x")
        answer = await self.answer(raw)
        self.assertEqual(answer.header("access-control-allow-origin"), "https://a.example")
        with open(path, "w") as file:
            file.write('origin = ["https://b.example"]\n')
        self.node.service.reloader.reload()
        raw.send(request(self.path(), "Origin: https://a.example"))
        self.assertEqual((await self.answer(raw)).code, "forbidden")
        self.assertEqual(self.taken, [True, False])

    async def test_an_origin_that_is_not_allowed(self) -> None:
        await self.begin()
        raw = await self.node.raw("http")
        for line in ("Origin: https://evil.example", "Sec-Fetch-Site: cross-site"):
            raw.send(request(self.path(), line))
            self.assertEqual((await self.answer(raw)).code, "forbidden", line)

    async def test_each_poll_shows_its_token(self) -> None:
        """One that has expired opens nothing, though the connection has shown it before."""
        node = self.node = await self.guarded()
        path, shown = "/rooms/hall/messages", token(node, lives=50)
        self.cursor = (await node.get(path, **bearing(shown))).json["cursor"]
        counted, standing = taken(node), node.service.admission.standing
        raw = await node.raw("http")
        line = f"Authorization: Bearer {shown}"
        for lives, waits in ((True, False), (True, True), (False, False)):
            if lives and not waits:
                await node.post(path, {"text": "x"}, **bearing(shown))
            if not lives:
                node.clock.advance(51)
            raw.send(request(f"{path}?after={self.cursor}&wait=9", line))
            if waits:
                await until(lambda: len(standing) == 1)
                await node.post(path, {"text": "x"}, **bearing(shown))
            self.assertEqual((await self.answer(raw)).status, 200 if lives else 401)
            self.assertEqual(len(standing), 0)
        self.assertEqual(counted, [True, True, False])

    async def test_a_token_for_a_service_that_this_is_not_any_more(self) -> None:
        path, config = "/rooms/hall/messages", self.file('audience = ["chat"]\n')
        node = self.node = await self.guarded(f"--config={config}")
        shown = bearing(token(node, aud="chat"))
        self.cursor = (await node.get(path, **shown)).json["cursor"]
        counted, raw = taken(node), await node.raw("http")
        for audience, status in (("chat", 200), ("talk", 401), ("chat", 200)):
            await node.post(path, {"text": "x"}, **shown)
            with open(config, "w") as file:
                file.write(f'audience = ["{audience}"]\n')
            node.service.reloader.reload()
            lines = [f"{name}: {value}" for name, value in shown.items()]
            raw.send(request(f"{path}?after={self.cursor}&wait=9", *lines))
            self.assertEqual((await self.answer(raw)).status, status, audience)
        self.assertEqual(counted, [True, False, True])

    async def test_another_token_on_the_same_connection(self) -> None:
        node = self.node = await self.guarded()
        path, mia = "/rooms/den/messages", token(node, "mia")
        await node.post(path, {"text": "x"}, **bearing(mia))
        cursor = (await node.get(f"{path}?last=1", **bearing(mia))).json["cursor"]
        before = f"{cursor.partition(':')[0]}:-1"
        raw = await node.raw("http")
        for user, status in (("mia", 200), ("ann", 403), ("mia", 200)):
            line = f"Authorization: Bearer {token(node, user)}"
            raw.send(request(f"{path}?after={before}&wait=9", line))
            self.assertEqual((await self.answer(raw)).status, status, user)

    async def test_clients_of_one_proxy(self) -> None:
        """Each counts for itself, though they share a connection."""
        await self.begin("--trusted-proxy=127.0.0.1", "--max-connections-per-address=1")
        first = await self.poll("", "X-Forwarded-For: 192.0.2.1")
        second = await self.poll("", "X-Forwarded-For: 192.0.2.2")
        third = await self.node.raw("http")
        third.send(request(self.path(), "X-Forwarded-For: 192.0.2.1"))
        self.assertEqual((await self.answer(third)).status, 503)
        await self.say("x")
        for raw in (first, second):
            self.assertEqual(texts(await HTTP(raw, "GET").answer()), ["x"])
        self.assertEqual(self.counts(), [0] * 5)

    async def test_a_connection_too_many(self) -> None:
        await self.begin("--max-connections-per-address=1")
        await self.say("x")
        sockets = self.node.service.admission.sockets
        await until(lambda: sockets.total == 0)
        for _ in range(sockets.per_address):
            await self.node.raw("http")
        await until(lambda: sockets.total == sockets.per_address)
        raw = await self.node.raw("http")
        raw.send(request(self.path()))
        answer = await self.answer(raw)
        self.assertEqual((answer.status, answer.header("connection")), (503, "close"))

    async def test_too_many_requests_wait_for_their_turn(self) -> None:
        await self.begin()
        await self.say("x")
        [lane] = self.node.service.admission.turns._flows.values()
        lane.bucket = Rate(5, burst=2).bucket()
        raws = [await self.node.raw("http") for _ in range(12)]
        for raw in raws:
            raw.send(request(self.path()))
        for _ in range(4):
            self.node.clock.advance(1)
            await pause(0.02)
        for raw in raws:
            self.assertEqual(texts(await HTTP(raw, "GET").answer()), ["x"])
        self.assertEqual(self.taken, [True] * 12)
        self.assertEqual(self.counts(), [0] * 5)

    async def queue(self, *options: str, seconds: float = 20) -> list[Raw]:
        """A poll that waits for news, and two that wait for their turn, as long as that."""
        await self.begin(*options)
        [lane] = self.node.service.admission.turns._flows.values()
        lane.bucket = Rate(1 / seconds, burst=1).bucket()
        raws = [await self.poll("&username=ann") for _ in range(3)]
        self.assertEqual(self.counts(), [3, 1, 1, 1, 1])
        return raws

    async def test_who_hangs_up_while_it_waits_for_its_turn(self) -> None:
        raws = await self.queue()
        for raw in raws:
            raw.abort()
        await until(lambda: self.counts() == [0] * 5)

    async def test_one_too_many_when_its_turn_has_come(self) -> None:
        """It is refused at once: twisted.web has the turn that it had."""
        raws = await self.queue("--max-connections-per-address=1")
        self.node.clock.hold()
        self.node.clock.advance(21)
        self.assertEqual((await self.answer(raws[1])).status, 503)

    async def test_a_node_that_goes_down_while_one_waits_for_its_turn(self) -> None:
        first, *raws = await self.queue(seconds=5)
        stopped = self.node.drain()
        self.assertEqual((await HTTP(first, "GET").answer()).status, 200)
        self.node.clock.advance(6)
        answer = await HTTP(raws[0], "GET").answer()
        self.assertEqual((texts(answer), answer.json["cursor"]), ([], self.cursor))
        await stopped

    async def test_the_access_log_and_the_metrics(self) -> None:
        path = self.mktemp()
        await self.begin(f"--access-log={path}", "--log-format=json")
        raw = await self.poll("&username=ann&token=secret")
        self.node.clock.advance(7)
        await self.say("x")
        body = (await self.answer(raw)).body
        line = await self.logged(path)
        self.assertRegex(line.pop("id"), "^[0-9a-f]{32}$")
        self.assertGreaterEqual(line.pop("seconds"), 7)
        line.pop("time")
        what = f"GET {MESSAGES} HTTP/1.1"
        expected = {"address": "127.0.0.1", "user": "ann", "what": what, "status": 200}
        self.assertEqual(line, {**expected, "size": len(body), "code": ""})
        counted = (await self.node.get("/metrics")).body.decode()
        self.assertIn('chatd_http_requests_total{status="200"} 2.0', counted)

    async def test_one_that_is_refused_is_logged_as_of_when_it_came(self) -> None:
        path = self.mktemp()
        await self.begin(f"--access-log={path}", "--log-format=json")
        raw = await self.poll("&username=ann")
        self.node.clock.advance(7)
        await self.node.service.chat.directory.delete("lobby")
        self.assertEqual((await self.answer(raw)).code, "unknown_room")
        line = await self.logged(path)
        self.assertEqual((line["status"], line["code"]), (404, "unknown_room"))
        self.assertGreaterEqual(line["seconds"], 7)
