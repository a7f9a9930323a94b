"""The domain as a service: its start, and the node's drain before it stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatd.protocol.errors import ChatError, Code
from chatd.service.domain import Domain
from chatd.timing.clock import NodeClock

#: Seconds between attempts to create a room of ``--room``.
RETRY = 5.0
#: Seconds that a drain waits for requests under way.
DRAIN = 8.0
#: Seconds that a drain waits for clients to read the goodbye. Clients that read need milliseconds;
#: the others miss nothing, because they come back with their cursors.
FAREWELL = 2.0


class Draining(Protocol):
    """A transport, for the drain of its node."""

    def drain(self, others: int) -> None:
        """Tell all clients that the node goes down, and end waiting polls and streams. ``others``
        is the number of nodes that clients can connect to instead."""

    @property
    def in_hand(self) -> int:
        """The number of requests under way."""

    @property
    def leaving(self) -> int:
        """The number of clients that have not read the goodbye yet."""


class NodeService(Service):
    """Runs directory, rooms and presence of one node, with the ``rooms`` that its settings name.
    Call `drain` before stopping it."""

    name = "node"
    _log = Logger()

    def __init__(
        self,
        clock: NodeClock,
        domain: Domain,
        rooms: Sequence[str],
        restored: bool = False,
    ) -> None:
        self._restored = restored
        self._clock = clock
        self.chat = domain.chat
        self.replication = domain.replication
        self.readiness = domain.readiness
        self._wanted = list(rooms)
        self._untried = set(rooms)
        #: Those that are being made, and when those that could not be will be tried again.
        self._making: set[str] = set()
        self._retries: dict[str, IDelayedCall] = {}

    @property
    def begun(self) -> bool:
        """Whether every room of ``--room`` exists, or could not be made at the first attempt."""
        return not self._untried

    def startService(self) -> None:
        super().startService()
        self.chat.directory.stream.on_loaded = self._loaded
        self.chat.directory.start(self._restored)
        self.chat.rooms.start()
        self.replication.start()
        self.readiness.start()

    def stopService(self) -> None:
        super().stopService()
        self.replication.stop()
        self.chat.rooms.stop()
        self.chat.directory.stop()
        self._clock.stop()

    def want(self, rooms: Sequence[str]) -> None:
        """See that ``rooms`` exist, now if the directory is loaded."""
        self._wanted = list(rooms)
        self._untried.intersection_update(rooms)
        if self.chat.directory.loaded:
            self._create_rooms()

    def _loaded(self) -> None:
        self._create_rooms()
        self.chat.directory.open_newest()

    def _create_rooms(self) -> None:
        for name in self._wanted:
            if name not in self._making:
                self._create(name)

    def _create(self, name: str) -> None:
        retry = self._retries.pop(name, None)
        if retry is not None and retry.active():
            retry.cancel()
        if self.running and name in self._wanted:
            self._making.add(name)
            creating = Deferred.fromCoroutine(self.chat.directory.create(name))
            creating.addErrback(self._not_created, name)
            creating.addBoth(self._tried, name)

    def _not_created(self, failure: Failure, name: str) -> None:
        error = failure.value
        if not isinstance(error, ChatError):
            self._log.failure("Creating the room {room} failed", failure, room=name)
        elif error.code is Code.BAD_REQUEST:  # for good
            self._log.error("Room {room} cannot be created: {why}", room=name, why=error.text)
        else:
            self._log.warn("Room {room} not created yet: {why}", room=name, why=error)
            self._retries[name] = self._clock.callLater(RETRY, self._create, name)

    def _tried(self, _: object, name: str) -> None:
        self._making.discard(name)
        self._untried.discard(name)

    def drain(self, transports: Sequence[Draining]) -> Deferred[None]:
        """Refuse new requests and send all clients of ``transports`` away. Fires when no request is
        under way and all clients are gone, after `DRAIN` seconds at the latest."""
        self.chat.draining = True
        others = self.replication.others
        self.chat.rooms.flush()
        for transport in transports:
            try:
                transport.drain(others)
            except Exception:
                self._log.failure("Sending clients away failed")
        self.chat.rooms.wake()
        done: Deferred[None] = Deferred()
        self._wait(transports, done, self._clock.seconds())
        return done

    def _wait(self, transports: Sequence[Draining], done: Deferred[None], since: float) -> None:
        passed = self._clock.seconds() - since
        in_hand = passed < DRAIN and any(one.in_hand for one in transports)
        leaving = passed < FAREWELL and any(one.leaving for one in transports)
        if in_hand or leaving:
            self._clock.callLater(0.05, self._wait, transports, done, since)
        else:
            done.callback(None)
