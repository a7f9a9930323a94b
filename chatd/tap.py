"""``twistd chatd``: all parts composed into one MultiService.

The only module that knows the reactor and every part. The tree is ::

    chatd
    |- broker         SQLite, memory, or RabbitMQ by txamqp
    |- node           directory, rooms, presence
    |- reload         SIGHUP
    |- advice         warns of settings, and of certificates in time
    |- supervision    tells systemd
    |- gate           connections wait until the node is ready
    |- loop lag       measures how late calls are
    |- announcement   what the log says of a start
    |- websocket:...  Autobahn, one service for each endpoint
    |- http:...       twisted.web: pages, long-poll, event streams, WebSocket at /ws, Socket.IO
    |- setup:...      raw TCP
    |- metrics:...    Prometheus text
    |- garbage        searches for it when memory has grown
    |- short turns    serves sockets a little in each turn of the reactor
    |- standstills    puts off what became due while the process was stopped
    `- signals        the first SIGTERM or Ctrl-C counts
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from chatd.brokers.interfaces import Retention
from chatd.brokers.registry import broker_at
from chatd.config import advice, explanation, preflight
from chatd.config.access import make_admission, renew_admission, reopen_access_log
from chatd.config.advice import Adviser
from chatd.config.cannot_start import refusing
from chatd.config.check import run_check
from chatd.config.options import Options as Options
from chatd.config.renewal import Settings
from chatd.config.settings import Config
from chatd.net.certificates import Certificates
from chatd.net.gate import Gate
from chatd.net.notification import ServiceManager
from chatd.net.ports import ports
from chatd.net.short_turns import ShortTurns
from chatd.service.announcement import Announcement
from chatd.service.census import Census
from chatd.service.domain import compose, fresh_name
from chatd.service.garbage import GarbageCollection, known_bytes
from chatd.service.lifecycle import NodeService
from chatd.service.overview import Overview
from chatd.service.reload import Reloader, Source
from chatd.service.signals import FirstSignal
from chatd.service.status import NodeStatus
from chatd.service.supervision import Supervision
from chatd.service.survey import Survey
from chatd.telemetry.log import Log
from chatd.telemetry.loop_lag import LoopLag
from chatd.telemetry.metrics import Metrics
from chatd.timing.clock import NodeClock
from chatd.timing.standstill import Standstills
from chatd.timing.steady import steady
from chatd.timing.timer_wheel import TimerWheel
from chatd.timing.wall import WallClock
from chatd.transports.ways import Ways

#: What the last line of a start adds.
STOP = "SIGTERM, or Ctrl-C in a terminal, ends it in order."


def makeService(options: Options) -> IService:
    """The service tree of one node. Ends the process with one line if it cannot be made."""
    from twisted.internet import reactor

    advice.raise_file_limit()
    if options.check:
        raise SystemExit(run_check(steady(reactor), options))
    with refusing():
        preflight.check(options.config, options.as_user)
        standstills = Standstills(steady(reactor))
        config, read, log = options.config, options.read, options.log
        node = ChatService(steady(reactor), config, time.time, read, log, standstills.count)
        budgets = node.admission.unread, node.admission.unfinished
        known = partial(known_bytes, node.status, *budgets)
        GarbageCollection(steady(reactor), known).setServiceParent(node)
        ShortTurns(reactor).setServiceParent(node)
        standstills.on_standstill = node.admission.standing.look
        standstills.setServiceParent(node)
        FirstSignal(reactor).setServiceParent(node)
        return node


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
        standstills: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__()
        self.setName("chatd")
        self._config, self._log_to = config, log
        clock = NodeClock(reactor)
        self._wall = wall = WallClock(clock, time_of_day)
        self.metrics = metrics = Metrics(wall.milliseconds)
        self.admission = make_admission(config, clock, wall, TimerWheel(clock))
        self._certificates = Certificates(self.admission.turns.handshake)
        self._make_domain(reactor, clock, standstills)
        kind = config.broker.partition(":")[0]
        overview = Overview(self.status, self._survey, kind, metrics, wall)
        self.ways = Ways(reactor, config, self.chat, self.admission, metrics, overview)
        self.settings = Settings(config, read_again or (lambda: config), [self._renew])
        for part in self._tree(reactor, clock):
            part.setServiceParent(self)

    def _make_domain(self, reactor: Any, clock: NodeClock, standstills: Callable[[], int]) -> None:
        """The rooms and all that they rest on, and what is known of them from outside."""
        config, wall, metrics = self._config, self._wall, self.metrics
        retention = Retention(config.retain, config.retain_bytes)
        self.broker = broker_at(reactor, wall, config.broker, retention)
        name, most = fresh_name(), config.max_text
        domain = compose(
            clock,
            self.broker,
            name,
            metrics,
            retention,
            wall=wall,
            standstills=standstills,
            max_text=most,
        )
        self.chat = domain.chat
        self.node = NodeService(clock, domain, config.rooms, config.restored)
        self.status = NodeStatus(self.node, self.broker, self.admission.connections)
        self._survey = Survey(self.chat.rooms, clock)
        census = Census(self.status, self._survey, self._certificates.expiries)
        metrics.include(census, census.look)

    def _tree(self, reactor: Any, clock: NodeClock) -> tuple[IService, ...]:
        """The parts, in the order in which they start."""
        config, status, ways = self._config, self.status, self.ways
        certificates = self._certificates
        self.adviser = Adviser(
            clock,
            lambda: advice.warnings(self.settings.config, self.admission),
            lambda: certificates.due(self._wall.seconds()),
            lambda: advice.closed_to_us(self.settings.config, certificates.files),
        )
        log: list[Source] = [] if self._log_to is None else [self._log_to.output.reopen]
        sources = (*log, certificates.reload, self.settings.reload, self.adviser.say)
        access_log = partial(reopen_access_log, self.admission)
        self.reloader = Reloader(reactor, sources, (*log, access_log))
        manager = ServiceManager.of(os.environ)
        gate = Gate(clock, lambda: status.ready)
        self.supervision = Supervision(clock, manager, lambda: status.ready, status.line)
        return (
            self.broker,
            self.node,
            self.reloader,
            self.adviser,
            self.supervision,
            gate,
            LoopLag(clock, self.metrics.loop_lag.observe),
            Announcement(clock, explanation.start(config), lambda: status.ready, STOP),
            *ports(reactor, "websocket", config.websocket, ways.websockets, certificates, gate),
            *ports(reactor, "http", config.http, ways.http, certificates, gate),
            *ports(reactor, "setup", config.setup, ways.setup, certificates, gate),
            *ports(reactor, "metrics", config.metrics, ways.counts, certificates),
        )

    def setServiceParent(self, parent: Any) -> None:
        """Have the application that this becomes a part of log as the settings say."""
        super().setServiceParent(parent)
        if self._log_to is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log_to)

    def _renew(self, config: Config) -> list[str]:
        """Go by another configuration from now on; see `Settings`."""
        faults = renew_admission(self.admission, config)
        self.ways.renew(config)
        self.node.want(config.rooms)
        return faults

    def privilegedStartService(self) -> None:
        """Listen, while still root if that is what twistd was started as."""
        with refusing():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start all parts, and say where the node can be reached."""
        self.adviser.say()
        self._wall.watch()
        with refusing():
            super().startService()

    def stopService(self) -> Any:
        """Stop listening, drain, then stop the domain and at last the broker. A step that fails
        is logged, and keeps none of the others from being taken."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.supervision.going_down()
        listening = [part for part in self if isinstance(part, StreamServerEndpointService)]
        await gatherResults([self._try(port.disownServiceParent) for port in listening])
        await self._try(lambda: self.node.drain(self.ways.draining()))
        await self._try(super().stopService)
        self._close_log()

    def _try(self, step: Callable[[], Any]) -> Deferred[Any]:
        failed = partial(self._log.failure, "A step of the stop failed")
        return maybeDeferred(step).addErrback(failed)

    def _close_log(self) -> None:
        if self.admission.access_log is not None:
            self.admission.access_log.output.close()
