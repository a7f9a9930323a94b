"""Staying connected: one of several hosts, TLS, the handshake, and back-off with jitter."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from attrs import define
from twisted.application.internet import ClientService
from twisted.application.service import MultiService
from twisted.internet import ssl
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from chatd.amqp.channel import Reason, reason_of
from chatd.amqp.client import Client
from chatd.amqp.url import BadURL, BrokerURL

#: Seconds: until a host counts as unreachable, a handshake as failed, between attempts at most.
CONNECT, HANDSHAKE, LONGEST = 5.0, 10.0, 15.0


def backoff(failures: int) -> float:
    """Seconds until the next attempt; jittered, so that nodes do not all come back at once."""
    return random.uniform(0.5, 1.0) * min(LONGEST, 0.2 * 1.6 ** min(failures, 20))


def tls_options(url: BrokerURL, host: str) -> Any:
    """What `wrapClientTLS` needs: the certificate is verified, for this host name or address.

    Raises `BadURL` if a file cannot be read or is not what it should be.
    """
    name = "cacertfile"
    try:
        trust = None
        if url.cacertfile:
            text = Path(url.cacertfile).read_text("ascii")
            marks = text.split("-----END CERTIFICATE-----")[:-1]
            certificates = [
                ssl.Certificate.loadPEM(mark + "-----END CERTIFICATE-----\n") for mark in marks
            ]
            if not certificates:
                raise BadURL(f"{url.cacertfile} (cacertfile) holds no PEM certificate.")
            trust = ssl.trustRootFromCertificates(certificates)
        own = None
        if url.certfile:
            name = "certfile or keyfile"
            pem = Path(url.keyfile).read_bytes() + b"\n" + Path(url.certfile).read_bytes()
            own = ssl.PrivateCertificate.loadPEM(pem)
    except OSError as e:
        raise BadURL(f"{e.filename} ({name}) cannot be read: {e.strerror}.") from None
    except (ssl.SSL.Error if hasattr(ssl, "SSL") else ValueError, ValueError) as e:
        if isinstance(e, BadURL):
            raise
        raise BadURL(f"The {name} of the broker's address is not PEM.") from None
    return ssl.optionsForClientTLS(host, trustRoot=trust, clientCertificate=own)


@implementer(IStreamClientEndpoint)
class Hosts:
    """An endpoint that tries the next of the broker's hosts at each attempt."""

    def __init__(self, reactor: Any, url: BrokerURL) -> None:
        self._endpoints = [
            wrapClientTLS(tls_options(url, host.name), endpoint) if url.tls else endpoint
            for host in url.hosts
            for endpoint in [HostnameEndpoint(reactor, host.name, host.port, timeout=CONNECT)]
        ]
        self._next = random.randrange(len(self._endpoints))

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        endpoint = self._endpoints[self._next]
        self._next = (self._next + 1) % len(self._endpoints)
        connecting: Deferred[IProtocol] = endpoint.connect(protocolFactory)
        return connecting


@define(eq=False, init=False)
class _Factory(Factory):
    """Makes clients; quiet about it."""

    noisy = False

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Client:
        return self._make()


class Connection(MultiService):
    """Keeps one connection to the broker for as long as it runs.

    ``opened`` is awaited with the `Client` after each handshake, and must finish before the
    connection counts (`client` is set); ``lost`` is called when a connection that was opened, or
    was being opened, is gone. Attempts go on for ever.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        url: BrokerURL,
        name: str,
        opened: Callable[[Client], Awaitable[None]],
        lost: Callable[[Reason], None],
    ) -> None:
        super().__init__()
        self.client: Client | None = None
        self._reactor = reactor
        self._url = url
        self._properties = {"product": "chatd", "platform": "Twisted", "connection_name": name}
        self._opened = opened
        self._lost = lost
        self._said = ""
        self._service: ClientService | None = None

    def startService(self) -> None:
        """Begin to connect; raises `BadURL` for files that cannot be used."""
        service = ClientService(
            Hosts(self._reactor, self._url),
            _Factory(self._make),
            retryPolicy=backoff,
            clock=self._reactor,
            prepareConnection=cast(Any, self._prepare),
        )
        self._service = service
        service.setServiceParent(self)
        super().startService()
        service.whenConnected(failAfterFailures=1).addErrback(self._say)

    def stopService(self) -> Deferred[None]:
        """Say goodbye to the broker, within a second, and stop."""
        leaving = maybeDeferred(self._goodbye)
        return leaving.addCallback(lambda _: super(Connection, self).stopService())

    def _goodbye(self) -> Deferred[Any]:
        client, self.client = self.client, None
        channel = client.channels.get(0) if client is not None else None
        if client is None or channel is None or client.closed:
            return succeed(None)
        closing: Deferred[Any] = channel.connection_close(reply_code=200, reply_text="bye")
        return closing.addTimeout(1.0, self._reactor).addErrback(lambda _: None)

    def _make(self) -> Client:
        return Client(
            self._reactor, self._url.vhost, self._url.heartbeat, self._properties, self._gone
        )

    def _prepare(self, client: Client) -> Deferred[None]:
        ready = Deferred.fromCoroutine(self._handshake(client))
        ready.addTimeout(HANDSHAKE, self._reactor)
        return ready.addErrback(self._refused, client)

    async def _handshake(self, client: Client) -> None:
        await client.authenticate(self._url.user, self._url.password, "PLAIN")
        await self._opened(client)
        self.client = client
        self._said = ""

    def _refused(self, failure: Failure, client: Client) -> Failure:
        self._say(failure)
        client.transport.abortConnection()
        return failure

    def _say(self, failure: Failure) -> None:
        """One line for each new reason, not one for each attempt."""
        why = "no answer in time" if failure.check(TimeoutError) else str(reason_of(failure))
        if why != self._said:
            self._said = why
            self._log.warn("Cannot use the broker {url}: {why}", url=str(self._url), why=why)

    def _gone(self, reason: Reason) -> None:
        self.client = None
        if self.running:
            self._log.warn("Connection to the broker lost: {why}", why=str(reason))
        self._lost(reason)
