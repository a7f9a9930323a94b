"""The access log: a line for each request on every transport, refused ones included.

Text lines are in the Common Log Format (https://httpd.apache.org/docs/2.4/logs.html#common), which
fail2ban and GoAccess read, with three more fields: seconds, the error's code, the request's id. The
query is left out, because it may hold a token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from attrs import asdict, define, field, frozen
from twisted.logger import Logger

from chatd.telemetry.log import Output, one_line

#: The status of a request whose client hung up before its answer began: no answer has it, but
#: nginx's log does, and programs that read logs know it.
HUNG_UP = 499


@frozen
class Access:
    """A finished request. ``what`` is its method and path, ``code`` the error's code or "",
    ``user`` the user or "", ``size`` the bytes of the answer's body (without the messages of event
    streams and WebSockets, which nobody counts), ``seconds`` its duration."""

    address: str
    user: str
    what: str
    status: int
    size: int
    seconds: float
    code: str = ""
    id: str = ""


@define(eq=False)
class AccessLog:
    """Writes to ``output``, as text or as JSON. ``now`` returns seconds since the epoch."""

    output: Output
    json: bool
    now: Callable[[], float]
    #: Why the last line was lost, "" if it was not.
    _lost: str = field(default="", init=False)
    _log = Logger()

    def write(self, access: Access) -> None:
        """Log ``access``; the node's own log says when that begins to fail, and when it ends."""
        time = datetime.fromtimestamp(self.now(), UTC)
        line = _json(access, time) if self.json else _text(access, time)
        lost = self.output.write(line)
        if lost != self._lost:
            self._lost = lost
            where = self.output.path or "the access log on standard output"
            if lost:
                self._log.error("{path}: lines are lost: {fault}", path=where, fault=lost)
            else:
                self._log.info("{path}: lines are written again", path=where)


def _text(access: Access, time: datetime) -> str:
    user = one_line(access.user).replace(" ", "_") or "-"
    what = one_line(access.what).replace('"', "'")
    return (
        f"{access.address} - {user} [{time:%d/%b/%Y:%H:%M:%S %z}]"
        f' "{what}" {access.status} {access.size} {access.seconds:.3f}'
        f" {access.code or '-'} {access.id or '-'}\n"
    )


def _json(access: Access, time: datetime) -> str:
    shown = {"time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    return json.dumps(shown | asdict(access)) + "\n"
