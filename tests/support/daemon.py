"""A real ``twistd -n chatd`` in a process of its own, for tests that meet it from outside.

::

    with Daemon("--rate", "1000/s") as daemon:
        urlopen(daemon.url("/rooms/lobby"))

The calls block. In a trial test use ``deferToThread(Daemon, ...)``, or plain pytest functions.
The daemon dies with the process that started it, even if that one is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from tests.support.closing import Closing
from tests.support.forked import Forked, Nursery
from tests.support.rabbit_home import free_port

ROOT = Path(__file__).resolve().parents[2]
#: Seconds that a start or a stop may take on a busy machine.
PATIENCE = 45.0

#: What the script ``twistd`` runs.
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
_open = build_opener(ProxyHandler({})).open
#: By what they preload.
_nurseries: dict[str, Nursery] = {}
_making = threading.Lock()


class DaemonError(Exception):
    """The daemon did not start or stop as it should; the text ends with its log."""


def spawn(
    *command: str,
    folder: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    death: str = "KILL",
) -> subprocess.Popen[bytes]:
    """Start ``command`` in ``folder``, its output appended to ``log``.

    It leads a process group, and gets the signal ``death`` when the process that started it ends.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", death, "--", *command],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def nursery(preloaded: str = "") -> Nursery:
    """The one of this process for what preloads those libraries."""
    with _making:
        if preloaded not in _nurseries:
            _nurseries[preloaded] = Nursery(ROOT, preloaded)
    return _nurseries[preloaded]


def _dispose(running: list[Forked], folder: Path) -> None:
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


class Daemon(Closing):
    """chatd on free ports of 127.0.0.1 with a folder of its own, ready when constructed.

    ``options`` go on its command line. ``broker`` is the ``--broker`` URL, by default SQLite in
    the daemon's folder. ``env`` is added to the environment; ``LD_PRELOAD`` in it names what
    `tests.support.preloaded` has made. It may open ``descriptors`` files.
    Raises `DaemonError` if it is not ready within `PATIENCE`.
    """

    def __init__(
        self,
        *options: str,
        broker: str | None = None,
        env: Mapping[str, str] | None = None,
        descriptors: int | None = None,
    ) -> None:
        self._descriptors = descriptors
        self.folder = Path(tempfile.mkdtemp(prefix="chatd-test-"))
        self.http = ("127.0.0.1", free_port())
        self.websocket = ("127.0.0.1", free_port())
        self.setup = ("127.0.0.1", free_port())
        self.broker = broker or f"sqlite:{self.folder / 'chatd.sqlite'}"
        self.options = options
        self.env = env
        self._log = self.folder / "chatd.log"
        self._running: list[Forked] = []
        self.close = weakref.finalize(self, _dispose, self._running, self.folder)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def url(self, path: str = "/") -> str:
        """The HTTP address of ``path``."""
        return f"http://{self.http[0]}:{self.http[1]}{path}"

    def create_room(self, name: str) -> str:
        """Make a room through the set-up port, and return its name."""
        with socket.create_connection(self.setup, PATIENCE) as setup:
            setup.sendall(json.dumps({"roomname": name, "op": "create_room"}).encode() + b"\n")
            answer = setup.recv(100)
        if answer != b"200\n":
            raise DaemonError(f"There is no room {name!r}: {answer!r}")
        return name

    @property
    def pid(self) -> int:
        """The running daemon's process id."""
        return self._running[0].pid

    def log(self) -> str:
        """Everything the daemon has written so far, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Start it (again) on the same ports and folder and wait until ``/readyz`` says 200."""
        if self._running:
            raise DaemonError("It is running already.")
        arguments = ["--nodaemon", "--pidfile=", "chatd", "--broker", self.broker]
        for port in ("websocket", "http", "setup"):
            host, number = getattr(self, port)
            arguments += [f"--{port}", f"tcp:{number}:interface={host}"]
        process = self._launch([*arguments, *self.options])
        self._running.append(process)
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise DaemonError(f"chatd did not become ready. Its log:\n{self.log()}")
            time.sleep(0.05)

    def _launch(self, arguments: list[str]) -> Forked:
        own = self.env or {}
        forks = nursery(own.get("LD_PRELOAD", ""))
        return forks.fork(arguments, self.folder, self._log, self._descriptors, own)

    def _ready(self) -> bool:
        """Whether it counts as started."""
        return self.is_ready()

    def is_ready(self) -> bool:
        """What ``/readyz`` says."""
        try:
            with _open(self.url("/readyz"), timeout=5) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False

    def stop(self) -> int:
        """End it with SIGTERM, as an operator would, and return its exit status.

        That is -15: twistd, having stopped in order, ends by the signal that it was sent.
        """
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End it with SIGKILL, as a crash would, and return its exit status."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        process = self._running.pop()
        process.send_signal(how)
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise DaemonError(f"chatd did not stop. Its log:\n{self.log()}") from None
