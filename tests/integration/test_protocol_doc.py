"""Every example of docs/protocol.rst, run as it stands against a node on the ports it names.

A literal block is a conversation, a line at a time::

    $ COMMAND                  a line of shell; what is written under it is what it says
    NAME = ws://...            a WebSocket client (``legacy ws://...``: without a subprotocol)
    NAME = curl ...            a command that goes on while the conversation does
    NAME > TEXT                NAME sends
    NAME < TEXT                NAME receives (of presence only what the example shows)
    NAME closes CODE           the server closes NAME

``...`` stands for anything. ``$C`` stands for a value: that of its first appearance in an answer,
ever after. Each section has a node of its own, with the options of its comment ``.. run:``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from tests.support.daemon import ROOT
from tests.support.examples import blocks, fitting
from tests.support.raw import PATIENCE
from tests.support.serving import Node, ServingTests
from tests.support.tokens import SECRET, Issuer
from tests.support.ws_client import Closed, WebSocket

reactor: Any = _reactor

TEXT = (ROOT / "docs" / "protocol.rst").read_text()
PORTS = {"9000": "websocket", "8081": "http", "8082": "setup"}
FILES = {"admin.key": "admin-key", "setup.key": "hush", "token.key": SECRET}

_STEP = re.compile(r"(?P<name>\w+) (?P<what>[<>=]|closes) (?P<text>.*)|\$ (?P<command>.*)")
_VARIABLE = re.compile(r"\$([A-Z]+)")


def sections(text: str) -> dict[str, str]:
    """The sections of a reStructuredText file by title."""
    parts = re.split(r"^(.+)\n-{3,}\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def steps(section: str) -> list[list[str]]:
    """The lines of the examples in ``section``: each begins a step, with its answer's lines."""
    found: list[list[str]] = []
    for block in blocks(section):
        for line in block.text.splitlines():
            if _STEP.fullmatch(line):
                found.append([line])
            elif line:
                found[-1].append(line)
    return found


class Command(ProcessProtocol):
    """A process whose output is read while it runs."""

    def __init__(self, script: str, folder: str) -> None:
        self.output = b""
        self.ended: Deferred[None] = Deferred()
        self._read = 0
        self._more: Deferred[None] | None = None
        paths = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CHATD_")}
        reactor.spawnProcess(self, "sh", ["sh", "-c", script], {**kept, **paths}, folder)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.output += data
        self._wake()

    def processEnded(self, reason: Failure) -> None:
        reason.trap(ProcessDone, ProcessTerminated)
        self.ended.callback(None)
        self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None:
            more.callback(None)

    async def line(self) -> str:
        """The next line that holds something."""
        while True:
            end = self.output.find(b"\n", self._read)
            if end >= 0:
                line, self._read = self.output[self._read : end].strip(), end + 1
                if line and not line.startswith(b":"):
                    return line.decode()
            else:
                assert not self.ended.called, self.output
                self._more = Deferred()
                await self._more.addTimeout(PATIENCE, reactor)

    async def stop(self) -> None:
        """End it if it goes on."""
        if not self.ended.called:
            with contextlib.suppress(ProcessExitedAlready):
                IProcessTransport(self.transport).signalProcess("KILL")
            await self.ended


class Socket:
    """A WebSocket of an example: frames are met in order, type by type."""

    def __init__(self, socket: WebSocket, legacy: bool) -> None:
        self._socket = socket
        self._legacy = legacy
        self.pending: deque[str] = deque()

    def send(self, text: str) -> None:
        self._socket.frame(text.encode())

    async def receive(self, expected: str, matches: Callable[[str], bool]) -> str:
        """The next frame of the type of ``expected``; other types wait for their own line."""
        for text in list(self.pending):
            if self._meant(text, expected, matches):
                self.pending.remove(text)
                return text
        while not self._meant(text := await self._socket.receive_text(), expected, matches):
            self.pending.append(text)
        return text

    def _meant(self, text: str, expected: str, matches: Callable[[str], bool]) -> bool:
        if self._legacy:
            return True
        kind = json.loads(text)["type"]
        return f'{{"type":"{kind}"' in expected and (kind != "presence" or matches(text))

    async def closed(self) -> int:
        try:
            self.pending.append(await self._socket.receive_text())
        except Closed as how:
            return how.code
        raise AssertionError(f"it says {self.pending[-1]}")


