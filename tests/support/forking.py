"""What a `tests.support.forked_command` asks: forks twistd in the namespaces of whoever asks."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
from contextlib import suppress

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LARGEST = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Have this process killed when the one that forked it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def answer(listening: socket.socket) -> list[str]:
    """Answer all who connect; in each fork that is to run twistd, return its arguments."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    while True:
        asked, _ = listening.accept()
        if not os.fork():
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _start(asked)
        asked.close()


def _start(asked: socket.socket) -> list[str]:
    """Fork what is to run twistd, and return in it; tell who asks its id and how it ends."""
    die_with_parent()
    question, standard, _, _ = socket.recv_fds(asked, _LARGEST, 3)
    arguments, folder, environ = json.loads(question)
    _enter(struct.unpack("3i", asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            asked.send(b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    die_with_parent()
    os.setsid()
    asked.send(b"%d" % os.getpid())  # its number in the terminal, where its parent is not
    asked.close()
    os.chdir(folder)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environ)
    return list(arguments)


def _enter(pid: int) -> None:
    """Have the children of this process live in the namespaces of another: setns(2)."""
    spaces = [f"/proc/{pid}/ns/{kind}" for kind in ("user", "net", "pid", "mnt")]
    others = [space for space in spaces if os.readlink(space) != os.readlink(_own(space))]
    for descriptor in [os.open(space, os.O_RDONLY) for space in others]:
        if _libc.setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)


def _own(space: str) -> str:
    return f"/proc/self/ns/{os.path.basename(space)}"
