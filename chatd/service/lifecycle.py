"""The domain as a service: its start, and how a node drains before it stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.directory.readiness import Readiness
from chatd.presence.replication import PresenceReplication
from chatd.protocol.errors import ChatError
from chatd.service.chat import Chat
from chatd.timing.clock import NodeClock

#: Seconds between tries to create the rooms of ``--room``.
RETRY = 5.0
#: Seconds within which what is in hand is finished.
DRAIN = 8.0
#: Seconds that clients have to take note. Who reads needs milliseconds; who does not is left
#: behind, and misses nothing: it comes back with its cursor.
FAREWELL = 2.0


class Draining(Protocol):
    """A transport that can send its clients away."""

    def drain(self, others: int) -> None:
        """Tell all clients that the node goes down, and end what they wait for. ``others`` is how
        many nodes can take them at once."""

    @property
    def in_hand(self) -> int:
        """How many requests are being done."""

    @property
    def leaving(self) -> int:
        """How many clients have yet to take what they were told."""


class NodeService(Service):
    """Directory, rooms and presence of one node; drained before anything else stops."""

    name = "node"
    _log = Logger()

    def __init__(
        self,
        clock: NodeClock,
        chat: Chat,
        replication: PresenceReplication,
        readiness: Readiness,
        rooms: Sequence[str],
        transports: Sequence[Draining],
        restored: bool = False,
    ) -> None:
        self._restored = restored
        self._clock = clock
        self._chat = chat
        self._replication = replication
        self._readiness = readiness
        self._wanted = list(rooms)
        self._transports = transports

    def startService(self) -> None:
        super().startService()
        self._chat.directory.on_loaded = self._create_rooms
        self._chat.directory.start(self._restored)
        self._chat.rooms.start()
        self._replication.start()
        self._readiness.start()

    def stopService(self) -> None:
        super().stopService()
        self._replication.stop()
        self._chat.rooms.stop()
        self._chat.directory.stop()
        self._clock.stop()

    def _create_rooms(self) -> None:
        for name in self._wanted:
            self._create(name)

    def _create(self, name: str) -> None:
        if self.running:
            creating = Deferred.fromCoroutine(self._chat.directory.create(name))
            creating.addErrback(self._create_later, name)

    def _create_later(self, failure: Failure, name: str) -> None:
        failure.trap(ChatError)
        self._log.warn("Room {room} not created yet: {why}", room=name, why=failure.value)
        self._clock.callLater(RETRY, self._create, name)

    def drain(self) -> Deferred[None]:
        """Send all clients away; fires when nothing is in hand and they are gone, or have had the
        time for it: after `DRAIN` seconds at most."""
        self._chat.draining = True
        others = self._replication.others
        for transport in self._transports:
            transport.drain(others)
        self._chat.rooms.wake()
        done: Deferred[None] = Deferred()
        self._wait(done, self._clock.seconds())
        return done

    def _wait(self, done: Deferred[None], since: float) -> None:
        passed = self._clock.seconds() - since
        in_hand = passed < DRAIN and any(one.in_hand for one in self._transports)
        leaving = passed < FAREWELL and any(one.leaving for one in self._transports)
        if in_hand or leaving:
            self._clock.callLater(0.05, self._wait, done, since)
        else:
            done.callback(None)
