"""Ports behind a proxy that speaks the PROXY protocol: what it says first, and what follows."""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.ssl import Certificate, optionsForClientTLS

from chatd.net.tcp import is_proxied
from tests.support.http_client import HTTP
from tests.support.serving import Node
from tests.support.tls_ports import TLSTests
from tests.support.waiting import until

V1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 1 80\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: A client's address and the proxy's, and their ports.
IPV4 = bytes([192, 0, 2, 7, 127, 0, 0, 1, 0, 1, 0, 80])


def v2(command: int, family: int, rest: bytes) -> bytes:
    """A header of version 2."""
    head = bytes([0x20 | command, family]) + struct.pack("!H", len(rest))
    return b"\r\n\r\n\0\r\nQUIT\n" + head + rest


TLV = b"\x04" + struct.pack("!H", 60_000) + b"x" * 60_000
HEADERS = (
    V1,
    b"PROXY UNKNOWN\r\n",  # a client on a Unix socket; a check of the proxy's own
    b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n",
    b"PROXY TCP6 2001:db8::7 ::1 1 80\r\n",
    v2(0, 0, b""),
    v2(1, 0, b""),
    v2(1, 0x11, IPV4),
    v2(1, 0x11, IPV4 + TLV),
    v2(1, 0x31, b"/run/x".ljust(108, b"\0") * 2),
)
NO_HEADERS = (
    GET,
    b"PROXY TCP4 192.0.2.7 127.0.0.1 x 80\r\n",
    b"PROXY TCP4 192.0.2.\xff 127.0.0.1 1 80\r\n",
    b"PROXY TCP4 \x1b[31m 127.0.0.1 1 80\r\n",
    b"PROXY TCP4 192.0.2.7\r\n",
    b"PROXY TCP4 " + b" " * 107,
    v2(1, 0x11, IPV4[:3]),
    v2(1, 0x41, IPV4),
    v2(7, 0x11, IPV4),
)


class ProxyProtocolTests(TLSTests):
    async def behind(self, *options: str) -> Node:
        return await self.serve("--http=haproxy:tcp:0:interface=127.0.0.1", *options)

    async def test_headers(self) -> None:
        node = await self.behind()
        for header in HEADERS:
            raw = await node.raw("http")
            raw.send(header + GET)
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 200, header[:50])

    async def test_a_header_in_pieces(self) -> None:
        for header in (V1, v2(1, 0x11, IPV4)):
            node = await self.behind()
            raw = await node.raw("http")
            await until(node.connections)
            end: Any = node.connections()[0].protocol
            for n in range(len(header)):
                end.dataReceived(header[n : n + 1])
            self.assertEqual(end.getPeer().host, "192.0.2.7")
            raw.send(GET)
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)

    async def test_of_a_long_header_that_does_not_end_little_is_kept(self) -> None:
        """Or all connections together would hold gigabytes, in no budget."""
        header = v2(1, 0x11, IPV4 + TLV)
        for step in (7000, 300, 40_000):
            node = await self.behind()
            raw = await node.raw("http")
            await until(node.connections)
            end: Any = node.connections()[0].protocol
            for n in range(0, len(header), step):
                end.dataReceived((header + GET)[n : min(n + step, len(header) - 1)])
                self.assertLess(len(end._head), 500)
            end.dataReceived(header[-1:] + GET)
            self.assertEqual(end.getPeer().host, "192.0.2.7")
            self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)

    async def test_what_is_no_header(self) -> None:
        node = await self.behind()
        for header in NO_HEADERS:
            raw = await node.raw("http")
            raw.send(header + GET)
            self.assertEqual(await raw.rest(), b"", header[:50])
        self.assertEqual(self.tracebacks(), [])

    async def test_a_client_that_has_closed_its_side(self) -> None:
        node = await self.behind("--setup=haproxy:tcp:0:interface=127.0.0.1")
        for port, said, answer in (
            ("http", GET, b"HTTP/1.1 200 "),
            ("setup", b'{"roomname":"den"}\n', b"200"),
        ):
            raw = await node.raw(port)
            raw.send(V1 + said)
            raw.end()
            self.assertEqual((await raw.rest())[: len(answer)], answer)

    async def test_a_websocket_whose_client_has_closed_its_side(self) -> None:
        """It ends, as without a proxy."""
        node = await self.behind("--websocket=haproxy:tcp:0:interface=127.0.0.1")
        handshake = (
            b" HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        for port, path in (("http", b"/ws"), ("websocket", b"/")):
            raw = await node.raw(port)
            raw.send(V1 + b"GET " + path + handshake)
            await raw.until(b"\r\n\r\n")
            self.assertEqual(node.service.admission.connections.total, 1)
            raw.end()
            await raw.rest()
            await until(lambda: node.service.admission.connections.total == 0)

    async def test_the_header_comes_before_tls(self) -> None:
        """The client speaks TLS with chatd, and the proxy passes it on."""
        node = await self.serve(f"--http=haproxy:{self.endpoint()}")
        trusting = optionsForClientTLS(
            "localhost", Certificate.loadPEM(self.files.authority.read_bytes())
        )
        raw = await node.raw("http")
        raw.send(V1)
        raw.transport.startTLS(trusting)
        raw.send(GET)
        self.assertEqual((await HTTP(raw, "GET").answer()).status, 200)
        [end] = node.connections()
        tls: Any = end.protocol
        self.assertEqual(tls.wrappedProtocol.getPeer().host, "192.0.2.7")
        self.assertTrue(is_proxied(tls.wrappedProtocol.wrappedProtocol.transport))
        raw.send(GET)
        await HTTP(raw, "GET").answer()
        tls = raw.transport.protocol
        tls.transport.loseWriteConnection()  # without a word of TLS
        await until(lambda: not node.connections())
        self.assertEqual(self.tracebacks(), [])
