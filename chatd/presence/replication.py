"""Presence between nodes: each tells the others of its own users over the broker's fan-out.

Payloads are numbered per node. Who misses one asks for a snapshot, so that opinions cannot stay
split; who has not been heard of for a while is gone, and its users with it. What is long goes in
parts, with pauses: a broker refuses long payloads, and drops what comes faster than it takes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.brokers.interfaces import IBroker
from chatd.presence.board import PresenceBoard
from chatd.presence.hearing import Hearing
from chatd.presence.payloads import NAME, PresenceChange, divide, node_name, whole_number
from chatd.protocol.errors import ChatError
from chatd.protocol.json import dump, load_object
from chatd.protocol.names import room_name, user_name
from chatd.telemetry.once import Once

#: Seconds over which changes are gathered into one payload.
GATHER = 0.05
#: Seconds between signs of life, and of silence after which a node is dropped: within 30 s.
BEAT = 5.0
SILENCE = 20.0
#: Seconds of silence after which a node is missed, and between looks.
MISSED, LOOK = 8.0, 1.0
#: Seconds between requests for a snapshot of the same node: at first, and at most after failures.
ASK_AGAIN = 1.0
ASK_SLOWLY = 8.0
#: Seconds between the parts of what is long.
PAUSE = 0.02
#: Other nodes that are believed in.
PEERS = 1000


@define(eq=False)
class _Peer:
    heard: float
    missed: bool = False
    #: Number of its latest payload applied; None until a snapshot has come.
    number: int | None = None
    asked: float = float("-inf")
    patience: float = ASK_AGAIN
    #: The snapshot whose parts are coming: its number, how many have come, and when the last did.
    coming: tuple[int, int] = (-1, 0)
    came: float = float("-inf")
    rooms: dict[str, list[str]] = field(factory=dict)


class PresenceReplication:
    """Keeps a `PresenceBoard` in step with those of the other nodes. ``skipped`` is called for
    each payload that no node can have sent."""

    _log = Logger()

    def __init__(
        self,
        presence: PresenceBoard,
        broker: IBroker,
        clock: IReactorTime,
        skipped: Callable[[], object] = lambda: None,
    ) -> None:
        self._presence = presence
        self._broker = broker
        self._clock = clock
        self._skipped = skipped
        self._new = Once()
        self._peers: dict[str, _Peer] = {}
        self._number = 0
        self._changes: dict[tuple[str, str], PresenceChange] = {}
        self._typing: set[tuple[str, str]] = set()
        self._beat: IDelayedCall | None = None
        #: What is to be sent, part by part, and whether a snapshot is wanted after that.
        self._parts: deque[tuple[str, dict[str, Any]]] = deque()
        self._sending: IDelayedCall | None = None
        self._wanted = False
        self._hearing = Hearing(presence.node, broker, clock)
        self._looking: IDelayedCall | None = None
        #: Called when a node is missed, so that it can see in the directory that we live.
        self.on_silent: Callable[[], None] = lambda: None
        presence.on_typing = self._types
        presence.on_local = self._changed
        presence.on_change = self._announce
        broker.listen(self.received)

    def start(self) -> None:
        """Ask the others who is there, and begin to give signs of life."""
        self._send("ask")
        self._tick()
        self._look()

    def stop(self) -> None:
        """Say goodbye, so that the others need not wait for the silence."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
            if self._looking is not None:
                self._looking.cancel()
                self._looking = None
            if self._sending is not None:
                self._sending.cancel()
                self._sending = None
            self._parts.clear()
            self._send("bye")

    @property
    def nodes(self) -> list[str]:
        """All nodes known to live, this one included, in order."""
        return sorted([self._presence.node, *self._peers])

    @property
    def others(self) -> int:
        """How many other nodes have given a sign of life lately."""
        return sum(not peer.missed for peer in self._peers.values())

    # -- telling -----------------------------------------------------------------------------------

    def _changed(self, room: str, user: str, here: bool) -> None:
        self._tell_soon()
        quiet = not here and self._presence.here(room, user)
        self._changes[room, user] = (room, user, here, quiet)

    def _types(self, room: str, user: str) -> None:
        self._tell_soon()
        self._typing.add((room, user))

    def _tell_soon(self) -> None:
        if not self._changes and not self._typing:
            self._clock.callLater(GATHER, self._tell)

    def _tell(self) -> None:
        if self._parts:
            self._clock.callLater(GATHER, self._tell)  # they come before what happened since
            return
        changes, self._changes = self._changes, {}
        typing, self._typing = self._typing, set()
        for some in divide(changes.values()):
            self._parts.append(("changes", {"changes": some}))
        for told in divide(typing):
            self._parts.append(("typing", {"typing": told}))
        self._send_part()

    def _tell_all(self) -> None:
        """Send a snapshot, or another one if one is on its way: it began before somebody asked."""
        if self._parts:
            self._wanted = True
            return
        here = [(room, user) for room, users in self._presence.local().items() for user in users]
        parts = list(divide(here)) or [[]]
        for n, part in enumerate(parts):
            rooms: dict[str, list[str]] = {}
            for room, user in part:
                rooms.setdefault(room, []).append(user)
            self._parts.append(("snapshot", {"rooms": rooms, "part": n, "of": len(parts)}))
        self._send_part()

    def _send_part(self) -> None:
        self._sending = None
        if not self._parts:
            return
        kind, more = self._parts.popleft()
        self._send(kind, **more)
        if self._parts:
            self._sending = self._clock.callLater(PAUSE, self._send_part)
        elif self._wanted:
            self._wanted = False
            self._tell_all()

    def _tick(self) -> None:
        self._beat = self._clock.callLater(BEAT, self._tick)
        self._send("beat")
        now = self._clock.seconds()
        for node, peer in list(self._peers.items()):
            if not self._broker.ready:
                peer.heard = now  # silence says nothing while nobody can speak
            elif now - peer.heard > SILENCE:
                self._drop(node)

    def _look(self) -> None:
        """Notice who is missed, and whether it is us."""
        self._looking = self._clock.callLater(LOOK, self._look)
        now = self._clock.seconds()
        for peer in self._peers.values():
            if now - peer.heard > MISSED and not peer.missed:
                peer.missed = True
                self.on_silent()
        self._hearing.check(self._peers)

    def _send(self, kind: str, **more: Any) -> None:
        if kind == "changes" or (kind == "snapshot" and more["part"] == 0):
            self._number += 1
        payload = {"node": self._presence.node, "n": self._number, "kind": kind, **more}
        self._broker.broadcast(dump(payload))

    def _announce(self, room: str, user: str, here: bool, node: str) -> None:
        """Tell other programs, once for all nodes: the node that caused it does, or the first one
        for a node that died."""
        if node == self._presence.node or (
            node not in self._peers and self.nodes[0] == self._presence.node
        ):
            self._announced("joined" if here else "left", room, user)

    def _announced(self, event: str, room: str, user: str) -> None:
        self._broker.announce(event, room, dump({"event": event, "room": room, "user": user}))

    def shown(self, node: str) -> None:
        """A node showed up in the directory; see `chatd.presence.hearing`."""
        self._hearing.shown(node)

    # -- hearing -----------------------------------------------------------------------------------

    def received(self, payload: bytes) -> None:
        """Take what some node broadcast."""
        try:
            heard = load_object(payload)
            node, kind, number = node_name(heard["node"]), heard["kind"], whole_number(heard["n"])
            self._hearing.heard(node)
            if node != self._presence.node:
                self._hear(node, kind, number, heard)
        except (ChatError, KeyError, TypeError, ValueError, AttributeError) as e:
            self._skipped()
            if self._new(str(e)[:NAME]):
                self._log.warn("presence: ignored a payload that is none: {why!r}", why=e)

    def _hear(self, node: str, kind: str, number: int, heard: dict[str, Any]) -> None:
        if kind == "bye":
            self._drop(node)
            return
        if node not in self._peers and len(self._peers) >= PEERS:
            raise ValueError(f"more than {PEERS} nodes")
        peer = self._peers.setdefault(node, _Peer(self._clock.seconds()))
        peer.heard, peer.missed = self._clock.seconds(), False
        if kind == "snapshot":
            self._take_part(node, peer, number, heard)
        elif kind == "changes" and peer.number == number - 1:
            for room, user, here, quiet in heard["changes"]:
                self._take(node, room_name(room), user_name(user), here is True, quiet is True)
            peer.number = number
        elif kind == "typing":
            for room, user in heard["typing"]:
                self._presence.remote_typing(room_name(room), user_name(user))
        elif kind == "ask" and heard.get("of") in (None, self._presence.node):
            self._tell_all()
        coming = number == peer.coming[0] and peer.heard - peer.came < ASK_AGAIN
        if number != peer.number and not coming:
            self._ask(node, peer)

    def _take(self, node: str, room: str, user: str, here: bool, quiet: bool) -> None:
        was = self._presence.here(room, user)
        self._presence.remote(node, room, user, here)
        gone = was and not self._presence.here(room, user)
        if gone and quiet and self.nodes[0] == self._presence.node:
            # it left several nodes at once, each of which knew it to be on another one
            self._announced("left", room, user)

    def _take_part(self, node: str, peer: _Peer, number: int, heard: dict[str, Any]) -> None:
        part, parts = whole_number(heard["part"]), whole_number(heard["of"])
        if part == 0:
            peer.coming, peer.rooms = (number, 0), {}
        if peer.coming != (number, part):
            peer.coming, peer.rooms = (-1, 0), {}
            return
        for room, users in heard["rooms"].items():
            peer.rooms.setdefault(room_name(room), []).extend(map(user_name, users))
        peer.coming, peer.came = (number, part + 1), peer.heard
        if part + 1 == parts:
            self._presence.replace(node, peer.rooms)
            peer.number, peer.patience = number, ASK_AGAIN
            peer.coming, peer.rooms = (-1, 0), {}

    def _ask(self, node: str, peer: _Peer) -> None:
        if self._clock.seconds() - peer.asked >= peer.patience:
            if peer.asked > float("-inf"):
                peer.patience = min(2 * peer.patience, ASK_SLOWLY)
            peer.asked = self._clock.seconds()
            self._send("ask", of=node)

    def _drop(self, node: str) -> None:
        if self._peers.pop(node, None) is not None:
            self._presence.drop(node)
