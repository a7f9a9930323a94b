"""What ends start-up is said in one line by the process that the operator started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from pwd import getpwnam
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from chatd.brokers.sqlite.lock import Lock
from tests.support.daemon import PATIENCE, ROOT, TWISTD
from tests.support.forked_command import ForkedCommand
from tests.support.rabbit_home import free_port


class PreflightTests(SynchronousTestCase):
    command: ClassVar[ForkedCommand]

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.command = ForkedCommand(Path(folder.name) / "bin")
        cls.addClassCleanup(cls.command.close)

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.pidfile = self.folder / "chatd.pid"
        self.addCleanup(self.end)

    def end(self) -> None:
        """Leave no daemon behind, whatever failed."""
        if self.pidfile.exists():
            os.kill(int(self.pidfile.read_text()), signal.SIGKILL)

    def twistd(
        self, *options: str, stay: bool = False, own: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Start chatd in the background, or let it ``stay`` in the foreground, with some of
        twistd's ``own`` options."""
        how = ["--nodaemon"] if stay else []
        how += ["--pidfile=chatd.pid", "--logfile=chatd.log", *own, "chatd"]
        ports = ["--setup=off", "--websocket=off"]
        return subprocess.run(
            [self.command.folder / "twistd", *how, *ports, *options],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def refused(
        self, why: str, *options: str, stay: bool = False, own: tuple[str, ...] = ()
    ) -> None:
        done = self.twistd(*options, stay=stay, own=own)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertRegex(done.stderr, rf"\Achatd: [^\n]*{why}[^\n]*\n\Z")
        self.assertFalse(self.pidfile.exists())

    def test_a_port_in_use(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            why = f"cannot listen on 127.0.0.1:{port}: .*Address already in use"
            for stay in (False, True):
                http = f"--http=tcp:{port}:interface=127.0.0.1"
                self.refused(why, "--broker=memory:", http, stay=stay)

    def test_output_that_cannot_be_written(self) -> None:
        """One line, or none where who reads it has seen enough."""
        full = "chatd: cannot write to standard output: No space left on device\n"
        for option, to, said in (
            ("--version", Path("/dev/full"), full),
            ("--help", None, ""),
            ("--check", None, ""),
        ):
            self.assertEqual(self.written(option, to), (1, said), option)

    def written(self, option: str, to: Path | None) -> tuple[int, str]:
        """The status and what is on standard error, with output to a file or to a closed pipe."""
        if to is None:
            reader, writer = os.pipe()
            os.close(reader)
        else:
            writer = os.open(to, os.O_WRONLY)
        try:
            done = subprocess.run(
                [self.command.folder / "twistd", "-n", "chatd", "--broker=memory:", option],
                cwd=self.folder,
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        finally:
            os.close(writer)
        return done.returncode, done.stderr

    def test_a_port_given_twice(self) -> None:
        http = f"--http=tcp:{free_port()}:interface=127.0.0.1"
        again = f"{http}:backlog=5"
        self.refused("--http: .*: --http has 127.0.0.1:", "--broker=memory:", http, again)

    def test_a_log_that_nobody_reads(self) -> None:
        os.mkfifo(self.folder / "chatd.log")
        why = "--logfile: cannot write .*/chatd.log: it is a pipe that nobody reads"
        for stay in (False, True):
            self.refused(why, "--broker=memory:", "--http=off", stay=stay)

    def test_a_log_or_pid_file_that_cannot_be_written(self) -> None:
        """Else the log would be lost, unnoticed, or the start would end with a traceback."""
        for own, why in (
            ("--logfile=.", "--logfile: cannot write '.': it is a folder"),
            ("--logfile=no/log", "--logfile: cannot write 'no/log': there is no folder .*/no"),
            ("--pidfile=no/pid", "--pidfile: cannot write 'no/pid': there is no folder .*/no"),
        ):
            self.refused(why, "--broker=memory:", "--http=off", own=(own,), stay=True)

    def test_a_root_or_working_directory_that_cannot_be_used(self) -> None:
        """A daemon without a null device would be waited for without end."""
        (self.folder / "root").mkdir()
        for own, why in (
            ("--chroot=no", "--chroot: there is no folder no"),
            ("--chroot=root", "--chroot: root has no /dev/null; make it with mknod"),
            ("--rundir=no", "--rundir: there is no folder no"),
        ):
            self.refused(why, "--broker=memory:", "--http=off", own=(own,))

    def test_a_user_whom_it_cannot_become(self) -> None:
        """Else twistd would end with a traceback, or without a word."""
        memory = ("--broker=memory:", "--http=off")
        self.refused("--uid: there is no user 54321 on", *memory, own=("--uid=54321",))
        if os.geteuid():
            self.refused("--uid: only root can become", *memory, own=("--uid=nobody",))

    def test_root_that_may_not_become_another_user(self) -> None:
        """As in a container that was started with few rights."""
        if os.geteuid():
            self.skipTest("only root can lack the right")
        look = "from chatd.config.user import check_user; check_user({'uid': %d})"
        for user, right in (("nobody", "setgid"), ("nobody", "setuid"), ("root", "setgid")):
            looking = [sys.executable, "-c", look % getpwnam(user).pw_uid]
            done = subprocess.run(
                ["setpriv", f"--bounding-set=-{right}", *looking],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            why = "UsageError: --uid: root may not become another user here" * (user != "root")
            self.assertEqual((done.returncode, why in done.stderr), (bool(why), True), done.stderr)

    def test_what_its_user_may_not_write(self) -> None:
        """As whom twistd is told to become, although it is root that looks: the log would be lost,
        unnoticed."""
        if os.geteuid():
            self.skipTest("only root can become another user")
        self.folder.chmod(0o755)
        may_not = "this user may not write in"
        log = "--access-log=" + str(self.folder / "a.log")
        for options, why in (
            (["--broker=memory:"], f"--logfile: cannot write 'chatd.log': {may_not}"),
            (["--broker=memory:", log], f"--access-log: cannot write '.*': {may_not}"),
            (["--broker=sqlite:chat.sqlite"], f"--broker: .*chat.sqlite: {may_not} its folder"),
        ):
            other = [] if "--logfile" in why else ["--logfile=/dev/null"]
            for check in ([], ["--check"]):
                own = ("--uid=nobody", *other)
                self.refused(why, "--http=off", *options, *check, own=own)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_interrupted_while_it_is_imported(self) -> None:
        """Ctrl-C ends it, and no traceback is shown."""
        slow = "import os, signal; from twisted.application import service\n"
        slow += "service.namedAny = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        done = subprocess.run(
            [sys.executable, "-c", slow + TWISTD, "-n", "chatd", "--broker=memory:"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stderr), (-signal.SIGINT, ""))

    def test_a_path_that_is_no_socket_s(self) -> None:
        """A socket that nobody listens on may be left there; nothing else makes way."""
        (self.folder / "file").write_text("not to be lost")
        (self.folder / "link").symlink_to("nowhere")
        for name in ("file", "link"):
            why = f"--http: cannot listen on {name}: something else than a socket is there"
            self.refused(why, "--broker=memory:", f"--http=unix:{name}")
        self.assertEqual((self.folder / "file").read_text(), "not to be lost")

    def test_a_database_in_use(self) -> None:
        path = os.path.realpath(self.folder / "chat.sqlite")
        lock = Lock(path)
        self.addCleanup(lock.release)
        http = f"--http=tcp:{free_port()}:interface=127.0.0.1"
        self.refused(f"process {os.getpid()} has it open", "--broker=sqlite:chat.sqlite", http)

    def test_a_folder_that_does_not_exist(self) -> None:
        http = f"--http=tcp:{free_port()}:interface=127.0.0.1"
        self.refused("its folder does not exist", "--broker=sqlite:nowhere/chat.sqlite", http)

    def test_a_check(self) -> None:
        """Beside a chatd that runs: it says what there is to say, and makes nothing."""
        self.pidfile.write_text(str(os.getpid()))
        done = self.twistd("--broker=sqlite:chat.sqlite", "--http=tcp:0", "--check")
        self.pidfile.unlink()
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertIn("chat.sqlite: to be made", done.stdout)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.refused("--broker: .*folder does not exist", "--broker=sqlite:no/x", "--check")

    def test_nothing_in_the_way(self) -> None:
        """It starts in the background, says nothing, and goes when it is told to."""
        port = free_port()
        done = self.twistd("--broker=sqlite:chat.sqlite", f"--http=tcp:{port}:interface=127.0.0.1")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200"))
        os.kill(int(self.pidfile.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while self.pidfile.exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
