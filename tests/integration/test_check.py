"""``twistd chatd --check``: everything is tried and explained, and nothing is changed."""

from __future__ import annotations

import io
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatd.brokers.rabbitmq import inspection
from chatd.brokers.sqlite.lock import Lock
from chatd.brokers.sqlite.schema import prepare
from chatd.config import check
from chatd.config.check import report, run_check
from chatd.config.example import example
from chatd.config.explanation import kept
from chatd.config.options import Options
from chatd.config.table import OPTIONS
from chatd.errors import StartError
from tests.support.certificates import make_certificates
from tests.support.daemon import ROOT
from tests.support.rabbit_home import free_port

reactor: Any = _reactor


class CheckTests(TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def options(self, *arguments: str, **environ: str) -> Options:
        options = Options({f"CHATD_{name}": value for name, value in environ.items()})
        given = {argument.partition("=")[0] for argument in arguments}
        ports = ("--http", "--websocket", "--setup")
        more = [f"{port}=tcp:0:interface=127.0.0.1" for port in ports if port not in given]
        options.parseOptions(["--broker=memory:", *more, *arguments])
        return options

    async def said(self, *arguments: str, **environ: str) -> str:
        lines: list[str] = []
        await report(reactor, self.options(*arguments, **environ), lines.append)
        return "\n".join(lines)

    def secret(self, text: str = "a-secret-of-more-than-thirty-two-bytes") -> str:
        path = self.folder / "secret"
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    async def test_values_and_where_they_were_said(self) -> None:
        path = self.folder / "chatd.toml"
        path.write_text('retain = "1d"\nroom = ["a", "b"]\nrate = 3')
        said = await self.said(f"--config={path}", "--retain=2d", RATE="4/s", ROOM="c")
        for name, value, where in (
            ("retain", "2d", "--retain"),
            ("rate", "4/s", "CHATD_RATE"),
            ("room", "c", "CHATD_ROOM"),
            ("max-text", "16KB", "default"),
        ):
            self.assertRegex(said, rf"(?m)^  {name} = +{value} +{where}$")
        for option in OPTIONS:
            self.assertIn(f"  {option.name} = ", said)

    async def test_what_it_means(self) -> None:
        said = await self.said()
        self.assertIn("Open: anyone of this machine can read, and speak as anyone.", said)
        self.assertIn("Administration over HTTP: off", said)
        self.assertIn("Each room keeps 7d of messages and 100 MB at most", said)
        self.assertIn("memory: rooms and messages are gone when chatd stops", said)
        said = await self.said("--http=tcp:0", "--origin=*", f"--admin-key={self.secret()}")
        self.assertIn("for every network of this machine", said)
        self.assertIn("anyone who reaches these ports", said)
        self.assertIn("Note: Open mode on a port that others can reach", said)
        self.assertIn("Web pages that may connect: any.", said)
        self.assertIn("who shows the admin key.", said)
        token = ("--auth=token", f"--token-key={self.secret()}", "--issuer=https://login.example")
        said = await self.said(*token, "--trusted-proxy=10.0.0.0/8")
        self.assertIn("by https://login.example", said)
        self.assertIn("X-Forwarded-For of 10.0.0.0/8", said)

    def test_what_is_kept_on_rabbitmq(self) -> None:
        """Rooms that exist do not follow the options there."""
        for broker in ("amqp://rabbit", "amqps://rabbit"):
            said = kept(self.options(f"--broker={broker}").config)
            self.assertIn("Each room made from now on keeps 7d of messages", said)
            self.assertIn("rooms that exist, what they were made with or a policy", said)

    async def test_warnings(self) -> None:
        said = await self.said("--retain-bytes=1", "--max-connections=900000000")
        self.assertIn("Note: --retain-bytes: 1 bytes are less than one message", said)
        self.assertIn("Note: --max-connections: 900000000 need", said)
        said = await self.said("--max-unread=100KB")
        self.assertIn("Note: --max-unread: 102400 bytes are less than one request may have", said)
        said = await self.said("--http=off", "--websocket=off", "--setup=off")
        self.assertIn("every port is off", said)
        for key in ("with spaces in it, alas", "with\x01control\x1bcharacters", "with-\xfcmlauts"):
            said = await self.said(f"--admin-key={self.secret(key)}")
            self.assertIn("holds what not every client can send in an Authorization header", said)

    async def test_a_certificate_that_expired(self) -> None:
        for years, noted in ((1, True), (50, False)):
            files = make_certificates(self.folder, years=years)
            where = f"privateKey={files.server_key}:certKey={files.server_certificate}"
            said = await self.said(f"--http=ssl:0:interface=127.0.0.1:{where}")
            note = f"Note: {files.server_certificate} expired on 2020-12-31 00:00:00+00:00; clients"
            self.assertIs(note in said, noted, said)

    async def test_what_is_in_use_is_no_error(self) -> None:
        path = self.folder / "chat.sqlite"
        lock = Lock(str(path))
        self.addCleanup(lock.release)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            http = f"--http=tcp:{port}:interface=127.0.0.1"
            said = await self.said(http, f"--broker=sqlite:{path}")
        self.assertIn(f"In use now: --http: cannot listen on 127.0.0.1:{port}", said)
        self.assertIn("In use now: --broker: cannot use the database", said)

    async def test_one_port_for_two(self) -> None:
        """Nobody has it yet, and chatd could not start all the same."""
        port = free_port()
        for one, other, why in (
            (f"tcp:{port}", f"tcp:{port}:interface=127.0.0.1", f"--websocket has \\*:{port}"),
            (f"tcp6:{port}", f"tcp:{port}:interface=\\:\\:1", f"--websocket has \\[::]:{port}"),
            (f"tcp:{port}:backlog=9", f"tcp:{port}", f"--websocket has \\*:{port}"),
            (f"tcp6:{port}", f"tcp:{port}", "--websocket has \\[::]:.*; tcp6 takes IPv4 .*, too$"),
            (f"tcp:{port}:interface=127.0.0.1", f"tcp6:{port}", ".*; tcp6 takes IPv4 .*, too$"),
            (f"unix:{self.folder}/a", f"unix:{self.folder}/./a", "--websocket has .*/a$"),
        ):
            why = f"^--http: cannot listen on .*: {why}"
            await self.refused(why, f"--websocket={one}", f"--http={other}")
        await self.said(
            f"--websocket=tcp:{port}:interface=127.0.0.1", f"--http=tcp:{port}:interface=127.0.0.2"
        )
        await self.said("--websocket=tcp:0", "--http=tcp:0")

    async def test_nothing_is_made(self) -> None:
        said = await self.said(f"--broker=sqlite:{self.folder}/chat.sqlite")
        self.assertIn(f"{self.folder}/chat.sqlite: to be made", said)
        self.assertEqual(list(self.folder.iterdir()), [])

    async def refused(self, why: str, *arguments: str) -> None:
        try:
            said = await self.said(*arguments)
        except StartError as e:
            self.assertRegex(str(e), why)
        else:
            self.fail(said)

    async def test_what_could_not_start(self) -> None:
        bad = self.folder / "bad"
        bad.touch()
        why = "^--admin-key: .*bad is empty; all that it holds is the secret$"
        await self.refused(why, f"--admin-key={bad}")
        await self.refused("^--http: .*bad holds no", f"--http=ssl:0:privateKey={bad}")
        await self.refused(
            "^--broker: .*its folder does not exist", f"--broker=sqlite:{bad.parent}/no/x"
        )
        await self.refused("^--broker: /nowhere", "--broker=amqps://h/?cacertfile=/nowhere")

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    async def looked_at(self, path: Path, why: str = "") -> None:
        """A check of the database ``path`` is refused with ``why``, if that is given, and changes
        nothing."""
        before, broker = self.contents(), f"--broker=sqlite:{path}"
        if why:
            await self.refused(f"^--broker: cannot use the database .*{why}", broker)
        else:
            self.assertIn("can start", await self.said(broker))
        self.assertEqual(self.contents(), before)

    def made(self, name: str) -> Path:
        """A database of several pages."""
        path = self.folder / name
        prepare(str(path))
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("INSERT INTO record VALUES (1, 1, zeroblob(40000), 1)")
        return path

    async def test_databases_that_chatd_cannot_open(self) -> None:
        await self.looked_at(self.made("well"))
        await self.looked_at(self.folder / "none")
        (self.folder / "empty").touch()
        await self.looked_at(self.folder / "empty")
        for size, why in ((50, "malformed"), (20_000, "malformed")):
            path = self.made(f"cut to {size}")
            os.truncate(path, size)
            await self.looked_at(path, why)
        for number, (pragma, why) in enumerate(
            (
                ("user_version = 1000", "a newer chatd wrote it"),
                ("application_id = 7", "not one of chatd's"),
            )
        ):
            path = self.made(f"other {number}")
            with closing(sqlite3.connect(path)) as db:
                db.execute(f"PRAGMA {pragma}")
            await self.looked_at(path, why)
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        await self.refused("no plain file", f"--broker=sqlite:{pipe}")

    async def test_what_only_the_log_of_a_database_holds(self) -> None:
        """Also where the process that wrote it was killed, or its index is gone."""
        path = self.folder / "chat.sqlite"
        prepare(str(path))
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute("PRAGMA user_version = 1000")
            # within one process connections share the index, and note in it what they read
            await self.refused("a newer chatd wrote it", f"--broker=sqlite:{path}")
            for copy, ends in (("killed", ("", "-wal", "-shm")), ("no index", ("", "-wal"))):
                for end in ends:
                    shutil.copy(f"{path}{end}", self.folder / f"{copy}{end}")
        await self.looked_at(self.folder / "killed", "a newer chatd wrote it")
        await self.looked_at(self.folder / "no index")

    async def test_places_that_cannot_be_written(self) -> None:
        path = self.made("chat.sqlite")
        Path(f"{path}-wal").touch()
        places = (self.folder, path, Path(f"{path}-wal"))
        for closed in map(os.path.realpath, places):
            # root may write everywhere
            with mock.patch("os.access", lambda file, _, closed=closed, **__: file != closed):
                await self.looked_at(path, "this user may not write")

    async def test_a_port_that_speaks_something_else(self) -> None:
        class Other(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"SSH-2.0-OpenSSH_9.2\r\n")

        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
            Factory.forProtocol(Other)
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(_stop(listening)))
        port = listening.getHost().port
        await self.refused(
            f"--broker: .*u@127.0.0.1:{port}.*does not speak AMQP",
            f"--broker=amqp://u:hunter2@127.0.0.1:{port}/",
        )

    async def test_a_broker_that_refuses_connections_is_not_waited_for(self) -> None:
        """Each host is tried once."""
        self.patch(inspection, "PATIENCE", 60.0)
        ports = free_port(), free_port()
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        began = time.monotonic()
        await self.refused("^--broker: .*refused", f"--broker=amqp://{hosts}")
        self.assertLess(time.monotonic() - began, 30)


