"""Presence between nodes: each tells the others of its own users over the broker's fan-out.

Payloads are numbered per node. Who misses one asks for a snapshot, so that opinions cannot stay
split; who has not been heard of for a while is gone, and its users with it.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.interfaces import IBroker
from chatd.presence import Presence
from chatd.wire import ChatError, dump, load_object, room_name, user_name

#: Seconds over which changes are gathered into one payload.
GATHER = 0.05
#: Seconds between signs of life, and of silence after which a node is dropped: within 30 s.
BEAT = 5.0
SILENCE = 20.0
#: Seconds between requests for a snapshot of the same node.
ASK_AGAIN = 1.0


@define(eq=False)
class _Peer:
    heard: float
    #: Number of its latest payload applied; None until a snapshot has come.
    number: int | None = None
    asked: float = float("-inf")


class Gossip:
    """Keeps a `Presence` board in step with those of the other nodes."""

    _log = Logger()

    def __init__(self, presence: Presence, broker: IBroker, clock: IReactorTime) -> None:
        self._presence = presence
        self._broker = broker
        self._clock = clock
        self._peers: dict[str, _Peer] = {}
        self._number = 0
        self._changes: dict[tuple[str, str], bool] = {}
        self._typing: set[tuple[str, str]] = set()
        self._beat: IDelayedCall | None = None
        presence.on_typing = self._types
        presence.on_local = self._changed
        presence.on_change = self._announce
        broker.listen(self.received)

    def start(self) -> None:
        """Ask the others who is there, and begin to give signs of life."""
        self._send("ask")
        self._tick()

    def stop(self) -> None:
        """Say goodbye, so that the others need not wait for the silence."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
            self._send("bye")

    @property
    def nodes(self) -> list[str]:
        """All nodes known to live, this one included, in order."""
        return sorted([self._presence.node, *self._peers])

    # -- telling -----------------------------------------------------------------------------------

    def _changed(self, room: str, user: str, here: bool) -> None:
        self._tell_soon()
        self._changes[room, user] = here

    def _types(self, room: str, user: str) -> None:
        self._tell_soon()
        self._typing.add((room, user))

    def _tell_soon(self) -> None:
        if not self._changes and not self._typing:
            self._clock.callLater(GATHER, self._tell)

    def _tell(self) -> None:
        changes, self._changes = self._changes, {}
        typing, self._typing = self._typing, set()
        if changes:
            self._send("changes", changes=[[r, u, here] for (r, u), here in changes.items()])
        if typing:
            self._send("typing", typing=sorted(typing))

    def _tick(self) -> None:
        self._beat = self._clock.callLater(BEAT, self._tick)
        self._send("beat")
        now = self._clock.seconds()
        for node, peer in list(self._peers.items()):
            if not self._broker.ready:
                peer.heard = now  # silence says nothing while nobody can speak
            elif now - peer.heard > SILENCE:
                self._drop(node)

    def _send(self, kind: str, **more: Any) -> None:
        if kind not in ("beat", "ask", "bye", "typing"):
            self._number += 1
        payload = {"node": self._presence.node, "n": self._number, "kind": kind, **more}
        self._broker.broadcast(dump(payload))

    def _announce(self, room: str, user: str, here: bool, node: str) -> None:
        """Tell other programs, once for all nodes: the node that caused it does, or the first one
        for a node that died."""
        if node == self._presence.node or (
            node not in self._peers and self.nodes[0] == self._presence.node
        ):
            event = "joined" if here else "left"
            self._broker.announce(event, room, dump({"event": event, "room": room, "user": user}))

    # -- hearing -----------------------------------------------------------------------------------

    def received(self, payload: bytes) -> None:
        """Take what some node broadcast."""
        try:
            heard = load_object(payload)
            node, kind, number = str(heard["node"]), heard["kind"], int(heard["n"])
            if node != self._presence.node:
                self._hear(node, kind, number, heard)
        except (ChatError, KeyError, TypeError, ValueError, AttributeError) as e:
            self._log.warn("presence: ignored a payload that is none: {why!r}", why=e)

    def _hear(self, node: str, kind: str, number: int, heard: dict[str, Any]) -> None:
        if kind == "bye":
            self._drop(node)
            return
        peer = self._peers.setdefault(node, _Peer(self._clock.seconds()))
        peer.heard = self._clock.seconds()
        if kind == "snapshot":
            rooms = {
                room_name(room): [user_name(u) for u in users]
                for room, users in heard["rooms"].items()
            }
            self._presence.replace(node, rooms)
            peer.number = number
        elif kind == "changes" and peer.number == number - 1:
            for room, user, here in heard["changes"]:
                self._presence.remote(node, room_name(room), user_name(user), here is True)
            peer.number = number
        elif kind == "typing":
            for room, user in heard["typing"]:
                self._presence.remote_typing(room_name(room), user_name(user))
        elif kind == "ask" and heard.get("of") in (None, self._presence.node):
            self._send("snapshot", rooms=self._presence.local())
        if peer.number != number:
            self._ask(node, peer)

    def _ask(self, node: str, peer: _Peer) -> None:
        if self._clock.seconds() - peer.asked >= ASK_AGAIN:
            peer.asked = self._clock.seconds()
            self._send("ask", of=node)

    def _drop(self, node: str) -> None:
        if self._peers.pop(node, None) is not None:
            self._presence.drop(node)
