"""All ways into a node: what each of its ports serves."""

from __future__ import annotations

from typing import Any

from chatd.access.admission import Admission
from chatd.config.access import (
    connections,
    metrics_admission,
    metrics_origin_policy,
    set_connections,
)
from chatd.config.settings import Config
from chatd.service.administration import Administration
from chatd.service.chat import Chat
from chatd.service.lifecycle import Draining
from chatd.service.overview import Overview
from chatd.telemetry.metrics import Metrics
from chatd.transports.http import messages, operators, pages, probes, rooms
from chatd.transports.http.call import Route
from chatd.transports.http.poll_presence import Pollers
from chatd.transports.http.router import Api
from chatd.transports.http.site import LimitedSite
from chatd.transports.http.sse import EventStreams
from chatd.transports.http.upgrade import upgrade
from chatd.transports.http.waiting_poll import UsualPolls
from chatd.transports.setup.factory import SetupFactory
from chatd.transports.socketio.routes import SocketIO
from chatd.transports.websocket.dialects import dialect
from chatd.transports.websocket.factory import WebSocketFactory


class Ways:
    """The factory of each port: ``websockets``, ``http``, ``setup`` and ``counts`` (the port for
    the metrics alone); and what lies behind them. ``overview`` is what operators are shown."""

    def __init__(
        self,
        reactor: Any,
        config: Config,
        chat: Chat,
        admission: Admission,
        metrics: Metrics,
        overview: Overview,
    ) -> None:
        self._chat, self._admission, self._metrics = chat, admission, metrics
        self._overview, status = overview, overview.status
        self._probes = probes.Probes(metrics, lambda: status.trouble, lambda: status.blocked)
        self.administration = Administration(
            chat.directory, config.max_rooms, admission.check_room_rate
        )
        self.websockets = WebSocketFactory(
            reactor, chat, admission, metrics, dialect, config.max_frame
        )
        self.streams = EventStreams(chat, metrics)
        self.socketio = SocketIO(reactor, chat, admission, metrics, config.max_frame)
        self.pollers = Pollers(chat, admission.deadlines, connections(config))
        self.api = Api(self._routes(config), chat, admission, metrics, probes.UNLIMITED)
        self.http = LimitedSite(self.api, admission, metrics, config.max_frame)
        self.polls = self.http.polls = UsualPolls(chat, admission, metrics, self.pollers)
        self.setup = SetupFactory(self.administration, admission, metrics)
        self.counts = self._counts(config)

    def draining(self) -> tuple[Draining, ...]:
        """What there is to drain."""
        return (self.websockets, self.streams, self.socketio, self.api, self.polls, self.setup)

    def _routes(self, config: Config) -> list[Route]:
        """What the HTTP port serves."""
        administered = self._admission.rights.administered
        return [
            upgrade(self.websockets),
            *messages.routes(self._chat, self.pollers),
            *self.streams.routes(),
            *self.socketio.routes(),
            *rooms.RoomRoutes(self._chat, self.administration).routes(),
            *self._probes.routes(),
            *(operators.routes(self._overview) if administered else ()),
            *pages.routes(pages.Offer(config.rooms, config.auth, config.max_text, administered)),
        ]

    def _counts(self, config: Config) -> LimitedSite:
        admission = metrics_admission(config, self._admission)
        api = Api(
            self._probes.open_routes(), self._chat, admission, self._metrics, probes.UNLIMITED
        )
        return LimitedSite(api, admission, self._metrics, config.max_frame)

    def renew(self, config: Config) -> None:
        """Apply another configuration, which the access rules follow already."""
        self.counts.admission.origin_policy = metrics_origin_policy(config)
        self.counts.admission.access_log = self._admission.access_log
        set_connections(self.pollers.leases, config)
        self._chat.max_text = config.max_text
        self.administration.max_rooms = config.max_rooms
        self.websockets.set_max_frame(config.max_frame)
        self.socketio.set_max_frame(config.max_frame)
        self.http.max_body = self.counts.max_body = config.max_frame
        self.api.serve(self._routes(config))
