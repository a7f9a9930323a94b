"""Options from the command line, the environment and a file, and what is said when they are bad."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

import chatd
from chatd.config.options import Options
from chatd.config.parsers import mask_password
from chatd.config.settings import Config, is_loopback_only
from chatd.config.table import OPTIONS
from tests.support.daemon import ROOT
from tests.support.forked_command import ForkedCommand

#: twistd as it is, but for what it would run: the options of chatd and nothing of its services.
HARNESS = """
import sys
from twisted.application import app
from twisted.scripts._twistd_unix import ServerOptions
from chatd.config.options import Options
class Only(ServerOptions):
    subCommands = [("chatd", None, Options, "chat")]
sys.argv[0] = "twistd"
app.run(lambda config: print(config.subOptions.config), Only)
"""


class OptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.key = self.folder / "key"
        self.key.write_text("s3cret\n")

    def config(self, *arguments: str, **environ: str) -> Config:
        options = Options(environ={f"CHATD_{name}": value for name, value in environ.items()})
        options.parseOptions(list(arguments))
        return options.config

    def toml(self, text: str) -> str:
        path = self.folder / "chatd.toml"
        path.write_text(text)
        return str(path)

    def file(self, text: str, *arguments: str, **environ: str) -> Config:
        return self.config("--config", self.toml(text), *arguments, **environ)

    def bad(self, *arguments: str, **environ: str) -> str:
        """The one line that ends the process with status 1."""
        error = self.assertRaises(SystemExit, self.config, *arguments, **environ)
        self.assertIsInstance(error.code, str)  # which Python prints, and exits with 1
        self.assertTrue(error.code.startswith("chatd: "), error.code)
        self.assertEqual(len(error.code.splitlines()), 1, error.code)
        return str(error.code)

    def bad_file(self, text: str) -> str:
        return self.bad("--config", self.toml(text))


class SourceTests(OptionTests):
    """Where options come from, and which wins."""

    def test_defaults(self) -> None:
        self.assertEqual(
            self.config(),
            Config(
                broker="sqlite:chatd.sqlite",
                websocket=("tcp:9000:interface=127.0.0.1",),
                http=("tcp:8081:interface=127.0.0.1",),
                setup=("tcp:8082:interface=127.0.0.1",),
                metrics=(),
                rooms=("lobby",),
                auth="open",
                token_key=None,
                audiences=(),
                issuers=(),
                admin_key=None,
                setup_secret=None,
                origins=(),
                hosts=(),
                retain=7 * 86400,
                retain_bytes=100 * 1024**2,
                max_text=16 * 1024,
                max_frame=128 * 1024,
                max_unread=256 * 1024**2,
                rate=20.0,
                room_rate=50.0,
                max_rooms=100_000,
                max_connections=50000,
                max_connections_per_address=1000,
                trusted_proxies=(),
                trust_unix=False,
            ),
        )

    #: option -> (what is given, the field, what it becomes); KEY stands for a file that exists.
    EVERY: ClassVar[dict[str, tuple[str, str, Any]]] = {
        "broker": ("memory:", "broker", "memory:"),
        "websocket": ("tcp:1", "websocket", ("tcp:1",)),
        "http": ("unix:/run/chatd", "http", ("unix:/run/chatd",)),
        "setup": ("off", "setup", ()),
        "room": ("Halle", "rooms", ("Halle",)),
        "auth": ("token", "auth", "token"),
        "token-key": ("KEY", "token_key", "KEY"),
        "audience": ("chat", "audiences", ("chat",)),
        "issuer": ("https://a.example", "issuers", ("https://a.example",)),
        "metrics": ("tcp:2", "metrics", ("tcp:2",)),
        "room-rate": ("60/m", "room_rate", 1.0),
        "max-rooms": ("7", "max_rooms", 7),
        "admin-key": ("KEY", "admin_key", "KEY"),
        "setup-secret": ("KEY", "setup_secret", "KEY"),
        "origin": ("HTTPS://A.example:443", "origins", ("https://a.example",)),
        "host": ("A.Example", "hosts", ("a.example",)),
        "retain": ("90m", "retain", 5400),
        "retain-bytes": ("2GB", "retain_bytes", 2 * 1024**3),
        "max-text": ("1KB", "max_text", 1024),
        "max-frame": ("70000", "max_frame", 70000),
        "max-unread": ("1MB", "max_unread", 1024 * 1024),
        "rate": ("90/m", "rate", 1.5),
        "max-connections": ("7", "max_connections", 7),
        "max-connections-per-address": ("8", "max_connections_per_address", 8),
        "trusted-proxy": ("10.0.0.0/8", "trusted_proxies", (ip_network("10.0.0.0/8"),)),
        "access-log": ("/tmp/a", "access_log", "/tmp/a"),
        "log-format": ("json", "log_format", "json"),
        "restored": ("yes", "restored", True),
    }

    def test_every_option_from_every_source(self) -> None:
        self.assertEqual(set(self.EVERY), {option.name for option in OPTIONS})
        key = str(self.key)
        for name, (given, field, expected) in self.EVERY.items():
            value = given.replace("KEY", key)
            expected = key if expected == "KEY" else expected
            tokens = {"--auth": "token", "--token-key": key}
            tokens.pop(f"--{name}", None)
            of_tokens = name in ("auth", "token-key", "audience", "issuer")
            more = [part for pair in tokens.items() for part in pair] if of_tokens else []
            variable = name.replace("-", "_").upper()
            for source, config in (
                ("command line", self.config(f"--{name}", *self.value(name, value), *more)),
                ("environment", self.config(*more, **{variable: value})),
                ("file", self.file(f"{name} = {json.dumps(value)}", *more)),
            ):
                self.assertEqual(getattr(config, field), expected, (name, source))
            self.assertNotEqual(getattr(self.config(), field), expected, name)

    def value(self, name: str, value: str) -> list[str]:
        """What follows ``--name`` on the command line."""
        flags = [option.name for option in OPTIONS if option.flag]
        return [] if name in flags else [value]

    def test_a_flag_in_a_file_is_true_or_false(self) -> None:
        self.assertIs(self.file("restored = true").restored, True)
        self.assertIs(self.file("restored = false", RESTORED="no").restored, False)

    def test_which_wins(self) -> None:
        text = 'retain = "1d"\nroom = ["file"]'
        self.assertEqual(self.file(text).retain, 86400)
        self.assertEqual(self.file(text, RETAIN="2d").retain, 2 * 86400)
        self.assertEqual(self.file(text, "--retain", "3d", RETAIN="2d").retain, 3 * 86400)
        self.assertEqual(self.file(text).rooms, ("file",))
        self.assertEqual(self.file(text, ROOM="a,b").rooms, ("a", "b"))
        self.assertEqual(self.file(text, "--room", "c", "--room", "d", ROOM="a").rooms, ("c", "d"))

    def test_the_last_of_two_wins(self) -> None:
        self.assertEqual(self.config("--retain", "1d", "--retain", "2d").retain, 2 * 86400)

    def test_lists(self) -> None:
        self.assertEqual(self.file('room = ["a", "b", "a"]').rooms, ("a", "b"))
        self.assertEqual(self.file('room = "a"').rooms, ("a",))
        self.assertEqual(self.file("room = []").rooms, ())
        self.assertEqual(self.config(ROOM=" a , b,").rooms, ("a", "b"))
        self.assertEqual(self.file("websocket = []").websocket, ())

    def test_numbers_in_the_file(self) -> None:
        config = self.file("max-connections = 5\nmax-text = 2048\nrate = 3")
        self.assertEqual((config.max_connections, config.max_text, config.rate), (5, 2048, 3.0))

    def test_the_file_named_by_the_environment(self) -> None:
        path = self.toml('retain = "1d"')
        self.assertEqual(self.config(CONFIG=path).retain, 86400)
        other = self.folder / "other.toml"
        other.write_text('retain = "2d"')
        self.assertEqual(self.config("--config", str(other), CONFIG=path).retain, 2 * 86400)

    def test_set_to_nothing_is_not_set(self) -> None:
        self.assertEqual(self.config(RETAIN="", ROOM="", CONFIG=""), self.config())

    def test_variables_of_others_are_left_alone(self) -> None:
        """Kubernetes gives every container CHATD_SERVICE_HOST if a service is called chatd."""
        self.assertEqual(self.config(SERVICE_HOST="10.1.2.3", PORT="tcp://x"), self.config())

    def test_paths_are_absolute(self) -> None:
        was = os.getcwd()
        self.addCleanup(os.chdir, was)
        os.chdir(self.folder)
        self.assertEqual(self.config("--admin-key", "key").admin_key, str(Path.cwd() / "key"))


class BadTests(OptionTests):
    """Every mistake is one line that says which option and why."""

    def test_values(self) -> None:
        for name, values in {
            "broker": (
                "",
                "mysql:",
                "sqlite:",
                "sqlite",
                "amqp:",
                "amqp://",
                "amqp://h:x/",
                "http://h",
            ),
            "websocket": ("", "9000", "tcp:http", "tcp:70000", "ssl:443:x=y", "Off"),
            "room": ("", "a b", "x" * 101, "a/b"),
            "auth": ("", "Token", "none"),
            "token-key": ("", "/nowhere", "/"),
            "admin-key": ("/nowhere",),
            "setup-secret": ("/nowhere", "a\x00b"),
            "origin": ("", "null", "a.example", "https://a.example/"),
            "host": ("", "https://a.example", "a.example:80", "a b"),
            "retain": ("", "7", "d", "7w", "1.5d", "-1d", "0s", "7 d", "7D", "٣d", "999999d"),
            "retain-bytes": ("", "0", "1.5MB", "1TB", "1mb", "-1", "1 KB", "9" * 18 + "GB"),
            "max-text": ("0", "65KB", "x"),
            "max-frame": ("0", "15KB"),
            "rate": ("", "0", "0/s", "20/h", "/s", "-1/s", "many", "1e3/s", "nan"),
            "max-connections": ("", "0", "-1", "1.5", "many", "٣"),
            "trusted-proxy": ("", "10.0.0.1/8", "proxy", "10.0.0.0/33"),
        }.items():
            for value in values:
                self.assertIn(f"--{name}", self.bad(f"--{name}", value))

    def test_where_it_was_said(self) -> None:
        self.assertIn("CHATD_RETAIN: ", self.bad(RETAIN="7"))
        self.assertIn("CHATD_ROOM: ", self.bad(ROOM="a,b c"))
        line = self.bad_file('retain = "7"')
        self.assertIn("retain in ", line)
        self.assertIn("chatd.toml", line)

    def test_what_a_file_may_hold(self) -> None:
        for text, why in (
            ("retain = ", "not TOML"),
            ('retain = "1d"\nretain = "2d"', "not TOML"),
            ("retain = 7", "such as 7d"),
            ("retain = true", "string or a whole number"),
            ("retain = 1979-05-27", "string or a whole number"),
            ("rate = 1.5", "string or a whole number"),
            ('retain = ["1d"]', "not a list"),
            ("retain = {a = 1}", "string or a whole number"),
            ('room = [["a"]]', "string or a whole number"),
            ("room = [true]", "string or a whole number"),
            ('[room]\nname = "a"', "string or a whole number"),
            ('access-log = "a\\u0000b"', "U+0000"),
            ('broker = "sqlite:a\\u0000b"', "U+0000"),
            ('http = ["unix:a\\u0000b"]', "U+0000"),
            ('max_text = "1KB"', "did you mean max-text?"),
            ('orign = "*"', "did you mean origin?"),
            ('config = "a"', "no such option"),
            ('"\\n" = 1', "no such option"),
        ):
            self.assertIn(why, self.bad_file(text), text)

    def test_a_file_as_other_editors_write_it(self) -> None:
        path = self.folder / "marked.toml"
        path.write_bytes(b'\xef\xbb\xbfretain = "2d"\r\nroom = "a"\r\n')
        config = self.config("--config", str(path))
        self.assertEqual((config.retain, config.rooms), (2 * 86400, ("a",)))

    def test_a_working_directory_that_was_deleted(self) -> None:
        def gone() -> str:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

        self.patch(os, "getcwd", gone)
        said = str(self.assertRaises(SystemExit, Options, {}))
        self.assertIn("chatd: the working directory cannot be used: No such file", said)

    def test_files_that_cannot_be_read(self) -> None:
        self.assertIn("No such file", self.bad("--config", "/nowhere/chatd.toml"))
        self.assertIn("Is a directory", self.bad("--config", "/"))
        self.assertIn("--config: '' is not a path", self.bad("--config", ""))
        self.assertTrue(self.bad(CONFIG="/nowhere").startswith("chatd: CHATD_CONFIG: cannot read"))
        self.config(CONFIG=" ")  # set to nothing
        path = self.folder / "binary.toml"
        path.write_bytes(b"\xff")
        self.assertIn("not TOML", self.bad("--config", str(path)))
        self.assertIn("/nowhere/key", self.bad("--admin-key", "/nowhere/key"))

    def test_unknown_options(self) -> None:
        self.assertIn("--foo", self.bad("--foo"))
        self.assertIn("--retain", self.bad("--retain"))
        self.assertIn("'extra'", self.bad("extra"))
        self.assertIn("-x", self.bad("-x"))

    def test_what_does_not_go_together(self) -> None:
        self.assertIn("--token-key", self.bad("--auth", "token"))
        self.assertIn("--auth token", self.bad("--token-key", str(self.key)))
        self.assertIn("not both", self.bad("--http", "off", "--http", "tcp:1"))
        self.assertIn("--max-text", self.bad("--max-frame", "1KB"))

    def test_passwords_are_never_said(self) -> None:
        for url in (
            "amqp://user:hunter2@/vhost",
            "amqp://user:hunter2@host:99999/",
            "amqp://user:hunter2@host,,other/",
            "amqp://user:hun@hunter2@host/",
            "amqp://user:hun/hunter2@host/",
            "amqp://user:hunter2@host/?what=1",
            "ampq://user:hunter2@host/",
            "amqp:/user:hunter2@host/",
        ):
            self.assertNotIn("hunter2", self.bad("--broker", url))
            self.assertNotIn("hunter2", self.bad_file(f"broker = {json.dumps(url)}"))
            self.assertNotIn("hunter2", self.bad(BROKER=url))
        for url in (
            "amqp://user:hunter2@host/vhost?heartbeat=20",
            "amqps://user:hunter2@a:1,b:2/%2f",
        ):
            config = self.config("--broker", url)
            self.assertEqual(config.broker, url)
            self.assertNotIn("ter2", repr(config))
            self.assertIn("user:***@", repr(config))

    def test_a_line_stays_a_line(self) -> None:
        self.assertIn("\\x1b", self.bad("--room", "a\x1b[2J\nb"))
        self.assertIn("\\n", self.bad("a\nb"))
        for given in (
            ("--config", "/no\x1b[2J\nfile"),
            ("--token-key", "/no\x1b\nfile"),
            ("--f\x1b\n",),
        ):
            said = self.bad(*given)
            self.assertIn("\\x1b", said)
            self.assertFalse({"\x1b", "\n"} & set(said.removesuffix("\n")), said)


class MeaningTests(OptionTests):
    def test_brokers(self) -> None:
        for url in (
            "memory:",
            "sqlite:/var/lib/chatd/chatd.sqlite",
            "amqp://localhost",
            "amqp://localhost/",
            "amqp://guest:guest@localhost:5672/%2f?heartbeat=20",
            "amqp://u:p@[::1]:5672,b,c:5673/v",
            "amqps://u:p@h/v?cacertfile=/a&certfile=/b&keyfile=/c",
        ):
            self.assertEqual(self.config("--broker", url).broker, url)

    def test_masked(self) -> None:
        for url, shown in (
            ("memory:", "memory:"),
            ("sqlite:a@b", "sqlite:a@b"),
            ("amqp://host/", "amqp://host/"),
            ("amqp://u:p@host/", "amqp://u:***@host/"),
            ("amqp://u@host/", "amqp://u:***@host/"),
            ("amqp://u:p@q/r?s#t@host/", "amqp://u:***@host/"),
        ):
            self.assertEqual(mask_password(url), shown)

    def test_proxies_on_unix_sockets(self) -> None:
        config = self.config("--trusted-proxy", "unix", "--trusted-proxy", "::1")
        self.assertTrue(config.trust_unix)
        self.assertEqual(config.trusted_proxies, (ip_network("::1"),))

    def test_rates(self) -> None:
        for text, rate in (("20/s", 20.0), ("20", 20.0), ("0.5/s", 0.5), ("30/m", 0.5)):
            self.assertEqual(self.config("--rate", text).rate, rate)

    def test_loopback_only(self) -> None:
        self.assertTrue(is_loopback_only(self.config()))
        self.assertTrue(is_loopback_only(self.config("--http", "unix:/run/chatd.sock")))
        for option in ("--websocket", "--http", "--setup"):
            self.assertFalse(is_loopback_only(self.config(option, "tcp:80")))
            self.assertFalse(
                is_loopback_only(self.config(option, "tcp:1:interface=127.0.0.1", option, "tcp6:2"))
            )
        closed = ["--websocket", "off", "--http", "off", "--setup", "off"]
        self.assertTrue(is_loopback_only(self.config(*closed)))


class TwistdTests(OptionTests):
    """The same through twistd itself, in a process of its own."""

    def setUp(self) -> None:
        super().setUp()
        command = ForkedCommand(self.folder / ".programs")
        self.addCleanup(command.close)
        self.command = str(command.folder / "twistd")

    def twistd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run_command([self.command, *arguments])

    def run_command(self, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_a_bad_option_is_one_line_and_status_1(self) -> None:
        for arguments in (
            ["-n", "chatd", "--retain", "soon"],
            ["chatd", "--retain", "soon"],
            ["-n", "chatd", "--retian", "7d"],
            ["-n", "chatd", "stray"],
            ["-n", "chatd", "--config", "missing.toml"],
            ["chatd", "--auth", "token"],
        ):
            done = self.twistd(*arguments)
            self.assertEqual((done.returncode, done.stdout), (1, ""), arguments)
            self.assertRegex(done.stderr, r"\Achatd: [^\n]+\n\Z")

    def test_good_ones(self) -> None:
        command = [sys.executable, "-c", HARNESS, "-n", "chatd", "--room", "a"]
        environ = {"PYTHONPATH": str(ROOT), "CHATD_BROKER": "amqp://u:hunter2@h/"}
        done = self.run_command(command, **environ)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("rooms=('a',)", done.stdout)
        self.assertNotIn("hunter2", done.stdout)

    def test_help_and_version(self) -> None:
        done = self.twistd("chatd", "--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        words = " ".join(done.stdout.split())
        for option in OPTIONS:
            self.assertIn(f"--{option.name}{' ' if option.flag else '='}", words)
            if option.default:
                self.assertIn(f"[default: {option.default}", words)
        self.assertIn("CHATD_<NAME>", words)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)
        done = self.twistd("chatd", "--version")
        self.assertEqual((done.returncode, done.stdout), (0, f"chatd {chatd.__version__}\n"))
