"""A node whose process was stopped for a while, on RabbitMQ: what others did meanwhile it has not
heard of yet when its clients go on, neither what they made nor what they took away."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from chatd.timing.steady import STOOD_STILL
from tests.support.clients import Clients
from tests.support.daemon import Daemon
from tests.support.rabbit import shared_node
from tests.support.talk import Talker
from tests.support.waiting import pause, until, until_of

pytestmark = pytest.mark.rabbitmq

#: How often it is stopped.
TIMES = 3


class PausedTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        rabbit = shared_node()
        vhost = rabbit.vhost()
        self.addCleanup(rabbit.drop_vhost, vhost)
        self.one, self.paused = (Daemon(broker=rabbit.url(vhost)) for _ in range(2))
        self.addCleanup(lambda: self.paused.close())
        self.addCleanup(lambda: self.one.close())
        self.clients = Clients({"setup": self.one.setup[1]})
        self.addCleanup(lambda: Deferred.fromCoroutine(self.clients.hang_up()))

    @asynccontextmanager
    async def stopped(self, seconds: float = 0.05) -> AsyncIterator[None]:
        """Stop the node for what is done meanwhile and ``seconds``."""
        os.kill(self.paused.pid, signal.SIGSTOP)
        try:
            yield
            await pause(seconds)
        finally:
            os.kill(self.paused.pid, signal.SIGCONT)

    async def test_a_room_that_was_made_meanwhile(self) -> None:
        """Whoever made it was told that what is published after that is kept."""
        ann = await Talker.join(self.paused.websocket, "lobby", "ann")
        ben = await Talker.join(self.paused.websocket, "lobby", "ben")
        for number in range(TIMES):
            async with self.stopped():
                for talker in (ann, ben):  # so that theirs is the first socket to be read
                    talker.send(type="typing", room="lobby")
                await pause(0.05)
                room = await deferToThread(self.one.create_room, f"room{number}")
                ann.send(type="message", room=room, id="1", text="hello")
                ben.send(type="join", room=room)
            await until(lambda: len([*ann.every("ack"), *ann.every("error")]) > number)
            await until(lambda: len([*ben.every("joined"), *ben.every("error")]) > number + 1)
        self.assertEqual(ann.every("error") + ben.every("error"), [])
        await ann.leave()
        await ben.leave()

    async def test_what_was_taken_away_meanwhile(self) -> None:
        """Whoever took it away was told that it is so."""
        ann = await Talker.join(self.paused.websocket, "lobby", "ann")
        for number in range(TIMES):
            await self.at_one("create_room", f"room{number}", private=True)
            await self.at_one("add_member", f"room{number}", username="ann")
        rooms = [await Talker.join(self.paused.websocket, f"room{n}", "ann") for n in range(TIMES)]
        async with self.stopped(STOOD_STILL):
            for talker in (ann, *rooms):  # so that theirs is the first socket to be read
                talker.send(type="typing", room="lobby")
            await pause(0.05)
            for number, talker in enumerate(rooms):
                await self.at_one("remove_member", f"room{number}", username="ann")
                talker.send(type="message", room=f"room{number}", id="1", text="hello")
                ann.send(type="join", room=f"room{number}")
        await until(lambda: len(ann.every("error")) + len(ann.every("joined")) > TIMES)
        refused = [[error["code"] for error in ann.every("error")]]
        for talker in rooms:
            await until_of(talker, lambda one: said_of("1", one))
            refused.append([said_of("1", talker)])
        self.assertEqual(refused, [["forbidden"] * TIMES, *[["forbidden"]] * TIMES])
        for talker in (ann, *rooms):
            await talker.leave()

    async def at_one(self, op: str, room: str, **more: Any) -> None:
        """Have the other node do it."""
        setup = await self.clients.raw("setup")
        setup.send(json.dumps({"op": op, "roomname": room, **more}).encode() + b"\n")
        self.assertEqual(await setup.take(4), b"200\n")


def said_of(id: str, talker: Talker) -> str:
    """The answer to a publish: a code, "ack", or "" before there is one."""
    answers = [f for f in talker.frames if f["type"] in ("ack", "error") and f.get("id") == id]
    return str(answers[0].get("code", "ack")) if answers else ""
