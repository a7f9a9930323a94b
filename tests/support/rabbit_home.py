"""What RabbitMQ nodes of one test process share: an installation, a folder, a cookie, an epmd."""

from __future__ import annotations

import atexit
import itertools
import os
import random
import resource
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

#: Seconds for a node to start, or a tool to end; some four are usual on a small machine.
PATIENCE = 180.0

_claims: list[socket.socket] = []


def free_port() -> int:
    """Claim a TCP port of 127.0.0.1 until this process ends.

    Below the range from which the kernel takes ports of outgoing connections, so that it is still
    free when what listens there is restarted. An abstract socket keeps other test processes off.
    """
    while True:
        port = random.randrange(10_000, 20_000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0chatd-test-port-{port}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port


class Home:
    """What all nodes of this process share: an installation, a folder, a cookie and an epmd."""

    def __init__(self, root: str) -> None:
        self.root = Path(root or "/")
        self.chroot = ["chroot", root] if root else []
        self.folder = Path(tempfile.mkdtemp(prefix="chatd-rabbit-", dir=self.root / "tmp"))
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(f"{random.getrandbits(64):x}")
        cookie.chmod(0o400)
        self.epmd_port = free_port()
        self.names = (f"rabbit{n}" for n in itertools.count(1))
        self.processes: list[subprocess.Popen[bytes]] = []
        atexit.register(self.close)
        self.spawn(["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"], os.devnull)

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: where everything is."""
        return {n: self.__dict__[n] for n in ("root", "chroot", "folder", "epmd_port")}

    def inside(self, path: Path) -> str:
        """``path`` as the installation sees it."""
        return "/" + str(path.relative_to(self.root)) if self.chroot else str(path)

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": self.inside(self.folder),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_USE_LONGNAME": "true",
        }

    def spawn(
        self, command: list[str], log: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` so that it dies, frozen or not, with this process."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        files = 65536 if files == resource.RLIM_INFINITY else min(files, 65536)
        guard = ["setpriv", "--pdeathsig", "KILL", "prlimit", f"--nofile={files}:{files}"]
        with open(log, "ab") as output:
            process = subprocess.Popen(
                [*guard, *self.chroot, *command],
                env=env or self.env,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def run(self, command: list[str], stdin: str = "") -> str:
        """Run a tool of the installation to its end and return what it printed."""
        done = subprocess.run(
            [*self.chroot, *command],
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_home: Home | None = None


def home() -> Home:
    """The one `Home` of this process."""
    global _home
    if _home is None:
        _home = Home(os.environ.get("TEST_OF_CHATD_RABBITMQ", ""))
    return _home
