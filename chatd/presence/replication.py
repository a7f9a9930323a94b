"""Replication of presence: each node tells the others of its own users over the broker's fan-out.

A node's changes and snapshots are numbered. A node that has missed one asks for a snapshot, so the
boards of all nodes converge. A node that has been silent for a while is dropped with its users.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from chatd.brokers.interfaces import IBroker
from chatd.presence.board import PresenceBoard
from chatd.presence.events import PresenceEvents
from chatd.presence.partition import STOOD_STILL, PartitionDetector
from chatd.presence.payloads import NAME, Vitals, node_name, whole_number
from chatd.presence.peers import ASK_AGAIN, Neighbour, Peer
from chatd.presence.sender import PresenceSender
from chatd.protocol.errors import ChatError
from chatd.protocol.json import load_object
from chatd.protocol.names import room_name, user_name
from chatd.telemetry.once import Once

#: Seconds between signs of life, and of silence after which a node is dropped.
BEAT, SILENCE = 5.0, 20.0
#: Seconds that each node has to be heard, at least, once any can be again: they come back one after
#: the other. No more than lie between two new connections (`chatd.presence.partition`), mostly.
LISTEN = 12.0
#: Seconds of silence after which a node counts as missed, and between checks for that.
MISSED, LOOK = 8.0, 1.0
#: Seconds between requests for a snapshot of the same node, at most.
ASK_SLOWLY = 8.0
#: Nodes that a sign of life names as heard, at most.
HEARS = 100
#: Other nodes that are kept track of.
PEERS = 1000


class PresenceReplication:
    """Keeps a `PresenceBoard` in step with those of the other nodes. ``skipped`` is called for each
    malformed payload."""

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
        self._peers: dict[str, Peer] = {}
        #: Room and user of those who are present and were announced in answer to another node.
        self._answered: set[tuple[str, str]] = set()
        #: Nodes whose users this one announces anew if a snapshot shows them: they were announced
        #: to have left, or it is not known what was. The last is the last.
        self._anew: dict[str, None] = {}
        self._events = PresenceEvents(presence, broker)
        self._sender = PresenceSender(presence, broker, clock)
        self._partition = PartitionDetector(presence.node, broker, clock, lambda: self.on_silent())
        self._beat: IDelayedCall | None = None
        self._looking: IDelayedCall | None = None
        self._looked = clock.seconds()
        #: Called when a node is missed, so that a probe shows it in the directory that this one
        #: lives.
        self.on_silent: Callable[[], None] = lambda: None
        #: What this node says of itself.
        self.vitals: Callable[[], Vitals] = Vitals
        presence.on_typing = self._sender.typing
        presence.on_local = self._sender.changed
        presence.on_change = self._announce
        broker.listen(self.received)

    def start(self) -> None:
        """Ask the other nodes for snapshots, and begin to send signs of life."""
        self._sender.send("ask")
        self._tick()
        self._look()

    def stop(self) -> None:
        """Tell the other nodes that this one stops, and that the users who are still here leave: a
        poller stays until long after its poll. May be called twice."""
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
            if self._looking is not None:
                self._looking.cancel()
                self._looking = None
            self._presence.drop(self._presence.node)
            self._sender.stop()

    @property
    def nodes(self) -> list[str]:
        """The names of all nodes that are not dropped, this one included, sorted."""
        return sorted([self._presence.node, *self._peers])

    def neighbours(self) -> list[Neighbour]:
        """The other nodes that are not dropped, by name."""
        now = self._clock.seconds()
        return [
            Neighbour(name, now - peer.heard, peer.missed, peer.vitals)
            for name, peer in sorted(self._peers.items())
        ]

    @property
    def others(self) -> int:
        """The number of other nodes that have given a sign of life lately."""
        return sum(not peer.missed for peer in self._peers.values())

    # -- signs of life -----------------------------------------------------------------------------

    def _tick(self) -> None:
        self._beat = self._clock.callLater(BEAT, self._tick)
        hears = None
        if self._broker.ready:  # else nothing can come, which says nothing of the others
            hears = [name for name, peer in self._peers.items() if not peer.missed][:HEARS]
        self._sender.send("beat", vitals=self.vitals().payload(), hears=hears)

    def _look(self) -> None:
        """Notice nodes that are missed, or have died, and whether this one is missed."""
        self._looking = self._clock.callLater(LOOK, self._look)
        now = self._clock.seconds()
        passed, self._looked = now - self._looked, now
        if not self._broker.ready or passed > STOOD_STILL:
            self._excuse(passed, now)
        for node, peer in list(self._peers.items()):
            if now - peer.heard > SILENCE:
                self._give_up(node)
            elif now - peer.heard > MISSED and not peer.missed:
                peer.missed = True
                self.on_silent()
        self._partition.check(self._peers)
        if self._broker.ready:
            for room, user, here in self._events.overdue():
                self._announced(room, user, here)

    def _excuse(self, passed: float, now: float) -> None:
        """Nothing could be heard for the seconds that have ``passed``; they are no silence. That of
        before counts on, lest who connects anew time and again never notice who has died."""
        for peer in self._peers.values():
            silent = min(now - peer.heard - passed, SILENCE - LISTEN)
            peer.heard = now - max(0.0, silent)

    def _announce(self, room: str, user: str, here: bool, node: str) -> None:
        """Publish an application event: on the node where it happened, or on the first of the
        living nodes for one that died, and on the same if that one lives after all. Who answered
        announces also that the user is gone: the node where that happened may have said so before
        the answer."""
        answered = not here and (room, user) in self._answered
        self._answered.discard((room, user))
        first = node not in self._peers and self.nodes[0] == self._presence.node
        if here and node in self._anew:
            self._answer(room, user)
        elif node == self._presence.node or first or answered:
            self._announced(room, user, here)

    def _answer(self, room: str, user: str) -> None:
        """Others were told that the user left, who is present."""
        self._answered.add((room, user))
        self._announced(room, user, here=True)

    def _announced(self, room: str, user: str, here: bool) -> None:
        self._events.tell(room, user, here)
        if not here:
            self._sender.changed(room, user, here=False)  # a node where the user is answers

    def shown(self, node: str) -> None:
        """``node`` appended a probe to the directory."""
        self._partition.shown(node)

    # -- receiving ---------------------------------------------------------------------------------

    def received(self, payload: bytes) -> None:
        """Apply a payload that some node, perhaps this one, has broadcast."""
        try:
            heard = load_object(payload)
            node, kind, number = node_name(heard["node"]), heard["kind"], whole_number(heard["n"])
            self._partition.heard(node)
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
        peer = self._peers.setdefault(node, Peer(self._clock.seconds()))
        peer.heard, peer.missed = self._clock.seconds(), False
        if kind == "beat":
            peer.vitals = Vitals.read(heard.get("vitals"))
            self._compare(node, heard.get("hears"))
        if kind == "snapshot":
            self._take_part(node, peer, number, heard)
        elif kind == "changes":
            take = self._take if peer.number == number - 1 else self._missed
            for room, user, here, quiet in heard["changes"]:
                take(node, room_name(room), user_name(user), here is True, quiet is True)
            if peer.number == number - 1:
                peer.number = number
        elif kind == "typing":
            for room, user in heard["typing"]:
                self._presence.remote_typing(room_name(room), user_name(user))
        elif kind == "ask" and heard.get("of") in (None, self._presence.node):
            self._sender.send_snapshot()
        coming = number == peer.coming[0] and peer.heard - peer.came < ASK_AGAIN
        if number != peer.number and not coming:
            self._ask(node, peer)

    def _compare(self, node: str, hears: object) -> None:
        """``node`` says whom it hears, unless it cannot tell: is this one among them, and are there
        others?"""
        if not isinstance(hears, list):
            self._partition.told(node, None)
            return
        if len(hears) < HEARS:  # else it need not name this one
            self._partition.told(node, hears)
        for name in map(node_name, hears[:HEARS]):
            peer = self._peers.get(name)
            if peer is None or peer.missed:
                self._partition.named(name)

    def _take(self, node: str, room: str, user: str, here: bool, quiet: bool) -> None:
        was = self._presence.here(room, user)
        self._presence.remote(node, room, user, here)
        on = self._presence.nodes(room, user)
        if was and not on and quiet and self.nodes[0] == self._presence.node:
            # the user left several nodes at once, and each thought the user was on another one
            self._announced(room, user, here=False)
        elif not here and not quiet and on[:1] == [self._presence.node]:
            # the user came here before that node knew, and this one did not tell who is there
            # already; but by now that node has told that the user left
            self._answer(room, user)

    def _missed(self, node: str, room: str, user: str, here: bool, quiet: bool) -> None:
        """A snapshot of ``node`` will follow, for earlier changes did not come."""
        others = [other for other in self._presence.nodes(room, user) if other != node]
        if not here and not quiet and others[:1] == [self._presence.node]:
            self._answer(room, user)  # who left that node was announced to have left

    def _first_besides(self, node: str) -> bool:
        return self._presence.node == min(set(self.nodes) - {node})

    def _gone(self, node: str, room: str, user: str) -> None:
        """A snapshot says that the user is not on ``node`` any more. It may have announced that, or
        not, if it thought the user was on another one."""
        on = self._presence.nodes(room, user)
        if not on and self._first_besides(node):
            self._announced(room, user, here=False)
        elif on[:1] == [self._presence.node]:
            self._answer(room, user)

    def _take_part(self, node: str, peer: Peer, number: int, heard: dict[str, Any]) -> None:
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
            if peer.number is not None and self._first_besides(node):
                self._anew[node] = None  # some of its changes may have been lost
            for room, user in self._presence.replace(node, peer.rooms):
                self._gone(node, room, user)
            self._anew.pop(node, None)
            peer.number, peer.patience = number, ASK_AGAIN
            peer.coming, peer.rooms = (-1, 0), {}

    def _ask(self, node: str, peer: Peer) -> None:
        if self._clock.seconds() - peer.asked >= peer.patience:
            if peer.asked > float("-inf"):
                peer.patience = min(2 * peer.patience, ASK_SLOWLY)
            peer.asked = self._clock.seconds()
            self._sender.send("ask", of=node)

    def _give_up(self, node: str) -> None:
        for room, user in self._drop(node):
            if self._presence.nodes(room, user)[:1] == [self._presence.node]:
                self._answer(room, user)  # it may have announced that the user left
        if self._first_besides(node):  # see `_announce`
            self._anew[node] = None
            if len(self._anew) > PEERS:
                del self._anew[next(iter(self._anew))]

    def _drop(self, node: str) -> set[tuple[str, str]]:
        known = self._peers.pop(node, None) is not None
        return self._presence.drop(node) if known else set()
