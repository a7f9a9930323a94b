"""Who is let in: one piece of code for every transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.interfaces import IReactorTime

from chatd.access.identity import Identity
from chatd.access.limits import Connections, network_of
from chatd.access.origins import Gate
from chatd.access.rate_limit import Buckets, Rate
from chatd.access.tokens import Secret, TokenKeys
from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.protocol.names import user_name
from chatd.timing.timer_wheel import Deadlines
from chatd.timing.wall import Alarm, WallClock

#: Whoever reads without a name, in open mode.
NOBODY = Identity("")


@define(eq=False)
class Door:
    """What a caller must show, and how much it may use. ``tokens`` is None in open mode."""

    #: Monotonic: rates and waits.
    clock: IReactorTime
    #: What tokens expire by.
    wall: WallClock
    gate: Gate
    connections: Connections
    #: All that is open on the HTTP and WebSocket ports, whether it has asked for anything or not.
    sockets: Connections
    deadlines: Deadlines
    rate: Rate
    publishers: Buckets
    tokens: TokenKeys | None = None
    admin_key: Secret | None = None
    setup_secret: Secret | None = None

    def open(self, transport: Any) -> Callable[[], None] | None:
        """Count a connection that has asked for nothing yet; call what is returned when it ends.
        ``None`` for one too many."""
        peer = getattr(transport.getPeer(), "host", None)
        try:
            return self.sockets.admit(self.gate.source(peer))
        except ChatError:
            return None

    def identify(
        self, token: str | None, username: str | None, legacy: bool = False, named: object = None
    ) -> Identity:
        """Who a caller is; `NOBODY` if it did not say, in open mode.

        ``username`` is the URL's, which a proxy may have set; ``named`` is what the client wrote
        into the body, which may not contradict it. In token mode the token alone counts, and there
        must be one.
        """
        if self.tokens is None:
            names = {user_name(n, legacy) for n in (username, named) if n is not None}
            if len(names) > 1:
                raise bad_request("The body names another user than the URL; name one.")
            return Identity(names.pop()) if names else NOBODY
        if token is None:
            raise ChatError(
                Code.UNAUTHORIZED, "Send a token: Authorization: Bearer T, or ?token=T."
            )
        return self.tokens.verify(token, self.wall.seconds())

    def check_expiry(self, identity: Identity) -> None:
        """Refuse who came with a token that has run out by now."""
        if identity.expires is not None and identity.expires <= self.wall.seconds():
            raise ChatError(Code.UNAUTHORIZED, "The token has expired; get a new one.")

    def at_expiry(self, identity: Identity, call: Callable[[], None]) -> Alarm | None:
        """Call ``call`` when the token of ``identity`` runs out; None if it never does."""
        if identity.expires is None:
            return None
        return Alarm(identity.expires, call, self.wall, self.deadlines)

    def check_admin(self, token: str | None) -> None:
        """Let only administrators pass: the admin key, or a token with the admin claim."""
        if self.admin_key is None and self.tokens is None:
            raise ChatError(
                Code.FORBIDDEN, "Administration is off; start chatd with --admin-key FILE."
            )
        if token is None:
            raise ChatError(Code.UNAUTHORIZED, "Send the admin key: Authorization: Bearer KEY.")
        if self.admin_key is not None and self.admin_key.matches(token):
            return
        if self.tokens is None:
            raise ChatError(Code.UNAUTHORIZED, "That is not the admin key.")
        if not self.tokens.verify(token, self.wall.seconds()).admin:
            raise ChatError(Code.FORBIDDEN, "This token has no admin claim.")

    def reload(self) -> list[str]:
        """Read the keys again, and return a line for each fault; what is bad stays as it was."""
        fault = self.tokens.reload() if self.tokens is not None else None
        return [fault] if fault is not None else []

    def check_rate(self, identity: Identity, address: str) -> None:
        """Count a publish over HTTP: per user, in open mode per user and address."""
        open_mode = self.tokens is None
        who = (identity.user, network_of(address)) if open_mode else identity.user
        self.publishers.check(who, self.clock.seconds())
