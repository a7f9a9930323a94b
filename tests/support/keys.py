"""Keys in files, and tokens signed with them."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from twisted.trial.unittest import TestCase

from chatd.access.tokens import (
    TokenKeys,
)
from chatd.errors import StartError
from chatd.protocol.errors import ChatError, Code

NOW = 1_800_000_000.0
SECRET = OctKey.import_key(b"a secret of more than thirty-two bytes")
RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")
ED = OKPKey.generate_key("Ed25519")


def sign(key: Key, alg: str, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token of ``ann`` that expires a minute from now, but for what is given."""
    claims = {"sub": "ann", "exp": NOW + 60, **claims}
    payload = json.dumps(claims).encode()
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    model = registry.algorithms[alg]
    head = {"alg": alg, **(header or {})}

    def b64(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = b64(json.dumps(head).encode()) + b"." + b64(payload)
    return (signed + b"." + b64(model.sign(signed, key))).decode()


class FileTests(TestCase):
    def file(self, content: bytes | str) -> str:
        """The path of a file with ``content``, removed after the test."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "key")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)


class KeyTests(FileTests):
    """Keys from files, and what they make of tokens."""

    def keys(self, content: bytes | str) -> TokenKeys:
        return TokenKeys.load(self.file(content))

    def jwks(self, *keys: dict[str, Any]) -> TokenKeys:
        return self.keys(json.dumps({"keys": keys}))

    def refused(self, keys: TokenKeys, token: str, now: float = NOW) -> str:
        """The text of the refusal, which never holds any of the token's parts."""
        error = self.assertRaises(ChatError, keys.verify, token, now)
        self.assertIs(error.code, Code.UNAUTHORIZED)
        for part in token.split("."):
            if len(part) > 8:
                self.assertNotIn(part, error.text)
        self.assertNotIn("\n", error.text)
        return str(error.text)

    def bad_file(self, content: bytes | str) -> str:
        error = str(self.assertRaises(StartError, self.keys, content))
        self.assertIn("--token-key", error)
        self.assertNotIn("\n", error)
        return error
