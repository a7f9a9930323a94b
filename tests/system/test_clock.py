"""The time of day is set, by an hour and either way, while a real chatd runs: whatever waits goes
on waiting as long as it should, and nothing is lost.

Nearly all of this is waiting: pings come every 25 s, comments every 15 s. So all chatds run, and
all that is expected of them is waited for, at the same time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Iterable
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chatd.protocol.timestamps import parse_time
from chatd.rooms.cache import RECENT_MESSAGES
from tests.support import raw
from tests.support.clients import Clients
from tests.support.daemon import Daemon
from tests.support.http_client import EventStream
from tests.support.proxy import Relay
from tests.support.rabbit import shared_node
from tests.support.raw import reactor
from tests.support.time_of_day import TimeOfDay
from tests.support.tokens import Issuer
from tests.support.waiting import pause, together
from tests.support.ws_client import PING, Closed, WebSocket

HOUR = 3600
MESSAGES = "/rooms/lobby/messages"
#: Seconds for what has no bound of its own, on a busy machine.
PATIENCE = 60.0


class Site:
    """A chatd with a time of day of its own, and those who talk to it."""

    def __init__(self, test: TestCase) -> None:
        self.test = test
        self.time = TimeOfDay()
        test.addCleanup(self.time.close)

    async def serve(self, *options: str, broker: str | None = None) -> Site:
        """Start it; returns this when the lobby is there."""

        def start() -> Daemon:
            return Daemon(*options, broker=broker, env=self.time.env)

        self.daemon: Daemon = await deferToThread(start)
        self.test.addCleanup(lambda: self.daemon.close())
        names = ("websocket", "http", "setup")
        self.clients = Clients({name: getattr(self.daemon, name)[1] for name in names})
        self.test.addCleanup(lambda: Deferred.fromCoroutine(self.clients.hang_up()))
        await self.comes(self._lobby)
        return self

    async def _lobby(self) -> bool:
        return (await self.clients.get("/rooms/lobby")).status != 404

    async def set(self, ahead: int) -> None:
        """Set its time of day, ``ahead`` of the true one; returns once it reads that."""
        self.time.set(ahead)

        async def read() -> bool:
            date = (await self.clients.get("/healthz")).header("date") or ""
            there = parsedate_to_datetime(date).timestamp()
            return abs(there - self.time.seconds()) < HOUR / 2

        await self.comes(read)

    async def comes(self, condition: Callable[[], Awaitable[object]]) -> None:
        """Return once ``condition()`` is true; fails after `PATIENCE`."""
        end = monotonic() + PATIENCE
        while not await condition():
            self.test.assertLess(monotonic(), end, f"{condition} never came")
            await pause(0.3)

    async def publish(self, text: str) -> None:
        answer = await self.clients.post(f"{MESSAGES}?username=ann", {"text": text})
        self.test.assertEqual(answer.status, 201, answer.body)

    async def publish_all(self, texts: Iterable[str]) -> None:
        """Publish over one connection, in order."""
        ann = await self.clients.chat("ann")
        texts = list(texts)
        for text in texts:
            ann.send({"type": "message", "room": "lobby", "text": text})
        for _ in texts:
            await ann.find("ack")

    async def publish_again(self, id: str) -> None:
        """Publish as clients are told to: again with the same id, until it is there."""

        async def stored() -> bool:
            body = {"text": id, "id": id}
            answer = await self.clients.post(f"{MESSAGES}?username=ann", body)
            return answer.status in (200, 201)

        await self.comes(stored)

    async def messages(self, query: str = "last=1000") -> list[dict[str, Any]]:
        answer = await self.clients.get(f"{MESSAGES}?{query}")
        messages: list[dict[str, Any]] = answer.json["messages"]
        return messages

    async def texts(self) -> list[str]:
        return [message["text"] for message in await self.messages()]

    async def expire(self, since: float, age: float) -> None:
        """All messages go, but not before they are ``age`` seconds old: they were published after
        ``since`` (monotonic)."""
        while await self.texts():
            self.test.assertLess(monotonic() - since, age + PATIENCE)
            await pause(0.3)
        self.test.assertGreaterEqual(monotonic() - since, age)

    async def shrink(self, size: int) -> None:
        """More is published than is to be kept, ``size`` bytes: the newest are kept, and as many as
        there is room for, within a tenth."""
        texts = [f"{n} ".ljust(1000, "x") for n in range(5 * size // 1000)]
        await self.publish_all(texts)

        async def shrunk() -> bool:
            return sum(len(text) for text in await self.texts()) <= 1.1 * size

        await self.comes(shrunk)
        kept = await self.texts()
        self.test.assertEqual(kept, texts[-len(kept) :])
        # what is counted is records, which have some 100 bytes more than their texts
        self.test.assertGreaterEqual(len(kept), size // 1200)

    async def goes_on(self) -> None:
        """Pings, comments, and the end of those who do not answer come in their time."""
        silent = await self.clients.chat("ghost", "lobby")
        events = await self.clients.events("/rooms/lobby/events?username=reader")
        await events.block()
        self.test.assertEqual(sorted(await self._present()), ["ghost", "reader"])
        await together(_comment(events), _ping(silent))
        await self.comes(self._alone)
        self.test.assertEqual(await self._present(), ["reader"])
        events.close()

    async def _alone(self) -> bool:
        return "ghost" not in await self._present()

    async def _present(self) -> list[str]:
        members: list[str] = (await self.clients.get("/rooms/lobby")).json["members"]
        return members


async def _comment(events: EventStream) -> None:
    """A comment comes: every 15 s, and as much again on a busy machine."""

    async def comes() -> None:
        while await events.block() != b":":
            pass

    await Deferred.fromCoroutine(comes()).addTimeout(40, reactor)


async def _ping(socket: WebSocket) -> None:
    """A ping comes: every 25 s, and as much again on a busy machine."""

    async def comes() -> None:
        while (await socket.receive_frame())[0] != PING:
            pass

    await Deferred.fromCoroutine(comes()).addTimeout(60, reactor)


@pytest.mark.rabbitmq
@pytest.mark.timeout(240)
class SetTests(TestCase):
    timeout = 220

    def setUp(self) -> None:
        self.patch(raw, "PATIENCE", PATIENCE)  # pings come every 25 s
        self.rabbit = shared_node()
        self.vhost = self.rabbit.vhost()
        self.addCleanup(self.rabbit.drop_vhost, self.vhost)

    async def test_whatever_waits_goes_on_as_long_as_it_should(self) -> None:
        await together(
            self.back_and_what_waits_goes_on(),
            self.back_and_forward_and_what_is_said_expires(),
            self.forward_and_nothing_is_wiped(),
            self.forward_and_a_token_has_run_out(),
            self.rabbitmq_is_connected_again(),
        )

    async def back_and_what_waits_goes_on(self) -> None:
        site = await Site(self).serve("--retain=1h", "--retain-bytes=10KB", "--rate=10000/s")
        await site.publish("before")
        await site.set(-HOUR)
        await site.publish("after")
        before, after = (parse_time(m["time"]) for m in await site.messages())
        self.assertAlmostEqual((before - after) / 1000 / HOUR, 1.0, places=1)
        self.assertIn("The clock was set back by", site.daemon.log())
        await together(site.goes_on(), site.shrink(10 * 1024))
        self.assertNotIn("Traceback", site.daemon.log())

    async def back_and_forward_and_what_is_said_expires(self) -> None:
        """What is said after the clock was set back, and before it is set forward."""
        site = await Site(self).serve("--retain=5s")
        await site.set(-HOUR)
        since = monotonic()
        await site.publish("after")
        await site.expire(since, 5)
        since = monotonic()
        await site.publish("before")
        await site.set(0)
        await site.expire(since, 5)
        site.daemon.close()  # the others go on for some time

    async def forward_and_nothing_is_wiped(self) -> None:
        site = await Site(self).serve("--retain=10m", "--rate=10000/s")
        await together(  # more than memory holds, and at once, for each waits for the disk
            *(site.publish_all(f"{n}-{k}" for k in range(30)) for n in range(18))
        )
        said = await site.texts()
        self.assertEqual(len(said), 540)
        self.assertGreater(len(said), RECENT_MESSAGES)
        await site.set(HOUR)
        await site.publish("after")
        self.assertEqual(await site.texts(), [*said, "after"])
        self.assertIn("The clock was set forward by", site.daemon.log())
        since = (await site.messages("last=1"))[0]["time"]
        self.assertEqual([m["text"] for m in await site.messages(f"since={since}")], ["after"])
        await site.goes_on()
        self.assertEqual(await site.texts(), [*said, "after"])
        self.assertNotIn("Traceback", site.daemon.log())

    async def forward_and_a_token_has_run_out(self) -> None:
        issuer = Issuer(os.path.abspath(self.mktemp()))
        site = await Site(self).serve(*issuer.options)
        token = issuer.token("ann", math.ceil(site.time.seconds()) + HOUR / 2)
        socket = await site.clients.websocket(f"/?token={token}")
        events = await site.clients.events(f"/rooms/lobby/events?token={token}")
        await site.set(HOUR)
        answer = await site.clients.get(f"{MESSAGES}?token={token}")
        self.assertEqual(answer.status, 401)
        with self.assertRaises(Closed) as closed:
            while True:
                await socket.receive()
        self.assertEqual(closed.exception.code, 4401)

        async def ended() -> bool:
            return events._http.raw.lost

        await site.comes(ended)
        site.daemon.close()

    async def rabbitmq_is_connected_again(self) -> None:
        relay = Relay(("127.0.0.1", self.rabbit.port))
        self.addCleanup(relay.close)
        url = self.rabbit.url(self.vhost).replace(f":{self.rabbit.port}/", f":{relay.port}/")
        site = await Site(self).serve(broker=url)
        await site.publish("before")

        async def ready() -> bool:
            return await deferToThread(site.daemon.is_ready)

        async def unready() -> bool:
            return not await ready()

        for ahead in (-HOUR, HOUR):
            relay.cut()
            await site.comes(unready)
            await site.set(ahead)
            relay.mend()
            await site.comes(ready)
            await site.publish_again(f"{ahead}")
        self.assertEqual(await site.texts(), ["before", f"{-HOUR}", f"{HOUR}"])
        site.daemon.close()
