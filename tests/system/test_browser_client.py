"""chatd.js in other people's pages: with tokens, and from another origin."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from threading import Thread
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from playwright.sync_api import Browser, expect

from tests.support.browser import Person
from tests.support.browser_suite import NO_EVENTSOURCE, NO_WEBSOCKET, browser
from tests.support.daemon import ROOT, Daemon

__all__ = ["browser"]

pytestmark = pytest.mark.browser

KEY = b"a secret of thirty-two bytes....."

ADDRESS = "http://localhost:8081/"


def page(own: str, address: str) -> str:
    """The page of docs/browser.rst, with the module from ``own`` and chatd at ``address``."""
    text = (ROOT / "docs" / "browser.rst").read_text()
    start = text.index("    <!doctype html>")
    shown = dedent(text[start : text.index("</script>", start)] + "</script>\n")
    module, chat = f'from "{ADDRESS}chatd.js"', f'new Chat("{ADDRESS}"'
    assert module in shown
    assert chat in shown
    shown = shown.replace(module, f'from "{own}chatd.js"').replace(chat, f'new Chat("{address}"')
    return shown + '<link rel="icon" href="data:,">\n'


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests speak for themselves."""


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """A web site on a port of its own that serves ``folder``; gives its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


TRANSPORTS = pytest.mark.parametrize(
    ("transport", "script"),
    [
        ("websocket", ""),
        ("sse", NO_WEBSOCKET),
        ("poll", NO_WEBSOCKET + NO_EVENTSOURCE),
    ],
    ids=["websocket", "sse", "poll"],
)


class TestCrossOrigin:
    """A page of another origin may use chatd exactly if ``--origin`` names it."""

    @TRANSPORTS
    def test_allowed(self, browser: Browser, tmp_path: Path, transport: str, script: str) -> None:
        with site(tmp_path) as origin, Daemon("--origin", origin) as daemon:
            (tmp_path / "app.html").write_text(page(daemon.url(), daemon.url()))
            ann = Person(browser, f"{origin}/app.html", script=script)
            expect(ann.page.locator("#state")).to_have_text(f"online {transport}")
            ann.say("from afar")
            expect(ann.page.locator("#log li")).to_have_text(["ann: from afar"])
            ann.leave()

    def test_refused(self, browser: Browser, tmp_path: Path) -> None:
        with site(tmp_path) as origin, Daemon("--origin", "http://other.example") as daemon:
            shutil.copytree(ROOT / "chatd/web", tmp_path, dirs_exist_ok=True)
            (tmp_path / "app.html").write_text(page("./", daemon.url()))
            ann = Person(browser, f"{origin}/app.html")
            expect(ann.page.locator("#state")).to_have_text("offline null")
            assert len(ann.sockets) >= 1
            expect(ann.page.locator("#log")).to_be_empty()
            assert any("blocked by CORS policy" in one for one in ann.complaints)
            assert " 403 " in daemon.log()
            ann.complaints.clear()
            ann.leave()
            # The module itself is refused to that page too.
            (tmp_path / "app.html").write_text(page(daemon.url(), daemon.url()))
            bob = Person(browser, f"{origin}/app.html")
            expect(bob.page.locator("#state")).to_be_empty()
            assert bob.sockets == []
            bob.complaints.clear()
            bob.leave()


class TestTokens:
    """A page whose tokens live for seconds stays connected."""

    def token(self, life: int = 4) -> str:
        """A token for ann that expires in ``life`` seconds."""
        now = int(time.time())
        claims = {"sub": "ann", "iat": now, "exp": now + life}
        return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(KEY))

    @TRANSPORTS
    def test_renewed(self, browser: Browser, tmp_path: Path, transport: str, script: str) -> None:
        (tmp_path / "key").write_bytes(KEY)
        made: list[float] = []

        def token() -> str:
            made.append(time.monotonic())
            return self.token()

        with Daemon("--auth", "token", "--token-key", str(tmp_path / "key")) as daemon:
            ann = Person(browser, daemon.url("/healthz"), script=script)
            ann.page.expose_function("token", token)
            ann.page.evaluate(
                """async () => {
                  const { Chat } = await import('/chatd.js');
                  globalThis.states = [];
                  globalThis.texts = [];
                  const chat = new Chat('/', { token: globalThis.token });
                  chat.on('state', ({ state }) => states.push(state));
                  globalThis.room = await chat.join('lobby');
                  room.on('message', ({ text, user }) => texts.push(`${user} ${text}`));
                  globalThis.chat = chat;
                }"""
            )
            assert ann.page.evaluate("chat.state.transport") == transport
            # Three lives of a token later, it is still the same chat.
            said = 0
            while len(made) < 4 or time.monotonic() - made[0] < 10:
                ann.page.evaluate("number => room.send(`${number}`)", said)
                ann.page.wait_for_timeout(200)
                said += 1
            ann.page.wait_for_function("count => texts.length >= count", arg=said)
            assert ann.page.evaluate("texts") == [f"ann {number}" for number in range(said)]
            if transport == "websocket":
                assert ann.page.evaluate("states") == ["connecting", "online"]
                assert len(ann.sockets) == 1
            ann.leave()

    def test_the_page_with_a_token(self, browser: Browser, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(KEY)
        with Daemon("--auth", "token", "--token-key", str(tmp_path / "key")) as daemon:
            stranger = Person(browser, daemon.url("/?room=lobby&user=ann"))
            expect(stranger.page.get_by_role("alert")).not_to_be_empty()
            stranger.leave()
            ann = Person(browser, daemon.url(f"/?room=lobby#token={self.token(600)}"))
            ann.state("Online")
            ann.say("with a token")
            ann.sees("with a token")
            expect(ann.page.locator("#members .name")).to_have_text(["ann"])
            ann.leave()
