"""A process that ends in the middle of publishing: what was acknowledged is there, once and in
order, after ``kill -9`` and after SIGTERM."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.support.clients import Clients
from tests.support.daemon import Daemon
from tests.support.raw import reactor
from tests.support.waiting import together, until
from tests.support.ws_client import Closed, WebSocket

#: Acknowledgements after which the process is killed, and publishes under way on each socket.
ENOUGH = 400
AHEAD = 20
MESSAGES = "/rooms/lobby/messages"


class CrashTests(TestCase):
    """Sockets and requests publish to a daemon that dies, and meet it again."""

    def setUp(self) -> None:
        self.daemon = Daemon("--rate", "100000/s")
        self.addCleanup(lambda: self.daemon.close())
        names = ("websocket", "http", "setup")
        self.clients = Clients({name: getattr(self.daemon, name)[1] for name in names})
        self.addCleanup(lambda: Deferred.fromCoroutine(self.clients.hang_up()))
        self.killed = False
        self.sent: list[str] = []
        self.acknowledged: list[str] = []
        self.seen: list[dict[str, Any]] = []

    async def over_websocket(self, user: str) -> None:
        """Publish without waiting for each answer, until the connection breaks."""
        try:
            socket = await self.clients.chat(user)
            for n in range(100_000):
                self.sent.append(f"{user}-{n}")
                socket.send(self.message(user, n))
                if n >= AHEAD:
                    self.acknowledged.append((await socket.find("ack"))["id"])
        except ConnectionError:
            return

    def message(self, user: str, n: int) -> dict[str, Any]:
        return {"type": "message", "room": "lobby", "text": user, "id": f"{user}-{n}"}

    async def over_http(self, user: str) -> None:
        """Publish one after the other, until the connection breaks."""
        n = -1
        try:
            while not self.killed:
                n += 1
                self.sent.append(f"{user}-{n}")
                body = {"text": user, "id": f"{user}-{n}"}
                answer = await self.clients.post(f"{MESSAGES}?username={user}", body)
                self.assertEqual(answer.status, 201)
                self.acknowledged.append(answer.json["id"])
        except (ConnectionError, ConnectError):
            return

    async def read(self, socket: WebSocket) -> None:
        """Take down what comes, until the connection breaks."""
        try:
            while True:
                self.seen.append(await socket.find("message"))
        except ConnectionError:
            return

    async def kill(self) -> None:
        await until(lambda: len(self.acknowledged) >= ENOUGH)
        self.killed = True
        self.daemon.kill()

    async def stored(self, **query: str) -> list[dict[str, Any]]:
        """All messages from a start on, page by page; there must be no gap."""
        messages: list[dict[str, Any]] = []
        [(name, value)] = query.items()
        while True:
            answer = await self.clients.get(f"{MESSAGES}?limit=1000&{name}={value}")
            self.assertEqual(answer.status, 200)
            self.assertFalse(answer.json["gap"])
            if not answer.json["messages"]:
                return messages
            messages += answer.json["messages"]
            name, value = "after", answer.json["cursor"]

    async def test_nothing_acknowledged_is_lost(self) -> None:
        reader = await self.clients.chat("reader", "lobby")
        start = (await self.clients.get("/rooms/lobby")).json["cursor"]
        await together(
            *(self.over_websocket(f"ws{n}") for n in range(3)),
            *(self.over_http(f"http{n}") for n in range(2)),
            self.read(reader),
            self.kill(),
        )
        self.daemon.start()
        stored = await self.stored(after=start)
        ids = [message["id"] for message in stored]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual(set(self.acknowledged), set(ids))
        self.assertLessEqual(set(ids), set(self.sent))
        # what was seen is what is stored, to the last byte, and in the same order
        self.assertGreater(len(self.seen), 0)
        self.assertEqual(self.seen, stored[: len(self.seen)])
        # a cursor from before goes on where it was
        rest = await self.stored(after=self.seen[-1]["cursor"])
        self.assertEqual(rest, stored[len(self.seen) :])
        for user in {message["user"] for message in stored}:
            numbers = [int(m["id"].partition("-")[2]) for m in stored if m["user"] == user]
            self.assertEqual(numbers, list(range(len(numbers))))
        await self.send_again(stored)

    async def send_again(self, stored: list[dict[str, Any]]) -> None:
        """What was not acknowledged is sent again with the same id, and is there once."""
        doubtful = [id for id in self.sent if id not in set(self.acknowledged)]
        self.assertGreater(len(doubtful), 0)
        for id in doubtful:
            user = id.partition("-")[0]
            answer = await self.clients.post(
                f"{MESSAGES}?username={user}", {"text": user, "id": id}
            )
            self.assertIn(answer.status, (200, 201))
        ids = [m["id"] for m in await self.stored(since="2020-01-01T00:00:00Z")]
        self.assertEqual(sorted(ids), sorted(self.sent))
        self.assertEqual(ids[: len(stored)], [m["id"] for m in stored])

    async def test_sigterm(self) -> None:
        """All is answered, everyone is sent away, and the process is gone within 10 seconds."""
        sockets = [await self.clients.chat(f"u{n}") for n in range(5)]
        for number, socket in enumerate(sockets):
            for n in range(200):
                socket.send(self.message(f"u{number}", n))
            await socket.find("ack")
        begun = reactor.seconds()
        stopping = deferToThread(self.daemon.stop)
        told = await together(*map(self.until_closed, sockets))
        self.assertIn(await stopping, (0, -signal.SIGTERM))
        self.assertLess(reactor.seconds() - begun, 10)
        self.assertNotIn("Traceback", self.daemon.log())
        self.daemon.start()
        acknowledged = [frame["id"] for frames in told for frame in frames if "id" in frame]
        stored = [message["id"] for message in await self.stored(since="2020-01-01T00:00:00Z")]
        # the first of each was taken note of above
        self.assertEqual(sorted(stored), sorted([*acknowledged, *(f"u{n}-0" for n in range(5))]))

    async def until_closed(self, socket: WebSocket) -> list[dict[str, Any]]:
        """What is said until the goodbye and after it."""
        frames: list[dict[str, Any]] = []
        try:
            while True:
                frames.append(await socket.receive())
        except Closed as how:
            self.assertEqual(how.code, 1012)
        self.assertEqual([f["reason"] for f in frames if f["type"] == "bye"], ["restart"])
        return frames
