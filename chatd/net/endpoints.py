"""Listening: Twisted endpoint strings, with TLS whose certificates can be replaced.

Strings are Twisted's (`twisted.internet.endpoints.serverFromString`). Only ``ssl:`` is built here:
Twisted reads its files once, chatd again on SIGHUP.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import (
    IStreamServerEndpoint,
)

from chatd.errors import StartError
from chatd.net import inherited
from chatd.net.certificates import Certificate, Certificates
from chatd.net.descriptions import Description


def listen_endpoint(reactor: Any, text: str, certificates: Certificates) -> IStreamServerEndpoint:
    """The server endpoint that the string ``text`` describes.

    The certificate of an ``ssl:`` endpoint is added to ``certificates``. `StartError` says in one
    line what is wrong with the string or with the files it names.
    """
    try:
        description = Description.parse(text)
        if description.kind == "systemd":
            inherited.check_domain(text, description.arguments["domain"])
        if description.kind != "ssl":
            return cast(IStreamServerEndpoint, serverFromString(reactor, text))
    except StartError:
        raise
    except Exception as e:  # other kinds are plug-ins, which raise as they please
        raise StartError(f"{text}: {str(e) or type(e).__name__}") from None
    certificate = Certificate(description)
    certificates.add(certificate)
    return SSL4ServerEndpoint(
        reactor,
        int(description.arguments["port"]),
        certificate,
        backlog=int(description.arguments.get("backlog", "50")),
        interface=description.arguments.get("interface", ""),
    )
