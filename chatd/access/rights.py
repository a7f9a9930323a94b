"""Who may do what. Every right is checked here: to use a name, to be in a room, to administer
rooms, to use the set-up port, to read the metrics."""

from __future__ import annotations

from collections.abc import Callable, Container
from secrets import token_hex
from typing import Protocol

from attrs import define, evolve, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatd.access.identity import Identity
from chatd.access.rate_limit import Guesses
from chatd.access.tokens import Secret, TokenKeys, is_shaped
from chatd.protocol.errors import ChatError, Code, bad_request
from chatd.protocol.names import user_name
from chatd.timing.wall import WallClock

#: What is said of a token that was valid when it was shown.
EXPIRED = "The token has expired; connect with a new one."
WITHDRAWN = "The key of the token was withdrawn; connect with a new one."
#: Someone who reads without a name, in open mode.
NOBODY = Identity("")


def no_longer_valid(why: str) -> ChatError:
    """The error for who goes on under a token, because of ``why``. Each is told in one of its own:
    one that is raised keeps the frames that it went through, and with them requests."""
    return ChatError(Code.UNAUTHORIZED, why)


class Guarded(Protocol):
    """A room, as far as the right to be in it depends on it."""

    @property
    def name(self) -> str:
        """The room's name."""

    @property
    def private(self) -> bool:
        """Whether only members, and tokens that name it, may be in it."""

    @property
    def members(self) -> Container[str]:
        """The users that may be in it while it is private."""


def may_enter(identity: Identity, room: Guarded) -> bool:
    """Whether ``identity`` may be in ``room``. A public room is open to everyone, except to a token
    whose ``rooms`` do not name it; a private one to its members, and to a token that names it."""
    if room.private:
        return identity.user in room.members or identity.names(room.name)
    return identity.rooms is None or identity.names(room.name)


def check_entry(identity: Identity, room: Guarded) -> None:
    """Raise `ChatError` forbidden unless `may_enter`."""
    if not may_enter(identity, room):
        raise ChatError(
            Code.FORBIDDEN,
            "You may not enter this room; ask its owner to add you as a member.",
            room=room.name,
        )


