"""Named pollers: present for a while after each poll, and bounded."""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from chatd.access.identity import Identity
from chatd.access.limits import Connections
from chatd.access.rights import may_enter
from chatd.directory.projection import DirectoryChange
from chatd.service.chat import Chat
from chatd.timing import turn_queue
from chatd.timing.timer_wheel import TimerWheel
from chatd.transports.http.poll_presence import PRESENT, Pollers
from tests.support.serving import Node, ServingTests
from tests.support.world import World


async def poll(node: Node, user: str, room: str = "lobby") -> int:
    """Poll as ``user`` without waiting; the status."""
    return (await node.get(f"/poll?roomname={room}&username={user}")).status


class TurnsTests(SynchronousTestCase):
    def test_the_many_of_a_room_that_is_deleted_leave_in_turns(self) -> None:
        self.patch(turn_queue, "A_TURN", 2)
        world = World()
        site = world.sites[0]
        pollers = Pollers(site.chat, TimerWheel(world.clock), Connections(10, 10))
        for n in range(7):
            pollers.seen(Identity(f"p{n}"), "lobby", "10.0.0.1")
        found: list[tuple[int, int]] = []

        def see(change: DirectoryChange) -> None:
            found.append((len(pollers), site.presence.count("lobby")))
            pollers.seen(Identity("p6"), "lobby", "10.0.0.1")  # in the next room of that name

        site.directory.watchers.add(mock.Mock(directory_changed=see))
        with mock.patch.object(Chat, "entry"):
            world.do(site.directory.delete("lobby"))
        world.turn()
        self.assertEqual(found, [(5, 5)])
        self.assertEqual((len(pollers), site.presence.count("lobby")), (1, 1))
        world.advance(PRESENT + 2)
        self.assertEqual((len(pollers), site.presence.count("lobby")), (0, 0))


class BoundTests(ServingTests):
    async def present(self, node: Node, room: str = "lobby") -> int:
        return int((await node.get(f"/rooms/{room}")).json["count"])

    async def test_invented_names_are_bounded_for_each_address(self) -> None:
        node = await self.serve("--max-connections-per-address", "10")
        said = [await poll(node, f"u{n}") for n in range(15)]
        self.assertEqual(said, [200] * 10 + [503] * 5)
        self.assertEqual((await self.present(node), len(node.service.ways.pollers)), (10, 10))
        refused = await node.get("/poll?roomname=lobby&username=late")
        self.assertEqual(refused.code, "unavailable")
        self.assertGreater(int(refused.header("retry-after") or 0), 0)
        # who is known polls on, and who has no name is not present
        self.assertEqual(await poll(node, "u0"), 200)
        self.assertEqual((await node.get("/poll?roomname=lobby")).status, 200)

    async def test_in_all(self) -> None:
        node = await self.serve("--max-connections", "3", "--trusted-proxy", "127.0.0.1")
        said = [
            await node.get(f"/poll?roomname=lobby&username=u{n}", x_forwarded_for=f"10.0.0.{n}")
            for n in range(5)
        ]
        self.assertEqual([answer.status for answer in said], [200] * 3 + [503] * 2)

    async def test_a_poll_that_waits_is_no_connection_more(self) -> None:
        """With as many pollers as connections, each may wait."""
        node = await self.serve("--max-connections-per-address", "2")
        self.assertEqual([await poll(node, user) for user in ("a", "b")], [200, 200])
        waiting = [
            await node.ask("GET", f"/rooms/lobby/messages?last=0&wait=30&username={user}")
            for user in ("a", "b")
        ]
        answer = await node.post("/rooms/lobby/messages?username=c", {"text": "x"})
        self.assertEqual(answer.status, 201)
        self.assertEqual([(await http.answer()).status for http in waiting], [200, 200])

    async def test_a_place_is_free_again_after_90_seconds(self) -> None:
        node = await self.serve("--max-connections-per-address", "1")
        self.assertEqual([await poll(node, user) for user in ("a", "b")], [200, 503])
        node.clock.advance(60)
        self.assertEqual([await poll(node, user) for user in ("a", "b")], [200, 503])
        node.clock.advance(60)
        self.assertEqual([await poll(node, user) for user in ("a", "b")], [200, 503])
        node.clock.advance(92)
        self.assertEqual(await poll(node, "b"), 200)

    async def test_a_room_that_is_deleted_gives_its_places_back(self) -> None:
        node = await self.serve("--max-connections-per-address", "1")
        directory = node.service.chat.directory
        await directory.create("den")
        self.assertEqual([await poll(node, "a", "den"), await poll(node, "a")], [200, 503])
        await directory.delete("den")
        self.assertEqual(await poll(node, "a"), 200)
        self.assertEqual(len(node.service.ways.pollers), 1)

    async def test_only_the_changed_room_is_looked_at(self) -> None:
        node = await self.serve()
        directory = node.service.chat.directory
        await directory.create("den")
        pollers = node.service.ways.pollers
        for n in range(20):
            pollers.seen(Identity(f"u{n}"), "lobby", "10.0.0.1")
        await poll(node, "ann", "den")
        # whose last token names the room
        pollers.seen(Identity("ben"), "den", "10.0.0.1")
        pollers.seen(Identity("ben", ("den",)), "den", "10.0.0.1")
        with mock.patch("chatd.transports.http.poll_presence.may_enter", wraps=may_enter) as asked:
            await directory.set_private("den", True)
        self.assertEqual(asked.call_count, 2)
        self.assertEqual((await self.present(node), len(pollers)), (20, 21))
        self.assertEqual(node.service.chat.presence.members("den").names, ["ben"])
