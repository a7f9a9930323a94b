"""Nodes whose ports speak TLS, and clients of theirs."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.logger import LogEvent, globalLogPublisher

from tests.support.certificates import Certificates, make_certificates
from tests.support.guarded import GuardedTests
from tests.support.http_client import HTTP
from tests.support.raw import Raw
from tests.support.serving import Node
from tests.support.waiting import until
from tests.support.ws_client import WebSocket

reactor: Any = _reactor
UPGRADE = {"Sec-WebSocket-Protocol": "chatd.v1"}


def end(raw: Raw) -> Deferred[None]:
    """Cut a connection, if it is not cut yet."""
    if not raw.lost:
        raw.transport.abortConnection()
    return Deferred.fromCoroutine(until(lambda: raw.lost))


class TLSTests(GuardedTests):
    """Tests of nodes that speak TLS."""

    def setUp(self) -> None:
        self.files: Certificates = make_certificates(self.folder())
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def endpoint(self) -> str:
        files = self.files
        return (
            f"ssl:0:interface=127.0.0.1:privateKey={files.server_key}"
            f":certKey={files.server_certificate}"
        )

    async def tls(self, *options: str) -> Node:
        """A node whose three ports speak TLS."""
        ports = [f"--{port}={self.endpoint()}" for port in ("websocket", "http", "setup")]
        return await self.serve("--rate", "10000/s", *ports, *options)

    async def dial(self, node: Node, port: str) -> Raw:
        """A TLS connection that trusts the authority of the tests, and nobody else."""
        authority = Certificate.loadPEM(self.files.authority.read_bytes())
        trusting = optionsForClientTLS("localhost", authority)
        plain = TCP4ClientEndpoint(reactor, "127.0.0.1", node.port(port))
        raw = Raw()
        self.addCleanup(end, raw)
        await connectProtocol(wrapClientTLS(trusting, plain), raw)
        return raw

    async def websocket(self, node: Node, path: str, port: str, **headers: str) -> WebSocket:
        raw = await self.dial(node, port)
        host = {"Host": f"localhost:{node.port(port)}"}
        return await WebSocket.open(raw, path, {**host, **UPGRADE, **headers})

    async def ask(self, node: Node, method: str, path: str, body: Any = None) -> HTTP:
        raw = await self.dial(node, "http")
        content = json.dumps(body).encode() if body is not None else b""
        raw.send(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        return HTTP(raw, method)

    def tracebacks(self) -> list[LogEvent]:
        """What was logged as a failure."""
        return [e for e in self.events if "log_failure" in e or e.get("isError")]
