"""How a node is: whether it can serve, and what it does. Probes, systemd and operators ask."""

from __future__ import annotations

from typing import Any

from attrs import define

from chatd.access.limits import Connections
from chatd.service.lifecycle import NodeService


@define(eq=False)
class NodeStatus:
    """The status of ``node``, on ``broker`` (an `IBroker`), with ``connections`` of clients."""

    node: NodeService
    broker: Any
    connections: Connections

    @property
    def ready(self) -> bool:
        """Whether the node can serve: the broker is connected, the directory can be read and
        written, and the rooms of ``--room`` were made."""
        connected = bool(self.broker.ready or self.broker.blocked)
        serving = self.node.begun and not self.node.chat.draining
        return connected and serving and self.node.readiness.ready

    @property
    def blocked(self) -> str:
        """Why the broker takes no messages, in its own words; "" if it does."""
        return str(self.broker.blocked)

    def line(self) -> str:
        """What the node does, in a line."""
        clients, chat = self.connections.total, self.node.chat
        if chat.draining:
            return f"Going down; connections left: {clients}"
        if not self.ready:
            return f"The broker is away, or its rooms are not read yet; connections: {clients}"
        return f"Serving; connections: {clients}, rooms: {len(chat.directory)}"