async def _stop(listening: Any) -> None:
    await listening.stopListening()


class ExampleTests(TestCase):
    """``etc/chatd.toml``."""

    def test_it_is_what_the_options_make(self) -> None:
        shipped = (ROOT / "etc" / "chatd.toml").read_text()
        self.assertEqual(shipped, example(), "python -m chatd.config.example >etc/chatd.toml")

    def test_every_line_of_it_works(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        text = example()
        for option in OPTIONS:
            self.assertIn(f"\n#{option.name} = ", text)
            lines = [line[1:] for line in text.splitlines() if line.startswith(f"#{option.name} =")]
            path = Path(folder.name) / "chatd.toml"
            secret = Path(folder.name) / "secret"
            secret.write_text("secret")
            of_tokens = option.name in ("token-key", "audience", "issuer")
            more = ["--auth=token"] if of_tokens else []
            more += [f"--token-key={secret}"] if of_tokens and option.name != "token-key" else []
            line = "\n".join(lines).replace(f"/etc/chatd/{option.name}", str(secret))
            path.write_text(line.replace("/var/log/chatd", folder.name))
            options = Options({})
            options.parseOptions([f"--config={path}", *more])
            self.assertIn(option.name, options.said)


class StatusTests(SynchronousTestCase):
    """The exit status, which a script goes by."""

    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", self.err)

    def status(self, fault: Exception | None) -> int:
        """That of a check which ends with ``fault``, if there is one, and says how far it went."""
        status = self.ran(fault)
        self.assertEqual(self.out.getvalue(), "as far as it went\n")
        return status

    def ran(self, fault: Exception | None) -> int:
        begin: list[Callable[[], None]] = []

        async def told(reactor: Any, options: Options, say: Callable[[str], object]) -> None:
            say("as far as it went")
            if fault is not None:
                raise fault

        self.patch(check, "report", told)
        started = SimpleNamespace(
            callWhenRunning=begin.append, run=lambda: begin[0](), stop=mock.Mock()
        )
        status = run_check(started, Options({}), self.out)
        started.stop.assert_called_once_with()
        return status

    def test_all_is_well(self) -> None:
        self.assertEqual((self.status(None), self.err.getvalue()), (0, ""))

    def test_chatd_could_not_start(self) -> None:
        self.assertEqual(self.status(StartError("no such broker")), 1)
        self.assertEqual(self.err.getvalue(), "chatd: no such broker\n")

    def test_a_fault_of_chatd_s(self) -> None:
        self.assertEqual(self.status(ValueError("nobody thought of it")), 1)
        self.assertIn("ValueError: nobody thought of it", self.err.getvalue())

    def test_nowhere_to_say_it(self) -> None:
        """Standard output was closed: the status tells."""
        self.patch(sys, "stdout", None)
        self.patch(self, "out", None)
        self.assertEqual(self.ran(None), 0)

    def test_an_output_of_few_characters(self) -> None:
        """What it lacks is an escape."""
        written = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(written, "ascii"))
        Options({}).parseOptions(["--broker=memory:", "--room=küche"])
        print("--room=küche", flush=True)
        self.assertEqual(written.getvalue(), b"--room=k\\xfcche\n")

    def test_ended_before_it_knew(self) -> None:
        never = SimpleNamespace(callWhenRunning=lambda begin: None, run=lambda: None)
        self.assertEqual(run_check(never, Options({}), self.out), 1)
