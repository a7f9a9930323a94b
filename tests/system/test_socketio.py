"""Stock Socket.IO clients, npm's, under Node and in a browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route

from tests.support.daemon import PATIENCE, ROOT, Daemon, spawn
from tests.support.listeners import MODULES, Script, say, wait_for
from tests.support.rabbit_home import free_port

pytestmark = pytest.mark.browser

EXAMPLES = ROOT / "docs" / "examples"
#: The transports that a client may be told to use: each alone, and from one to the other.
TRANSPORTS = ("websocket", "polling", "polling,websocket")
HEARD = [f"{name}: {n}" for n in (1, 2) for name in ("ann", "ben")]


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_socket_io_client(daemon: Daemon, transports: str) -> None:
    script = Script("socket.io", "socketio.mjs", str(MODULES), daemon.url(""), transports, "lobby")
    try:
        heard = dict(script.ended())
    finally:
        script.close()
    assert heard == {
        "acks": ["ack"] * 10,
        "heard": [str(n) for n in range(10)],
        "same": True,
        "transport": transports.rpartition(",")[2],
        "typing": "u0",
        "error": "unknown_room",
        "large": "too_large",
        "bytes": ["bad_request", "Send text: binary is not taken here."],
        "after": "left",
        "namespace": "Invalid namespace",
        "oversized": heard["oversized"],
        "again": "joined",
        "ended": ["io server disconnect", 10],
    }
    assert heard["oversized"] in ("transport close", "transport error")
    assert "Traceback" not in daemon.log()


def test_reconnects_and_resumes() -> None:
    """Over a restart and a crash each hears everything once, whatever it comes by."""
    with Daemon() as daemon:
        scripts = [
            Script(one, "socketio.mjs", str(MODULES), daemon.url(""), one, "lobby", "stay")
            for one in TRANSPORTS
        ]
        try:
            wait_for(list(scripts), lambda heard: count(heard, "joined") == 1)
            say(daemon, "1")
            wait_for(list(scripts), lambda heard: texts(heard) == ["1"])
            daemon.stop()
            daemon.start()
            say(daemon, "2")
            wait_for(list(scripts), lambda heard: texts(heard) == ["1", "2"])
            daemon.kill()
            daemon.start()
            say(daemon, "3")
            heard = wait_for(list(scripts), lambda heard: len(texts(heard)) == 3)
        finally:
            for script in scripts:
                script.close()
    for name, told in heard.items():
        assert texts(told) == ["1", "2", "3"], name
        kinds = [kind for kind, _ in told]
        assert kinds.index("bye") < kinds.index("disconnect"), name
        joined = [data for kind, data in told if kind == "joined"]
        assert joined == [{"gap": False, "recovered": False}] * len(joined), name


def texts(heard: list[tuple[str, Any]]) -> list[str]:
    return [data["text"] for kind, data in heard if kind == "message"]


def count(heard: list[tuple[str, Any]], kind: str) -> int:
    return [one for one, _ in heard].count(kind)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a stock Socket.IO server."""
    port, folder = free_port(), tmp_path_factory.mktemp("stock")
    server = EXAMPLES / "socketio-server.mjs"
    process = spawn(
        *("node", str(server), str(port), str(MODULES)), folder=folder, log=folder / "log"
    )
    try:
        _await_poll(port, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _await_poll(port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/socket.io/?EIO=4&transport=polling")
            connection.getresponse()
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()


@pytest.mark.parametrize("server", ["stock", "daemon"])
def test_the_front_end_of_the_documentation(server: str, request: pytest.FixtureRequest) -> None:
    """The same file, against a stock server and against chatd."""
    found = request.getfixturevalue(server)
    url = found if isinstance(found, str) else found.url("")
    script = Script("chat", "socketio-chat.mjs", str(MODULES), url, "polling,websocket")
    try:
        heard = script.ended()
    finally:
        script.close()
    assert heard == [("ack", "ack")] * 4 + [("shown", HEARD)] * 2


#: The front end in a page; a function of the transports.
FRONT_END = """async (transports) => {
  const { io } = await import('/test/socket.io.esm.min.js');
  const { chat } = await import('/test/socketio-chat.mjs');
  const shown = [];
  const talk = await new Promise((resolve) => {
    const show = (from, text) => shown.push(`${from}: ${text}`);
    const talk = chat(io, location.origin, { room: 'lobby', user: 'page', show, transports });
    talk.socket.on('connect', () => resolve(talk));
  });
  await talk.socket.emitWithAck('join', { room: 'lobby' });
  const { engine } = talk.socket.io;
  const last = transports.at(-1);
  while (engine.transport.name !== last)
    await new Promise((resolve) => setTimeout(resolve, 10));
  const answer = await talk.say('from a page');
  while (!shown.length) await new Promise((resolve) => setTimeout(resolve, 10));
  talk.close();
  return [answer.type, engine.transport.name, shown];
}"""


def serving(script: str) -> Callable[[Route], None]:
    """Answers a page's request for a script, instead of the server."""
    return lambda route: route.fulfill(body=script, content_type="text/javascript")


@pytest.mark.parametrize("server", ["stock", "daemon"])
def test_in_chromium(server: str, browser: Browser, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(server)
    origin = found if isinstance(found, str) else found.url("")
    page = browser.new_page()
    client = MODULES.parent / "node_modules" / "socket.io-client" / "dist"
    for path in (client / "socket.io.esm.min.js", EXAMPLES / "socketio-chat.mjs"):
        page.route(f"{origin}/test/{path.name}", serving(path.read_text()))
    page.goto(f"{origin}/socket.io/")  # any page of the origin
    for transports in TRANSPORTS:
        told = page.evaluate(FRONT_END, transports.split(","))
        assert told == ["ack", transports.rpartition(",")[2], ["page: from a page"]]
    page.close()
