"""What a `tests.support.forked.Nursery` asks: imports what daemons import, and forks."""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import resource
import socket
import sys
from importlib import import_module

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.scripts import twistd

import chatd
from chatd.ctl.main import main as chatctl
from tests.support import forking
from tests.support.forked import LARGEST


def _serve(asked: socket.socket) -> None:
    """Answer until nobody can ask any more; in each child return, once it is what is to run."""
    while True:
        question, listening, _, _ = socket.recv_fds(asked, LARGEST, 1)
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
                if "be" not in wanted:
                    sys.argv = ["twistd", *_become(**wanted)]
                    return
                asked = socket.socket(fileno=listening[0])
                if wanted["be"] == "answering":
                    sys.argv = forking.answer(asked)
                    return
                forking.die_with_parent()
                continue
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
    """``python -m tests.support.nursery FD``: fork what is asked for at the socket ``FD``."""
    _import()
    gc.freeze()  # so that the memory stays shared
    _serve(socket.socket(fileno=int(sys.argv[1])))
    if sys.argv[0] == "chatctl":
        chatctl()
    else:
        twistd.run()


if __name__ == "__main__":
    main()
