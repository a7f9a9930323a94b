"""chatd as process 1 of a container, and what it leaves in the folder it was started in."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import TestCase

from tests.support.asking import ask
from tests.support.daemon import ROOT, TWISTD, spawn
from tests.support.rabbit_home import free_port

KEY = "0123456789abcdef"


class ProcessTests(TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.log = self.folder / "output"

    def start(self, *options: str, twistd: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start ``twistd -n chatd`` as process 1 of a namespace; returns when it serves."""
        port = free_port()
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        process = spawn(
            *["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc"],
            *[sys.executable, "-c", TWISTD, "-n", *twistd, "chatd", "--setup=off"],
            *["--websocket=off", f"--http=tcp:{port}:interface=127.0.0.1", *options],
            folder=self.folder,
            log=self.log,
            env={"PYTHONPATH": str(ROOT)},
        )

        def end() -> None:
            process.kill()
            process.wait()

        self.addCleanup(end)
        deadline = time.monotonic() + 45
        while True:
            try:
                if ask(f"http://127.0.0.1:{port}/readyz")[0] == 200:
                    return process
            except OSError:
                pass
            self.assertIsNone(process.poll(), self.log.read_text())
            self.assertLess(time.monotonic(), deadline, self.log.read_text())
            time.sleep(0.1)

    def test_process_1_killed_and_started_again(self) -> None:
        named = ("--pidfile=chatd.pid",)
        for twistd in ((), named, named):
            process = self.start("--broker=memory:", twistd=twistd)
            process.kill()
            process.wait()
        self.assertNotIn("Another twistd server", self.log.read_text())
        self.assertFalse((self.folder / "twistd.pid").exists())
        self.assertEqual((self.folder / "chatd.pid").read_text(), "1")

    def test_what_it_writes_is_its_owner_s(self) -> None:
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        self.start(twistd=("--pidfile=chatd.pid", "--logfile=chatd.log"))
        names = {"chatd.pid", "chatd.log", "chatd.sqlite", "chatd.sqlite.lock", "chatd.sqlite-wal"}
        for name in names:
            mode = stat.S_IMODE((self.folder / name).stat().st_mode)
            self.assertEqual(mode & 0o077, 0, name)

    def test_secrets_that_are_none_are_warned_of(self) -> None:
        admin, setup = self.folder / "admin", self.folder / "setup"
        admin.write_text(KEY[:-1])
        admin.chmod(0o600)
        setup.write_text(KEY)
        setup.chmod(0o644)
        self.start("--broker=memory:", f"--admin-key={admin}", f"--setup-secret={setup}")
        said = self.log.read_text()
        self.assertIn(f"--admin-key: {admin} holds a secret of less than 16 bytes", said)
        self.assertIn(f"--setup-secret: everyone on this machine can read {setup}", said)
        self.assertNotIn(f"can read {admin}", said)
        self.assertNotIn(f"{setup} holds", said)
