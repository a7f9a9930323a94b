"""Bearer tokens and shared secrets.

Tokens are JWTs (RFC 7519) in JWS compact form (RFC 7515), checked with the keys of
`chatd.access.jwk`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Any, NoReturn, cast

from attrs import define, field, frozen
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import OctKey
from joserfc.jwt import JWTClaimsRegistry
from joserfc.util import urlsafe_b64decode

from chatd.access.identity import Identity, TokenProof
from chatd.access.jwk import GOOD_SECRET_BYTES, KeySet, Verifier, load_keys, read_secret
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.json import load_object
from chatd.protocol.names import room_name, user_name

#: The longest token looked at, in characters.
TOKEN_CHARACTERS = 8192
#: The most entries of a ``rooms`` claim.
TOKEN_ROOMS = 1000

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)

#: What ``chatctl`` can send, too.
_SENDABLE = re.compile(rb"[!-~]+")

_BEARER = re.compile(r"bearer +([^\s]+)\s*", re.IGNORECASE | re.ASCII)


def bearer(header: str | None) -> str | None:
    """The token of an ``Authorization: Bearer`` header (RFC 6750 section 2.1), else ``None``."""
    match = _BEARER.fullmatch(header) if header else None
    return match[1] if match else None


def shown_token(header: str | None, parameter: str | None) -> str | None:
    """The token that counts, on every transport: that of the ``Authorization`` header, else that of
    ``?token=T``."""
    return bearer(header) or parameter


def is_shaped(token: str) -> bool:
    """Whether ``token`` has the form of a JWS: three base64url parts with dots between them."""
    return _TOKEN.fullmatch(token) is not None


@frozen
class Secret:
    """A secret shared with callers: the admin key, the set-up port's secret."""

    _value: bytes = field(repr=False)

    @classmethod
    def load(cls, path: str, option: str) -> Secret:
        """Read it from ``path``, without one newline at its end. Raises `StartError` that names
        ``option``."""
        return cls(read_secret(path, option))

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self._value)

    def matches(self, given: object) -> bool:
        """Compare with ``given``, in a time that does not depend on where the two differ."""
        if not isinstance(given, str):
            return False
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._value)

    @property
    def is_bearer(self) -> bool:
        """Whether every client can send it in an ``Authorization: Bearer`` header. Some send
        control characters, too, and each has its own encoding for what is not ASCII."""
        return _SENDABLE.fullmatch(self._value) is not None

    @property
    def is_shaped(self) -> bool:
        """Whether it has the form of a token, and so could be mistaken for one."""
        return is_shaped(self._value.decode("latin-1"))


@define
class TokenKeys:
    """The keys that tokens are verified with: one HS256 secret, one PEM public key, or a JWKS.

    ``audiences`` and ``issuers`` are the accepted values of ``aud`` and ``iss``. Without issuers
    ``iss`` is not checked; without audiences a token that has an ``aud`` is refused.
    """

    path: str
    _keys: KeySet
    audiences: Sequence[str] = ()
    issuers: Sequence[str] = ()

    @classmethod
    def load(
        cls, path: str, audiences: Sequence[str] = (), issuers: Sequence[str] = ()
    ) -> TokenKeys:
        """Read the keys. Raises `StartError` that says what is wrong with the file."""
        return cls(path, load_keys(path), audiences, issuers)

    @property
    def skipped(self) -> tuple[str, ...]:
        """A line for each key of the file that cannot be used."""
        return self._keys.skipped

    @property
    def secret(self) -> bool:
        """Whether it is a shared secret, so that anyone who can read the file can sign tokens."""
        return any(isinstance(verifier.key, OctKey) for verifier in self._keys.verifiers)

    def weakness(self) -> str | None:
        """A warning about a secret that is short enough to be guessed, or ``None``."""
        for verifier in self._keys.verifiers:
            key = verifier.key
            if isinstance(key, OctKey) and len(key.raw_value) < GOOD_SECRET_BYTES:
                return (
                    f"--token-key: {self.path} holds a secret of less than {GOOD_SECRET_BYTES}"
                    " bytes; anyone with one token can try to guess it"
                )
        return None

    def verify(self, token: str, now: float) -> Identity:
        """The identity that ``token`` proves. ``now`` is in seconds since the epoch.

        Raises `ChatError` unauthorized; its text never holds any part of the token.
        """
        if len(token) > TOKEN_CHARACTERS:
            _refuse(f"The token is longer than {TOKEN_CHARACTERS} characters.")
        if not is_shaped(token):
            _refuse("That is not a token: three base64url parts with dots between them.")
        alg, kid = _alg_and_kid(token)
        claims, key = _verified(token, self._candidates(alg, kid))
        self._check_registered(claims, now)
        return _identity(claims, TokenProof(alg, kid, key.thumbprint))

    def still_verifies(self, proof: TokenProof) -> bool:
        """Whether the present keys verify the token that ``proof`` belongs to."""
        fit = self._fit(proof.alg, proof.kid)
        return any(key.thumbprint == proof.thumbprint for key in fit)

    def _fit(self, alg: str, kid: str | None) -> list[Verifier]:
        """The keys that may have signed a token: those named ``kid``, else those without a name. If
        there is only one key, a token need not name it."""
        keys = [key for key in self._keys.verifiers if alg in key.algorithms]
        if kid is None and len(keys) == 1:
            return keys
        named = [key for key in keys if kid is not None and key.kid == kid]
        return named or [key for key in keys if key.kid is None]

    def _candidates(self, alg: str, kid: str | None) -> list[Verifier]:
        keys = self._fit(alg, kid)
        if not keys and kid is None and any(alg in k.algorithms for k in self._keys.verifiers):
            _refuse("The token must name its key (kid): this server has several.")
        if not keys:
            _refuse("No key of this server fits the token's alg and kid.")
        return keys

    def _check_registered(self, claims: dict[str, Any], now: float) -> None:
        """Check the registered claims (RFC 7519, section 4.1); ``iat`` is not checked."""
        registry = JWTClaimsRegistry(
            now=cast(int, now),  # a float does as well, and is exact
            sub={"essential": True},
            exp={"essential": True},
            aud={"essential": bool(self.audiences), "values": list(self.audiences)},
            iss={"essential": bool(self.issuers), "values": list(self.issuers)},
        )
        judged = {name: claims[name] for name in _REGISTERED if name in claims}
        if "aud" in judged and not self.audiences:
            _refuse("The token is for another service (aud); see --audience.")
        if not self.issuers:
            judged.pop("iss", None)
        try:
            registry.validate(judged)
        except MissingClaimError:
            needed = " and ".join(f'"{n}"' for n in _REGISTERED if n in registry.essential_keys)
            _refuse(f"A token needs the claims {needed}.")
        except ExpiredTokenError:
            _refuse("The token has expired; get a new one.")
        except InvalidClaimError as e:
            _refuse(_WRONG[e.claim])


