"""Makes ``twistd chatd`` known to twistd."""

import sys
from types import TracebackType
from typing import Any

from twisted.application.service import ServiceMaker


def _quiet(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Show no traceback of a Ctrl-C."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)


class _Maker(ServiceMaker):
    """Imports chatd, which takes a second: Ctrl-C ends the process then, and is no fault to show.
    Later the reactor takes it."""

    @property
    def options(self) -> Any:
        """The class of the options."""
        sys.excepthook = _quiet
        return super().options


chatd = _Maker(
    "chatd",
    "chatd.tap",
    "Chat rooms over WebSocket, long-poll, server-sent events, raw TCP and AMQP.",
    "chatd",
)
