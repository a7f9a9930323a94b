"""Every option, from every source, with every kind of mistake: one line that begins with the option
and names the value, and exit status 1. All in this process: no start is anything but a call."""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from chatd.config.options import Options
from chatd.config.sources import Problem
from chatd.config.table import BY_NAME, OPTIONS, Option
from chatd.config.twistd import take_log
from chatd.tap import makeService

#: What no option takes, or only those named.
NONSENSE = "no sense: at all/ever*"
TAKES_ANY_TEXT = {"audience", "issuer"}
#: Options whose values are, or name, files.
FILES = {
    "token-key": "{}",
    "admin-key": "{}",
    "setup-secret": "{}",
    "http": "ssl:0:interface=127.0.0.1:privateKey={}",
    "websocket": "ssl:0:interface=127.0.0.1:privateKey={}",
    "setup": "ssl:0:interface=127.0.0.1:privateKey={}",
    "metrics": "ssl:0:interface=127.0.0.1:privateKey={}",
    "broker": "amqps://u:hunter2@localhost/?cacertfile={}",
}
SOURCES = ("flag", "environment", "file")


@contextmanager
def as_somebody(needed: bool) -> Iterator[None]:
    """Not as root, if that is ``needed``: nothing is unreadable for root."""
    root = needed and os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


class ConfigErrorTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.folder.chmod(0o755)
        self.good = self.folder / "good"
        self.good.write_text("a secret that is long enough, surely")
        self.empty = self.folder / "empty"
        self.empty.touch()
        self.unreadable = self.folder / "unreadable"
        self.unreadable.write_text("nobody's")
        self.unreadable.chmod(0)

    #: What other options must say so that only the one in question is wrong.
    ELSE: ClassVar[dict[str, str]] = {"broker": "memory:", "http": "off", "setup": "off"}

    def complaint(self, source: str, name: str, given: str) -> str:
        """What the start says, with option ``name`` given as TOML or text from ``source``."""
        others = self.ELSE | {"websocket": "off", "auth": "open"}
        if name in ("token-key", "audience", "issuer"):
            others |= {"auth": "token", "token-key": str(self.good)}
        others.pop(name, None)
        arguments = [f"--{one}={value}" for one, value in others.items()]
        environ = {}
        if source == "flag":
            flag = BY_NAME[name].flag
            arguments += [f"--{name}={given}"] if not flag or given else [f"--{name}"]
        elif source == "environment":
            environ = {BY_NAME[name].variable: given}
        else:
            path = self.folder / "chatd.toml"
            path.write_text(f"{name} = {given}\n")
            arguments.append(f"--config={path}")
        said = io.StringIO()
        self.patch(sys, "__stderr__", said)
        try:
            with as_somebody(str(self.unreadable) in given):
                options = Options(environ)
                options.parseOptions(arguments)
                makeService(options)
        except SystemExit as e:
            self.assertTrue(e.code)
            if isinstance(e.code, str):  # which Python prints, with exit status 1
                said.write(f"{e.code}\n")
            else:
                self.assertEqual(e.code, 1)
        return said.getvalue()

    def refused(self, source: str, option: Option, given: str, named: str = "") -> None:
        """One line that begins with the option, as it was given, and holds ``named``."""
        said = self.complaint(source, option.name, given)
        names = (f"--{option.name}", option.variable, f"{option.name} in ")
        self.assertTrue(said.startswith(tuple(f"chatd: {name}" for name in names)), (given, said))
        self.assertEqual(said.count("\n"), 1, said)
        self.assertIn(named, said)
        self.assertNotIn("Traceback", said)
        self.assertNotIn("hunter2", said)

    def every(self) -> Iterator[tuple[str, Option]]:
        return itertools.product(SOURCES, OPTIONS)

    def test_nonsense(self) -> None:
        for source, option in self.every():
            if option.name not in TAKES_ANY_TEXT and not (option.flag and source == "flag"):
                given = json.dumps(NONSENSE) if source == "file" else NONSENSE
                shown = option.name != "broker" and option.read.__name__ != "file"
                self.refused(source, option, given, NONSENSE.split(",")[0] if shown else "")

    def test_empty(self) -> None:
        for source, option in self.every():
            if source == "environment" or option.flag:
                continue  # set to nothing means unset
            self.refused(source, option, '""' if source == "file" else "")

    def test_wrong_types(self) -> None:
        for option, value in itertools.product(
            OPTIONS, ("true", "1.5", "1979-05-27", "{a = 1}", "[[1]]")
        ):
            if not (option.flag and value == "true"):
                self.refused("file", option, value)

    def test_files(self) -> None:
        bad = (self.folder / "missing", self.folder, self.unreadable, self.empty)
        for source, name, path in itertools.product(SOURCES, FILES, bad):
            given = FILES[name].format(path)
            shown = json.dumps(given) if source == "file" else given
            self.refused(source, BY_NAME[name], shown, str(path))

    def test_ports(self) -> None:
        socket = self.folder / "no" / "socket"
        for name in ("http", "websocket", "setup", "metrics"):
            for given, why in (
                ("http:8081", "'http'"),
                ("nonsense:1", "'nonsense'"),
                ("stdio:", "'stdio'"),
                ("tcp:8081:interface=::1", r"\:\:1"),
                ("tcp:8081:::1", r"\:\:1"),
                ("tcp:80801", "'80801'"),
                ("tcp:0:interface=192.0.2.1", "192.0.2.1"),
                ("tcp:0:interface=no.such.host.invalid", "no.such.host.invalid"),
                ("unix:", "unix: the address is missing"),
                (f"unix:{socket}", f"{socket.parent} does not exist"),
                (f"unix:{self.folder}", "it is a folder"),
                (f"unix:{'x' * 200}", "at most 107 bytes"),
                (f"tls:{self.good}:0", str(self.good)),
                ("haproxy:nonsense:1", "'nonsense'"),
                ("systemd:domain=INET:index=7", "systemd"),
            ):
                self.refused("flag", BY_NAME[name], given, why)

    def test_databases(self) -> None:
        missing = self.folder / "no" / "chat.sqlite"
        for path in (missing, self.folder, self.unreadable, self.good):
            for source in SOURCES:
                given = f"sqlite:{path}"
                given = json.dumps(given) if source == "file" else given
                self.refused(source, BY_NAME["broker"], given, str(path))

    def bad(self, *arguments: str, **environ: str) -> str:
        refused = self.assertRaises(SystemExit, Options(environ).parseOptions, list(arguments))
        return str(refused.code)

    def test_variables_that_mean_nothing(self) -> None:
        self.assertEqual(
            self.bad(CHATD_BROKR="memory:"),
            "chatd: CHATD_BROKR: there is no such option; did you mean CHATD_BROKER?",
        )
        self.assertEqual(self.bad(CHATD_CHECK="1"), "chatd: CHATD_CHECK: there is no such option")
        for name in ("CHATD_X", "CHATD_HTTPS", "CHATD_PORTS", "CHATD_SERVICE_HOSTS"):
            self.assertIn(f"chatd: {name}: there is no such option", self.bad(**{name: "1"}))

    def test_a_log_that_may_be_written_or_not(self) -> None:
        """What counts is the file, if it is there, and else its folder."""
        denied: set[str] = set()
        self.patch(os, "access", lambda path, mode, **_: str(path) not in denied)
        for there, may_not, why in (
            (True, "folder/log", "this user may not write it"),
            (False, "folder", "this user may not write in "),
            (True, "folder", ""),
        ):
            folder = Path(tempfile.mkdtemp(dir=self.folder)) / "folder"
            folder.mkdir()
            if there:
                (folder / "log").touch()
            denied.add(str(folder.parent / may_not))
            path = str(folder / "log")
            if why:
                options = {"nodaemon": True, "logfile": path}
                error = self.assertRaises(UsageError, take_log, options, "text")
                self.assertTrue(str(error).startswith(f"--logfile: cannot write {path!r}: {why}"))
                self.assertIn(
                    f"chatd: --access-log: cannot write {path!r}: {why}",
                    self.bad("--access-log", path),
                )
            else:
                self.assertIsNotNone(take_log({"nodaemon": True, "logfile": path}, "text"))

    def test_an_access_log_on_standard_output(self) -> None:
        """A file called - is what nobody means. Where it is read does not matter."""
        options = Options({})
        options.parseOptions(["--access-log=-"])
        self.assertEqual(options.config.access_log, "-")

    def test_a_daemon_has_no_standard_output(self) -> None:
        """Neither at the start nor when its file is read again."""
        path = self.folder / "chatd.toml"
        path.write_text('access-log = "-"')
        options = Options({})
        options.parseOptions(["--config", str(path)])
        twistd: Any = {"nodaemon": False}
        options.parent = twistd
        why = str(self.assertRaises(Problem, options.read))
        self.assertIn(f"access-log in {path}: - is standard output, which a daemon has not", why)
        twistd["nodaemon"] = True
        self.assertEqual(options.read().access_log, "-")

    def test_what_kubernetes_sets_is_left_alone(self) -> None:
        options = Options(
            {
                "CHATD_SERVICE_HOST": "10.1.2.3",
                "CHATD_SERVICE_PORT": "8081",
                "CHATD_SERVICE_PORT_HTTP": "8081",
                "CHATD_PORT": "tcp://10.1.2.3:8081",
                "CHATD_PORT_8081_TCP": "tcp://10.1.2.3:8081",
                "CHATD_PORT_8081_TCP_PROTO": "tcp",
                "CHATD_PORT_8081_TCP_ADDR": "10.1.2.3",
                "CHATD_OLD": "",
            }
        )
        options.parseOptions([])

    def test_flags_that_are_none(self) -> None:
        self.assertEqual(
            self.bad("--retian", "7d"),
            "chatd: --retian: there is no such option; did you mean --retain?",
        )
        self.assertIn("did you mean --check?", self.bad("--chek"))
        self.assertEqual(self.bad("--retain"), "chatd: --retain: give a value after it")
        self.assertIn("chatd: --restored: it takes no value", self.bad("--restored=yes"))

    def test_what_does_not_go_together(self) -> None:
        """Named as it was given, like any other mistake."""
        path = self.folder / "chatd.toml"
        for text, name, why in (
            ('auth = "token"', "auth", "token needs a key; give --token-key FILE"),
            (f'token-key = "{self.good}"', "token-key", "open mode checks no tokens"),
            ('audience = ["chat"]', "audience", "open mode checks no tokens"),
            ('issuer = ["https://a.example"]', "issuer", "open mode checks no tokens"),
            ('max-text = "65KB"', "max-text", "66560 is too long: a message has 65536 bytes"),
            ('max-frame = "1KB"', "max-frame", "1024 bytes hold no text of 16384"),
        ):
            path.write_text(text)
            said = self.bad("--config", str(path))
            self.assertTrue(said.startswith(f"chatd: {name} in {path}: {why}"), said)
        said = self.bad(CHATD_MAX_FRAME="1KB")
        self.assertTrue(said.startswith("chatd: CHATD_MAX_FRAME: 1024 bytes hold no"), said)

    def test_sections(self) -> None:
        path = self.folder / "chatd.toml"
        path.write_text('[chatd]\nhttp = "off"\n')
        said = self.bad("--config", str(path))
        self.assertIn(f"chatd in {path}: there are no sections", said)
        path.write_text("http = false\n")
        self.assertIn(
            f'http in {path}: false closes no port; write "off"', self.bad(f"--config={path}")
        )
