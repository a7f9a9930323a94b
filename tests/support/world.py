"""One or more nodes of chatd without a network, on one memory broker, under `task.Clock`.

::

    world = World(nodes=2)
    ann = world.join("lobby", "ann")
    world.say("lobby", "hello", node=1)
    assert ann.texts == ["hello"]

Nothing happens but in `World.turn`, `World.advance` and what calls them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.access.identity import Identity
from chatd.brokers.interfaces import Retention, Stream
from chatd.brokers.memory.broker import MemoryBroker
from chatd.presence.board import PRESENCE_LIMIT
from chatd.protocol.cursors import Cursor
from chatd.protocol.errors import ChatError
from chatd.protocol.json import dump
from chatd.protocol.messages import Content, Message
from chatd.rooms.cache import RECENT_TOTAL
from chatd.rooms.interfaces import IEncoding, ISubscriber
from chatd.rooms.registry import SWEEP
from chatd.rooms.room import IDLE, Room
from chatd.rooms.start_position import After, Now, Start
from chatd.rooms.subscription import Subscription, SubscriptionState
from chatd.service.domain import compose
from chatd.service.session import Joined, Session
from chatd.telemetry.metrics import Metrics
from chatd.timing.wall import WallClock
from tests.support.publishing import publish

T = TypeVar("T")

#: When worlds begin, in seconds since the epoch: late enough for any retention.
BEGINNING = 1_800_000_000.0


@implementer(IEncoding)
class Lines:
    """One JSON object a line, and a count of how often it was asked to encode."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, messages: Sequence[Message]) -> bytes:
        self.encoded += 1
        return b"".join(m.json + b"\n" for m in messages)

    def event(self, frame: dict[str, Any]) -> bytes:
        return dump(frame) + b"\n"


LINES = Lines()


@implementer(ISubscriber)
class Reader:
    """A client's end that does as it is told: takes what it is given while it is writable.

    ``most`` is how many deliveries it takes before it takes no more; None for any number.
    """

    def __init__(self, world: World, identity: Identity, encoding: Lines = LINES) -> None:
        self.world = world
        self.identity = identity
        self.encoding: IEncoding = encoding
        self.writable = True
        self.send: Callable[[bytes], int] | None = None
        self.most: int | None = None
        self.frames: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        self.refused = 0
        self.error: ChatError | None = None
        self.joined: Joined | None = None
        self.session: Session

    # -- what it has seen

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [f for f in self.frames if f["type"] == "message"]

    @property
    def texts(self) -> list[str]:
        """The texts of its messages, and ``GAP`` wherever it was told of one."""
        return [
            f["text"] if f["type"] == "message" else "GAP"
            for f in self.frames
            if f["type"] in ("message", "gap")
        ]

    @property
    def present(self) -> set[str]:
        """Who is in the room, by the snapshot it joined with and what it was told since."""
        assert self.joined is not None
        names = set(self.joined.members.names)
        for frame in self.frames:
            if frame["type"] == "presence":
                names |= set(frame["joined"])
                names -= set(frame["left"])
        return names

    @property
    def subscription(self) -> Subscription:
        assert self.joined is not None
        return self.joined.subscription

    @property
    def state(self) -> SubscriptionState:
        return self.subscription.state

    @property
    def cursor(self) -> Cursor:
        """Where a client would resume: the newest cursor it was given."""
        for frame in reversed(self.frames):
            if "cursor" in frame:
                return Cursor.parse(frame["cursor"])
        assert self.joined is not None
        return self.joined.cursor

    # -- what it does

    def stall(self) -> None:
        """Take nothing until `read_on`."""
        self.writable = False

    def read_on(self, most: int | None = None) -> None:
        """Take things again, and say so as a transport does."""
        self.writable, self.most = True, most
        self.subscription.resume()

    # -- ISubscriber

    def deliver(self, data: bytes, end: int) -> bool:
        taken = self._take(data)
        if taken:
            self.sizes.append(len(data))
        return taken

    def keep(self, rest: bytes) -> None:
        raise AssertionError("there is no send")

    def notify(self, data: bytes) -> bool:
        return self._take(data)

    def _take(self, data: bytes) -> bool:
        assert self.error is None, "a call after closed"
        if self.most == 0:
            self.writable = False
        if not self.writable:
            self.refused += 1
            return False
        if self.most is not None:
            self.most -= 1
        self.frames += [json.loads(line) for line in data.splitlines()]
        return True

    def closed(self, error: ChatError) -> None:
        assert self.error is None, "closed twice"
        self.error = error


class Site:
    """One node, without transports. Its time of day is ``ahead`` (seconds) of the others'."""

    def __init__(
        self, name: str, broker: MemoryBroker, clock: Clock, world: World, ahead: float = 0
    ) -> None:
        self.world = world
        self.broker = broker
        self.metrics = Metrics()
        domain = compose(
            clock,
            broker,
            name,
            self.metrics,
            world.retention,
            presence_limit=world.limit,
            cache_bytes=world.budget,
            wall=WallClock(clock, lambda: clock.seconds() + ahead),
        )
        self.chat, self.directory, self.rooms = domain.chat, domain.directory, domain.rooms
        self.presence, self.replication = domain.presence, domain.replication
        self.budget, self.history = self.rooms.node.budget, self.rooms.node.history

    def start(self) -> None:
        self.broker.startService()
        self.directory.start()
        self.rooms.start()
        self.replication.start()

    def stop(self) -> None:
        self.replication.stop()
        self.rooms.stop()
        self.directory.stop()
        self.broker.stopService()

    def die(self) -> None:
        """End without a word, as a process that is killed."""
        self.broker.interrupt()
        self.stop()


