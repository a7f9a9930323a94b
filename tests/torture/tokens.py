"""Tokens that run out, and keys that change, as an issuer beside chatd does."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from random import Random

from joserfc import jwt
from joserfc.jwk import OctKey

#: Seconds for which a token is good.
LIFE = 40


class Tokens:
    """Signs tokens with an HS256 secret that lies in the file `path`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chatd-test-")
        self.path = Path(self._folder.name) / "key"
        self.change(Random(0))

    @property
    def options(self) -> tuple[str, ...]:
        """What makes a node believe it."""
        return ("--auth=token", f"--token-key={self.path}")

    def change(self, chance: Random) -> None:
        """Sign with another secret from now on."""
        self._secret = chance.randbytes(16).hex()
        self.path.write_text(self._secret)

    def token(self, user: str) -> str:
        """A token of ``user``."""
        claims = {"sub": user, "exp": int(time.time()) + LIFE}
        return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(self._secret))

    def close(self) -> None:
        """Remove the file."""
        self._folder.cleanup()
