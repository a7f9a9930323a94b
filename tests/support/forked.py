"""twistd in processes that are forked from one that has imported it: a start costs no imports.

A test process has one such `Nursery`; what it starts is chatd as ``twistd`` runs it, but for the
imports, which half of the suite's daemons would spend most of their time with. What a start from
nothing does is tested by ``test_process``, ``test_packaging`` and others, which run a command.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.scripts.twistd import run

import chatd
from tests.support import forking

_LARGEST = 1 << 20


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
    ``preloaded`` are libraries that it and they have preloaded, as in ``LD_PRELOAD``."""

    def __init__(self, root: Path, preloaded: str = "") -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", __name__, str(theirs.fileno())],
                cwd=root,
                env={**os.environ, **({"LD_PRELOAD": preloaded} if preloaded else {})},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours
        self._turn = threading.Lock()

    def ask(self, *descriptors: int, **question: Any) -> int:
        """What the process that forks answers."""
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(question).encode()], descriptors)
            return int(json.loads(self._socket.recv(_LARGEST)))

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
        return Forked(self, self.ask(listening.fileno()))


def _serve(asked: socket.socket) -> None:
    """Answer until nobody can ask any more; in each child return, once it is what is to run."""
    while True:
        question, listening, _, _ = socket.recv_fds(asked, _LARGEST, 1)
        if not question:
            sys.exit()
        wanted = json.loads(question)
        if "bury" in wanted:
            _, status = os.waitpid(wanted["bury"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if not answer:
                asked.close()
                if listening:
                    arguments = forking.answer(socket.socket(fileno=listening[0]))
                else:
                    arguments = _become(**wanted)
                sys.argv = ["twistd", *arguments]
                return
            for descriptor in listening:
                os.close(descriptor)
        asked.send(json.dumps(answer).encode())


def _become(
    arguments: list[str], folder: str, log: str, descriptors: int | None, environ: dict[str, str]
) -> list[str]:
    forking.die_with_parent()
    os.setsid()
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    os.environ.clear()
    os.environ.update(environ)
    return arguments


def _import() -> None:
    """All that a daemon imports, but for the reactor, which belongs to one process."""
    for module in pkgutil.walk_packages(chatd.__path__, "chatd."):
        import_module(module.name)
    import_module("twisted.internet.epollreactor")  # the kind of reactor that twistd installs
    list(getPlugins(IServiceMaker))
    assert "twisted.internet.reactor" not in sys.modules


def main() -> None:
    """``python -m tests.support.forked FD``: fork what is asked for at the socket ``FD``."""
    _import()
    gc.freeze()  # so that the memory stays shared
    _serve(socket.socket(fileno=int(sys.argv[1])))
    run()


if __name__ == "__main__":
    main()
