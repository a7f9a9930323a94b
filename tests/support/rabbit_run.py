"""One RabbitMQ node for all processes of a test run.

The process that distributes the tests (pytest-xdist's controller) starts it once one of the others
asks for it, so it dies with that process, however that ends. A node is told as a pickle.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable
from typing import Any

#: The environment variable that says where to ask: the name of an abstract Unix socket.
_WHERE = "TEST_OF_CHATD_SHARED_RABBITMQ"


def serve(start: Callable[[], object]) -> None:
    """Let processes that are started from now on `ask`; each is told what ``start`` returns. Its
    thread, with which what it starts may die, lives as long as this process."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")  # the kernel finds a name
    listener.listen(64)
    os.environ[_WHERE] = listener.getsockname()[1:].decode()
    threading.Thread(target=_answer, args=(listener, start), daemon=True).start()


def _answer(listener: socket.socket, start: Callable[[], object]) -> None:
    while True:
        asker, _ = listener.accept()
        with asker:
            try:
                answer = start()
            except Exception as error:  # to be raised where it is seen
                answer = error
            asker.sendall(pickle.dumps(answer))


def ask() -> Any:
    """What the process above this one has started; None if this process is to start its own. The
    error if it did not start."""
    if _WHERE not in os.environ:
        return None
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(f"\0{os.environ[_WHERE]}")
        with asking.makefile("rb") as answer:
            found = pickle.load(answer)
    if isinstance(found, Exception):
        raise found
    return found
