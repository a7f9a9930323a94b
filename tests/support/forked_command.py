"""``twistd`` and ``chatctl`` as commands, without the imports of a start.

A command hands its arguments, environment, folder and standard streams to `tests.support.forking`,
which forks what becomes the program, in the namespaces of a `tests.support.terminal` if it runs in
one. Signals are passed on to it, and the command ends as it does.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.support.closing import Closing
from tests.support.daemon import nursery

#: A command; it runs without ``site`` and imports little.
_PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asked.connect({path!r})
question = json.dumps([[{name!r}, *sys.argv[1:]], os.getcwd(), dict(os.environ)]).encode()
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
    """Makes ``twistd`` and ``chatctl`` in ``folder``, which is to come first on a ``PATH``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        path = str(folder / "asked")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(path)
            listening.listen()
            self._answering = nursery().answer(listening)
        for name in ("twistd", "chatctl"):
            program = folder / name
            program.write_text(_PROGRAM.format(python=sys.executable, path=path, name=name))
            program.chmod(0o755)

    def close(self) -> None:
        """End what forks. What it has forked ends with the terminal."""
        self._answering.kill()
        self._answering.wait()
