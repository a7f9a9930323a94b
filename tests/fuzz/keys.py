"""Tokens, and files of keys."""

from __future__ import annotations

import os
import warnings

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import OctKey

from chatd.access.jwk import load_keys
from chatd.access.tokens import TokenKeys
from chatd.errors import StartError as StartError

_SECRET = b"correct horse battery staple, and more"
_PUBLIC = Ed25519PrivateKey.from_private_bytes(b"7" * 32).public_key()
FILES = (
    _SECRET,
    _PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    b'{"keys":[{"kty":"oct","k":"Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ","kid":"a"},'
    b'{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},'
    b'{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}',
)


class _File:
    """A file in memory that can be opened by its path."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("keys")
        self.path = f"/proc/self/fd/{self._descriptor}"

    def write(self, data: bytes) -> str:
        """Put ``data`` in it; its path."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)
        return self.path


_FILE = _File()
_KEYS = TokenKeys.load(_FILE.write(_SECRET))


def _signed(**claims: object) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jwt.encode({"alg": "HS256"}, dict(claims), OctKey.import_key(_SECRET)).encode()


TOKENS = (
    _signed(sub="ann", exp=2_000_000_000, rooms=["a*", "b"]),
    _signed(sub=7, exp="x", nbf=[], aud={}),
    b"e30.e30.e30",
)


def verify(data: bytes) -> None:
    """A token as a client shows it."""
    _KEYS.verify(data.decode("utf-8", "surrogateescape"), 1_900_000_000.0)


def load(data: bytes) -> None:
    """A file of keys as an operator names it."""
    load_keys(_FILE.write(data))
