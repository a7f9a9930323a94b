"""Socket.IO: its packets, the payloads of polling, and sessions over both transports."""

from __future__ import annotations

import re
from functools import partial

from chatd.transports.socketio.engine_packets import BadPacket, EngineKind, read_payload
from chatd.transports.socketio.packets import SocketPacket
from tests.fuzz.ports import UPGRADE, FuzzedNode, frames
from tests.fuzz.target import Target

HTTP = 8081
_PATH = "/socket.io/?EIO=4&transport=%s&username=ann"
_POLLING = (_PATH % "polling").encode()
_GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
_POST = (
    b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain;charset=UTF-8\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)
_SOCKET = UPGRADE.format(path=_PATH % "websocket", protocol="").encode()
_JOIN = b'42["join",{"room":"lobby","last":3}]'
_SAY = b'421["message",{"room":"lobby","text":"hello","id":"m1","after":"e:1"}]'
_SEEDS = (
    b"\x1e".join((b"40", _JOIN, _SAY)),
    b'40{"token":"a.b.c"}\x1e42["typing",{"room":"lobby"}]\x1e3\x1e41',
    b'40/admin,\x1e451-["join",{"_placeholder":true,"num":0}]\x1ebAAEC',
    b'40\x1e4312["a"]\x1e44{"message":"no"}\x1e2probe\x1e5\x1e6\x1e1',
)
_WORDS = (b"\x1e", b"40", b"42[", b"451-", b"/admin,", b'"room":', b"bAAE", b"9" * 20, b"]" * 9)


def packets(data: bytes) -> None:
    """A payload, and what its messages say."""
    for packet in read_payload(data):
        if packet.kind is EngineKind.MESSAGE:
            SocketPacket.read(packet.data)


def polled(node: FuzzedNode, data: bytes) -> None:
    """A session of polling is sent a payload, and polled twice."""
    found = re.search(rb'"sid":"([^"]+)"', node.feed(HTTP, _GET % _POLLING))
    assert found is not None, "there is no session"
    path = b"%s&sid=%s" % (_POLLING, found[1])
    node.feed(HTTP, _POST % (path, len(data), data))
    for _ in range(2):
        node.feed(HTTP, _GET % path)


def carried(node: FuzzedNode, data: bytes) -> None:
    """A session over WebSocket is sent frames, one for each packet."""
    lines = (b"\x81" + packet for packet in data.split(b"\x1e"))
    node.feed(HTTP, frames(b"\n".join(lines)), _SOCKET)


def targets(node: FuzzedNode) -> dict[str, Target]:
    """The rows of the table, on ``node``."""
    return {
        "socketio_packets": Target(packets, (BadPacket,), _SEEDS, _WORDS),
        "socketio_polling": Target(partial(polled, node), (), _SEEDS, _WORDS),
        "socketio_socket": Target(partial(carried, node), (), _SEEDS, _WORDS),
    }