class World:
    """Nodes on one memory broker. ``room`` exists, and is empty."""

    def __init__(
        self,
        nodes: int = 1,
        retention: Retention | None = None,
        skip: int = 0,
        limit: int = PRESENCE_LIMIT,
        budget: int = RECENT_TOTAL,
        room: str = "lobby",
        reader: type[Reader] = Reader,
        broker: type[MemoryBroker] = MemoryBroker,
    ) -> None:
        self.reader = reader
        self.clock = Clock()
        self.clock.advance(BEGINNING)
        self.retention = retention or Retention()
        self.limit = limit
        self.budget = budget
        first = broker(self.clock, self.retention, skip)
        brokers = [first] + [first.peer() for _ in range(nodes - 1)]
        self.sites = [Site(f"node-{n}", b, self.clock, self) for n, b in enumerate(brokers)]
        for site in self.sites:
            site.start()
        self.turn()
        self.do(self.sites[0].directory.create(room))

    @property
    def broker(self) -> MemoryBroker:
        return self.sites[0].broker

    def add_site(self, ahead: float = 0) -> Site:
        """One more node, started."""
        site = Site(f"node-{len(self.sites)}", self.broker.peer(), self.clock, self, ahead)
        self.sites.append(site)
        site.start()
        self.turn()
        return site

    # -- time

    def turn(self) -> None:
        """Let everything happen that needs no time."""
        self.clock.advance(0)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, in steps."""
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 1e-9:
            self.clock.advance(min(left, 0.5))

    @property
    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.clock.seconds() * 1000)

    def begin(self, work: Coroutine[Any, Any, T] | Deferred[T]) -> list[Any]:
        """Start ``work``; the list gets its result, or a Failure, once there is one."""
        outcome: list[Any] = []
        doing = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        doing.addBoth(outcome.append)
        return outcome

    def do(self, work: Coroutine[Any, Any, T] | Deferred[T], within: float = 0) -> T:
        """The result of ``work``, which must take no longer than ``within`` seconds."""
        outcome = self.begin(work)
        self.turn()
        end = self.clock.seconds() + within
        while not outcome and self.clock.seconds() < end:
            self.clock.advance(0.25)
        assert outcome, "it still waits"
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        result: T = outcome[0]
        return result

    def error(self, work: Coroutine[Any, Any, Any] | Deferred[Any], within: float = 0) -> ChatError:
        """The `ChatError` that ``work`` fails with."""
        try:
            result = self.do(work, within)
        except ChatError as e:
            return e
        raise AssertionError(f"it succeeded: {result!r}")

    # -- rooms

    def stream(self, room: str = "lobby") -> Stream:
        return self.sites[0].directory.get(room).stream

    def room(self, room: str = "lobby", node: int = 0) -> Room:
        """The attached room of a node."""
        return self.do(self.sites[node].chat.room(Identity("somebody"), room))

    def session(self, user: str, node: int = 0) -> tuple[Session, Reader]:
        """A connection of ``user``, and a subscriber for it."""
        identity = Identity(user)
        return Session(self.sites[node].chat, identity), self.reader(self, identity)

    def join(
        self, room: str, user: str, start: Start | None = None, node: int = 0, stalled: bool = False
    ) -> Reader:
        """A new connection of ``user`` that has joined ``room``."""
        session, reader = self.session(user, node)
        joined = self.do(session.join(room, reader, start or Now()))
        assert joined is not None
        reader.joined = joined
        reader.writable = not stalled
        reader.session = session
        joined.subscription.resume()
        self.turn()
        return reader

    def resume(self, room: str, reader: Reader, node: int = 0) -> Reader:
        """The same user comes back with the cursor it has."""
        return self.join(room, reader.identity.user, After(reader.cursor), node)

    def say(
        self, room: str, text: str, user: str = "ann", id: str | None = None, node: int = 0
    ) -> bool:
        """Publish as a client does; whether it was new."""
        chat = self.sites[node].chat
        receipt = self.do(publish(chat, user, room, text, id))
        self.turn()
        return receipt.new

    def store(
        self,
        room: str,
        *texts: str,
        user: str = "raw",
        time: int | None = None,
        foreign: bool = True,
    ) -> None:
        """Put messages in the room's stream as another program would, or as another node if they
        are not ``foreign``; ids are the texts."""
        stream = self.stream(room)
        at = self.now if time is None else time
        for text in texts:
            self.broker.store(stream, Content(user, text[:64], text).record(at), at, foreign)
        self.turn()

    def foreign(self, room: str, *bodies: bytes) -> None:
        """Put records in the stream that are no messages."""
        for body in bodies:
            self.broker.store(self.stream(room), body, self.now)
        self.turn()

    def forget(self, room: str = "lobby", node: int = 0) -> None:
        """Detach a room nobody is in, as the sweep does, so that it is read again."""
        self.advance(IDLE + 2 * SWEEP)
        rooms = self.sites[node].rooms
        assert rooms.get(self.sites[node].directory.get(room)) is None, "still attached"
