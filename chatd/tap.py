"""``twistd chatd``: all parts composed into one MultiService.

The only module that knows the reactor and every part. The tree is ::

    chatd
    |- broker         SQLite, memory, or RabbitMQ by txamqp
    |- node           directory, rooms, presence
    |- reload         SIGHUP
    |- announcement   what the log says of a start
    |- supervision    tells systemd
    |- websocket:...  Autobahn, one service for each endpoint
    |- http:...       twisted.web: pages, long-poll, event streams, WebSocket at /ws, Socket.IO
    |- setup:...      raw TCP
    `- metrics:...    Prometheus text
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from chatd.brokers.interfaces import Retention
from chatd.brokers.registry import broker_at
from chatd.config import advice, explanation, preflight
from chatd.config.access import (
    connections,
    make_door,
    metrics_door,
    metrics_gate,
    renew_door,
    set_connections,
)
from chatd.config.check import run_check
from chatd.config.options import Options as Options
from chatd.config.refusal import refusing
from chatd.config.renewal import Settings
from chatd.config.settings import Config
from chatd.net.certificates import Certificates
from chatd.net.notification import ServiceManager
from chatd.net.ports import ports
from chatd.service.administration import Administration
from chatd.service.announcement import Announcement
from chatd.service.census import Census
from chatd.service.domain import compose
from chatd.service.lifecycle import NodeService
from chatd.service.overview import Overview
from chatd.service.reload import Reloader
from chatd.service.supervision import Supervision
from chatd.telemetry.log import Log
from chatd.telemetry.loop_lag import LoopLag
from chatd.telemetry.metrics import Metrics
from chatd.timing.clock import NodeClock
from chatd.timing.steady import steady
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import WallClock
from chatd.transports.http import messages, operators, pages, probes, rooms
from chatd.transports.http.call import Route
from chatd.transports.http.poll_presence import Pollers
from chatd.transports.http.router import Api
from chatd.transports.http.site import LimitedSite
from chatd.transports.http.sse import EventStreams
from chatd.transports.http.upgrade import upgrade
from chatd.transports.setup.protocol import SetupFactory
from chatd.transports.socketio.routes import SocketIO
from chatd.transports.websocket.connection import WebSocketFactory
from chatd.transports.websocket.dialects import dialect

#: What the last line of a start adds.
STOP = "SIGTERM, or Ctrl-C in a terminal, ends it in order."


def makeService(options: Options) -> IService:
    """The service tree of one node. Ends the process with one line if it cannot be made."""
    from twisted.internet import reactor

    advice.raise_file_limit()
    if options.check:
        raise SystemExit(run_check(steady(reactor), options))
    with refusing():
        preflight.check(options.config)
        return ChatService(steady(reactor), options.config, time.time, options.read, options.log)


class ChatService(MultiService):
    """The root of the tree."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        time_of_day: Callable[[], float] | None = None,
        read_again: Callable[[], Config] | None = None,
        log: Log | None = None,
    ) -> None:
        super().__init__()
        self.setName("chatd")
        self._config = config
        self._log_to = log
        self.settings = Settings(config, read_again or (lambda: config))
        clock = NodeClock(reactor)
        self._wall = wall = WallClock(clock, time_of_day)
        deadlines = TimerWheel(clock)
        self.metrics = metrics = Metrics(wall.milliseconds)
        self.door = door = make_door(config, clock, wall, deadlines)
        certificates = Certificates(door.turns.handshake)

        retention = Retention(config.retain, config.retain_bytes)
        self.broker = broker_at(reactor, wall, config.broker, retention)
        name = f"{socket.gethostname()}-{token_hex(4)}"
        domain = compose(
            clock, self.broker, name, metrics, retention, wall=wall, max_text=config.max_text
        )
        self.chat = chat = domain.chat

        self.administration = Administration(
            domain.directory, config.max_rooms, door.check_room_rate
        )
        kind = config.broker.partition(":")[0]
        self._overview = Overview(
            chat, self.broker, kind, domain.replication, metrics, wall, lambda: self.ready
        )
        self._probes = probe = probes.Probes(
            metrics, lambda: self.ready, lambda: str(self.broker.blocked)
        )
        self.websockets = WebSocketFactory(reactor, chat, door, metrics, dialect, config.max_frame)
        self.streams = EventStreams(chat, metrics)
        #: What else keeps clients on the HTTP port.
        self.socketio = SocketIO(reactor, chat, door, metrics, config.max_frame)
        self._ways = ways = (self.streams, self.socketio)
        self.pollers = Pollers(chat, deadlines, connections(config))
        self.api = Api(self._routes(config), chat, door, metrics, probes.UNLIMITED)
        self.site = LimitedSite(self.api, door, metrics, config.max_frame)
        self.setup = SetupFactory(self.administration, door, metrics)
        self.counts = self._counts(probe)

        transports = (self.websockets, *ways, self.api, self.setup)
        self.readiness = domain.readiness
        metrics.registry.register(Census(chat, self.broker, lambda: self.ready))
        self.node = NodeService(
            clock,
            chat,
            domain.replication,
            self.readiness,
            config.rooms,
            transports,
            config.restored,
        )
        self.settings.parts.append(self._renew)
        reopen = [log.output.reopen] if log is not None else []
        self.reloader = Reloader(reactor, (*reopen, certificates.reload, self.settings.reload))
        manager = ServiceManager.of(os.environ)
        self.supervision = Supervision(clock, manager, lambda: self.ready, self._status)
        for part in (
            self.broker,
            self.node,
            self.reloader,
            self.supervision,
            LoopLag(clock, metrics.loop_lag.observe),
            Announcement(clock, explanation.start(config), lambda: self.ready, STOP),
            *ports(reactor, "websocket", config.websocket, self.websockets, certificates),
            *ports(reactor, "http", config.http, self.site, certificates),
            *ports(reactor, "setup", config.setup, self.setup, certificates),
            *ports(reactor, "metrics", config.metrics, self.counts, certificates),
        ):
            part.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Have the application that this becomes a part of log as the settings say."""
        super().setServiceParent(parent)
        if self._log_to is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log_to)

    def _routes(self, config: Config) -> list[Route]:
        """What the HTTP port serves."""
        administered = self.door.rights.administered
        return [
            upgrade(self.websockets),
            *messages.routes(self.chat, self.pollers),
            *(route for way in self._ways for route in way.routes()),
            *rooms.RoomRoutes(self.chat, self.administration).routes(),
            *self._probes.routes(),
            *(operators.routes(self._overview) if administered else ()),
            *pages.routes(pages.Offer(config.rooms, config.auth, config.max_text, administered)),
        ]

    def _renew(self, config: Config) -> list[str]:
        """Go by another configuration from now on; see `Settings`."""
        faults = renew_door(self.door, config)
        self.counts.door.gate = metrics_gate(config)
        self.counts.door.access_log = self.door.access_log
        set_connections(self.pollers.leases, config)
        self.chat.max_text = config.max_text
        self.administration.max_rooms = config.max_rooms
        self.websockets.set_max_frame(config.max_frame)
        self.socketio.set_max_frame(config.max_frame)
        self.site.max_body = self.counts.max_body = config.max_frame
        self.api.serve(self._routes(config))
        self.node.want(config.rooms)
        return faults

    def _counts(self, probe: probes.Probes) -> LimitedSite:
        """The site of the ports for the metrics alone."""
        door = metrics_door(self._config, self.door)
        api = Api(probe.open_routes(), self.chat, door, self.metrics, probes.UNLIMITED)
        return LimitedSite(api, door, self.metrics, self._config.max_frame)

    def _status(self) -> str:
        """What this node does, in a line."""
        clients = self.door.connections.total
        if self.chat.draining:
            return f"Going down; connections left: {clients}"
        if not self.ready:
            return f"The broker is away, or its rooms are not read yet; connections: {clients}"
        return f"Serving; connections: {clients}, rooms: {len(self.chat.directory)}"

    @property
    def ready(self) -> bool:
        """Whether this node can serve: the broker is connected, the directory can be read and
        written, and the rooms of ``--room`` were made."""
        connected = bool(self.broker.ready or self.broker.blocked)
        serving = self.node.begun and not self.chat.draining
        return connected and serving and self.readiness.ready

    def privilegedStartService(self) -> None:
        """Listen, while still root if that is what twistd was started as."""
        with refusing():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start all parts, and say where the node can be reached."""
        for warning in advice.warnings(self._config, self.door):
            self._log.warn("{warning}", warning=warning)
        self._wall.watch()
        with refusing():
            super().startService()

    def stopService(self) -> Any:
        """Stop listening, drain, then stop the domain and at last the broker."""
        self.supervision.going_down()
        listening = [part for part in self if isinstance(part, StreamServerEndpointService)]
        stopping: Deferred[Any] = gatherResults(
            [maybeDeferred(port.disownServiceParent) for port in listening]
        )
        stopping.addCallback(lambda _: self.node.drain())
        stopping.addCallback(lambda _: super(ChatService, self).stopService())
        stopping.addCallback(self._close_log)
        return stopping

    def _close_log(self, _: object) -> None:
        if self.door.access_log is not None:
            self.door.access_log.output.close()
