"""Who a caller is, and which rooms it may enter."""

from __future__ import annotations

from attrs import field, frozen

from chatd.access.limits import network_of


@frozen
class TokenProof:
    """Which key verified a token: enough to tell later, without the token, whether the keys of then
    would still verify it."""

    alg: str
    kid: str | None
    #: Of the key (RFC 7638).
    thumbprint: str = field(repr=False)


@frozen
class Identity:
    """Who a caller is, and what its token allows.

    ``rooms`` are exact names, or prefixes that end in ``*``; ``None`` if the token has no such
    claim. ``expires`` is in seconds since the epoch. It and ``proof`` are ``None`` in open mode.
    """

    user: str
    rooms: tuple[str, ...] | None = None
    admin: bool = False
    expires: float | None = None
    proof: TokenProof | None = field(default=None, eq=False)
    #: What counts as the address that it comes from; "" until `at`.
    network: str = field(default="", eq=False)

    def at(self, address: str) -> Identity:
        """The same identity, as used from ``address``."""
        # attrs.evolve takes 20 times as long, and this is done for each request
        known = self.user, self.rooms, self.admin, self.expires, self.proof
        return Identity(*known, network_of(address))

    def names(self, room: str) -> bool:
        """Whether the claim ``rooms`` names ``room``, in full or by a prefix."""
        return any(
            room.startswith(entry[:-1]) if entry.endswith("*") else room == entry
            for entry in self.rooms or ()
        )
