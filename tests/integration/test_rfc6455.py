"""RFC 6455 on both ports, case by case: those of the Autobahn test suite that matter to a server.

The numbers are that suite's (https://github.com/crossbario/autobahn-testsuite). Its cases send back
what they were sent; here a text asks to leave a room, and the answer shows that it was read whole.
Close codes are in ``test_handshake.py``; of compression (12 and 13) chatd offers none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from tests.support.serving import Node, ServingTests
from tests.support.ws_client import BINARY, CLOSE, PING, PONG, TEXT

PLACES = (("websocket", "/?username=ann"), ("http", "/ws?username=ann"))
CONTINUATION = 0
#: A request, and what its answer is taken for.
LEAVE = b'{"type":"leave","room":"caf\xc3\xa9"}'
LEFT = "left"
REFUSED = "bad_request"

#: What comes back: pongs by their payload, texts by what they say, a close by its code.
Answers = Sequence[bytes | str | int]


def frame(payload: bytes, opcode: int = TEXT, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame, masked with zeros."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2)
    else:
        length = b"\xff" + size.to_bytes(8)
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    return bytes([first]) + length + b"\0\0\0\0" + payload


def padded(size: int) -> bytes:
    """`LEAVE`, with spaces up to ``size`` bytes."""
    return LEAVE + b" " * (size - len(LEAVE))


def fragments(*payloads: bytes, opcode: int = TEXT, end: bool = True) -> bytes:
    """A message in fragments; without ``end`` there is more to come."""
    last = len(payloads) - 1
    return b"".join(
        frame(payload, CONTINUATION if n else opcode, fin=end and n == last)
        for n, payload in enumerate(payloads)
    )


def close(code: int = 1000, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(code.to_bytes(2) + reason, CLOSE)


SIZES = (125, 126, 127, 128, 65535, 65536)
BYTES = [LEAVE[n : n + 1] for n in range(len(LEAVE))]

CASES: dict[str, tuple[bytes, Answers]] = {
    "1.1.1 empty text": (frame(b""), [REFUSED]),
    **{f"1.1 text of {n}": (frame(padded(n)), [LEFT]) for n in SIZES},
    "1.2.1 empty binary": (frame(b"", BINARY), [REFUSED]),
    **{f"1.2 binary of {n}": (frame(padded(n), BINARY), [REFUSED]) for n in SIZES},
    "2.1 empty ping": (frame(b"", PING), [b""]),
    "2.2 ping": (frame(b"Hello", PING), [b"Hello"]),
    "2.3 binary ping": (frame(b"\0\xff\xfe\xfd", PING), [b"\0\xff\xfe\xfd"]),
    "2.4 ping of 125": (frame(b"\xfe" * 125, PING), [b"\xfe" * 125]),
    "2.5 ping of 126": (frame(b"\xfe" * 126, PING), [1002]),
    "2.7 pong nobody asked for": (frame(b"", PONG) + frame(LEAVE), [LEFT]),
    "2.8 pong with payload": (frame(b"p", PONG) + frame(LEAVE), [LEFT]),
    "2.9 pong, then ping": (frame(b"p", PONG) + frame(b"q", PING), [b"q"]),
    "2.10 ten pings": (
        b"".join(frame(b"%d" % n, PING) for n in range(10)),
        [b"%d" % n for n in range(10)],
    ),
    **{f"3 reserved bits {n}": (frame(LEAVE, rsv=n), [1002]) for n in range(1, 8)},
    "3.3 reserved bits, later": (frame(LEAVE) + frame(LEAVE, rsv=3), [LEFT, 1002]),
    "3.6 ping with reserved bits": (frame(b"", PING, rsv=6), [1002]),
    "3.7 close with reserved bits": (frame(b"", CLOSE, rsv=7), [1002]),
    **{f"4.1 opcode {n}": (frame(b"x", n), [1002]) for n in (3, 4, 5, 6, 7)},
    **{f"4.2 opcode {n}": (frame(b"x", n), [1002]) for n in (11, 12, 13, 14, 15)},
    "4.1.3 reserved opcode, later": (frame(LEAVE) + frame(b"", 5) + frame(b"", PING), [LEFT, 1002]),
    "5.1 ping in fragments": (fragments(b"a", b"b", opcode=PING), [1002]),
    "5.2 pong in fragments": (fragments(b"a", b"b", opcode=PONG), [1002]),
    "close in fragments": (frame(b"", CLOSE, fin=False), [1002]),
    "5.3 two fragments": (fragments(LEAVE[:9], LEAVE[9:]), [LEFT]),
    "5.6 ping between": (
        frame(LEAVE[:9], fin=False) + frame(b"p", PING) + frame(LEAVE[9:], CONTINUATION),
        [b"p", LEFT],
    ),
    "5.9 continuation of nothing": (frame(b"x", CONTINUATION) + frame(LEAVE), [1002]),
    "5.12 unfinished continuation of nothing": (frame(b"x", CONTINUATION, fin=False), [1002]),
    "5.15 continuation after the end": (
        fragments(LEAVE[:9], LEAVE[9:]) + frame(b"x", CONTINUATION),
        [LEFT, 1002],
    ),
    "5.18 text inside a text": (frame(b"a", fin=False) + frame(b"b"), [1002]),
    "binary inside a text": (frame(b"a", fin=False) + frame(b"b", BINARY), [1002]),
    "5.19 pings between fragments": (
        frame(LEAVE[:3], fin=False)
        + frame(b"1", PING)
        + frame(LEAVE[3:9], CONTINUATION, fin=False)
        + frame(b"2", PING)
        + frame(LEAVE[9:], CONTINUATION),
        [b"1", b"2", LEFT],
    ),
    "6.1.2 empty fragments": (fragments(b"", LEAVE, b""), [LEFT]),
    "6.2.3 every byte a fragment": (fragments(*BYTES), [LEFT]),
    "6.3.1 no UTF-8": (frame(b"\xce\xba\xed\xa0\x80edited"), [1007]),
    "6.4.1 no UTF-8, before the end": (fragments(b"\xce\xba\xf4", b"\x90", end=False), [1007]),
    **{
        f"6 no UTF-8: {raw.hex()}": (frame(raw), [1007])
        for raw in (
            b"\x80",
            b"\xbf",
            b"\xc0\xaf",
            b"\xc1\xbf",
            b"\xc3",
            b"\xe0\x80\xaf",
            b"\xe2\x82",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xf0\x80\x80\xaf",
            b"\xf0\x9f\x98",
            b"\xf4\x90\x80\x80",
            b"\xf7\xbf\xbf\xbf",
            b"\xf8\x88\x80\x80\x80",
            b"\xfe",
            b"\xff",
        )
    },
    **{
        f"6 UTF-8: {text!a}": (frame(text.encode()), [REFUSED])
        for text in ("\0", "\x7f", "\x80", "\u07ff", "\ud7ff", "\ue000", "\uffff", "\U0010ffff")
    },
    "7.1.1 close behind a text": (frame(LEAVE) + close(), [LEFT, 1000]),
    "7.1.2 two closes": (close() + close(), [1000]),
    "7.1.3 ping behind a close": (close() + frame(b"p", PING), [1000]),
    "7.1.4 text behind a close": (close() + frame(LEAVE), [1000]),
    "7.1.5 close inside a text": (frame(LEAVE[:9], fin=False) + close() + frame(b""), [1000]),
    "7.3.1 empty close": (frame(b"", CLOSE), [0]),
    "7.3.2 close of one byte": (frame(b"a", CLOSE), [1002]),
    "7.3.5 longest reason": (close(1000, b"*" * 123), [1000]),
    "7.3.6 reason too long": (close(1000, b"*" * 124), [1002]),
    "7.5.1 reason that is no UTF-8": (close(1000, b"\xce\xba\xed\xa0\x80"), [1007]),
    "9.3 64 KiB in fragments of 64": (
        fragments(*(padded(65536)[n : n + 64] for n in range(0, 65536, 64))),
        [LEFT],
    ),
}
UNMASKED = b"\x81" + bytes([len(LEAVE)]) + LEAVE


class ConformanceTests(ServingTests):
    async def answered(self, node: Node, place: tuple[str, str], data: bytes) -> Answers:
        """All that is answered to ``data``, up to a close; a ping at the end marks the end."""
        port, path = place
        socket = await node.websocket(path, port)
        await socket.receive()
        socket.raw.send(data + frame(b"the end", PING))
        answers: list[bytes | str | int] = []
        while True:
            opcode, payload = await socket.receive_frame()
            if opcode == CLOSE:
                answers.append(int.from_bytes(payload[:2]))
                socket.frame(payload, CLOSE)
                self.assertEqual(await socket.raw.rest(), b"", "said more after its close")
                return answers
            if (opcode, payload) == (PONG, b"the end"):
                socket.raw.abort()
                return answers
            if opcode == PONG:
                answers.append(payload)
            else:
                said = json.loads(payload)
                answers.append(said.get("code") or said["type"])

    async def test_the_cases(self) -> None:
        node = await self.serve()
        for name, (data, expected) in CASES.items():
            for place in PLACES:
                self.assertEqual(await self.answered(node, place, data), expected, (name, place))

    async def test_frames_that_are_not_masked(self) -> None:
        node = await self.serve()
        for place in PLACES:
            self.assertEqual(await self.answered(node, place, UNMASKED), [1002])
