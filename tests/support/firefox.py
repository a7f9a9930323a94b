"""A real Firefox, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), which it speaks
by itself.

::

    with firefox() as browser:
        tab = browser.open("http://127.0.0.1:8081/")
        assert tab.run("document.title") == "chatd"
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.daemon import PATIENCE, spawn
from tests.support.rabbit_home import free_port

#: Nothing but this machine is spoken to: all else goes to a proxy that is not there.
PREFERENCES = """
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("dom.ipc.processPrelaunch.enabled", false);
user_pref("fission.autostart", false);
user_pref("browser.startup.page", 0);
user_pref("browser.newtab.preload", false);
user_pref("extensions.enabledScopes", 0);
"""


class Tab:
    """One page."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self._firefox = firefox
        self._context = context

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, or what its promise brings, by way of JSON."""
        script = f"(async () => JSON.stringify(await ({expression}) ?? null))()"
        target = {"context": self._context}
        done = self._firefox.command(
            "script.evaluate", expression=script, target=target, awaitPromise=True
        )
        assert done["type"] == "success", done
        return json.loads(done["result"]["value"])

    def until(self, expression: str) -> None:
        """Wait until ``expression`` is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(expression):
            assert time.monotonic() < deadline, expression
            time.sleep(0.05)


class Firefox:
    """A running Firefox, without a window; see `firefox`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = count(1)
        self.command("session.new", capabilities={})

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the protocol; AssertionError if it fails."""
        id = next(self._ids)
        self._socket.send(json.dumps({"id": id, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(PATIENCE))
            if answer.get("id") == id:
                assert answer["type"] == "success", answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> Tab:
        """A new tab, its page loaded."""
        context = self.command("browsingContext.create", type="tab")["context"]
        self.command("browsingContext.navigate", context=context, url=url, wait="complete")
        return Tab(self, context)


@contextmanager
def firefox() -> Iterator[Firefox]:
    """Debian's Firefox; fails if it is not installed."""
    if shutil.which("firefox-esr") is None:
        raise FileNotFoundError("Install firefox-esr to run the browser tests.")
    # it may still write while it is removed
    with tempfile.TemporaryDirectory(prefix="chatd-firefox-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "user.js").write_text(PREFERENCES)
        log = folder / "log"
        command = ["firefox-esr", "--headless", "--no-remote", "--profile", name]
        process = spawn(
            *[*command, "--remote-debugging-port", str(free_port())],
            folder=folder,
            log=log,
            env={"HOME": name, "MOZ_CRASHREPORTER_DISABLE": "1"},
        )
        try:
            with connect(f"{_address(process, log)}/session", max_size=None) as socket:
                yield Firefox(socket)
        finally:
            process.kill()
            process.wait(PATIENCE)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where a Firefox that has been started listens for commands."""
    deadline = time.monotonic() + PATIENCE
    while (said := re.search(r"BiDi listening on (ws://\S+)", log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return said[1]