class Example:
    """The conversation of one section."""

    def __init__(self, node: Node, folder: str, values: dict[str, str]) -> None:
        self.node = node
        self.folder = folder
        self.values = values
        self.sockets: dict[str, Socket] = {}
        self.commands: dict[str, Command] = {}

    async def do(self, step: list[str]) -> None:
        """One line, and the answer written under it."""
        match = _STEP.fullmatch(step[0])
        assert match is not None
        if match["command"] is not None:
            command = Command(self.here(match["command"]), self.folder)
            await command.ended.addTimeout(PATIENCE, reactor)
            said = command.output.decode().replace("\r\n", "\n").strip()
            self.meet("\n".join(step[1:]), said, step)
        else:
            assert len(step) == 1, step
            await self.talk(match["name"], match["what"], match["text"], step)

    async def talk(self, name: str, what: str, text: str, step: list[str]) -> None:
        if what == "=":
            await self.begin(name, text)
        elif what == ">":
            self.sockets[name].send(self.filled(text))
        elif what == "closes":
            code = await self.sockets[name].closed()
            assert str(code) == text, f"{step}: {code}"
        elif name in self.sockets:
            fits = self.fitting(text)
            said = await self.sockets[name].receive(text, lambda said: bool(fits.fullmatch(said)))
            self.meet(text, said, step)
        else:
            said = await self.commands[name].line()
            while "presence" in said and "presence" not in text:
                said = await self.commands[name].line()
            self.meet(text, said, step)

    async def begin(self, name: str, text: str) -> None:
        text = self.filled(text)
        legacy = text.startswith("legacy ")
        url = re.fullmatch(r"ws://localhost:(\d+)(/.*)", text.removeprefix("legacy "))
        if url is None:
            self.commands[name] = Command(f"exec {self.here(text)}", self.folder)
        else:
            protocol = None if legacy else "chatd.v1"
            socket = await self.node.websocket(url[2], PORTS[url[1]], protocol)
            assert socket.status == 101, socket.answer
            self.sockets[name] = Socket(socket, legacy)

    # -- values --

    def filled(self, text: str) -> str:
        """``text`` with the values known so far."""
        return _VARIABLE.sub(lambda m: self.values.get(m[1], m[0]), text)

    def here(self, command: str) -> str:
        """A command for the ports of this node."""
        return re.sub(
            r"localhost([: ])(\d+)",
            lambda m: f"localhost{m[1]}{self.node.port(PORTS[m[2]])}",
            self.filled(command),
        )

    def fitting(self, expected: str) -> re.Pattern[str]:
        """What an answer must look like; values not known yet are groups."""
        return fitting(expected, self.values)

    def meet(self, expected: str, said: str, step: list[str]) -> None:
        match = self.fitting(expected).fullmatch(said)
        assert match is not None, f"\n{step[0]}\nshould say\n{expected}\nand says\n{said}"
        self.values.update(match.groupdict())


class ProtocolTests(ServingTests):
    """A test for each section with examples; see the end of this module."""

    async def section(self, title: str) -> None:
        text = sections(TEXT)[title]
        folder = Path(self.mktemp()).parent
        for name, content in FILES.items():
            (folder / name).write_text(content)
        found = re.search(r"^\.\. run: (.*)$", text, re.MULTILINE)
        options = [
            str(folder / one) if one in FILES else one
            for one in shlex.split(found[1] if found else "")
        ]
        node = await self.serve(*options)
        issuer = Issuer(str(folder / "token.key"))
        now = node.clock.seconds()
        values = {"KEY": FILES["admin.key"]}
        values |= {"ANN": issuer.token("ann", now + 60), "LATER": issuer.token("ann", now + 3600)}
        example = Example(node, str(folder), values)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop(example)))
        for step in steps(text):
            await example.do(step)
        for name, socket in example.sockets.items():
            left = [said for said in socket.pending if '"type":"presence"' not in said]
            self.assertEqual(left, [], f"{name} was told what the example does not show")

    async def stop(self, example: Example) -> None:
        for command in example.commands.values():
            await command.stop()


def _test(title: str) -> Callable[[ProtocolTests], Coroutine[Any, Any, None]]:
    async def test(self: ProtocolTests) -> None:
        await self.section(title)

    return test


for _title, _text in sections(TEXT).items():
    if steps(_text):
        _name = re.sub(r"\W+", "_", _title.lower())
        setattr(ProtocolTests, f"test_{_name}", _test(_title))


class NotationTests(ServingTests):
    """The examples are found, and a wrong one would be noticed."""

    def test_every_example_is_run(self) -> None:
        run = sum(len(steps(text)) for text in sections(TEXT).values())
        written = [line for line in TEXT.splitlines() if _STEP.fullmatch(line.removeprefix("    "))]
        self.assertEqual(run, len([line for line in written if line.startswith("    ")]))
        self.assertGreater(run, 90)

    async def test_a_wrong_answer_is_noticed(self) -> None:
        node = await self.serve()
        example = Example(node, str(Path(self.mktemp()).parent), {})
        right = ['$ echo \'{"a":"1","b":"1"}\'']
        await example.do([*right, '{"a":"$A","b":"$A"}'])
        self.assertEqual(example.values, {"A": "1"})
        for wrong in ('{"a":"$A","b":"2"}', '{"a":"1"}', "", '{"a":"$A$A"...'):
            with self.assertRaises(AssertionError):
                await example.do([*right, wrong])
        await example.do(["ann = ws://localhost:9000/?username=ann"])
        with self.assertRaises(AssertionError):
            await example.do(['ann < {"type":"welcome","user":"ben"}'])
