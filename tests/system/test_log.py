"""What strangers send cannot write into the log: neither escape sequences nor lines of its own."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

from tests.support.daemon import Daemon

#: What would colour an operator's terminal, and a line that would look like chatd's own.
ESCAPE = b"\x1b[31m"
FORGED = b"forged by a stranger"
TEXT = ESCAPE + b"\r\n2026-01-01 [-] " + FORGED + b"\x9b\xc2\x9b\x7f"


def send(address: tuple[str, int], data: bytes) -> None:
    """Send ``data``, and wait for the server to have had enough."""
    with closing(socket.create_connection(address, timeout=30)) as raw:
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass


def requests() -> list[bytes]:
    """Requests with the text wherever a request has room for any."""
    quoted = b"".join(b"%%%02x" % byte for byte in TEXT)
    plain = TEXT.replace(b"\r\n", b" ")
    own = b"Host: localhost\r\n"
    heads = [
        b"GET /" + quoted + b" HTTP/1.1\r\n" + own,
        b"GET /rooms/" + quoted + b" HTTP/1.1\r\n" + own,
        b"GET /" + plain + b" HTTP/1.1\r\n" + own,
        b"GET /rooms/lobby?username=" + quoted + b"&token=" + quoted + b" HTTP/1.1\r\n" + own,
        plain.replace(b" ", b"") + b" / HTTP/1.1\r\n" + own,
        b"GET / HTTP/1.1\r\nHost: " + plain + b"\r\n",
        b"GET /ws?roomname=" + quoted + b" HTTP/1.1\r\nUpgrade: websocket\r\n" + own,
    ]
    for name in (b"User-Agent", b"Referer", b"Origin", b"X-Forwarded-For", b"Cookie", b"Via"):
        heads.append(b"GET /rooms/lobby HTTP/1.1\r\n" + own + name + b": " + plain + b"\r\n")
        heads.append(
            b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            + own
            + name
            + b": "
            + plain
            + b"\r\n"
        )
    return [*(head + b"Connection: close\r\n\r\n" for head in heads), TEXT, plain + b"\r\n\r\n"]


def test_nothing_a_stranger_sends_is_written_raw() -> None:
    with Daemon("--access-log=access.log") as daemon:
        for data in requests():
            send(daemon.http, data)
            send(daemon.websocket, data)
        for field in (b"roomname", b"op", b"secret", b"username"):
            send(daemon.setup, b'{"op":"add_member","' + field + b'":"' + TEXT + b'"}')
        send(daemon.setup, TEXT)
        daemon.stop()
        access = Path(daemon.folder / "access.log").read_bytes()
        log = Path(daemon.folder / "chatd.log").read_bytes() + access
    for line in log.split(b"\n"):
        assert not line.startswith(b"2026-01-01"), line
        assert not set(line) & {0x1B, 0x7F, 0x9B}, line
    assert b"Traceback" not in log
    assert b"GET /rooms/lobby" in access, "there is no access log to look at"
