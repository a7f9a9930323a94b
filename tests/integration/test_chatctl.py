"""``chatctl`` against running nodes, in this process: commands run in a thread."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.utils import formatdate
from http.client import BadStatusLine
from itertools import count
from pathlib import Path
from ssl import SSLError
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock
from urllib.error import HTTPError, URLError

from click.testing import CliRunner, Result
from rich.console import Console
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import TestCase

from chatd.brokers.sqlite.lock import Lock
from chatd.ctl import api, transfer
from chatd.ctl.api import Away, ChatdAPI, Page, why
from chatd.ctl.doctor import Patient
from chatd.ctl.main import cli
from chatd.ctl.output import table
from chatd.ctl.top import fitting, rows
from chatd.rooms import deduplication
from tests.support.daemon import ROOT
from tests.support.forked_command import ForkedCommand
from tests.support.rabbit_home import free_port
from tests.support.serving import Node, ServingTests
from tests.support.tokens import SECRET
from tests.support.waiting import until


def run(*args: str, stdin: str | bytes | None = None) -> Result:
    """Run ``chatctl args``."""
    return CliRunner().invoke(cli, args, input=stdin, prog_name="chatctl")


class ChatctlTests(ServingTests):
    async def node(self, *options: str) -> Node:
        self.key = self.mktemp()
        Path(self.key).write_text("admin-key\n")
        return await self.serve("--admin-key", self.key, *options)

    async def ctl(self, node: Node, *args: str, code: int = 0, stdin: str = "") -> str:
        """What ``chatctl args`` prints about ``node``; its exit code is ``code``."""
        url = f"http://127.0.0.1:{node.ports['http']}"
        known = ("--url", url, "--admin-key", self.key)
        done = await deferToThread(run, *known, *args, stdin=stdin)
        self.assertEqual(done.exit_code, code, done.output)
        return done.stdout if code == 0 else done.output

    async def test_rooms_and_members(self) -> None:
        node = await self.node()
        ann = await node.chat("ann")
        await self.ctl(node, "create", "den", "--private")
        await self.ctl(node, "add", "den", "ann")
        await self.ctl(node, "add", "den", "Ünal/b c")
        await ann.join("den")
        self.assertEqual(await self.ctl(node, "rooms"), "den\tyes\t1\nlobby\tno\t0\n")
        details = await self.ctl(node, "rooms", "--details")
        self.assertEqual(details, "den\tyes\t1\t0\t0\t-\nlobby\tno\t0\t0\t0\t-\n")
        self.assertEqual(
            await self.ctl(node, "members", "den"), "ann\tyes\tyes\nÜnal/b c\tyes\tno\n"
        )
        await self.ctl(node, "remove", "den", "Ünal/b c")
        shown = json.loads(await self.ctl(node, "--json", "members", "den"))
        self.assertEqual(shown, [{"user": "ann", "member": True, "present": True}])
        await self.ctl(node, "create", "den", "--public")
        self.assertIn("den\tno", await self.ctl(node, "rooms"))
        await self.ctl(node, "delete", "den", stdin="n\n", code=1)
        await self.ctl(node, "delete", "den", "--yes")
        self.assertEqual(await self.ctl(node, "rooms"), "lobby\tno\t0\n")

    async def test_send_and_tail(self) -> None:
        node = await self.node()
        await self.ctl(node, "send", "lobby", "one", "--user", "ann", "--id", "a1")
        self.assertEqual(
            await self.ctl(node, "send", "lobby", "one", "--user", "ann", "--id", "a1"), "a1\n"
        )
        await self.ctl(node, "send", "lobby", stdin="two\x1b[2J\nlines\n")
        first, second = (await self.ctl(node, "tail", "lobby")).splitlines()
        self.assertTrue(first.endswith("Z ann: one"))
        self.assertTrue(second.endswith("Z chatctl: two\\x1b[2J\\nlines"))
        one = json.loads((await self.ctl(node, "--json", "tail", "lobby")).splitlines()[0])
        after = await self.ctl(node, "tail", "lobby", "--after", one["cursor"])
        self.assertEqual(after.splitlines(), [second])

    async def test_nothing_to_send(self) -> None:
        """What is to write it may have failed, or there is no input; an empty text may be meant."""
        node = await self.node()
        for nothing in ("", "\n"):
            said = await self.ctl(node, "send", "lobby", stdin=nothing, code=1)
            self.assertIn("nothing to send", said)
        self.assertEqual(await self.ctl(node, "tail", "lobby"), "")
        await self.ctl(node, "send", "lobby", "")
        self.assertTrue((await self.ctl(node, "tail", "lobby")).endswith("Z chatctl: \n"))

    async def test_tail_follows(self) -> None:
        """By its cursor, until the room is gone."""
        node = await self.node()
        tail = Deferred.fromCoroutine(self.ctl(node, "tail", "-f", "-n", "0", "lobby", code=4))
        await until(lambda: node.service.admission.connections.total == 1)
        await node.post("/rooms/lobby/messages?username=ann", {"text": "live"})
        await until(lambda: node.service.admission.connections.total == 1)
        cursor = (await node.get("/rooms/lobby/messages")).json["cursor"]
        await node.service.chat.directory.delete("lobby")
        said = await tail
        self.assertIn("ann: live", said)
        self.assertIn(f"cursor: {cursor}\n", said)

    async def test_export_and_import(self) -> None:
        node = await self.node()
        for n in range(3):
            body = {"text": f"t{n}", "id": f"i{n}", "data": {"n": n}}
            await node.post(f"/rooms/lobby/messages?username=u{n}", body)
        exported = await self.ctl(node, "export", "lobby")
        file = self.mktemp()
        Path(file).write_text(exported)
        await self.ctl(node, "create", "copy")
        for _ in range(2):
            said = await self.ctl(node, "import", file, "--room", "copy")
            self.assertEqual(said, "3 messages published\n")
        old = [json.loads(line) for line in exported.splitlines()]
        again = (await self.ctl(node, "export", "copy")).splitlines()
        new = [json.loads(line) for line in again]
        self.assertEqual(
            [(m["user"], m["id"], m["text"]) for m in new],
            [(m["user"], m["id"], m["text"]) for m in old],
        )
        self.assertEqual([m["data"]["time"] for m in new], [m["time"] for m in old])

    async def test_export_tells_what_it_lacks(self) -> None:
        """The room is deleted and made again between two pages."""
        node = await self.node()
        path, directory = "/rooms/lobby/messages?username=ann", node.service.chat.directory
        for n in range(3):
            await node.post(path, {"text": f"t{n}"})
        page, calls = ChatdAPI.page, count()

        async def begin_anew() -> None:
            await directory.delete("lobby")
            await directory.create("lobby")
            await node.post(path, {"text": "new"})

        def paged(api: ChatdAPI, room: str, **query: Any) -> Page:
            if next(calls) == 1:
                cast(Any, blockingCallFromThread)(
                    reactor, lambda: Deferred.fromCoroutine(begin_anew())
                )
            return page(api, room, **query)

        url = f"http://127.0.0.1:{node.ports['http']}"
        with mock.patch.object(ChatdAPI, "page", paged), mock.patch("chatd.ctl.api.PAGE", 2):
            done = await deferToThread(run, "--url", url, "export", "lobby")
        texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
        self.assertEqual((texts, done.exit_code), (["t0", "t1", "new"], 0))
        self.assertIn("some messages are no longer kept", done.stderr)

    async def test_where_output_is_not_utf_8(self) -> None:
        """What it has no character for is shown as an escape, and exported so that it can be
        imported."""
        node = await self.node()
        await node.post(
            "/rooms/lobby/messages?username=bob", {"text": "caf\xe9 \U0001f372", "id": "i"}
        )

        def latin(*args: str) -> bytes:
            url = f"http://127.0.0.1:{node.ports['http']}"
            command = "from chatd.ctl.main import main; main()", "--url", url, *args
            environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
            return subprocess.run(
                [sys.executable, "-c", *command],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                check=True,
            ).stdout

        shown = await deferToThread(latin, "tail", "lobby")
        self.assertIn(b"bob: caf\xe9 \\U0001f372\n", shown)
        for command in (("export", "lobby"), ("--json", "tail", "lobby")):
            printed = json.loads((await deferToThread(latin, *command)).decode("utf-8"))
            self.assertEqual(printed["text"], "caf\xe9 \U0001f372")

    async def imported(self, node: Node, *lines: object, code: int = 0) -> tuple[str, list[Any]]:
        """What an import of ``lines`` into the room "copy" says, and what is there then."""
        file = self.mktemp()
        Path(file).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        await self.ctl(node, "create", "copy")
        said = await self.ctl(node, "import", file, "--room", "copy", code=code)
        kept = (await self.ctl(node, "export", "copy")).splitlines()
        return said, [json.loads(line) for line in kept]

    async def test_import_of_messages_that_fill_their_room(self) -> None:
        """Their own time is left out where it does not fit, also where UTF-8 is shorter than the
        escapes of JSON."""
        node = await self.node()
        first = {"room": "lobby", "user": "ann", "text": "t"}
        data = [{"x": "ü" * 32_700}, {"x": "ü" * 32_756 + "x"}]  # in all 65,409 and 65,522 bytes
        file = self.mktemp()
        lines = [json.dumps({**first, "id": f"i{n}", "data": d}) for n, d in enumerate(data)]
        Path(file).write_text("\n".join(lines))
        await self.ctl(node, "import", file)
        old = [json.loads(line) for line in (await self.ctl(node, "export", "lobby")).splitlines()]
        said, new = await self.imported(node, *old)
        self.assertEqual(said, "2 messages published\n")
        self.assertEqual(new[0]["data"], {"time": old[0]["time"], **old[0]["data"]})
        self.assertEqual(new[1]["data"], old[1]["data"])

    async def test_import_keeps_times_and_data(self) -> None:
        node = await self.node()
        message = {"room": "copy", "user": "ann", "text": "t", "time": "2020-01-01T00:00:00.000Z"}
        given: list[dict[str, Any]] = [{"time": 1}, {"time": 1, "message_time": 2}, {}]
        lines: list[Any] = [{**message, "id": f"i{n}", "data": d} for n, d in enumerate(given)]
        lines.append({"room": "copy", "user": "ann", "text": "t", "id": "i3", "data": {"n": 1}})
        _, kept = await self.imported(node, *lines)
        data = [{"time": 1, "message_time": message["time"]}, given[1], {"time": message["time"]}]
        self.assertEqual([one["data"] for one in kept], [*data, {"n": 1}])

    async def test_import_goes_on_after_what_is_refused(self) -> None:
        node = await self.node()
        good = {"room": "copy", "user": "ann", "text": "t", "time": "2020-01-01T00:00:00.000Z"}
        bad = [
            {"room": 1},
            {**good, "id": "a", "data": None},
            {**good, "id": "a", "data": [1]},
            {**good, "id": "a", "text": "x" * 20_000},
            {**good, "id": "a", "user": "\udcff"},
            {**good, "id": "a", "text": "\ud800"},
        ]
        lines = [{**good, "id": "a1"}, *bad, {**good, "id": "a2"}]
        said, kept = await self.imported(node, *lines, code=1)
        self.assertEqual([one["id"] for one in kept], ["a1", "a2"])
        self.assertIn(f"2 messages published, {len(bad)} lines refused\n", said)
        for number in (2, 3, 4):
            self.assertIn(f"line {number}: this is no message of an export\n", said)
        self.assertIn("line 5: too_large: ", said)
        for number in (6, 7):
            self.assertIn(f"line {number}: bad_request: ", said)

    def forgetful(self) -> None:
        """Nodes that know a repeat by itself among the two newest messages only."""
        self.patch(deduplication, "WINDOW", 2)
        self.patch(deduplication, "_FEW", 2)

    async def test_import_that_was_interrupted_is_repeated(self) -> None:
        """Also when the node no longer knows what it has by itself; what is there twice in the
        file, too, is stored as often."""
        node = await self.node()
        self.forgetful()
        self.patch(api, "PAGE", 2)
        message = {"room": "copy", "user": "Jose\u0301", "text": "t", "data": {"n": 1}}
        lines = [{**message, "id": f"i{n % 6}"} for n in range(8)]
        for part in (lines[:5], lines, lines):
            said, kept = await self.imported(node, *part)
            self.assertEqual(said, f"{len(part)} messages published\n")
            self.assertEqual([one["id"] for one in kept], [one["id"] for one in part])
        said, kept = await self.imported(node, {**message, "id": "i2", "text": "another"})
        self.assertEqual(kept[-1]["text"], "another")

    async def test_import_tries_again(self) -> None:
        """After an answer that was lost, when the node no longer knows the message by itself."""
        node = await self.node()
        self.forgetful()
        self.patch(transfer, "AGAIN", 0)
        ask, calls = ChatdAPI.ask, count()

        def lost(api: ChatdAPI, method: str, path: str, **more: Any) -> bytes:
            answer = ask(api, method, path, **more)
            if method != "POST" or next(calls):
                return answer
            for text in "abc":
                ask(api, method, path, body={"text": text}, query={"username": "ben"})
            raise Away("the connection was lost")

        file = self.mktemp()
        Path(file).write_text('{"room": "lobby", "user": "ann", "text": "t", "id": "a1"}')
        with mock.patch.object(ChatdAPI, "ask", lost):
            said = await self.ctl(node, "import", file)
        self.assertEqual(said, "1 messages published\n")
        kept = (await node.get("/rooms/lobby/messages?last=9")).json["messages"]
        self.assertEqual([one["text"] for one in kept], ["t", "a", "b", "c"])

    async def test_import_stops_where_chatd_is_away(self) -> None:
        node = await self.node()
        self.patch(transfer, "TRIES", 1)
        file = self.mktemp()
        Path(file).write_text('\n{"room": "lobby", "user": "ann", "text": "t", "id": "a"}\n' * 2)
        node.drain()
        said = await self.ctl(node, "import", file, code=3)
        self.assertIn("line 2: ", said)
        self.assertNotIn("line 4: ", said)

    async def test_tokens(self) -> None:
        key = self.mktemp()
        Path(key).write_text(SECRET)
        node = await self.node("--auth=token", f"--token-key={key}")
        token = (await self.ctl(node, "token", "ann", "--key", key, "--room", "lob*")).strip()
        await self.ctl(node, "--token", token, "send", "lobby", "hi")
        self.assertIn("ann: hi", await self.ctl(node, "--token", token, "tail", "lobby"))
        await self.ctl(node, "--token", token, "rooms", code=5)
        admin = (await self.ctl(node, "token", "root", "--key", key, "--admin")).strip()
        self.assertIn("lobby", await self.ctl(node, "--token", admin, "rooms"))
        exported = await self.ctl(node, "--token", token, "export", "lobby")
        file = self.mktemp()
        Path(file).write_text(exported.replace('"id": "', '"id": "again-'))
        await self.ctl(node, "import", file, "--token-key", key)
        self.assertEqual(
            len((await self.ctl(node, "--token", token, "export", "lobby")).splitlines()), 2
        )

    async def test_a_secret_is_all_of_its_file(self) -> None:
        """As chatd reads it, spaces at its ends included."""
        key = self.mktemp()
        Path(key).write_text(f" {SECRET} \r\n")
        node = await self.node("--auth=token", f"--token-key={key}")
        token = (await self.ctl(node, "token", "ann", "--key", key)).strip()
        await self.ctl(node, "--token", token, "send", "lobby", "hi")

    def test_a_secret_that_can_be_guessed(self) -> None:
        """As chatd says it, and not as a library does: with a line of its source."""
        key = self.mktemp()
        Path(key).write_text("x" * 31 + "\n")
        command = [sys.executable, "-c", "from chatd.ctl.main import main; main()"]
        done = subprocess.run(
            [*command, "token", "ann", "--key", key], capture_output=True, text=True, check=True
        )
        said = f"chatctl: {key} holds a secret of less than 32 bytes; anyone with one token can"
        self.assertEqual(done.stderr, f"{said} try to guess it\n")
        self.assertEqual(done.stdout.count("."), 2)

    def test_a_token_is_somebodys(self) -> None:
        """chatd would refuse any other."""
        key = self.mktemp()
        Path(key).write_text(SECRET)
        for name in ("", "a\nb", "a" * 300):
            done = run("token", name, "--key", key)
            self.assertEqual((done.exit_code, done.stdout), (2, ""))
            self.assertIn("Invalid value for USER", done.stderr)

    async def test_exit_codes(self) -> None:
        node = await self.node()
        self.assertIn("unknown_room", await self.ctl(node, "tail", "nowhere", code=4))
        self.assertIn("bad_request", await self.ctl(node, "tail", "lobby", "--after", "x", code=1))
        Path(self.key).write_text("guess")
        await self.ctl(node, "rooms", code=5)
        node.drain()
        await self.ctl(node, "rooms", code=3)
        await self.ctl(node, "nonsense", code=2)

    async def test_top(self) -> None:
        node = await self.node()
        await self.ctl(node, "send", "lobby", "x")
        shown = await self.ctl(node, "top")
        self.assertRegex(shown, r"(?m)^chatd_messages_published_total\t1\.0$")
        faster = rows({"a_total": 30.0, "b": 5.0}, {"a_total": 10.0}, 2.0)
        self.assertEqual([row["per second"] for row in faster], [10.0, ""])

    def test_top_on_a_terminal_that_is_too_low(self) -> None:
        """What grows is in sight, then what is not zero, by name; and that there is more."""
        now = {"a_total": 1.0, "b": 0.0, "c": 0.0, "d": 5.0, "e_total": 30.0}
        sampled = rows(now, {"a_total": 1.0, "e_total": 10.0}, 2.0)
        self.assertEqual(fitting(sampled, 5), sampled)
        for lines, names in ((4, ["a_total", "d", "e_total"]), (3, ["a_total", "e_total"])):
            *shown, last = fitting(sampled, lines)
            self.assertEqual([row["metric"] for row in shown], names)
            self.assertEqual(last["metric"], f"and {5 - len(names)} more: chatctl top --once")

    def test_a_terminal_that_is_too_narrow(self) -> None:
        """Two rooms may differ at their ends alone; what is live has a line for each row."""
        names = ["x" * 60 + end for end in "ab"]
        for overflow, lines, whole in (("fold", 5, True), ("ellipsis", 3, False)):
            console = Console(file=io.StringIO(), width=50)
            shown: Any = overflow
            console.print(table(("room", "count"), [{"room": n, "count": 1} for n in names], shown))
            text = cast(io.StringIO, console.file).getvalue()
            self.assertEqual(len(text.splitlines()), lines, text)
            self.assertEqual(("a" in text, "…" in text), (whole, not whole), text)

    async def test_doctor(self) -> None:
        node = await self.node()
        shown = await self.ctl(node, "--json", "doctor")
        found = {one["check"]: one["well"] for one in json.loads(shown)}
        names = {"answers", "ready", "clock", "WebSocket", "event stream", "open files"}
        self.assertEqual(set(found), names)
        node.service.broker.interrupt()
        self.assertIn("ready\tno\tthe broker is away", await self.ctl(node, "doctor", code=1))

    async def test_doctor_of_what_is_no_chatd(self) -> None:
        node = await self.node()
        node.ports["http"] = node.ports["setup"]
        shown = await self.ctl(node, "doctor", code=1)
        self.assertEqual(shown.count("\tno\t"), 5)


class Dated:
    """A node that answers at once, by a clock ``behind`` ours."""

    room = "lobby"

    def __init__(self, behind: float) -> None:
        self.behind = behind

    @contextmanager
    def get(self, path: str, headers: object) -> Iterator[Any]:
        date = formatdate(int(NOW - self.behind), usegmt=True)
        yield SimpleNamespace(getheader=lambda name: date)


NOW = 1_800_000_000.75


class ClockTests(TestCase):
    def test_clocks_that_agree(self) -> None:
        """A Date has no fractions: they make no difference."""
        for behind, shown in (
            (0, "+0 s"),
            (0.7, "+0 s"),
            (-0.2, "+0 s"),
            (3, "-3 s"),
            (-9, "+9 s"),
        ):
            patient: Any = Dated(behind)
            with mock.patch("time.time", return_value=NOW):
                found = Patient.clock(patient)
            self.assertEqual(found.found, f"{shown} from this machine's")
            self.assertIs(found.well, abs(behind) < 5)


class WithoutNodeTests(TestCase):
    def test_nobody_there(self) -> None:
        done = run("--url", f"http://127.0.0.1:{free_port()}", "rooms")
        self.assertEqual(done.exit_code, 3)
        self.assertIn("does not answer", done.output)
        self.assertEqual(done.output.count("\n"), 1)

    def test_answers_of_something_else(self) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        for answer in (b"", b"x", b"[]", b"{}", b"[" * 100_000):
            with mock.patch("chatd.ctl.api.urlopen", lambda *_, a=answer, **__: io.BytesIO(a)):
                for command in (["rooms"], ["members", "a"], ["tail", "a"], ["create", "a"]):
                    done = run("--url", url, *command)
                    self.assertEqual((done.exit_code, done.output.count("\n")), (1, 1), done.output)
                    self.assertIn("is this chatd?", done.output)

    def test_refusals_of_something_else(self) -> None:
        """A page that is not there is no room that does not exist; nothing rings a bell."""
        url = f"http://127.0.0.1:{free_port()}"
        for body, code in (
            (b"<html>", 1),
            (b"[" * 100_000, 1),
            (b'{"code":"bad_request","text":"There is nothing at this path."}', 1),
            (b'{"code":"unknown_room","text":"There is no room \\u001b[2J\\n."}', 4),
        ):
            refusal = HTTPError(url, 404, "Not\aFound", Message(), io.BytesIO(body))
            with mock.patch("chatd.ctl.api.urlopen", side_effect=refusal):
                done = run("--url", url, "rooms")
            self.assertEqual((done.exit_code, done.output.count("\n")), (code, 1), done.output)
            self.assertTrue(done.output.rstrip("\n").isprintable(), done.output)
        with mock.patch("chatd.ctl.api.urlopen", side_effect=BadStatusLine("400 no\x1b[2J\n")):
            done = run("--url", url, "rooms")
        self.assertEqual((done.exit_code, done.output.count("\n")), (3, 1), done.output)
        self.assertTrue(done.output.rstrip("\n").isprintable(), done.output)

    def test_why(self) -> None:
        """In the words of whoever found out, and all of them."""
        refused, untrusted = (
            ConnectionRefusedError(111, "Connection refused"),
            SSLError(1, "[X] bad"),
        )
        untrusted.reason = "X"
        for error, shown in (
            (refused, "Connection refused"),
            (URLError(refused), "Connection refused"),
            (untrusted, "[X] bad"),
            (URLError(untrusted), "[X] bad"),
            (URLError("unknown url type"), "unknown url type"),
            (TimeoutError(), "TimeoutError"),
        ):
            self.assertEqual(why(error), shown)

    def test_doctor_names_its_checks_alike(self) -> None:
        """Whether they went well or not."""
        done = run("--url", f"http://127.0.0.1:{free_port()}", "--json", "doctor")
        found = {one["check"]: one["found"] for one in json.loads(done.stdout)}
        names = ["answers", "ready", "clock", "WebSocket", "event stream"]
        self.assertEqual(found, dict.fromkeys(names, "Connection refused"))

    def test_a_key_that_cannot_be_sent_is_not_shown(self) -> None:
        url, path = f"http://127.0.0.1:{free_port()}", Path(self.mktemp())
        for secret in (
            b"hunter2\nmore",
            b"hunter2 more",
            b"hunter2\xfc",
            "hünter2".encode(),
            b"\n",
        ):
            path.write_bytes(secret)
            for command in ("rooms", "doctor"):
                done = run("--url", url, "--admin-key", str(path), command)
                self.assertEqual((done.exit_code, done.output.count("\n")), (1, 1), done.output)
                self.assertIn("holds no key", done.output)
                self.assertNotIn("nter2", done.output)
        for token in ("hunter2\nmore", "hünter2"):
            done = run("--url", url, "--token", token, "rooms")
            self.assertEqual(done.exit_code, 2, done.output)
            self.assertIn("a token is one line", done.output)
            self.assertNotIn("nter2", done.output)

    def test_what_is_no_address(self) -> None:
        for url in ("http://127.0.0.1:99999", "http://[::1", "ftp://a", "a", "http://u:pw@a", ""):
            for command in ("doctor", "rooms"):
                done = run("--url", url, command)
                self.assertEqual(done.exit_code, 2, done.output)
                self.assertIn("--url", done.output)
                self.assertNotIn("pw", done.output)

    def test_a_name_that_cannot_be(self) -> None:
        done = run("--url", f"http://a..{'b' * 70}", "doctor")
        self.assertEqual((done.exit_code, done.output.count("\tno\t")), (1, 5), done.output)
        done = run("--url", f"http://a..{'b' * 70}", "send", "\udcff", "text", "--user", "\udcff")
        self.assertEqual(done.exit_code, 3, done.output)

    def chatctl(self) -> Path:
        """The command, as in a shell."""
        folder = tempfile.TemporaryDirectory()  # its path is short enough for that of a socket
        self.addCleanup(folder.cleanup)
        command = ForkedCommand(Path(folder.name) / "bin")
        self.addCleanup(command.close)
        return command.folder / "chatctl"

    def test_check_is_chatds_own(self) -> None:
        """As a person runs it, for chatd's words go past this process."""
        command = [str(self.chatctl()), "check", "--broker", "memory:"]
        ports = ["--http", f"tcp:{free_port()}", "--websocket", "off"]
        for option, code, said in (("off", 0, "can start"), ("tcp:x", 1, "chatd: --setup: ")):
            done = subprocess.run(
                [*command, *ports, "--setup", option], capture_output=True, text=True, check=False
            )
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(said, done.stdout + done.stderr)

    def test_a_full_disk(self) -> None:
        """As an export may meet it; what Python would say at its end is not said either."""
        key = Path(self.mktemp()).absolute()
        key.write_text(SECRET)
        program = self.chatctl()
        for command in (["completion", "bash"], ["token", "ann", "--key", str(key)]):
            with Path("/dev/full").open("w") as full:
                done = subprocess.run(
                    [program, *command],
                    stdout=full,
                    stderr=subprocess.PIPE,
                    text=True,
                    check=False,
                )
            said = (done.returncode, done.stderr)
            self.assertEqual(said, (1, "Error: output: No space left on device\n"))

    def test_without_standard_input_and_output(self) -> None:
        """As some start their commands: nothing is read, nothing said."""
        key = Path(self.mktemp()).absolute()
        key.write_text(SECRET)
        script = "from chatd.ctl.main import main; main()"
        for command, code, said in (
            (["send", "lobby"], 1, "Error: There is nothing to send"),
            (["delete", "lobby"], 1, "Aborted!"),
            (["import", "-"], 0, ""),
            (["--json", "token", "ann", "--key", str(key)], 0, ""),
        ):
            shell = ["sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-c", script]
            done = subprocess.run([*shell, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
            self.assertIn(said, done.stderr)

    def test_what_is_no_text(self) -> None:
        done = run("send", "lobby", stdin=b"caf\xe9")
        self.assertEqual((done.exit_code, done.output.count("\n")), (1, 1), done.output)
        self.assertIn("standard input is no text in utf-8", done.output)

    def test_completion(self) -> None:
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("_CHATCTL_COMPLETE", run("completion", shell).output)

    def test_the_list_of_commands(self) -> None:
        """Each in one sentence that is not cut off, without marks of markup."""
        listed = run("--help").output.partition("Commands:")[2]
        self.assertEqual(listed.count("."), len(cli.commands), listed)
        self.assertNotIn("`", listed)

    def test_the_manual_names_every_command_and_option(self) -> None:
        manual = (ROOT / "docs" / "chatctl.rst").read_text()
        for name, command in cli.commands.items():
            self.assertIn(f"\n``{name}", manual)
            for parameter in (*command.params, *cli.params):
                for option in parameter.opts if parameter.param_type_name == "option" else ():
                    self.assertIn(option, manual, f"{name} {option}")


class BackupTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chatd-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.database = self.folder / "chatd.sqlite"
        with sqlite3.connect(self.database) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE stream (id INTEGER)")
            db.execute("CREATE TABLE record (body BLOB)")
        self.db = db
        self.addCleanup(db.close)

    def write(self, body: bytes) -> None:
        with self.db:
            self.db.execute("INSERT INTO record VALUES (?)", [body])

    def bodies(self, path: Path) -> list[bytes]:
        db = sqlite3.connect(path)
        self.addCleanup(db.close)
        return [body for (body,) in db.execute("SELECT body FROM record")]

    def test_there_and_back(self) -> None:
        """While it is in use, and all that is still in the log besides the file."""
        self.write(b"one")
        copy = self.folder / "copy"
        done = run("backup", str(self.database), str(copy))
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertEqual(copy.stat().st_mode & 0o777, 0o600)
        self.write(b"two")
        self.assertEqual(run("backup", str(self.database), str(copy)).exit_code, 1)
        self.db.close()
        self.assertEqual(self.bodies(copy), [b"one"])
        done = run("restore", str(copy), str(self.database), stdin="y\n")
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertEqual(self.bodies(self.database), [b"one"])

    def test_no_room_for_a_copy(self) -> None:
        """Nothing stays of what was begun, neither what SQLite keeps beside it."""
        self.write(b"x" * 4_000_000)  # more than SQLite holds back until the end
        full = self.folder / "full"
        full.mkdir()
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        script = f'mount -t tmpfs -o size=100k tmpfs {full}; "$@"; ls -A {full}'
        backup = ["backup", str(self.database), str(full / "copy")]
        command = [sys.executable, "-c", "from chatd.ctl.main import main; main()", *backup]
        done = subprocess.run(
            ["unshare", "--mount", *user, "sh", "-c", script, "sh", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn("database or disk is full", done.stderr)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}

    def refused(self, why: str, *args: Path | str) -> None:
        """``chatctl args`` ends with a line that says ``why``, and changes nothing."""
        before = self.contents()
        done = run(*map(str, args))
        self.assertEqual((done.exit_code, done.output.count("\n")), (1, 1), done.output)
        self.assertIn(why, done.output)
        after = self.contents()
        after.pop("chatd.sqlite-shm"), before.pop("chatd.sqlite-shm")  # any reader writes there
        self.assertEqual(after, before)

    def test_places_that_there_are_not(self) -> None:
        self.write(b"one")
        for command in ("backup", "restore"):
            self.refused("No such file", command, self.database, self.folder / "nowhere" / "x")

    def test_never_in_the_place_of_what_is_copied(self) -> None:
        self.write(b"one")
        (self.folder / "link").symlink_to(self.database)
        (self.folder / "hard").hardlink_to(self.database)
        (self.folder / "dir").symlink_to(self.folder)
        ends = ("", "-wal", "-shm", ".lock", ".mark")
        own = [self.folder / f"chatd.sqlite{end}" for end in ends]
        links = [self.folder / name for name in ("link", "hard", "dir/chatd.sqlite-wal")]
        for file in (*own, *links):
            self.refused("belongs to", "backup", self.database, file, "--force")
            self.refused("belongs to", "backup", self.folder / "link", file, "--force")
        for file in (self.database, self.folder / "link"):
            self.refused("belongs to", "restore", file, self.database, "--yes")

    def test_never_what_only_has_a_name_like_it(self) -> None:
        """What is removed beside a copy, and the name that it has before it is whole."""
        self.write(b"one")
        self.db.close()
        for name in ("x-wal", "x.new"):
            shutil.copy(self.database, self.folder / name)
        done = run("backup", str(self.folder / "x-wal"), str(self.folder / "x"))
        self.assertIn("belongs to", done.output)
        done = run("backup", str(self.folder / "x.new"), str(self.folder / "x"))
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertEqual(self.bodies(self.folder / "x.new"), [b"one"])
        self.assertEqual(self.bodies(self.folder / "x"), [b"one"])

    def test_never_in_the_place_of_what_is_in_use(self) -> None:
        self.write(b"one")
        other = self.folder / "other"
        other.write_bytes(b"another node's")
        (self.folder / "link").symlink_to(other)
        lock = Lock(str(other))
        self.addCleanup(lock.release)
        for name in ("other", "other-wal", "other.mark", "link"):
            file = self.folder / name
            self.refused(f"process {os.getpid()} has it", "backup", self.database, file, "--force")
            self.refused(f"process {os.getpid()} has it", "restore", self.database, file, "--yes")

    def test_restored_where_a_link_leads(self) -> None:
        self.write(b"one")
        old, link = self.folder / "disk" / "old", self.folder / "link"
        old.parent.mkdir()
        for path in (old, Path(f"{old}-wal"), Path(f"{old}-journal")):
            path.write_bytes(b"what was there")
        link.symlink_to(old)
        done = run("restore", str(self.database), str(link), "--yes")
        self.assertEqual(done.exit_code, 0, done.output)
        self.assertTrue(link.is_symlink())
        self.assertEqual(list(old.parent.iterdir()), [old])
        self.assertEqual(self.bodies(old), [b"one"])

    def test_a_copy_that_cannot_be_put_in_place_costs_nothing(self) -> None:
        """As where the database is a mount of its own: what is only in its log is kept."""
        self.write(b"one")
        old = self.folder / "old"
        for end in ("", "-wal"):
            shutil.copy(f"{self.database}{end}", f"{old}{end}")
        self.write(b"two")
        with mock.patch("os.replace", side_effect=OSError(errno.EBUSY, "Device or resource busy")):
            done = run("restore", str(self.database), str(old), "--yes")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("Device or resource busy", done.output)
        self.assertEqual(self.bodies(old), [b"one"])

    def test_what_is_told_to_be_there_outlasts_a_power_cut(self) -> None:
        self.write(b"one")
        synced: list[tuple[str, list[str]]] = []

        def fsync(file: int) -> None:
            path = os.readlink(f"/proc/self/fd/{file}")
            synced.append((path, sorted(name.name for name in self.folder.glob("copy"))))

        with mock.patch("os.fsync", fsync):
            self.assertEqual(run("backup", str(self.database), f"{self.folder}/copy").exit_code, 0)
        self.assertEqual(synced[-1], (os.path.realpath(self.folder), ["copy"]))

    def restored(self, target: Path) -> os.stat_result:
        done = run("restore", str(self.database), str(target), "--yes")
        self.assertEqual(done.exit_code, 0, done.output)
        return target.stat()

    @unittest.skipUnless(os.geteuid() == 0, "only root gives files away")
    def test_restored_by_root_for_another_user(self) -> None:
        self.write(b"one")
        target = self.folder / "old"
        target.touch()
        target.chmod(0o640)
        os.chown(target, 1234, 5678)
        found = self.restored(target)
        self.assertEqual((found.st_uid, found.st_gid, found.st_mode & 0o777), (1234, 5678, 0o640))
        for mode, own in ((0o755, 0o600), (0o770, 0o660)):
            target = self.folder / f"{mode:o}" / "new"
            target.parent.mkdir()
            target.parent.chmod(mode)
            os.chown(target.parent, 1234, 5678)
            found = self.restored(target)
            self.assertEqual((found.st_uid, found.st_gid, found.st_mode & 0o777), (1234, 5678, own))

    def test_restored_by_a_user_for_itself(self) -> None:
        """Also where the old group cannot be had: then none has its rights."""
        self.write(b"one")
        target = self.folder / "old"
        target.touch()
        target.chmod(0o664)
        self.assertEqual(self.restored(target).st_mode & 0o777, 0o664)
        with mock.patch("os.fchown", side_effect=PermissionError):
            self.assertEqual(self.restored(target).st_mode & 0o777, 0o604)
            with mock.patch("os.geteuid", return_value=1234):
                self.refused("another user's", "restore", self.database, target, "--yes")
                new = self.restored(self.folder / "new")
        self.assertEqual(new.st_mode & 0o777, 0o600)

    def test_what_is_none_of_ours_or_damaged(self) -> None:
        other = self.folder / "other"
        with sqlite3.connect(other) as db:
            db.execute("CREATE TABLE mine (x)")
        db.close()
        garbage = self.folder / "garbage"
        garbage.write_bytes(b"x" * 5000)
        for path, wrong in ((other, "no database of chatd"), (garbage, "not a database")):
            done = run("restore", str(path), str(self.database), "--yes")
            self.assertEqual(done.exit_code, 1)
            self.assertIn(wrong, done.output)
        self.assertEqual(sorted(self.folder.glob("*.new")), [])
