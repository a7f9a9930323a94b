"""What a node sees of a broker that other processes are: late, deaf, forgetful, and gone at times.

The streams lie in a `MemoryBroker`, as in RabbitMQ's processes; `SimulatedBroker` is what the node
has of it, behind a connection of two wires. It keeps `IBroker`'s contract and no more than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.brokers.interfaces import (
    Extent,
    IBroker,
    IFollower,
    IFollowing,
    NotStored,
    Record,
    Stream,
    Unavailable,
)
from chatd.brokers.memory.broker import MemoryBroker
from tests.torture.simulated_following import SimulatedFollowing
from tests.torture.simulated_network import SimulatedClock, Wire

T = TypeVar("T")

#: Seconds until what is asked must be answered, and after which a broker that lost sight of a
#: follower is found out (`chatd.brokers.rabbitmq.liveness`).
ANSWER, FOUND_OUT = 10.0, 20.0
#: Seconds until a lost connection is made again.
RECONNECT = 1.0


class AppendFault(Enum):
    """What becomes of an append."""

    #: Confirmed, and dropped (rabbitmq-server 9457).
    CONFIRMED_ONLY = auto()
    #: Confirmed, and stored a while later, unless the channel is renewed before.
    STORED_LATE = auto()
    #: Stored; the confirm never comes.
    STORED_ONLY = auto()
    STORED_TWICE = auto()
    #: Neither.
    DROPPED = auto()
    #: Not stored, and said to be so.
    NOT_STORED = auto()
    #: Stored, and refused.
    REFUSED_BUT_STORED = auto()


#: After one of these a lane is broken.
BREAKING = (AppendFault.CONFIRMED_ONLY, AppendFault.STORED_LATE, AppendFault.DROPPED)


@implementer(IBroker, IService)
class SimulatedBroker(Service):
    """One node's connection to the streams of ``hub``."""

    name = "broker"
    exact = False
    restored = False
    blocked = ""

    def __init__(
        self,
        process: SimulatedClock,
        network: SimulatedClock,
        hub: MemoryBroker,
        out: Wire,
        back: Wire,
    ) -> None:
        self.hub = hub
        self.out, self.back = out, back
        self.ready = False
        #: What becomes of the next appends; what of the next questions, broadcasts is lost.
        self.faults: deque[AppendFault] = deque()
        self.failing = 0
        self.unheard = 0
        self._clock = process
        self._network = network
        self._asked: dict[Deferred[Any], None] = {}
        self._followings: dict[SimulatedFollowing, None] = {}
        self._late: dict[object, tuple[Stream, float]] = {}
        #: What appends to a stream go over once several are under way; and those that are broken:
        #: what follows over them has the fate of the one before.
        self._lanes: dict[Stream, object] = {}
        self._broken: dict[object, AppendFault] = {}

    # -- the connection ----------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        self.hub.startService()
        self.connect()

    def stopService(self) -> None:
        super().stopService()
        self.disconnect(delivered=True)

    def connect(self) -> None:
        """Be there (again)."""
        if self.running and not self.ready:
            self.ready = True
            for following in list(self._followings):
                following.begin()

    def disconnect(self, delivered: bool) -> None:
        """The connection is lost; what was under way to the broker may be ``delivered``."""
        if not self.ready:
            return
        self.ready = False
        self.out.cut(delivered)
        self.back.cut()
        self._lanes.clear()
        self._broken.clear()
        for following in list(self._followings):
            following.interrupt()
        asked, self._asked = self._asked, {}
        for done in asked:
            done.errback(Unavailable("the connection was lost"))

    def mend(self) -> None:
        """Nothing is wrong any more."""
        self.faults.clear()
        self.failing = self.unheard = 0
        self.out.flow()
        self.back.flow()
        self.connect()

    def reconnect(self, why: str, again: bool) -> None:
        self.disconnect(delivered=True)
        self._clock.callLater(RECONNECT, self.connect)

    def _ask(self, work: Callable[[], Deferred[T]]) -> Deferred[T]:
        if not self.ready:
            return fail(NotStored("the broker is away"))
        done: Deferred[T] = Deferred()
        self._asked[done] = None
        self.out.send(self._work, work, done)

        def settled(result: T | Failure) -> T | Failure:
            self._asked.pop(done, None)
            return result

        return done.addTimeout(ANSWER, self._clock, _unanswered).addBoth(settled)

    def _work(self, work: Callable[[], Deferred[T]], done: Deferred[T]) -> None:
        """At the broker: do it, and answer."""
        if self.failing:
            self.failing -= 1
            self.back.send(self._answer, done, Failure(Unavailable("the broker says no")))
        else:
            work().addBoth(lambda result: self.back.send(self._answer, done, result))

    def _answer(self, done: Deferred[T], result: T | Failure) -> None:
        if done in self._asked:
            del self._asked[done]
            done.callback(result)

    # -- streams -----------------------------------------------------------------------------------

    def figures(self) -> dict[str, tuple[str, float]]:
        return {}

    def restoration_told(self) -> None:
        """There is nothing to forget."""

    def create(self, stream: Stream) -> Deferred[None]:
        return self._ask(lambda: self.hub.create(stream))

    def open(self, stream: Stream) -> Deferred[None]:
        return self._ask(lambda: self.hub.open(stream))

    def delete(self, stream: Stream) -> Deferred[None]:
        return self._ask(lambda: self.hub.delete(stream))

    def read(self, stream: Stream, start: int, stop: int) -> Deferred[Sequence[Record]]:
        return self._ask(lambda: self.hub.read(stream, start, stop))

    def locate(self, stream: Stream, time: int) -> Deferred[int]:
        return self._ask(lambda: self.hub.locate(stream, time))

    def end(self, stream: Stream) -> Deferred[int]:
        return self._ask(lambda: self.hub.end(stream))

    def sync(self, stream: Stream) -> Deferred[None]:
        return self.end(stream).addCallback(lambda _: None)

    def extents(self, streams: Sequence[Stream]) -> Deferred[Sequence[Extent | None]]:
        return self._ask(lambda: self.hub.extents(streams))

    def append(self, stream: Stream, body: bytes, message_id: str, time: int) -> Deferred[None]:
        fault = self.faults.popleft() if self.faults and self.ready else None
        lane = self._lanes.get(stream)
        if lane in self._broken:
            fault = self._broken[lane]
        elif lane is not None and fault in BREAKING:
            self._broken[lane] = fault
        return self._ask(lambda: self._append(stream, body, message_id, time, fault))

    def _append(
        self, stream: Stream, body: bytes, message_id: str, time: int, fault: AppendFault | None
    ) -> Deferred[None]:
        """At the broker."""
        never: Deferred[None] = Deferred()
        match fault:
            case AppendFault.CONFIRMED_ONLY:
                return succeed(None)
            case AppendFault.DROPPED:
                return never
            case AppendFault.NOT_STORED:
                return fail(NotStored("refused"))
            case AppendFault.STORED_LATE:
                token = object()
                self._late[token] = (stream, self._network.seconds())
                self._network.callLater(1.7, self._store_late, token, stream, body, time)
                return succeed(None)
        stored = self.hub.append(stream, body, message_id, time)
        match fault:
            case AppendFault.STORED_ONLY:
                stored.addErrback(lambda _: None)
                return never
            case AppendFault.REFUSED_BUT_STORED:
                return stored.addCallback(lambda _: fail(Unavailable("refused")))
            case AppendFault.STORED_TWICE:
                again = self.hub.append(stream, body, message_id, time)
                again.addErrback(lambda _: None)
        return stored

    def _store_late(self, token: object, stream: Stream, body: bytes, time: int) -> None:
        if self._late.pop(token, None) is not None:
            self.hub.append(stream, body, "", time).addErrback(lambda _: None)

    def lane(self, stream: Stream, more: bool) -> object | None:
        if more and stream not in self._lanes:
            asked = self._ask(lambda: succeed(object()))
            asked.addCallbacks(lambda lane: self._lanes.setdefault(stream, lane), lambda _: None)
        return self._lanes.get(stream)

    def distrust(self, stream: Stream, since: float) -> Deferred[None]:
        renewed = self._ask(lambda: self._renew(stream))
        return renewed.addCallbacks(lambda _: self._renewed(stream), lambda _: None)

    def trust(self, stream: Stream) -> None:
        """Does nothing: its channels are replaced each time."""

    def _renewed(self, stream: Stream) -> None:
        if stream in self._lanes:
            self._lanes[stream] = object()

    def _renew(self, stream: Stream) -> Deferred[None]:
        """At the broker: nothing more comes over the old channel."""
        self._late = {token: late for token, late in self._late.items() if late[0] != stream}
        return succeed(None)

    def follow(self, stream: Stream, tail: int | None, follower: IFollower) -> IFollowing:
        following = SimulatedFollowing(self, stream, tail, follower)
        self._followings[following] = None
        if self.ready:
            following.begin()
        return following

    def forget(self, following: SimulatedFollowing) -> None:
        """It has stopped."""
        self._followings.pop(following, None)

    def lose_sight(self) -> None:
        """Bring no follower anything more, without a word, until it asks or is found out."""
        for following in self._followings:
            following.blind = True
            self._clock.callLater(FOUND_OUT, following.found_out)

    # -- the fan-out -------------------------------------------------------------------------------

    def announce(self, event: str, room: str, body: bytes) -> bool:
        """Nobody binds a queue here."""
        return True

    def broadcast(self, payload: bytes) -> None:
        if self.unheard:
            self.unheard -= 1
        elif self.ready:
            self.out.send(self.hub.broadcast, payload)

    def listen(self, handler: Callable[[bytes], None]) -> None:
        self.hub.listen(lambda payload: self.back.send(self._heard, handler, payload))

    def _heard(self, handler: Callable[[bytes], None], payload: bytes) -> None:
        if self.ready:
            handler(payload)


def _unanswered(_: object, seconds: float) -> Any:
    raise Unavailable(f"no answer within {seconds:g} s")
