"""A terminal on a machine of its own, for the commands of the documents.

It has a network, an ``/etc`` and a ``/run`` of its own, so that default ports are free and files of
the system can be changed, whoever runs the tests. It is root there. What reaches it from outside is
the checkout, as ``docs`` and ``etc`` in its folder, and its programs.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.closing import Closing
from tests.support.daemon import ROOT, DaemonError

#: Seconds that a command may take.
PATIENCE = 60.0
_END = "-- end of the answer, status"

#: Run in the new namespaces, before the shell: loopback, and copies of what commands may change.
_BEGIN = """
ip link set lo up
mkdir copies
for folder in /etc /run /var/log; do
    mkdir -p "copies$folder" && mount --bind "copies$folder" "copies$folder"
    # but for files that only root may read, where it is not root who runs the tests
    [ $folder = /etc ] && cp -a /etc/. copies/etc/ 2>/dev/null || true
    mount --bind "copies$folder" "$folder"
done
mkdir /run/lock /run/haproxy /var/log/nginx /var/log/apache2
exec bash --norc --noprofile
"""

#: What a machine that was booted has, and this one has not. A web server begins at its reload, and
#: takes the place of the one before it.
_MACHINE = """
sudo() { "$@"; }
before=true
reload() {
    $before
    while ss --listening --tcp --numeric | grep -q ':80 '; do sleep 0.05; done
    case $1 in
    nginx) nginx && before="nginx -s stop" ;;
    apache2) apachectl start && before="apachectl stop" ;;
    haproxy)
        haproxy -D -p /run/haproxy.pid -f /etc/haproxy/haproxy.cfg &&
            before="kill $(cat /run/haproxy.pid)" ;;
    caddy) caddy start --config /etc/caddy/Caddyfile ;;
    esac
}
systemctl() {
    case "$1 $2" in
    "reload nginx" | "reload apache2" | "reload haproxy" | "reload caddy")
        reload $2 >/dev/null 2>&1 ;;
    *) echo "systemctl $*: not on this machine" && return 1 ;;
    esac
}
"""


def environment() -> dict[str, str]:
    """Nothing of a make that runs these tests, nor of chatd's own settings."""
    left_out = ("CHATD_", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    return {k: v for k, v in os.environ.items() if not k.startswith(left_out)}


class Terminal(Closing):
    """Runs commands in ``folder`` one after the other, in one shell.

    With ``ports`` it shares the machine with everyone, as what needs the tests' RabbitMQ must: in
    commands each key then stands for its value. ``env`` is added to the environment. Commands are
    looked for in ``programs`` first, if given.
    """

    def __init__(
        self,
        folder: Path,
        ports: Mapping[str, int] | None = None,
        env: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        self.folder = folder
        self._programs = f"{programs}:" if programs else ""
        self._ports = dict(ports or {})
        self.log = folder / "background.log"
        for name in ("docs", "etc"):
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
        (folder / ".curlrc").write_text("silent\n")
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        apart = [] if ports else ["--net", "--mount"]
        self._shell = subprocess.Popen(
            [
                *["setpriv", "--pdeathsig", "KILL", "--"],
                *["unshare", *user, *apart, "--pid", "--fork", "--kill-child", "--mount-proc"],
                *(["bash", "--norc", "--noprofile"] if ports else ["sh", "-ec", _BEGIN]),
            ],
            cwd=folder,
            env=self._environment() | dict(env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.run(_MACHINE)

    def _environment(self) -> dict[str, str]:
        paths = f"{self._programs}{ROOT / '.venv/bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"
        return environment() | {"HOME": str(self.folder), "PATH": paths, "PYTHONUNBUFFERED": "1"}

    def run(self, command: str) -> tuple[str, int]:
        """What ``command`` says, on both outputs, and its status. Raises `DaemonError` if it takes
        longer than `PATIENCE`. One that ends in ``&`` goes on, and says it to ``log``."""
        for port, own in self._ports.items():
            command = command.replace(f":{port}", f":{own}")
        if command.endswith(" &"):
            command = f"{command[:-2]} >>{self.log} 2>&1 &"
        script = f"{command}\nstatus=$?; echo; echo '{_END}' $status\n"
        assert self._shell.stdin is not None
        self._shell.stdin.write(script.encode())
        self._shell.stdin.flush()
        said = self._read(command)
        text, _, status = said.rpartition(f"\n{_END} ")
        return text.strip().expandtabs(), int(status)

    def _read(self, command: str) -> str:
        """All up to the end of the answer."""
        assert self._shell.stdout is not None
        deadline = time.monotonic() + PATIENCE
        said = b""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._shell.stdout, selectors.EVENT_READ)
            while _END.encode() not in said or not said.endswith(b"\n"):
                more = b""
                if waiting.select(max(0, deadline - time.monotonic())):
                    more = os.read(self._shell.stdout.fileno(), 65536)
                if not more:
                    raise DaemonError(f"$ {command}\n{said.decode()}\n{self.background()}")
                said += more
        return said.decode(errors="replace").removesuffix("\n")

    def background(self) -> str:
        """What commands in the background have said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def close(self) -> None:
        """End the shell and all that it started."""
        self._shell.kill()
        self._shell.communicate()
