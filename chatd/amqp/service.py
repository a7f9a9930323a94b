"""Staying connected to one of several hosts: TLS, the handshake, back-off with jitter."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

from twisted.application.internet import ClientService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from txamqp.client import Closed
from zope.interface import implementer

from chatd.amqp.addresses import Addresses, SortingReactor
from chatd.amqp.channel import Reason, reason_of
from chatd.amqp.client import Client
from chatd.amqp.codec import ProtocolError
from chatd.amqp.hosts import Hosts
from chatd.amqp.tls import TLS, tls_options
from chatd.amqp.url import BadURL, BrokerURL

#: Seconds for connecting; for the handshake; between attempts, at most.
CONNECT, HANDSHAKE, LONGEST = 5.0, 10.0, 4.0
#: Seconds that a connection must last; one that ends sooner counts as a failed attempt, because the
#: next one may end for the same reason.
PROVED = 30.0
#: Reasons for that remembered, at most.
REASONS = 100

#: Names that RabbitMQ makes up: a refusal has another one each time.
_MADE_UP = re.compile(r"amq\.gen-[\w-]+")
#: What is to be looked at where something else answers, and where nothing does.
NO_AMQP = "what answers there does not speak AMQP 0-9-1, is the port right?"
NO_GREETING = "is RabbitMQ overloaded or frozen there, or the port wrong?"


def backoff(failures: int) -> float:
    """Seconds until the next attempt, with jitter, so that nodes do not all reconnect at once."""
    return random.uniform(0.5, 1.0) * min(LONGEST, 0.2 * 1.6 ** min(failures, 20))


def endpoints(reactor: Any, url: BrokerURL, addresses: Sequence[Addresses]) -> list[Any]:
    """For each host of ``url`` what connects to it, TLS included, to its ``addresses`` in their
    order. Raises `BadURL`."""
    return [
        wrapClientTLS(tls_options(url, host.name), endpoint) if url.tls else endpoint
        for host, known in zip(url.hosts, addresses, strict=True)
        for sorting in [SortingReactor(reactor, known)]
        for endpoint in [HostnameEndpoint(sorting, host.name, host.port, timeout=CONNECT)]
    ]


class _Factory(Factory):
    """Makes protocols by calling ``make``."""

    noisy = False

    def __init__(self, make: Callable[[], Protocol]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._make()


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """Connects to the present one of the hosts of the broker. It is connected after the handshake,
    because `ClientService` cannot handle a connection that is lost before that."""

    _log = Logger()

    def __init__(
        self, connection: BrokerConnection, reactor: Any, url: BrokerURL, hosts: Hosts
    ) -> None:
        self._connection = connection
        self._hosts = hosts
        self._read = partial(endpoints, reactor, url, hosts.addresses)
        self._endpoints = self._read()
        self._tls = url.tls
        #: What is wrong with the files of TLS; "" if nothing is.
        self._fault = ""

    def _endpoint(self, host: int) -> Any:
        """What connects to ``host``. The files of TLS are read each time, for certificates are
        renewed while chatd runs; if they cannot be used, what was in them before is."""
        if self._tls:
            before, self._fault = self._fault, ""
            try:
                self._endpoints = self._read()
            except BadURL as e:
                self._fault = str(e)
                if self._fault != before:
                    self._log.warn("{why} What was read before is used.", why=self._fault)
        return self._endpoints[host]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connect(self._hosts.present, protocolFactory))

    async def _connect(self, host: int, protocolFactory: IProtocolFactory) -> Any:
        self._connection.host = host
        try:
            client, gone = await self._connection.establish(self._endpoint(host))
        except Exception:
            if self._connection.peer is not None:
                self._hosts.addresses[host].failed(self._connection.peer)
            self._hosts.unreachable(host)
            raise
        # the service gets a stand-in for the client, which is the transport's protocol already
        session: Any = protocolFactory.buildProtocol(cast(IAddress, None))
        session.makeConnection(client.transport)

        def left(reason: Reason) -> None:
            self._hosts.ended(host, soon=not self._connection.proved)
            session.connectionLost(Failure(ConnectionLost(reason)))

        gone.addCallback(left)
        self._hosts.connected(host)
        return session


def _left_anyway(failure: Failure) -> None:
    failure.trap(Closed, TimeoutError)


class BrokerConnection(MultiService):
    """Keeps one connection to the broker while it runs; it reconnects for ever.

    ``opened`` is awaited with the `Client` after each handshake; then ``client`` is set. ``lost``
    is called when a connection has ended, also during ``opened``. Connections with the same
    ``hosts`` go to the same host of ``url``.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        url: BrokerURL,
        name: str,
        opened: Callable[[Client], Awaitable[None]],
        lost: Callable[[Reason], None],
        hosts: Hosts | None = None,
    ) -> None:
        super().__init__()
        self.client: Client | None = None
        #: The number of the host that ``client`` is connected to, or that was tried last.
        self.host = 0
        #: The address that the newest attempt has connected to; None if it came to none.
        self.peer: IAddress | None = None
        self._reactor = reactor
        self._url = url
        self._hosts = hosts or Hosts(len(url.hosts))
        self._hosts.follow.append(self._follow)
        self._properties = {"product": "chatd", "platform": "Twisted", "connection_name": name}
        self._opened = opened
        self._lost = lost
        self._trouble = ""
        #: Of each host, why the newest attempt failed, since there was a connection.
        self._said: dict[int, str] = {}
        #: Since when there is no connection: the clock's seconds; None before the first one.
        self._away_since: float | None = None
        #: How often it connected after a connection was lost.
        self.reconnects = 0
        #: Successive connections that did not last `PROVED` seconds.
        self._short = 0
        #: Why they ended, and whether the log tells of the newest one: it does so once for each
        #: reason, until a connection lasts.
        self._reasons, self._told = set[str](), False

    @property
    def trouble(self) -> str:
        """Why there is no connection, if that is known."""
        return self._trouble

    def startService(self) -> None:
        """Begin to connect. Raises `BadURL` for TLS files that cannot be used."""
        ClientService(
            _Endpoint(self, self._reactor, self._url, self._hosts),
            _Factory(Protocol),
            retryPolicy=lambda failures: backoff(failures + self._short),
            clock=self._reactor,
        ).setServiceParent(self)
        super().startService()

    def stopService(self) -> Deferred[Any]:
        """Close the connection, waiting up to a second for the broker. May be called twice."""
        if not self.running:
            return succeed(None)
        return self._goodbye().addCallback(lambda _: super(BrokerConnection, self).stopService())

    @property
    def proved(self) -> bool:
        """Whether the newest connection that ended had lasted for a while."""
        return self._short == 0

    def move(self, why: str) -> None:
        """Connect to the present host, because of ``why``; see `Hosts.must_leave`."""
        if self.client is not None and self._hosts.must_leave(self.host):
            self.client.fail(why)

    def _follow(self) -> None:
        if self.client is not None and self.host != self._hosts.present:
            self.client.fail("the node's other connection has gone to another host")

    def _goodbye(self) -> Deferred[Any]:
        client, self.client = self.client, None
        if client is None or client.closed:
            return succeed(None)
        leaving: Deferred[Any] = Deferred.fromCoroutine(client.leave())
        return leaving.addTimeout(1.0, self._reactor).addErrback(_left_anyway)

    async def establish(self, endpoint: Any) -> tuple[Client, Deferred[Reason]]:
        """Connect to ``endpoint``, and wait for the handshake and ``opened``. The Deferred fires
        when the connection ends."""
        gone: Deferred[Reason] = Deferred()

        def lost(reason: Reason) -> None:
            self.client = None
            self._lost(reason)
            gone.callback(reason)

        url = self._url
        make = partial(Client, self._reactor, url.vhost, url.heartbeat, self._properties, lost)
        self.peer = None
        try:
            client: Client = await endpoint.connect(_Factory(make))
            # or a request that follows another at once waits until that is acknowledged, which the
            # other side may put off for 40 ms (RFC 9293, section 3.7.4): each time a stream is read
            client.transport.setTcpNoDelay(True)
        except Exception as e:
            self._say(str(e))
            raise
        self.peer = client.transport.getPeer()
        try:
            ready = Deferred.fromCoroutine(self._handshake(client))
            await ready.addTimeout(HANDSHAKE, self._reactor)
        except Exception as e:
            client.transport.abortConnection()
            reason = await gone
            why = str(reason_of(e) if isinstance(e, Closed | ProtocolError) else reason)
            hint = NO_AMQP
            if isinstance(e, TimeoutError):
                why, hint = "no answer in time", NO_GREETING
            met = client.server or why.startswith(TLS)
            self._say(why if met else f"{why}; {hint}")
            raise
        self.client = client
        self._trouble = ""
        self._said.clear()
        self._back()
        gone.addCallback(self._gone, self._reactor.seconds())
        return client, gone

    async def _handshake(self, client: Client) -> None:
        await client.authenticate(self._url.user, self._url.password, "PLAIN")
        await self._opened(client)

    def _gone(self, reason: Reason, opened: float) -> Reason:
        self._away_since = self._reactor.seconds()
        self._short = 0 if self._away_since - opened >= PROVED else self._short + 1
        if self._short == 0 or len(self._reasons) >= REASONS:
            self._reasons.clear()
        why = _MADE_UP.sub("", str(reason))
        self._told = why not in self._reasons
        self._reasons.add(why)
        if self._told and self.running:
            self._log.warn("Connection to the broker lost: {why}", why=str(reason))
        return reason

    def _back(self) -> None:
        if self._away_since is not None:
            self.reconnects += 1
        if self._away_since is not None and self._told:
            self._log.info(
                "{name} connected again after {seconds:.1f} s",
                name=self._properties["connection_name"],
                seconds=self._reactor.seconds() - self._away_since,
            )

    def _say(self, why: str) -> None:
        """Log why an attempt failed, unless it is the same reason as before at this host, or at
        another one: they are tried in turn."""
        known = (reason := _MADE_UP.sub("", why)) in self._said.values()
        self._trouble, self._said[self.host] = why, reason
        if not known and self.running:
            self._log.warn("Cannot use the broker {url}: {why}", url=str(self._url), why=why)
