"""``twistd`` as a command of a `tests.support.terminal`, without the imports of a start.

The command hands its arguments, environment, folder and standard streams to
`tests.support.forking`, which forks what becomes twistd, in the terminal's namespaces. Signals are
passed on to it, and the command ends as it does.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.support.closing import Closing
from tests.support.daemon import nursery

#: The command; it runs without ``site`` and imports little.
_PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asked.connect({path!r})
question = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(asked, [question], [0, 1, 2])
pid = int(asked.recv(100))
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
status = int(asked.recv(100))
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


class ForkedCommand(Closing):
    """Makes ``twistd`` in ``folder``, which is to come first on a terminal's ``PATH``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        path = str(folder / "asked")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(path)
            listening.listen()
            self._answering = nursery().answer(listening)
        program = folder / "twistd"
        program.write_text(_PROGRAM.format(python=sys.executable, path=path))
        program.chmod(0o755)

    def close(self) -> None:
        """End what forks. What it has forked ends with the terminal."""
        self._answering.kill()
        self._answering.wait()
