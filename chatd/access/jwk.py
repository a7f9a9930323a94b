"""Key files and secret files: what they hold, and which algorithms each key is used with.

The algorithms follow from the key alone (RFC 8725, section 3.1): a token never chooses how it is
verified.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from chatd.errors import StartError
from chatd.protocol.errors import ChatError
from chatd.protocol.json import load_object

#: The largest key or secret file read, in bytes.
FILE_BYTES = 256 * 1024
#: RFC 7518 section 3.2: an HS256 secret has at least as many bytes as the hash.
GOOD_SECRET_BYTES = 32
#: RFC 7518 section 3.3.
RSA_BITS = 2048


def _read(path: str, option: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError as e:
        raise StartError(f"{option}: cannot read {path}: {e.strerror}") from None
    if len(content) > FILE_BYTES:
        raise StartError(f"{option}: {path} is larger than {FILE_BYTES} bytes, so not a key")
    return content


def read_secret(path: str, option: str) -> bytes:
    """The content of a file, without one newline at its end, which editors add. Raises `StartError`
    that names ``option``."""
    return _secret(_read(path, option), path, option)


def _secret(content: bytes, path: str, option: str) -> bytes:
    secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if not secret.strip():
        raise StartError(f"{option}: {path} is empty; all that it holds is the secret")
    return secret


class _Pinned(JWSRegistry):
    """The algorithms of one key. Without joserfc's warning that RFC 9864 renamed EdDSA: issuers
    will send the old name for years."""

    max_header_length = 2048

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


_RSA = ("RS256", "RS384", "RS512")
_BY_CURVE = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),
    "Ed448": ("EdDSA", "Ed448"),
}
#: What a JWK's own ``alg`` may choose beyond the default of its kind.
_CHOICES = {
    "oct": ("HS256", "HS384", "HS512"),
    "RSA": (*_RSA, "PS256", "PS384", "PS512"),
}


def _algorithms(key: Key) -> tuple[str, ...]:
    """The algorithms that ``key`` verifies; none for a key of an unsupported kind or use."""
    if isinstance(key, OctKey):
        usual: tuple[str, ...] = ("HS256",)
    elif isinstance(key, RSAKey):
        usual = _RSA
    else:
        usual = _BY_CURVE.get(key.curve_name, ())
    alg = key.get("alg")
    if alg is None:
        return usual
    return (alg,) if isinstance(alg, str) and alg in _CHOICES.get(key.key_type, usual) else ()


@frozen
class Verifier:
    """One key, with the only algorithms it is ever used with."""

    key: Key = field(repr=False)
    kid: str | None
    algorithms: tuple[str, ...]
    #: RFC 7638.
    thumbprint: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "thumbprint", self.key.thumbprint())

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of ``token`` if this key signed it, else joserfc's exceptions are raised."""
        registry = _Pinned(algorithms=self.algorithms, strict_check_header=False)
        return jwt.decode(token, self.key, registry=registry).claims


class _Unusable(Exception):
    """A key that tokens cannot be verified with; the text says why."""


def _verifier(key: Key) -> Verifier:
    """``key`` as one that verifies. Raises `_Unusable`."""
    operations = key.get("key_ops")
    if key.get("use", "sig") != "sig" or (operations is not None and "verify" not in operations):
        raise _Unusable("is for something else than signatures")
    if not (algorithms := _algorithms(key)):
        raise _Unusable("can verify none of RS, ES, EdDSA and HS256, or not what its alg says")
    if isinstance(key, RSAKey) and key.public_key.key_size < RSA_BITS:
        raise _Unusable(f"is an RSA key of less than {RSA_BITS} bits")
    if not isinstance(key, OctKey) and key.is_private:
        raise _Unusable(f"is a private key; {_PUBLIC_HALF}")
    return Verifier(key, key.kid if key.get("kid") else None, algorithms)


_PUBLIC_HALF = (
    "give its public half (openssl pkey -pubout) and keep the private one with the issuer"
)


def _from_pem(content: bytes) -> Key:
    if b"PRIVATE KEY-----" in content:
        raise _Unusable(f"is a private key; {_PUBLIC_HALF}")
    if content.count(b"-----BEGIN ") != 1:
        raise _Unusable("is one of several PEM blocks; use a JWKS file for that")
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            return kind.import_key(content)
        except _UNREADABLE:
            continue
    raise _Unusable("is of no kind that can verify RS, ES or EdDSA")


def _from_secret(content: bytes) -> Key:
    try:
        return OctKey.import_key(content)
    except ValueError:
        raise _Unusable("is a public key; give it in PEM form") from None


def _from_jwk(value: object) -> Key:
    if not isinstance(value, dict):
        raise _Unusable("is not a JSON object")
    if not isinstance(value.get("kid", ""), str):
        raise _Unusable("has a kid that is not a string")
    try:
        known = value.get("kty") in JWKRegistry.key_types
    except TypeError:  # no string at all
        known = False
    if not known:
        raise _Unusable("is of an unknown kind (kty)")
    try:
        return JWKRegistry.import_key(value)
    except _UNREADABLE:
        raise _Unusable("cannot be read") from None


_UNREADABLE = (JoseError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm)


def _jwks(content: bytes, path: str) -> list[Any]:
    """The keys of a JWKS, not parsed yet. A single JWK is taken as a set of one."""
    try:
        value = load_object(content)
    except ChatError:
        raise StartError(f"--token-key: {path} begins like a JWKS but is not JSON") from None
    keys = value.get("keys", [value])
    if not isinstance(keys, list):
        raise StartError(f'--token-key: {path} is not a JWKS: it needs a list under "keys"')
    return keys


@frozen
class KeySet:
    """The usable keys of a file, and a line of explanation for each key that cannot be used."""

    verifiers: tuple[Verifier, ...] = field(repr=False)
    skipped: tuple[str, ...]


#: How a key is read, and from what.
_Found = tuple[Callable[[Any], Key], Any]


def load_keys(path: str) -> KeySet:
    """Read an HS256 secret, a PEM public key, or a JWKS, of which keys that cannot be used are
    skipped (RFC 7517, section 5). Raises `StartError` if no key is left."""
    content = _read(path, "--token-key")  # once: it may be a pipe
    if content.lstrip().startswith(b"{"):
        found: list[_Found] = [(_from_jwk, value) for value in _jwks(content, path)]
    elif b"-----BEGIN " in content:
        found = [(_from_pem, content)]
    else:
        found = [(_from_secret, _secret(content, path, "--token-key"))]
    verifiers: list[Verifier] = []
    skipped: list[str] = []
    for number, (read, value) in enumerate(found, 1):
        try:
            with warnings.catch_warnings():
                # sizes are judged here, with our own words
                warnings.simplefilter("ignore", SecurityWarning)
                verifiers.append(_verifier(read(value)))
        except _Unusable as e:
            skipped.append(f"--token-key: key {number} of {len(found)} in {path} {e}")
    if not verifiers:
        why = f": {skipped[0].removeprefix('--token-key: ')}" if skipped else ""
        raise StartError(f"--token-key: {path} holds no key that tokens can be verified with{why}")
    return KeySet(tuple(verifiers), tuple(skipped))
