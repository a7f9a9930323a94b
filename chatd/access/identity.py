"""Who a caller is, and which rooms it may enter."""

from __future__ import annotations

from attrs import evolve, field, frozen

from chatd.access.limits import network_of


@frozen
class TokenProof:
    """What a token was verified with: enough to tell later, without the token, whether the keys
    that there are then would verify it."""

    alg: str
    kid: str | None
    #: Of the key (RFC 7638).
    thumbprint: str = field(repr=False)


@frozen
class Identity:
    """Who a caller is and what its token says it may do.

    ``rooms`` are exact names, or prefixes ending in ``*``; ``None`` means the token does not speak
    of rooms. ``expires`` is in seconds since the epoch, ``None`` in open mode, as is ``proof``.
    """

    user: str
    rooms: tuple[str, ...] | None = None
    admin: bool = False
    expires: float | None = None
    proof: TokenProof | None = field(default=None, eq=False)
    #: What counts as the address that it comes from; "" until `at`.
    network: str = field(default="", eq=False)

    def at(self, address: str) -> Identity:
        """The same, who comes from ``address``."""
        return evolve(self, network=network_of(address))

    def names(self, room: str) -> bool:
        """Whether the token's ``rooms`` claim names ``room``, in full or by a prefix."""
        return any(
            room.startswith(entry[:-1]) if entry.endswith("*") else room == entry
            for entry in self.rooms or ()
        )
