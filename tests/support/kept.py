"""Tests that meet nodes over connections that are kept open, as browsers do: their polls do not go
through twisted.web."""

from __future__ import annotations

from typing import Any

from tests.support.serving import Node, ServingTests


class Kept(ServingTests):
    """A mixin: clients' requests follow one another on few connections."""

    async def serve(self, *options: str) -> Node:
        node = await super().serve(*options)
        node.kept = []
        return node


def taken(node: Node) -> list[bool]:
    """Whether each request that could be a usual poll was taken for one, from now on."""
    found: list[bool] = []
    polls: Any = node.service.ways.polls
    take = polls.take

    def noted(connection: Any, data: bytes) -> bool:
        found.append(take(connection, data))
        return found[-1]

    polls.take = noted
    return found
