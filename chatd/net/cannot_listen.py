"""Why a port cannot be listened on, and what to do about it."""

from __future__ import annotations

import errno

_ADVICE = {
    errno.EADDRINUSE: "stop what listens there (ss -ltnp names it), or give another",
    errno.EADDRNOTAVAIL: "this machine has no such address (ip address lists those it has)",
    errno.EAFNOSUPPORT: "this machine has no IPv6; give an address of IPv4",
}
#: Of ports below 1024, which are root's unless ip_unprivileged_port_start says otherwise (ip(7)).
_PRIVILEGED = (
    "this user needs CAP_NET_BIND_SERVICE for it, as etc/chatd.service gives; or give another"
)


def why_not(error: object, port: int | None = None) -> str:
    """What ``error`` means in plain words, and what to do. ``port`` is that of TCP."""
    if not isinstance(error, OSError):
        return str(error)
    advice = _ADVICE.get(error.errno or 0, "")
    if error.errno == errno.EACCES and port is not None and port < 1024:
        advice = _PRIVILEGED
    why = error.strerror or str(error)
    return f"{why}; {advice}" if advice else why
