"""A whole node in the test's own process, which small clients meet from outside (`Clients`).

::

    class SomeTests(ServingTests):
        async def test_something(self) -> None:
            node = await self.serve("--rate", "1000/s")
            ann = await node.websocket("/?username=ann")

The node is what ``twistd chatd`` runs, on the real reactor and free ports of 127.0.0.1. Its clock
runs with the real one, and a test may turn it forward (`TurnedClock.advance`). Everything is closed
when the test ends, or trial's look at the reactor fails it.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.tcp import Server
from twisted.trial.unittest import TestCase

from chatd.config.options import Options
from chatd.service.lifecycle import FAREWELL
from chatd.tap import ChatService, makeService
from tests.support.clients import Clients
from tests.support.raw import reactor
from tests.support.waiting import until


class TurnedClock:
    """The real reactor, but its time can be turned forward."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._held: float | None = None
        self._calls: list[IDelayedCall] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def seconds(self) -> float:
        real = reactor.seconds() if self._held is None else self._held
        return float(real) + self._ahead

    def hold(self) -> None:
        """Let no time pass but by `advance`, for what is counted by the second. Delayed calls come
        when they would have come all the same."""
        self._held = reactor.seconds()

    def stand_still(self, seconds: float) -> None:
        """Let ``seconds`` pass, and make no call yet that falls due meanwhile."""
        self._ahead += seconds

    def callLater(self, delay: float, call: Callable[..., Any], *a: Any, **kw: Any) -> IDelayedCall:
        made: IDelayedCall = reactor.callLater(delay, call, *a, **kw)
        self._calls = [one for one in self._calls if one.active()]
        self._calls.append(made)
        return made

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once: what falls due is called in the next turns, in order."""
        self._ahead += seconds
        for call in self._calls:
            if call.active():
                try:
                    call.delay(-seconds)
                except (AlreadyCalled, AlreadyCancelled):
                    continue


#: Options of a node that takes nobody's port.
ANY_PORTS = [f"--{name}=tcp:0:interface=127.0.0.1" for name in ("websocket", "http", "setup")]


def node_of_twistd(*options: str) -> Any:
    """What twistd is given to run, which is not started."""
    parsed = Options({})
    parsed.parseOptions(["--broker=memory:", *ANY_PORTS, *options])
    return makeService(parsed)


class Node(Clients):
    """A running `ChatService` and the ports it listens on."""

    def __init__(self, *options: str) -> None:
        super().__init__({})
        parsed = Options({})
        parsed.parseOptions(["--broker=memory:", *ANY_PORTS, *options])
        self.clock = TurnedClock()
        self.service = ChatService(self.clock, parsed.config, read_again=parsed.read)
        self._stopping: Deferred[Any] | None = None
        #: The node's ends of all connections that were accepted.
        self._ends: WeakSet[Any] = WeakSet()

    async def start(self) -> None:
        """Return when every port accepts connections and the rooms of ``--room`` exist."""
        before = signal.getsignal(signal.SIGHUP)
        self.service.privilegedStartService()
        self.service.startService()
        signal.signal(signal.SIGHUP, before)
        for part in self.service:
            if isinstance(part, StreamServerEndpointService):
                waiting: Any = part._waitingForPort
                port: Any = waiting.result
                self.ports[str(part.name).partition(":")[0]] = getattr(port.getHost(), "port", 0)
                if hasattr(port, "transport"):
                    port.transport = partial(self._accepted, port.transport)
        wanted = self.service._config.rooms
        directory = self.service.chat.directory
        gate: Any = self.service.getServiceNamed("gate")
        await until(lambda: gate.is_open and self.service.status.ready)
        await until(lambda: all(map(directory.find, wanted)))

    def _accepted(self, make: Callable[..., Any], *of: Any) -> Any:
        end = make(*of)
        self._ends.add(end)
        return end

    def drain(self) -> Deferred[Any]:
        """What SIGTERM does; fires when the node has stopped."""
        if self._stopping is None:
            self._stopping = self.service.stopService()
        waiter: Deferred[Any] = Deferred()

        def stopped(result: Any) -> Any:
            waiter.callback(None)
            return result

        self._stopping.addBoth(stopped)
        return waiter

    async def stop(self) -> None:
        """Close all clients, then the node."""
        await self.hang_up()
        stopped = self.drain()
        await until(lambda: self.service.chat.draining)
        if self.service.status.node.running:  # it waits, and nobody is left to read the goodbye
            self.clock.advance(FAREWELL)
        await stopped
        await until(lambda: not self.connections())
        # one that was not read from, because it had to wait, does not notice that its client went
        for end in list(self._ends):
            end.abortConnection()
        await until(lambda: not any(end.connected for end in self._ends))

    def connections(self) -> list[Server]:
        """The node's ends of TCP connections; one that was refused lingers until it is closed."""
        open = {*reactor.getReaders(), *reactor.getWriters()}
        ports = self.ports.values()
        return [end for end in open if type(end) is Server and end.getHost().port in ports]


class ServingTests(TestCase):
    """Tests that meet running nodes."""

    def mktemp(self) -> str:
        """A path at which a file may be made; gone after the test. Not in trial's own folder."""
        folder = tempfile.mkdtemp(prefix="chatd-test-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return str(Path(folder) / "file")

    async def serve(self, *options: str) -> Node:
        """Start a node that is stopped when the test ends."""
        node = Node(*options)
        await node.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(node.stop()))
        return node


class PreparedTests(ServingTests, ABC):
    """Tests whose nodes are started before each of them."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        await self.prepare()

    @abstractmethod
    async def prepare(self) -> None:
        """Start what the tests need."""