def _refuse(text: str) -> NoReturn:
    raise ChatError(Code.UNAUTHORIZED, text) from None


_REGISTERED = ("sub", "exp", "nbf", "aud", "iss")
_WRONG = {
    "sub": 'The token\'s "sub" is not a user name.',
    "exp": 'The token\'s "exp" must be a number of seconds since 1970.',
    "nbf": 'The token is not valid yet, or its "nbf" is not a number of seconds; check the clocks.',
    "aud": "The token is for another service (aud); see --audience.",
    "iss": "The token is another issuer's (iss); see --issuer.",
}


def _verified(token: str, keys: Sequence[Verifier]) -> tuple[dict[str, Any], Verifier]:
    """The claims of ``token``, and the first of ``keys`` that verifies it."""
    for key in keys:
        try:
            return key.claims(token), key
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            continue
    _refuse("The token was not signed with a key this server accepts.")


def _alg_and_kid(token: str) -> tuple[str, str | None]:
    try:
        header = load_object(urlsafe_b64decode(token.partition(".")[0].encode("ascii")))
    except (ChatError, ValueError):
        _refuse("The token's header is not base64url JSON.")
    if "crit" in header:  # no extension is understood here (RFC 7515, section 4.1.11)
        _refuse("The token's header has a crit, of which this server understands nothing.")
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str) or not isinstance(kid, str | None):
        _refuse("The token's alg and kid must be strings.")
    return alg, kid


def _room_entry(entry: object) -> str:
    if not isinstance(entry, str):
        _refuse('The token\'s "rooms" must be a list of room names.')
    prefix = entry.removesuffix("*")
    # no room is called "." or "..", but names may begin so
    begins = prefix != entry and prefix in ("", ".", "..")
    try:
        name = prefix if begins else room_name(prefix)
    except ChatError as e:
        _refuse(f'The token\'s "rooms" holds what is not a room: {e.text}')
    return name + entry[len(prefix) :]


def _identity(claims: dict[str, Any], proof: TokenProof) -> Identity:
    """The identity in ``claims`` whose registered claims were checked."""
    try:
        user = user_name(claims["sub"])
    except ChatError as e:
        _refuse(f'The token\'s "sub" is not a user name: {e.text}')
    try:
        expires = float(claims["exp"])
    except OverflowError:
        _refuse(_WRONG["exp"])
    admin = claims.get("admin", False)
    if not isinstance(admin, bool):
        _refuse('The token\'s "admin" must be true or false.')
    rooms = claims.get("rooms")
    if rooms is None:
        return Identity(user, None, admin, expires, proof)
    if not isinstance(rooms, list) or len(rooms) > TOKEN_ROOMS:
        _refuse(f'The token\'s "rooms" must be a list of at most {TOKEN_ROOMS} room names.')
    return Identity(user, tuple(_room_entry(entry) for entry in rooms), admin, expires, proof)
