"""``twistd chatd``: the options, and all parts composed into one MultiService.

The only module that knows the reactor and every part. The tree is

    chatd
    |- broker         SQLite, memory, or RabbitMQ by txamqp
    |- node           directory, rooms, presence
    |- websocket:...  Autobahn, one service for each endpoint
    |- http:...       twisted.web: pages, long-poll, event streams, WebSocket at /ws
    `- setup:...      raw TCP
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from chatd.access.admission import Door
from chatd.access.limits import Connections, sockets_for
from chatd.access.origins import Gate
from chatd.access.rate_limit import Buckets, Rate
from chatd.access.tokens import Secret, TokenKeys
from chatd.amqp.url import BadURL, BrokerURL
from chatd.brokers.interfaces import Retention
from chatd.brokers.memory.broker import MemoryBroker
from chatd.brokers.rabbitmq.broker import AMQPBroker
from chatd.brokers.sqlite.broker import SQLiteBroker
from chatd.config import preflight
from chatd.config.options import Options as Options
from chatd.config.settings import Config, is_loopback_only
from chatd.directory.directory import Directory
from chatd.errors import StartError
from chatd.net.certificates import Certificates
from chatd.net.endpoints import listen_endpoint
from chatd.presence.board import Presence
from chatd.presence.replication import Gossip
from chatd.rooms.cache import Budget
from chatd.rooms.history import Archive
from chatd.rooms.registry import Rooms
from chatd.rooms.room import Node
from chatd.service.chat import Chat
from chatd.service.lifecycle import NodeService
from chatd.telemetry.metrics import Metrics
from chatd.timing.clock import NodeClock
from chatd.timing.timer_wheel import Deadlines
from chatd.transports.http import messages, pages, probes
from chatd.transports.http import rooms as admin
from chatd.transports.http.connection import LimitedSite
from chatd.transports.http.poll_presence import Pollers
from chatd.transports.http.router import Api
from chatd.transports.http.sse import Streams
from chatd.transports.http.upgrade import upgrade
from chatd.transports.setup.protocol import SetupFactory
from chatd.transports.websocket.chat_v1 import ChatV1
from chatd.transports.websocket.connection import Connection, Factory
from chatd.transports.websocket.legacy import Legacy


def makeService(options: Options) -> IService:
    """The service tree of one node. Ends the process with one line if it cannot be made."""
    from twisted.internet import reactor

    with one_line():
        preflight.check(options.config)
        return ChatService(reactor, options.config)


class CannotStart(SystemExit, Exception):
    """Ends the process with one line and status 1.

    It is both so that twistd, which looks for an Exception, cleans up and tells the process that
    started the daemon. The line is written here because by then twistd has turned ``sys.stderr``
    into a part of the log.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 1
        print(text, file=sys.__stderr__)


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what an operator must mend into `CannotStart`."""
    try:
        yield
    except CannotListenError as e:
        place = f"{e.interface or '*'}:{e.port}" if isinstance(e.port, int) else str(e.port)
        raise CannotStart(f"chatd: cannot listen on {place}: {e.socketError}") from None
    except (StartError, BadURL, OSError) as e:
        raise CannotStart(f"chatd: {e}") from None


class ChatService(MultiService):
    """The root of the tree."""

    _log = Logger()

    def __init__(self, reactor: Any, config: Config) -> None:
        super().__init__()
        self.setName("chatd")
        self._reactor = reactor
        self._clock = NodeClock(reactor)
        self._deadlines = Deadlines(self._clock)
        self._config = config
        self._certificates = Certificates()
        self.metrics = Metrics()
        retention = Retention(config.retain, config.retain_bytes)
        self.broker = make_broker(reactor, config.broker, retention)
        self.broker.setServiceParent(self)
        self.chat, gossip = self._domain(retention)
        self.door = self._door()
        self.pollers = Pollers(self.chat, self._deadlines, self._connections())
        self.websockets = self._websockets()
        self.streams = Streams(self.chat, self.metrics)
        self.api = self._api()
        self.setup = SetupFactory(self.chat.directory, self.door, self.metrics)
        ports = [
            *self._ports("websocket", config.websocket, self.websockets),
            *self._ports("http", config.http, self._site()),
            *self._ports("setup", config.setup, self.setup),
        ]
        transports = (self.websockets, self.streams, self.api, self.setup)
        self.node = NodeService(self._clock, self.chat, gossip, config.rooms, transports)
        self.node.setServiceParent(self)
        for port in ports:
            port.setServiceParent(self)

    # -- the parts ---------------------------------------------------------------------------------

    def _domain(self, retention: Retention) -> tuple[Chat, Gossip]:
        clock, broker = self._clock, self.broker
        presence = Presence(clock, f"{socket.gethostname()}-{token_hex(4)}")
        directory = Directory(broker, clock)
        node = Node(broker, clock, Archive(broker, clock), Budget(), retention, self.metrics)
        rooms = Rooms(node, directory)
        presence.show_to(rooms)
        chat = Chat(clock, directory, rooms, presence, self._config.max_text)
        return chat, Gossip(presence, broker, clock)

    def _door(self) -> Door:
        config = self._config
        rate = Rate(config.rate)
        gate = Gate(
            origins=config.origins,
            hosts=config.hosts,
            loopback_only=is_loopback_only(config),
            trusted=config.trusted_proxies,
            trust_unix=config.trust_unix,
        )

        def secret(path: str | None, option: str) -> Secret | None:
            return Secret.load(path, option) if path is not None else None

        return Door(
            self._clock,
            gate,
            self._connections(),
            sockets_for(config.max_connections, config.max_connections_per_address),
            self._deadlines,
            rate,
            Buckets(rate),
            tokens=TokenKeys.load(config.token_key) if config.token_key is not None else None,
            admin_key=secret(config.admin_key, "--admin-key"),
            setup_secret=secret(config.setup_secret, "--setup-secret"),
        )

    def _connections(self) -> Connections:
        config = self._config
        return Connections(config.max_connections, config.max_connections_per_address)

    def _websockets(self) -> Factory:
        def dialect(connection: Connection, legacy: bool) -> ChatV1 | Legacy:
            return Legacy(connection) if legacy else ChatV1(connection)

        return Factory(
            self._reactor, self.chat, self.door, self.metrics, dialect, self._config.max_frame
        )

    def _api(self) -> Api:
        routes = [
            *pages.pages(),
            upgrade(self.websockets),
            *messages.routes(self.chat, self.pollers),
            *self.streams.routes(),
            *admin.Rooms(self.chat).routes(),
            *probes.Probes(self.metrics, lambda: self.ready).routes(),
        ]
        return Api(routes, self.chat, self.door, self.metrics, probes.UNLIMITED)

    def _site(self) -> LimitedSite:
        limit = self._config.max_frame
        return LimitedSite(self.api, self.door, self.metrics, limit)

    def _ports(
        self, name: str, texts: tuple[str, ...], factory: IProtocolFactory
    ) -> list[StreamServerEndpointService]:
        ports = []
        for text in texts:
            endpoint = listen_endpoint(self._reactor, text, self._certificates)
            port = StreamServerEndpointService(endpoint, factory)
            # a port in use must end start-up, not be logged: what `strports.service` does too
            port._raiseSynchronously = True
            port.setName(f"{name}:{text}")
            ports.append(port)
        return ports

    # -- running -----------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether this node can serve: the broker is connected and the directory loaded."""
        return bool(self.broker.ready) and self.chat.directory.loaded and not self.chat.draining

    def privilegedStartService(self) -> None:
        """Listen, while still root if that is what twistd was started as."""
        with one_line():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start all parts; SIGHUP reads keys and certificates again."""
        self._warn()
        with one_line():
            super().startService()
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        for name, texts in (("HTTP", self._config.http), ("WebSocket", self._config.websocket)):
            for text in texts:
                self._log.info("{name} on {text}", name=name, text=text)

    def _warn(self) -> None:
        if self.door.tokens is None and not is_loopback_only(self._config):
            self._log.warn(
                "Open mode on a port that others can reach: anyone can speak as anyone;"
                " see --auth token."
            )
        weakness = self.door.tokens.weakness() if self.door.tokens is not None else None
        if weakness is not None:
            self._log.warn("{weakness}", weakness=weakness)

    def reload(self) -> None:
        """Read the token key and the certificates again; what is bad stays as it was."""
        faults = self._certificates.reload()
        if self.door.tokens is not None and (fault := self.door.tokens.reload()) is not None:
            faults.append(fault)
        for fault in faults:
            self._log.error("Not reloaded: {fault}", fault=fault)
        self._log.info("Read keys and certificates again.")

    def stopService(self) -> Any:
        """Stop listening, drain, then stop the domain and at last the broker."""
        ports = [part for part in self if isinstance(part, StreamServerEndpointService)]
        stopping: Deferred[Any] = gatherResults(
            [maybeDeferred(port.disownServiceParent) for port in ports]
        )
        stopping.addCallback(lambda _: self.node.drain())
        stopping.addCallback(self._drained)
        return stopping

    def _drained(self, _: object) -> Any:
        return super().stopService()


def make_broker(reactor: Any, address: str, retention: Retention) -> Any:
    """The broker at ``address``, as ``--broker`` gives it."""
    kind, _, rest = address.partition(":")
    if kind == "memory":
        return MemoryBroker(reactor, retention)
    if kind == "sqlite":
        return SQLiteBroker(reactor, rest, retention)
    return AMQPBroker(reactor, BrokerURL.parse(address), retention)
