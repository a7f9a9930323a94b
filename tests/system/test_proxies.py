"""The chat page behind real web servers with the configuration files of ``etc/``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import quote

import pytest

from tests.support.browser import Visit
from tests.support.browser_suite import BrowserSuite
from tests.support.daemon import Daemon
from tests.support.listeners import MODULES, Script
from tests.support.proxy import Apache, Caddy, HAProxy, Nginx, Proxy

pytestmark = pytest.mark.browser


def behind(*kinds: type[Proxy]) -> pytest.MarkDecorator:
    """Run the tests behind each of these."""
    ids = [kind.__name__.lower() for kind in kinds]
    return pytest.mark.parametrize("proxy", kinds, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="module")
def proxy(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Proxy]:
    """A web server in front of the daemon."""
    kind: type[Proxy] = request.param
    with kind(daemon.http) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def front(proxy: Proxy) -> tuple[str, int]:
    """Browsers come to the web server."""
    return ("127.0.0.1", proxy.port)


@contextmanager
def get(front: tuple[str, int], path: str, **headers: str) -> Iterator[HTTPResponse]:
    """GET ``path`` on a connection of its own."""
    with closing(HTTPConnection(*front, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as answer:
            yield answer


def poll(front: tuple[str, int], path: str, cookie: str = "") -> tuple[list[str], str]:
    """A poll as the original's clients make it: the texts, and the cookie to poll again with."""
    with get(front, path, Cookie=cookie) as answer:
        texts = [message["text"] for message in json.load(answer)["messages"]]
        return texts, answer.headers["Set-Cookie"].split(";")[0]


def say(front: tuple[str, int], room: str, text: str) -> int:
    """Publish as bob and return the status."""
    connection = HTTPConnection(*front, timeout=30)
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"text": text})
    connection.request("POST", f"/rooms/{quote(room)}/messages?username=bob", body, headers)
    with closing(connection), connection.getresponse() as answer:
        return answer.status


@behind(Nginx, Apache)
class TestPage(BrowserSuite):
    """What a proxy can spoil of the page works behind it as without it."""


@behind(Nginx, Apache, HAProxy, Caddy)
class TestBehind:
    """So do other clients."""

    def test_the_originals_poll(self, front: tuple[str, int], room: str) -> None:
        paths = [f"/poll?roomname={room}&username={name}" for name in ("ann", "cid")]
        first = [poll(front, path) for path in paths]
        assert [texts for texts, _ in first] == [[], []]
        with ThreadPoolExecutor() as threads:
            waiting = [
                threads.submit(poll, front, f"{path}&wait=30", cookie)
                for path, (_, cookie) in zip(paths, first, strict=True)
            ]
            assert say(front, room, "to each of you") == 201
            assert [one.result()[0] for one in waiting] == [["to each of you"]] * 2

    def test_the_originals_websocket(self, visit: Visit, room: str) -> None:
        page = visit().page
        got = page.evaluate(
            """room => new Promise((resolve, reject) => {
              const got = [];
              const url = `ws://${location.host}/ws?roomname=${room}&username=ann`;
              const socket = new WebSocket(url);
              socket.onclose = ({ code }) => reject(code);
              socket.onmessage = ({ data }) => got.push(data) === 2 && resolve(got);
              socket.onopen = () => socket.send(JSON.stringify(
                { status: 'message', message: 'as ever', username: 'ann', roomname: room }));
            })""",
            room,
        )
        assert got == ["Connection open", "as ever"]

    def test_event_streams_are_not_held_back(self, front: tuple[str, int], room: str) -> None:
        path = f"/rooms/{room}/events?username=ann"
        with get(front, path, **{"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert answer.readline().startswith(b"retry: ")
            for number in range(3):
                say(front, room, f"{number}")
                while not (line := answer.readline()).startswith(b'data: {"type":"message"'):
                    assert line
                assert f'"text":"{number}"'.encode() in line

    def test_socket_io(self, front: tuple[str, int], room: str) -> None:
        """Over polls, and from them to WebSocket."""
        url = f"http://{front[0]}:{front[1]}"
        for transports in ("polling", "polling,websocket"):
            script = Script("socket.io", "socketio.mjs", str(MODULES), url, transports, room)
            try:
                heard = dict(script.ended())
            finally:
                script.close()
            assert heard["heard"] == [str(n) for n in range(10)]
            assert heard["same"]
            assert heard["transport"] == transports.rpartition(",")[2]
            assert heard["again"] == "joined"

    def test_any_name_and_the_largest_message(self, front: tuple[str, int], daemon: Daemon) -> None:
        room = daemon.create_room("Straße:_.@-42")
        assert say(front, room, "ß" * 8192) == 201
        with get(front, f"/rooms/{quote(room)}/messages?last=1") as answer:
            page = json.load(answer)
        assert page["room"] == room
        assert page["messages"][0]["text"] == "ß" * 8192

    def test_what_is_counted_stays_inside(self, front: tuple[str, int], daemon: Daemon) -> None:
        """However the path is written; the probes as well."""
        for path in ("/metrics", "/healthz", "/readyz"):
            for written in (path, f"{path}?x", f"/%{ord(path[1]):02x}{path[2:]}", f"/.{path}"):
                with get(front, written) as answer:
                    assert answer.status in (403, 404), written
                    assert b"chatd_" not in answer.read()
                    assert answer.getheader("Content-Type") != "text/plain; version=0.0.4"
            with get(daemon.http, path) as answer:
                assert answer.status == 200
        # What `chatd.js` asks instead: whether chatd is there, and whether it lets a page in.
        with get(front, "/chatd.js") as answer:
            assert answer.getheader("Content-Type", "").startswith("text/javascript")
        with get(front, "/rooms/~") as answer:
            assert json.load(answer)["code"] == "bad_request"

    def test_a_users_name_in_a_path(self, front: tuple[str, int], room: str) -> None:
        """Percent-encoded, a slash too: it is chatd that asks for the key, and knows the path."""
        for user in ("Ann Smith", "auth0|abc123", "a/b", "O'Brien", "50%"):
            with get(front, f"/rooms/{room}/members/{quote(user, safe='')}") as answer:
                assert answer.status == 405, user
                assert answer.getheader("Allow") == "PUT, DELETE, OPTIONS"

    def test_nobody_chooses_who_they_seem_to_be(
        self, front: tuple[str, int], daemon: Daemon, room: str
    ) -> None:
        spoofed = {
            "X-Forwarded-For": "203.0.113.7",
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Proto": "https",
            "Origin": "https://evil.example",
        }
        with get(front, f"/rooms/{room}", **spoofed) as answer:
            assert answer.status == 403
        own = spoofed | {"Origin": f"http://{front[0]}:{front[1]}"}
        with get(front, f"/rooms/{room}", **own) as answer:
            assert answer.status == 200
        assert "203.0.113.7" not in daemon.log()
