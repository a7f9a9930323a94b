"""What a `tests.support.forked_command` asks: forks a program in the namespaces of who asks."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LARGEST = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Have this process killed when the one that forked it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def answer(listening: socket.socket) -> list[str]:
    """Answer all who connect; in each fork that is to run a program, return name and arguments."""
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
    """Fork what is to run a program, and return in it; tell who asks its id and how it ends."""
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
    if not environ.get("PYTHONUNBUFFERED"):
        _open_streams()
    os.environ.clear()
    os.environ.update(environ)
    return list(arguments)


def _open_streams() -> None:
    """Have standard output and error as Python opens them, and not as whoever forks has them, who
    buffers nothing: what cannot be written may be noticed as late as at the end."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        stream = open(  # noqa: SIM115  # it is standard output from now on
            number, "w", encoding=before.encoding, errors=before.errors, closefd=False
        )
        stream.reconfigure(line_buffering=name == "stderr" or stream.isatty())
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


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
