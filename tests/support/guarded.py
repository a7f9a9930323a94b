"""Nodes that ask for tokens, and who comes to them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from tests.support.serving import Node, ServingTests

KEY = OctKey.import_key("the secret that tokens are signed with")
OTHER_KEY = OctKey.import_key("a secret that somebody else came up with")
ADMIN_KEY = "the-key-of-administrators"
SETUP_SECRET = "the-secret-of-the-set-up-port"


class GuardedTests(ServingTests):
    """Tests that meet nodes in token mode, with an admin key and a set-up secret."""

    def folder(self) -> Path:
        """A folder that is removed after the test."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def file(self, content: str | bytes) -> str:
        """The path of a file with ``content``."""
        path = self.folder() / "file"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def locks(self) -> list[str]:
        """The options for an admin key and a set-up secret."""
        return ["--admin-key", self.file(ADMIN_KEY), "--setup-secret", self.file(SETUP_SECRET)]

    async def guarded(self, *options: str) -> Node:
        """A node in token mode, with the rooms ``hall`` (public) and ``den`` (private, mia's)."""
        key = self.file(KEY.raw_value)
        node = await self.serve("--auth", "token", "--token-key", key, *self.locks(), *options)
        await furnish(node)
        return node


async def furnish(node: Node) -> None:
    """Make the rooms ``hall``, public, and ``den``, private and with the member ``mia``."""
    directory = node.service.chat.directory
    await directory.create("hall")
    await directory.create("den", private=True)
    await directory.add_member("den", "mia")


def token(
    node: Node,
    user: str = "ann",
    rooms: Sequence[str] | None = None,
    *,
    lives: float = 600.0,
    key: OctKey = KEY,
    **claims: Any,
) -> str:
    """A token of ``user`` that lives so many seconds by the node's clock."""
    claims = {"sub": user, "exp": node.clock.seconds() + lives, **claims}
    if rooms is not None:
        claims["rooms"] = list(rooms)
    return jwt.encode({"alg": "HS256"}, claims, key)


def bearing(shown: str) -> dict[str, str]:
    """The header that shows a token or key."""
    return {"Authorization": f"Bearer {shown}"}
