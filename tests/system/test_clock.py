"""The time of day is set, by an hour and either way, while a real chatd runs: whatever waits goes
on waiting as long as it should, and nothing is lost."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chatd.protocol.timestamps import parse_time
from tests.support import serving
from tests.support.daemon import Daemon
from tests.support.rabbit import Node
from tests.support.serving import PING, Clients, Closed, WebSocket, reactor
from tests.support.time_of_day import TimeOfDay
from tests.support.tokens import Issuer
from tests.support.waiting import pause, until

HOUR = 3600
MESSAGES = "/rooms/lobby/messages"


class SetTests(TestCase):
    """A daemon whose time of day is set."""

    timeout = 110

    def setUp(self) -> None:
        self.patch(serving, "PATIENCE", 60.0)  # pings come every 25 s
        self.time = TimeOfDay()
        self.addCleanup(self.time.close)

    async def serve(self, *options: str, broker: str | None = None) -> Daemon:
        def start() -> Daemon:
            return Daemon(*options, broker=broker, env=self.time.env)

        daemon: Daemon = await deferToThread(start)
        self.addCleanup(lambda: daemon.close())
        names = ("websocket", "http", "setup")
        self.clients = Clients({name: getattr(daemon, name)[1] for name in names})
        self.addCleanup(lambda: Deferred.fromCoroutine(self.clients.hang_up()))
        for _ in range(300):
            if (await self.clients.get("/rooms/lobby")).status != 404:
                break
            await pause(0.1)
        return daemon

    async def publish(self, text: str, user: str = "ann") -> None:
        answer = await self.clients.post(f"{MESSAGES}?username={user}", {"text": text})
        self.assertEqual(answer.status, 201, answer.body)

    async def publish_again(self, id: str) -> None:
        """Publish as clients are told to: again with the same id, until it is there."""
        for _ in range(300):
            answer = await self.clients.post(f"{MESSAGES}?username=ann", {"text": id, "id": id})
            if answer.status in (200, 201):
                return
            await pause(0.1)
        self.fail(str(answer.body))

    async def messages(self, query: str = "last=1000") -> list[dict[str, Any]]:
        answer = await self.clients.get(f"{MESSAGES}?{query}")
        messages: list[dict[str, Any]] = answer.json["messages"]
        return messages

    async def texts(self) -> list[str]:
        return [message["text"] for message in await self.messages()]

    async def present(self) -> list[str]:
        members: list[str] = (await self.clients.get("/rooms/lobby")).json["members"]
        return members

    async def passes(self, seconds: float, what: Any) -> None:
        """Wait for what must come within ``seconds``, and as much again on a busy machine."""
        await what.addTimeout(2 * seconds, reactor)

    async def goes_on(self) -> None:
        """Pings, comments, and the end of those who do not answer come in their time."""
        silent = await self.clients.chat("ghost", "lobby")
        events = await self.clients.events("/rooms/lobby/events?username=reader")
        await events.block()
        self.assertEqual(sorted(await self.present()), ["ghost", "reader"])
        pinged = Deferred.fromCoroutine(self._ping(silent))
        await self.passes(20, Deferred.fromCoroutine(self._comment(events)))
        await self.passes(30, pinged)
        for _ in range(200):
            if "ghost" not in await self.present():
                break
            await pause(0.3)
        self.assertEqual(await self.present(), ["reader"])
        events.close()

    async def _comment(self, events: Any) -> None:
        while await events.block() != b":":
            pass

    async def _ping(self, socket: WebSocket) -> None:
        while (await socket.receive_frame())[0] != PING:
            pass


@pytest.mark.timeout(240)
class BackTests(SetTests):
    timeout = 220

    async def test_what_waits_goes_on(self) -> None:
        daemon = await self.serve("--retain=1h", "--retain-bytes=10KB", "--rate=1000/s")
        await self.publish("before")
        self.time.set(-HOUR)
        await self.publish("after")
        before, after = (parse_time(m["time"]) for m in await self.messages())
        self.assertAlmostEqual((before - after) / 1000 / HOUR, 1.0, places=1)
        self.assertIn("The clock was set back by", daemon.log())
        await self.goes_on()
        for n in range(40):
            await self.publish(f"{n} " + "x" * 1000)
        for _ in range(100):
            if sum(len(text) for text in await self.texts()) <= 11 * 1024:
                break
            await pause(0.1)
        self.assertLessEqual(sum(len(text) for text in await self.texts()), 11 * 1024)
        self.assertNotIn("Traceback", daemon.log())

    async def test_what_is_said_afterwards_expires(self) -> None:
        await self.serve("--retain=5s")
        self.time.set(-HOUR)
        await self.publish("after")
        self.assertEqual(await self.texts(), ["after"])
        await pause(5.1)
        self.assertEqual(await self.texts(), [])


@pytest.mark.timeout(240)
class ForwardTests(SetTests):
    timeout = 220

    async def test_what_waits_goes_on_and_nothing_is_wiped(self) -> None:
        daemon = await self.serve("--retain=10m", "--rate=10000/s")
        for n in range(600):  # more than memory holds
            await self.publish(f"{n}", f"ann{n % 100}")
        self.time.set(HOUR)
        await self.publish("after")
        self.assertEqual(await self.texts(), [*(f"{n}" for n in range(600)), "after"])
        self.assertIn("The clock was set forward by", daemon.log())
        since = (await self.messages("last=1"))[0]["time"]
        self.assertEqual([m["text"] for m in await self.messages(f"since={since}")], ["after"])
        await self.goes_on()
        self.assertEqual(await self.texts(), [*(f"{n}" for n in range(600)), "after"])
        self.assertNotIn("Traceback", daemon.log())

    async def test_what_has_waited_long_enough_expires(self) -> None:
        await self.serve("--retain=10s")
        await self.publish("before")
        self.time.set(HOUR)
        self.assertEqual(await self.texts(), ["before"])
        await pause(10.1)
        self.assertEqual(await self.texts(), [])

    async def test_a_token_has_run_out(self) -> None:
        issuer = Issuer(os.path.abspath(self.mktemp()))
        await self.serve(*issuer.options)
        token = issuer.token("ann", math.ceil(self.time.seconds()) + HOUR / 2)
        socket = await self.clients.websocket(f"/?token={token}")
        events = await self.clients.events(f"/rooms/lobby/events?token={token}")
        self.time.set(HOUR)
        answer = await self.clients.get(f"{MESSAGES}?token={token}")
        self.assertEqual(answer.status, 401)
        with self.assertRaises(Closed) as closed:
            while True:
                await socket.receive()
        self.assertEqual(closed.exception.code, 4401)
        await until(lambda: events._http.raw.lost, 60)


@pytest.mark.rabbitmq
@pytest.mark.timeout(240)
class BrokerTests(SetTests):
    timeout = 220

    async def test_rabbitmq_is_connected_again(self) -> None:
        rabbit = Node().start()
        self.addCleanup(rabbit.close)
        daemon = await self.serve(broker=rabbit.url())
        await self.publish("before")
        for ahead in (-HOUR, HOUR):
            rabbit.kill()
            await until(lambda: not daemon.is_ready(), 30)
            self.time.set(ahead)
            rabbit.start(wait=False)
            await rabbit.ready()
            for _ in range(300):
                if daemon.is_ready():
                    break
                await pause(0.1)
            self.assertTrue(daemon.is_ready())
            await self.publish_again(f"{ahead}")
        self.assertEqual(await self.texts(), ["before", f"{-HOUR}", f"{HOUR}"])
