"""A node whose process was stopped for a while, on RabbitMQ: what others did meanwhile it has not
heard of yet when its clients go on."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.support.daemon import Daemon
from tests.support.rabbit import shared_node
from tests.support.talk import Talker
from tests.support.waiting import pause, until

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

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        os.kill(self.paused.pid, signal.SIGSTOP)
        try:
            yield
            await pause(0.05)
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
