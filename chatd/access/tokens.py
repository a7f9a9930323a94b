"""Bearer tokens and shared secrets.

Tokens are JWTs (RFC 7519) in JWS compact form (RFC 7515), checked with the keys of
`chatd.access.jwk`.
"""

from __future__ import annotations

import hmac
import math
import re
from typing import Any, NoReturn

from attrs import define, field, frozen
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.util import urlsafe_b64decode

from chatd.access.identity import Identity
from chatd.access.jwk import GOOD_SECRET_BYTES, Verifier, load_keys, read_secret
from chatd.errors import StartError
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.json import load_object
from chatd.protocol.names import room_name, user_name

#: The longest token looked at, in characters.
TOKEN_CHARACTERS = 8192
#: The most entries of a ``rooms`` claim.
TOKEN_ROOMS = 1000

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)

_BEARER = re.compile(r"bearer +([^\s]+)\s*", re.IGNORECASE | re.ASCII)


def bearer(header: str | None) -> str | None:
    """The token of an ``Authorization: Bearer`` header (RFC 6750 section 2.1), else ``None``."""
    match = _BEARER.fullmatch(header) if header else None
    return match[1] if match else None


def shown_token(header: str | None, parameter: str | None) -> str | None:
    """The token that counts on every transport: the ``Authorization`` header's, else that of
    ``?token=T``."""
    return bearer(header) or parameter


@frozen
class Secret:
    """A secret shared with callers: the admin key, the set-up port's secret."""

    _value: bytes = field(repr=False)

    @classmethod
    def load(cls, path: str, option: str) -> Secret:
        """Read it from ``path``, less one line end. `StartError` names ``option`` and says why."""
        return cls(read_secret(path, option))

    def matches(self, given: object) -> bool:
        """Compare in a time that does not depend on where the two differ."""
        if not isinstance(given, str):
            return False
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._value)


@define
class TokenKeys:
    """The keys that tokens are checked with: one HS256 secret, one PEM public key, or a JWKS."""

    path: str
    _keys: tuple[Verifier, ...] = field(repr=False)

    @classmethod
    def load(cls, path: str) -> TokenKeys:
        """Read the keys. `StartError` says what is wrong with the file."""
        return cls(path, load_keys(path))

    def reload(self) -> str | None:
        """Read the file again. If it is bad the old keys stay, and its fault is returned."""
        try:
            self._keys = load_keys(self.path)
        except StartError as e:
            return str(e)
        return None

    def weakness(self) -> str | None:
        """A warning for the operator about a secret that can be guessed by trying, or ``None``."""
        for verifier in self._keys:
            key = verifier.key
            if isinstance(key, OctKey) and len(key.raw_value) < GOOD_SECRET_BYTES:
                return (
                    f"--token-key: {self.path} holds a secret of less than {GOOD_SECRET_BYTES}"
                    " bytes; anyone with one token can try to guess it"
                )
        return None

    def verify(self, token: str, now: float) -> Identity:
        """Whose token this is. ``now`` is in seconds since the epoch.

        Raises `ChatError` unauthorized; its text never holds any part of the token.
        """
        if len(token) > TOKEN_CHARACTERS:
            _refuse(f"The token is longer than {TOKEN_CHARACTERS} characters.")
        if not _TOKEN.fullmatch(token):
            _refuse("That is not a token: three base64url parts with dots between them.")
        try:
            claims = self._select(_header(token)).claims(token)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            _refuse("The token was not signed with a key this server accepts.")
        return _identity(claims, now)

    def _select(self, header: dict[str, Any]) -> Verifier:
        kid, alg = header.get("kid"), header.get("alg")
        keys = [k for k in self._keys if alg in k.algorithms]
        if kid is not None:
            # a key without a name of its own fits any name a token gives it
            keys = [k for k in keys if k.kid in (kid, None)]
        if not keys:
            _refuse("No key of this server fits the token's alg and kid.")
        if kid is None and len(keys) > 1:
            _refuse("The token must name its key (kid): this server has several.")
        return keys[0]


def _refuse(text: str) -> NoReturn:
    raise ChatError(Code.UNAUTHORIZED, text) from None


def _header(token: str) -> dict[str, Any]:
    try:
        return load_object(urlsafe_b64decode(token.partition(".")[0].encode("ascii")))
    except (ChatError, ValueError):
        _refuse("The token's header is not base64url JSON.")


def _moment(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = float(value)
            if math.isfinite(seconds):
                return seconds
    except OverflowError:
        pass
    _refuse(f'The token\'s "{name}" must be a number of seconds since 1970.')


def _room_entry(entry: object) -> str:
    if not isinstance(entry, str):
        _refuse('The token\'s "rooms" must be a list of room names.')
    prefix = entry.removesuffix("*")
    try:
        name = room_name(prefix) if prefix or prefix == entry else ""
    except ChatError as e:
        _refuse(f'The token\'s "rooms" holds what is not a room: {e.text}')
    return name + entry[len(prefix) :]


def _identity(claims: dict[str, Any], now: float) -> Identity:
    if "sub" not in claims or "exp" not in claims:
        _refuse('A token needs the claims "sub" (the user) and "exp".')
    try:
        user = user_name(claims["sub"])
    except ChatError as e:
        _refuse(f'The token\'s "sub" is not a user name: {e.text}')
    expires = _moment(claims, "exp")
    if expires <= now:
        _refuse("The token has expired; get a new one.")
    if "nbf" in claims and _moment(claims, "nbf") > now:
        _refuse("The token is not valid yet; check the clocks.")
    admin = claims.get("admin", False)
    if not isinstance(admin, bool):
        _refuse('The token\'s "admin" must be true or false.')
    rooms = claims.get("rooms")
    if rooms is None:
        return Identity(user, None, admin, expires)
    if not isinstance(rooms, list) or len(rooms) > TOKEN_ROOMS:
        _refuse(f'The token\'s "rooms" must be a list of at most {TOKEN_ROOMS} room names.')
    return Identity(user, tuple(_room_entry(entry) for entry in rooms), admin, expires)
