"""Key and secret files: what is in them, and which algorithms each key is ever used with.

The algorithms a key verifies follow from the key alone (RFC 8725 section 3.1): a token never
chooses how it is checked.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
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
    """The file less the one line end that editors add. `StartError` names ``option``."""
    secret = _read(path, option).removesuffix(b"\n").removesuffix(b"\r")
    if not secret.strip():
        raise StartError(f"{option}: {path} is empty; put the secret on its first line")
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

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a token this key signed. Raises what joserfc raises for any other."""
        registry = _Pinned(algorithms=self.algorithms, strict_check_header=False)
        return jwt.decode(token, self.key, registry=registry).claims


def _verifier(key: Key, path: str) -> Verifier | None:
    if key.get("use", "sig") != "sig" or not (algorithms := _algorithms(key)):
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < RSA_BITS:
        raise StartError(f"--token-key: {path} holds an RSA key of less than {RSA_BITS} bits")
    if not isinstance(key, OctKey) and key.is_private:
        raise StartError(
            f"--token-key: {path} holds a private key; give its public half"
            " (openssl pkey -pubout) and keep the private one with the issuer"
        )
    return Verifier(key, key.kid if key.get("kid") else None, algorithms)


def _from_pem(content: bytes, path: str) -> Iterator[Key]:
    if b"PRIVATE KEY-----" in content:
        raise StartError(
            f"--token-key: {path} holds a private key; give its public half"
            " (openssl pkey -pubout) and keep the private one with the issuer"
        )
    if content.count(b"-----BEGIN ") != 1:
        raise StartError(f"--token-key: {path} holds several PEM blocks; use a JWKS file for that")
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            yield kind.import_key(content)
        except (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
            continue


def _from_jwks(content: bytes, path: str) -> Iterator[Key]:
    try:
        value = load_object(content)
    except ChatError:
        raise StartError(f"--token-key: {path} begins like a JWKS but is not JSON") from None
    keys = value.get("keys", [value])
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise StartError(f'--token-key: {path} is not a JWKS: it needs a list under "keys"')
    for key in keys:
        if str(key.get("kty")) not in JWKRegistry.key_types:
            continue  # RFC 7517 section 5: a kind of key not understood is ignored
        try:
            yield JWKRegistry.import_key(key)
        except (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
            raise StartError(f"--token-key: {path} holds a key that cannot be read") from None


def load_keys(path: str) -> tuple[Verifier, ...]:
    """Read an HS256 secret, one PEM public key or a JWKS. `StartError` says what is wrong."""
    content = _read(path, "--token-key")
    with warnings.catch_warnings():
        # sizes are judged here, with our own words
        warnings.simplefilter("ignore", SecurityWarning)
        if content.lstrip().startswith(b"{"):
            keys = list(_from_jwks(content, path))
        elif b"-----BEGIN " in content:
            keys = list(_from_pem(content, path))
        else:
            secret = read_secret(path, "--token-key")
            try:
                keys = [OctKey.import_key(secret)]
            except ValueError:
                raise StartError(
                    f"--token-key: {path} holds a public key; give it in PEM form"
                ) from None
        verifiers = tuple(v for key in keys if (v := _verifier(key, path)) is not None)
    if not verifiers:
        raise StartError(f"--token-key: {path} holds no key that can verify RS, ES, EdDSA or HS256")
    return verifiers
