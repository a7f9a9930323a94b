"""twistd in processes that are forked from one that has imported it: a start costs no imports.

A test process has one such `Nursery`, itself forked from one for all processes of a test run; what
it starts is chatd as ``twistd`` runs it, but for the imports, which half of the suite's daemons
would spend most of their time with. What a start from nothing does is tested by ``test_process``,
``test_packaging`` and others, which run a command.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Bytes of a question or an answer.
LARGEST = 1 << 20
#: The environment variable that says where the nursery of all is: the name of an abstract socket.
_WHERE = "TEST_OF_CHATD_SHARED_NURSERY"


class Forked:
    """A process that a `Nursery` forked, with the part of `subprocess.Popen` that is used here."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._await(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended. Raises `subprocess.TimeoutExpired` after seconds."""
        status = self._await(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("twistd", timeout or 0.0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _await(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            ended = select.poll()  # readable once the process has ended: pidfd_open(2)
            ended.register(self._ended, select.POLLIN)
            if ended.poll(None if timeout is None else 1000 * timeout):
                self.returncode = self._nursery.ask(bury=self.pid)
                os.close(self._ended)
        return self.returncode


class Nursery:
    """Asks the process that forks, which ends with this one and takes its children along.
    ``preloaded`` are libraries that it and they have preloaded, as in ``LD_PRELOAD``. The ``first``
    imports what others may share."""

    def __init__(self, root: Path, preloaded: str = "", first: bool = False) -> None:
        self._turn = threading.Lock()
        if _WHERE in os.environ and not (preloaded or first):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket.connect(f"\0{os.environ[_WHERE]}")
            return
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", "tests.support.nursery", str(theirs.fileno())],
                cwd=root,
                env={**os.environ, **({"LD_PRELOAD": preloaded} if preloaded else {})},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ask(self, *descriptors: int, **question: Any) -> int:
        """What the process that forks answers."""
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(question).encode()], descriptors)
            return int(json.loads(self._socket.recv(LARGEST)))

    def fork(
        self,
        arguments: list[str],
        folder: Path,
        log: Path,
        descriptors: int | None,
        env: Mapping[str, str],
    ) -> Forked:
        """Run ``twistd ARGUMENTS`` in ``folder``, its output appended to ``log``. It leads a
        process group, and may open ``descriptors`` files, by default as many as we may. ``env`` is
        added to the environment."""
        pid = self.ask(
            arguments=arguments,
            folder=str(folder),
            log=str(log),
            descriptors=descriptors,
            environ={**os.environ, **env},
        )
        return Forked(self, pid)

    def answer(self, listening: socket.socket) -> Forked:
        """Let a process answer commands at ``listening``; see `tests.support.forked_command`."""
        return Forked(self, self.ask(listening.fileno(), be="answering"))


def share_nursery(root: Path) -> None:
    """Let the nurseries of processes that are started from now on be forked from one of this one,
    so that what they import is imported once."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")  # the kernel finds a name
    listener.listen(64)
    os.environ[_WHERE] = listener.getsockname()[1:].decode()

    def share() -> None:
        nursery: Nursery | None = None
        while True:
            asker, _ = listener.accept()
            with asker:
                nursery = nursery or Nursery(root, first=True)
                nursery.ask(asker.fileno(), be="nursery")

    threading.Thread(target=share, daemon=True).start()
