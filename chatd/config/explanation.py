"""Settings in plain words: where the node answers, who may do what, how much is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator

from chatd import __version__
from chatd.config.parsers import mask_password
from chatd.config.settings import Config, is_loopback_only
from chatd.net.descriptions import Description

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES = ((1024**3, "GB"), (1024**2, "MB"), (1024, "KB"), (1, "bytes"))


def age(seconds: int) -> str:
    """``7d``: the largest unit that divides it."""
    return next(f"{seconds // unit}{name}" for unit, name in _UNITS if not seconds % unit)


def size(count: int) -> str:
    """``100 MB``: the largest unit that divides it."""
    return next(f"{count // unit} {name}" for unit, name in _SIZES if not count % unit)


def address(scheme: str, text: str) -> str:
    """The URL or address at which a client on this machine reaches the endpoint ``text``."""
    outer = Description.parse(text)
    description = outer.inner or outer
    given = description.arguments
    if description.kind == "unix":
        return f"unix:{given['address']}"
    if "port" not in given:
        return text
    host = given.get("interface", "")
    if not host or host in ("0.0.0.0", "::") or description.loopback:
        host = "localhost" if host not in ("::1",) else "[::1]"
    elif ":" in host:
        host = f"[{host}]"
    secure = "s" if description.kind in ("ssl", "tls") and scheme in ("http", "ws") else ""
    place = f"{host}:{given['port']}"
    return f"{scheme}{secure}://{place}/" if scheme else place


def reach(text: str) -> str:
    """Which networks can reach the endpoint ``text``."""
    outer = Description.parse(text)
    if outer.inner is not None:
        return "whom the proxy before it lets in"
    if outer.loopback:
        return "this machine only"
    if outer.kind == "systemd":
        return "as the .socket unit says"
    host = outer.arguments.get("interface", "")
    if host in ("", "0.0.0.0", "::"):
        return "every network of this machine"
    return f"who reaches {host}"


#: Field of `Config`, what it is called, its scheme, and what is there.
_PORTS = (
    ("http", "HTTP", "http", "page, API, WebSocket at /ws"),
    ("websocket", "WebSocket", "ws", "WebSocket alone"),
    ("setup", "Set-up", "", "rooms and members over raw TCP"),
    ("metrics", "Metrics", "http", "/metrics alone"),
)


def ports(config: Config) -> Iterator[str]:
    """A line for each endpoint."""
    for field, name, scheme, what in _PORTS:
        for text in getattr(config, field):
            yield f"{name + ':':10} {address(scheme, text):32} {what}; for {reach(text)}"
        if not getattr(config, field) and field != "metrics":
            yield f"{name + ':':10} off"


def mode(config: Config) -> str:
    """Whether clients must prove who they are."""
    if config.auth == "token":
        return "Tokens: who connects must show one."
    where = "of this machine" if is_loopback_only(config) else "who reaches these ports"
    return f"Open: anyone {where} can read, and speak as anyone."


def rights(config: Config) -> Iterator[str]:
    """A line for each kind of caller, and what it may do."""
    yield mode(config)
    if config.auth == "token":
        yield from _tokens(config)
    if config.admin_key is not None:
        also = ", or a token with the admin claim" if config.auth == "token" else ""
        yield f"Administration over HTTP: who shows the admin key{also}."
    elif config.auth == "token":
        yield "Administration over HTTP: who shows a token with the admin claim."
    else:
        yield "Administration over HTTP: off, for there is no --admin-key."
    if config.setup:
        proof = "and knows the set-up secret" if config.setup_secret else "without any secret"
        yield f"Rooms and members over the set-up port: who reaches it {proof}."
    pages = " and ".join(["those that chatd serves itself", *config.origins])
    yield f"Web pages that may connect: {'any' if '*' in config.origins else pages}."
    if config.trusted_proxies or config.trust_unix:
        unix = ["Unix sockets"] if config.trust_unix else []
        proxies = ", ".join([*map(str, config.trusted_proxies), *unix])
        yield f"Addresses are taken from X-Forwarded-For of {proxies}."


def _tokens(config: Config) -> Iterator[str]:
    audiences = " or ".join(config.audiences) or "nobody in particular (no aud)"
    issuers = " or ".join(config.issuers) or "anyone who holds the key"
    yield f"Tokens must be for {audiences}, by {issuers}."


def start(config: Config) -> list[str]:
    """The lines that the log begins with: version, broker, addresses, open or token mode."""
    broker = mask_password(config.broker)
    if broker.startswith("sqlite:"):
        broker = f"the file {os.path.realpath(broker.partition(':')[2])}"
    return [f"chatd {__version__}, rooms in {broker}", *ports(config), mode(config)]


def kept(config: Config) -> str:
    """How much of each room is kept."""
    much = f"{age(config.retain)} of messages and {size(config.retain_bytes)} at most"
    if config.broker.partition(":")[0] in ("amqp", "amqps"):  # the options go with the stream
        return (
            f"Each room made from now on keeps {much}; rooms that exist, what they were made with"
            " or a policy of RabbitMQ says. What is older is gone for good."
        )
    return f"Each room keeps {much}; what is older is gone for good."