@define(eq=False)
class Rights:
    """What callers must show. ``tokens`` is ``None`` in open mode."""

    #: Monotonic, for the rate of guesses.
    clock: IReactorTime
    #: The time that decides whether a token has expired.
    wall: WallClock
    tokens: TokenKeys | None = None
    admin_key: Secret | None = None
    setup_secret: Secret | None = None
    _guesses: Guesses = field(factory=Guesses, init=False)
    _log = Logger()

    def username(self, parameter: Callable[[str], str | None]) -> str | None:
        """The ``username`` of a URL whose parameters ``parameter`` reads; None in token mode, where
        it counts for nothing, whatever it is. Raises `ChatError` if it cannot be read."""
        return parameter("username") if self.tokens is None else None

    def identify(
        self, token: str | None, username: str | None, legacy: bool = False, named: object = None
    ) -> Identity:
        """Who a caller is; in open mode `NOBODY` if it gives no name. Raises `ChatError`.

        ``username`` comes from the URL, where a proxy may have set it (`Rights.username`);
        ``named`` is what the client wrote into the body, which must not contradict it. In token
        mode only the token counts, and there must be one.
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

    def identify_or_guest(
        self, token: str | None, username: str | None, legacy: bool = False, named: object = None
    ) -> Identity:
        """As `identify`, but a caller without a name gets a made-up one for this connection."""
        identity = self.identify(token, username, legacy, named)
        return identity if identity.user else Identity(f"guest-{token_hex(3)}")

    def renew(self, identity: Identity, token: str) -> Identity:
        """The identity that another ``token`` gives; it must be of the same user."""
        if self.tokens is None:
            raise bad_request("There are no tokens in open mode.")
        renewed = self.tokens.verify(token, self.wall.seconds())
        if renewed.user != identity.user:
            raise ChatError(
                Code.FORBIDDEN, "The token is another user's; open a connection for it."
            )
        return evolve(renewed, network=identity.network)

    def withdrawn(self, identity: Identity) -> ChatError | None:
        """Why ``identity`` is no longer valid (its token has expired, or its key was withdrawn), or
        ``None`` if it is."""
        if identity.expires is not None and identity.expires <= self.wall.seconds():
            return no_longer_valid(EXPIRED)
        if identity.proof is None or self.tokens is None:
            return None
        verified = self.tokens.still_verifies(identity.proof)
        return None if verified else no_longer_valid(WITHDRAWN)

    def check_admin(self, token: str | None, address: str) -> None:
        """Raise `ChatError` unless ``token`` is the admin key, or a token with the claim ``admin``.
        Wrong ones count as guesses from ``address``."""
        if not self.administered:
            raise ChatError(
                Code.FORBIDDEN, "Administration is off; start chatd with --admin-key FILE."
            )
        if token is None:
            raise ChatError(Code.UNAUTHORIZED, "Send the admin key: Authorization: Bearer KEY.")
        if not self.shows_admin_key(token, address) and not self._is_admin(token, address):
            raise ChatError(Code.FORBIDDEN, "This token has no admin claim.")

    @property
    def administered(self) -> bool:
        """Whether anyone can be an administrator: there is an admin key, or token mode."""
        return self.admin_key is not None or self.tokens is not None

    def administers(self, token: str | None, address: str) -> bool:
        """Whether ``token`` is an administrator's, for routes that tell others less. What can only
        be a wrong key counts as a guess from ``address``."""
        if token is None or not self.administered:
            return False
        try:
            return self.shows_admin_key(token, address) or self._is_admin(token, address)
        except ChatError:
            return False

    def still_administers(self, token: str | None) -> bool:
        """Whether ``token``, by which `check_admin` has let somebody in, is an administrator's now:
        it may have expired, the admin key be another one. It is no guess."""
        if token is None:
            return False
        if self.admin_key is not None and self.admin_key.matches(token):
            return True
        try:
            return self.tokens is not None and self.tokens.verify(token, self.wall.seconds()).admin
        except ChatError:
            return False

    def _is_admin(self, token: str, address: str) -> bool:
        """Whether ``token`` has the claim ``admin``; what is not even formed like a token is a
        guess."""
        now = self.clock.seconds()
        if self.tokens is None:
            self._guesses.wrong(address, now)
            raise ChatError(Code.UNAUTHORIZED, "That is not the admin key.")
        try:
            return self.tokens.verify(token, self.wall.seconds()).admin
        except ChatError:
            if not is_shaped(token) or (self.admin_key is not None and self.admin_key.is_shaped):
                self._guesses.wrong(address, now)
            raise

    def shows_admin_key(self, token: str, address: str) -> bool:
        """Whether ``token`` is the admin key. Raises `ChatError` rate_limited after too many
        guesses from ``address``; then nothing is compared, so that a lucky guess does not show."""
        self._guesses.check(address, self.clock.seconds())
        return self.admin_key is not None and self.admin_key.matches(token)

    def check_setup(self, secret: object, address: str) -> None:
        """Raise `ChatError` unless ``secret`` is the set-up port's secret, if it has one."""
        if self.setup_secret is None:
            return
        self._guesses.check(address, self.clock.seconds())
        if not self.setup_secret.matches(secret):
            if isinstance(secret, str) and secret:
                self._guesses.wrong(address, self.clock.seconds())
            raise ChatError(Code.UNAUTHORIZED, 'Send the shared secret as "secret".')

    def check_metrics(self, local: bool, token: str | None, address: str) -> None:
        """Raise `ChatError` unless the caller may read the metrics: a program of this machine
        (``local``: no forwarding header), or one that shows the admin key."""
        if local:
            return
        if token is not None:
            if self.shows_admin_key(token, address):
                return
            self._guesses.wrong(address, self.clock.seconds())
        raise ChatError(
            Code.FORBIDDEN,
            "The metrics are for this machine and for the admin key; see --metrics for a port of"
            " their own.",
        )
