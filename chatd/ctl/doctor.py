"""What is wrong: ``check`` before a start, ``doctor`` of a node that runs and what is before it."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

import click
from attrs import define, frozen

from chatd.ctl.api import ChatdAPI, Failed, room_path, why
from chatd.ctl.setting import Setting, pass_setting
from chatd.ctl.top import read

#: Seconds for an answer, and for the first bytes of a stream: a proxy that buffers holds them back.
PATIENCE = 5.0
#: Seconds that clocks may differ; tokens expire by them.
CLOCKS = 5.0
#: Open files below which a node is too small for its default of connections.
FILES = 4096

_TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


@frozen
class Finding:
    """What one check found."""

    what: str
    well: bool
    found: str


@define
class Patient:
    """The node or proxy that is looked at, on a connection of its own for each question."""

    api: ChatdAPI
    room: str

    @contextmanager
    def get(self, path: str, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        """The head of the answer; OSError or HTTPException for none."""
        parts = urlsplit(self.api.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
        shown = {"Authorization": f"Bearer {self.api.token}"} if self.api.token else {}
        with closing(connection):
            connection.request("GET", parts.path.rstrip("/") + path, headers={**shown, **headers})
            with connection.getresponse() as answer:
                yield answer

    def alive(self) -> Finding:
        """Whether chatd answers, and how fast."""
        began = time.monotonic()
        with self.get(f"{room_path(self.room)}/messages", {}) as answer:
            status, ours = answer.status, answer.getheader("X-Content-Type-Options")
        took = f"{(time.monotonic() - began) * 1000:.0f} ms"
        if status in (200, 401, 403, 404) and ours:
            hint = "" if status == 200 else f" with {status}; see --room, --token"
            return Finding("answers", True, f"in {took}{hint}")
        return Finding("answers", False, f"with {status}, not as chatd does")

    def ready(self) -> Finding:
        """Whether the broker is there."""
        with self.get("/readyz", {}) as answer:
            status = answer.status
        said = {
            200: "yes",
            503: "the broker is away, or its rooms are not read yet: see chatd's log",
        }
        hidden = "not shown here, as behind a proxy; ask chatd itself"
        return Finding("ready", status != 503, said.get(status, hidden))

    def clock(self) -> Finding:
        """Whether the node's clock agrees with this machine's."""
        with self.get(f"{room_path(self.room)}/messages", {}) as answer:
            date = answer.getheader("Date")
        if date is None:
            return Finding("clock", False, "the answer has no Date")
        # half a second later on average: a Date has whole seconds, cut off
        off = parsedate_to_datetime(date).timestamp() + 0.5 - time.time()
        return Finding("clock", abs(off) < CLOCKS, f"{round(off):+d} s from this machine's")

    def websocket(self) -> Finding:
        """Whether a WebSocket opens, and brings what the server says."""
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": "chatd.v1",
        }
        with self.get("/ws?username=doctor", headers) as answer:
            status = answer.status
            said = answer.fp.read(2) if status == 101 else b""
        if status in (401, 403):
            return Finding("WebSocket", False, f"refused with {status}; see --token")
        if status != 101:
            why = "does the proxy pass Upgrade and Connection on?"
            return Finding("WebSocket", False, f"no upgrade ({status}): {why}")
        return Finding("WebSocket", said[:1] == b"\x81", "open" if said else "opens, and is silent")

    def stream(self) -> Finding:
        """Whether an event stream's first bytes come at once."""
        path = f"{room_path(self.room)}/events?username=doctor"
        with self.get(path, {"Accept": "text/event-stream"}) as answer:
            if answer.status != 200:
                return Finding("event stream", False, f"refused with {answer.status}; see --room")
            try:
                answer.readline()
                refused = answer.readline().startswith(b"event: refused")
            except TimeoutError:
                return Finding("event stream", False, "held back: the proxy buffers")
        found = "refused for now; see chatd's log" if refused else "comes at once"
        return Finding("event stream", not refused, found)


def _look(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (OSError, HTTPException, ValueError) as error:  # of a name or a date that is none, too
        return Finding(what, False, why(error))


def _files(setting: Setting) -> Finding:
    """How many files the node may open."""
    try:
        found = read(setting)
        most, now = found["process_max_fds"], found["process_open_fds"]
    except (Failed, KeyError):
        return Finding("open files", True, "not shown here; ask on chatd's machine")
    well = most >= FILES and now < 0.8 * most
    return Finding("open files", well, f"{now:.0f} of {most:.0f}" + ("" if well else ": too few"))


@click.command(short_help="Say what is wrong with a running chatd.")
@click.option("--room", default="lobby", show_default=True, help="A room to try things in.")
@pass_setting
def doctor(setting: Setting, room: str) -> None:
    """Say what is wrong with the chatd at --url, or with the proxy before it."""
    patient = Patient(setting.api, room)
    checks = {
        "answers": patient.alive,
        "ready": patient.ready,
        "clock": patient.clock,
        "WebSocket": patient.websocket,
        "event stream": patient.stream,
    }
    found = [_look(what, check) for what, check in checks.items()]
    if found[0].well:
        found.append(_files(setting))
    rows = [{"check": one.what, "well": one.well, "found": one.found} for one in found]
    setting.output.rows(("check", "well", "found"), rows)
    if not all(one.well for one in found):
        raise click.exceptions.Exit(1)


@click.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Try the options of twistd chatd.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def check(options: tuple[str, ...]) -> None:
    """Try the OPTIONS of twistd chatd: ports, keys, certificates, files and the broker with its
    permissions, and say who can do what with them."""
    command = [sys.executable, "-c", _TWISTD, "--nodaemon", "chatd", "--check", *options]
    raise click.exceptions.Exit(subprocess.run(command, check=False).returncode)


COMMANDS = (check, doctor)
