"""How a node is: whether it can serve, and what it does. Probes, systemd and operators ask."""

from __future__ import annotations

from attrs import define

from chatd.access.limits import Connections
from chatd.brokers.interfaces import IBroker
from chatd.service.lifecycle import NodeService


@define(eq=False)
class NodeStatus:
    """The status of ``node``, on ``broker``, with ``connections`` of clients."""

    node: NodeService
    broker: IBroker
    connections: Connections

    @property
    def ready(self) -> bool:
        """Whether the node can serve: the broker is connected, the directory can be read and
        written, and the rooms of ``--room`` were made."""
        return not self.trouble

    @property
    def trouble(self) -> str:
        """Why the node cannot serve; "" if it can. It names nothing that clients should not
        know."""
        if self.node.chat.draining:
            return "it is going down"
        if not (self.broker.ready or self.broker.blocked):
            return "the broker is away"
        if not self.node.readiness.read:
            return "the directory of rooms is not read yet"
        if not self.node.begun:
            return "the rooms of --room are not made yet"
        if not self.node.readiness.ready:
            return "the directory of rooms cannot be written and read back"
        return ""

    @property
    def blocked(self) -> str:
        """Why the broker takes no messages, in its own words; "" if it does."""
        return str(self.broker.blocked)

    def line(self) -> str:
        """What the node does, in a line."""
        clients, chat = self.connections.total, self.node.chat
        if chat.draining:
            return f"Going down; connections left: {clients}"
        if why := self.trouble:
            return f"{why[:1].upper()}{why[1:]}; connections: {clients}"
        return f"Serving; connections: {clients}, rooms: {len(chat.directory)}"
