"""Tokens for tests: an issuer, its key in a file, and what it signs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

SECRET = "a secret for tests, of 32 bytes and more"


class Issuer:
    """Signs tokens with an HS256 secret that lies in ``path``."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(SECRET)

    @property
    def options(self) -> tuple[str, ...]:
        """What makes a node believe it."""
        return ("--auth=token", f"--token-key={self.path}")

    def token(self, user: str, expires: float, **claims: Any) -> str:
        """A token of ``user``; ``expires`` is in seconds since the epoch."""
        key = OctKey.import_key(SECRET)
        return jwt.encode({"alg": "HS256"}, {"sub": user, "exp": int(expires), **claims}, key)
