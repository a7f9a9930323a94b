"""EventSources that others wrote: npm's under Node, and those of browsers. Each remembers what it
hears as pairs of a kind (``open``, ``message``, ``refused``, ``gap``, ``error``) and data."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any, Protocol

from playwright.sync_api import Page

from tests.support.daemon import PATIENCE, ROOT, Daemon
from tests.support.firefox import Tab

#: From here Node finds what npm has installed.
MODULES = ROOT / ".cache" / "js" / "package.json"
CLIENTS = ROOT / "tests" / "js" / "clients"

#: The same in a page; a function of the stream's URL.
LISTEN = """(url) => {
  const heard = globalThis.heard = [];
  const source = globalThis.source = new EventSource(url);
  const tell = (kind, data) => heard.push([kind, data ?? null]);
  source.onopen = () => tell('open');
  source.onerror = () => tell('error', source.readyState);
  source.onmessage = ({ data, lastEventId }) =>
    tell('message', { ...JSON.parse(data), lastEventId });
  for (const kind of ['refused', 'gap'])
    source.addEventListener(kind, ({ data }) => tell(kind, JSON.parse(data)));
}"""


def say(daemon: Daemon, text: str, room: str = "lobby") -> None:
    """Publish to ``room``."""
    connection = HTTPConnection(*daemon.http, timeout=30)
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"text": text})
    connection.request("POST", f"/rooms/{room}/messages?username=bob", body, headers)
    assert connection.getresponse().status == 201
    connection.close()


class Listener(Protocol):
    """One who has opened an event stream."""

    name: str

    def heard(self) -> list[tuple[str, Any]]:
        """What it has been told up to now."""

    def close(self) -> None:
        """End it."""


class Script:
    """A program under Node that writes one JSON ``[kind, data]`` a line."""

    def __init__(self, name: str, script: str, *arguments: str) -> None:
        self.name = name
        self._heard: list[tuple[str, Any]] = []
        self._process = subprocess.Popen(
            ["node", str(CLIENTS / script), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, data = json.loads(line)
            self._heard.append((kind, data))

    def heard(self) -> list[tuple[str, Any]]:
        return list(self._heard)

    def ended(self) -> list[tuple[str, Any]]:
        """Everything it said, once it has ended by itself, without a complaint."""
        assert self._process.stderr is not None
        status = self._process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        assert (status, self._process.stderr.read()) == (0, ""), self._heard
        return self._heard

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


class InPage:
    """The EventSource of a browser; ``evaluate`` runs a JavaScript expression in a page."""

    def __init__(self, name: str, evaluate: Callable[[str], Any], url: str) -> None:
        self.name = name
        self._evaluate = evaluate
        evaluate(f"({LISTEN})({json.dumps(url)})")

    def heard(self) -> list[tuple[str, Any]]:
        return [(kind, data) for kind, data in self._evaluate("globalThis.heard")]

    def close(self) -> None:
        self._evaluate("globalThis.source.close()")


def everywhere(page: Page, tab: Tab, url: str) -> list[Listener]:
    """A listener of each kind there is."""
    npm = ("eventsource", "event-source-polyfill")
    return [
        *(Script(name, "listen.mjs", name, str(MODULES), url) for name in npm),
        InPage("Chromium", page.evaluate, url),
        InPage("Firefox", tab.run, url),
    ]


def wait_for(
    listeners: list[Listener], found: Callable[[list[tuple[str, Any]]], object]
) -> dict[str, list[tuple[str, Any]]]:
    """What each has heard, once that is ``found``; AssertionError if one never is."""
    deadline = time.monotonic() + PATIENCE
    while True:
        heard = {one.name: one.heard() for one in listeners}
        if all(map(found, heard.values())):
            return heard
        assert time.monotonic() < deadline, heard
        time.sleep(0.05)
