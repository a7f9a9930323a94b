"""Rooms and members: all nodes fold the same events, whoever asked for them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from chatd.brokers.interfaces import DIRECTORY, NoSuchStream, NotStored, Stream, Unavailable
from chatd.brokers.memory.broker import MemoryBroker
from chatd.directory import directory as directory_module
from chatd.directory.directory import Directory
from chatd.directory.leftovers import DELETE_AGAIN, DOOMED
from chatd.directory.lives import LIVES
from chatd.directory.newest import NEWEST
from chatd.directory.projection import EVENTS, ChangeKind, DirectoryChange, Projection
from chatd.directory.stream import PATIENCE
from chatd.directory.unnamed import AGAIN, MOST
from chatd.protocol.errors import ChatError, Code
from chatd.protocol.json import dump
from chatd.protocol.timestamps import FIRST, LAST
from tests.support.world import World


def said(directory: Directory) -> dict[str, Any]:
    """All that a directory knows, to be compared."""
    return {e.name: (e.stream, e.private, frozenset(e.members)) for e in directory}


class DirectoryCase(TestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, nodes: int = 2) -> None:
        self.world = World(nodes=nodes)
        self.nodes = [site.directory for site in self.world.sites]
        self.one = self.nodes[0]

    def agree(self) -> dict[str, Any]:
        first, *others = [said(node) for node in self.nodes]
        for other in others:
            self.assertEqual(other, first)
        return first

    def events(self) -> list[tuple[str, str]]:
        return [(event, room) for event, room, _ in self.world.broker.announced]


class ChangeTests(DirectoryCase):
    def test_created_on_one_node_there_on_all(self) -> None:
        self.assertTrue(self.world.do(self.one.create("attic")))
        self.assertIn("attic", self.agree())
        self.assertFalse(self.world.do(self.nodes[1].create("attic")))
        self.assertEqual(self.world.do(self.world.broker.end(self.one.get("attic").stream)), -1)

    def test_events_that_the_broker_is_too_busy_for_follow_in_their_order(self) -> None:
        with mock.patch.object(self.world.broker, "announce", return_value=False):
            self.world.do(self.one.create("attic"))
            self.world.do(self.one.add_member("attic", "ann"))
            self.world.advance(1)
        before = self.events()
        self.world.do(self.one.remove_member("attic", "ann"))
        self.world.advance(2)
        told = [event for event, room in self.events()[len(before) :] if room == "attic"]
        self.assertEqual(told, ["created", "member_added", "member_removed"])

    def test_done_only_when_the_stream_is_ready(self) -> None:
        making: Deferred[None] = Deferred()
        create = self.world.broker.create
        made = mock.Mock(side_effect=lambda one: making.addCallback(lambda _: create(one)))
        with mock.patch.object(self.world.broker, "create", made):
            creating = self.world.begin(self.one.create("attic"))
            self.world.turn()
            self.assertEqual(creating, [])
            self.assertNotIn("attic", self.agree())
            making.callback(None)
            self.world.turn()
        self.assertEqual(creating, [True])

    def test_a_room_whose_creator_died_in_between(self) -> None:
        event = {"op": "create", "room": "attic", "epoch": "e1"}
        self.world.broker.store(DIRECTORY, dump(event), self.world.now)
        self.world.turn()
        self.assertFalse(self.world.do(self.nodes[1].create("attic")))
        self.assertTrue(self.world.say("attic", "hello", node=1))

    def test_who_waits_for_a_room_goes_on_in_order_though_it_begins_anew(self) -> None:
        other, entry = self.nodes[1], self.nodes[1].get("lobby")
        opening: list[Deferred[None]] = [Deferred(), succeed(None), succeed(None)]
        order: list[int] = []
        with mock.patch.object(self.world.sites[1].broker, "open", side_effect=opening):
            for number in (1, 2):
                waiting = Deferred.fromCoroutine(other.ensure(entry))
                waiting.addCallback(partial(self._note, order, number))
                self.world.do(self.one.renew(entry.stream))
            opening[0].errback(NoSuchStream("the first"))
            self.world.turn()
        self.assertEqual(order, [1, 2])

    def _note(self, order: list[int], number: int, _: None) -> None:
        order.append(number)

    def test_a_room_that_cannot_be_made_is_not_in_the_directory(self) -> None:
        refusal = NotStored("queue limit in vhost '/' (3) is reached")
        with mock.patch.object(self.world.broker, "create", return_value=fail(refusal)):
            error = self.world.error(self.one.create("attic"))
        self.assertEqual(error.code, Code.UNAVAILABLE)
        self.assertIn("queue limit in vhost '/' (3) is reached", error.text)
        self.assertNotIn("attic", self.agree())
        self.assertTrue(self.world.do(self.one.create("attic")))

    def test_asked_for_twice_at_once_it_is_made_once(self) -> None:
        create = self.world.broker.create
        with mock.patch.object(self.world.broker, "create", side_effect=create) as made:
            asked = [self.world.begin(self.one.create("attic")) for _ in range(3)]
            self.world.turn()
        self.assertEqual(asked, [[True], [False], [False]])
        self.assertEqual(made.call_count, 1)

    def test_two_nodes_create_the_same_room_at_once(self) -> None:
        """The stream of the one that came too late is not left behind."""
        made = self.made()
        creating = [self.world.begin(node.create("attic")) for node in self.nodes]
        self.world.turn()
        self.assertEqual(sorted(outcome[0] for outcome in creating), [False, True])
        self.assertEqual(len(self.agree()), 2)
        self.assertEqual(self.events().count(("created", "attic")), 1)
        self.assertEqual(len(made), 2)
        self.assertEqual(self.kept(made), [self.one.get("attic").stream])

    def made(self) -> list[Stream]:
        """The streams that are made from now on."""
        made: list[Stream] = []
        create = MemoryBroker.create

        def noting(broker: MemoryBroker, stream: Stream) -> Deferred[None]:
            made.append(stream)
            return create(broker, stream)

        self.patch(MemoryBroker, "create", noting)
        return made

    def kept(self, streams: list[Stream]) -> list[Stream]:
        """Those that the broker has."""
        extents = self.world.do(self.world.broker.extents(streams))
        return [one for one, extent in zip(streams, extents, strict=True) if extent is not None]

    def test_a_stream_that_the_directory_does_not_come_to_name(self) -> None:
        """It is deleted: at once if nothing was stored, and once that is known otherwise."""
        for error, kept in ((NotStored("low on memory"), 0), (Unavailable("away"), 1)):
            made = self.made()
            with self.appends_fail(error):
                refused = self.world.error(self.one.create("attic"))
                self.assertIs(refused.code, Code.UNAVAILABLE)
                self.world.advance(2 * AGAIN + 1)
                self.assertEqual((len(made), len(self.kept(made))), (1, kept), error)
            self.world.advance(AGAIN + 1)
            self.assertEqual(self.kept(made), [])
            self.assertNotIn("attic", self.agree())
        self.assertTrue(self.world.do(self.one.create("attic")))

    def appends_fail(self, error: Exception) -> Any:
        """Until the end of the context no append succeeds, whoever asks."""
        return mock.patch.object(MemoryBroker, "append", side_effect=lambda *_: fail(error))

    def lost_event(self, made: list[Stream]) -> bytes:
        """Try to make a room whose event the broker neither stores nor refuses; what it was."""
        with self.appends_fail(Unavailable("away")) as append:
            self.world.error(self.one.create("attic"))
        self.assertEqual(self.kept(made), made)
        event: bytes = append.call_args.args[1]
        return event

    def test_a_stream_that_the_directory_names_late_is_kept(self) -> None:
        made = self.made()
        self.world.broker.store(DIRECTORY, self.lost_event(made), self.world.now)
        self.world.advance(AGAIN + 1)
        self.assertEqual(self.kept(made), [self.one.get("attic").stream])
        self.assertTrue(self.world.say("attic", "hello", node=1))

    def test_so_it_is_where_a_backup_was_restored_before_that_is_found_out(self) -> None:
        """Which gives the room another life, in the same stream."""
        made = self.made()
        restored = dump({"op": "restore", "life": "4" * 12, "event": "restored"})
        for event in (self.lost_event(made), restored):
            self.world.broker.store(DIRECTORY, event, self.world.now)
        self.world.turn()
        self.assertEqual(self.one.get("attic").stream.name, made[0].name)
        self.assertTrue(self.world.say("attic", "hello", node=1))
        self.world.advance(AGAIN + 1)
        self.assertEqual(self.kept(made), made)
        self.assertTrue(self.world.say("attic", "again", node=1))

    def test_an_event_that_is_stored_after_its_stream_was_deleted_changes_nothing(self) -> None:
        made = self.made()
        event = self.lost_event(made)
        self.world.advance(AGAIN + 1)
        self.assertEqual(self.kept(made), [])
        self.world.broker.store(DIRECTORY, event, self.world.now)
        self.world.turn()
        self.assertNotIn("attic", self.agree())

    def test_a_stream_of_which_it_is_not_known_whether_it_was_made(self) -> None:
        create = self.world.broker.create

        def cut_off(stream: Stream) -> Deferred[None]:
            create(stream)
            return fail(Unavailable("RabbitMQ did not answer in time"))

        with mock.patch.object(MemoryBroker, "create", side_effect=cut_off) as asked:
            self.world.error(self.one.create("attic"))
        self.world.turn()
        self.assertEqual(self.kept([asked.call_args.args[0]]), [])

    def test_while_the_directory_takes_nothing_only_so_many_streams_are_made(self) -> None:
        made = self.made()
        with self.appends_fail(Unavailable("away")):
            errors = [self.world.error(self.one.create(f"room-{n}")) for n in range(MOST + 2)]
        self.assertEqual(len(made), MOST)
        self.assertIs(errors[-1].code, Code.UNAVAILABLE)
        self.assertEqual((errors[-1].stored, errors[-1].room), (False, f"room-{MOST + 1}"))
        self.world.advance(AGAIN + 1)
        self.assertEqual(self.kept(made), [])
        self.assertTrue(self.world.do(self.one.create("attic")))

    def test_streams_that_vanish_as_soon_as_they_are_made(self) -> None:
        made = self.made()
        gone = mock.Mock(side_effect=lambda stream: fail(NoSuchStream(stream.name)))
        with mock.patch.object(self.world.broker, "open", gone):
            error = self.world.error(self.one.create("attic"))
        self.assertIs(error.code, Code.UNAVAILABLE)
        self.assertIn("vanish", error.text)
        self.assertLessEqual(len(made), 1 + LIVES)

    def test_who_is_told_of_a_new_room_can_write_to_it(self) -> None:
        opening: Deferred[None] = Deferred()
        with mock.patch.object(self.world.broker, "open", return_value=opening):
            creating = self.world.begin(self.one.create("attic"))
            self.world.turn()
            self.assertNotIn(("created", "attic"), self.events())
            opening.callback(None)
            self.world.turn()
        self.assertEqual(creating, [True])
        self.assertIn(("created", "attic"), self.events())

    def test_two_nodes_delete_the_same_room_at_once(self) -> None:
        stream = self.one.get("lobby").stream
        deleting = [self.world.begin(node.delete("lobby")) for node in self.nodes]
        self.world.turn()
        self.assertEqual(sorted(outcome[0] for outcome in deleting), [False, True])
        self.assertEqual(self.agree(), {})
        self.assertEqual(self.events().count(("deleted", "lobby")), 1)
        with self.assertRaises(NoSuchStream):
            self.world.do(self.world.broker.end(stream))

    def test_one_deletes_while_the_other_creates(self) -> None:
        for first in (0, 1):
            self.make()
            work = [self.nodes[0].delete("lobby"), self.nodes[1].create("lobby")]
            outcomes = [self.world.begin(work[first]), self.world.begin(work[1 - first])]
            self.world.turn()
            self.assertEqual([len(outcome) for outcome in outcomes], [1, 1])
            self.agree()

    def test_deleting_an_earlier_life_leaves_the_present_one(self) -> None:
        event = {"op": "delete", "room": "lobby", "epoch": self.one.get("lobby").stream.epoch}
        self.world.do(self.one.delete("lobby"))
        self.world.do(self.one.create("lobby"))
        self.world.broker.store(DIRECTORY, dump(event), self.world.now)
        self.world.turn()
        self.assertIn("lobby", self.agree())

    def test_a_new_life_has_a_new_epoch(self) -> None:
        before = self.one.get("lobby").stream
        self.world.do(self.one.delete("lobby"))
        self.world.do(self.one.create("lobby"))
        self.assertNotEqual(self.one.get("lobby").stream, before)

    def test_members_and_privacy(self) -> None:
        node = self.nodes[1]
        self.world.do(node.create("den", private=True))
        self.world.do(node.add_member("den", "ann"))
        self.world.do(self.one.add_member("den", "ann"))
        self.world.do(node.add_member("den", "bob"))
        self.world.do(self.one.remove_member("den", "bob"))
        self.world.do(self.one.remove_member("den", "bob"))
        _, private, members = self.agree()["den"]
        self.assertEqual((private, members), (True, frozenset({"ann"})))
        self.world.do(self.one.set_private("den", False))
        self.assertFalse(self.agree()["den"][1])
        names = [event for event, room in self.events() if room == "den"]
        self.assertEqual(names, ["created", "member_added", "member_added", "member_removed"])

    def test_all_rooms_together_have_so_many_members_at_most(self) -> None:
        """Whoever may add members could fill the memory of all nodes."""
        self.patch(directory_module, "MEMBERS", 3)
        self.world.do(self.one.create("den"))
        for room, user in (("lobby", "ann"), ("den", "ann"), ("den", "ben")):
            self.world.do(self.one.add_member(room, user))
        self.world.do(self.one.add_member("den", "ben"))
        error = self.world.error(self.one.add_member("lobby", "ben"))
        self.assertIs(error.code, Code.UNAVAILABLE)
        self.assertIn("3 members", error.text)
        self.world.do(self.one.remove_member("lobby", "ann"))
        self.world.do(self.one.add_member("lobby", "ben"))
        self.world.do(self.one.delete("den"))
        self.world.do(self.one.add_member("lobby", "ann"))
        self.agree()

    def test_creating_a_room_that_exists_changes_nothing(self) -> None:
        self.world.do(self.one.create("lobby", private=True))
        self.assertFalse(self.one.get("lobby").private)

    def test_creating_a_room_whose_stream_is_gone(self) -> None:
        """Who is told that the room is there writes to it by other ways, too."""
        lost = self.one.get("lobby").stream
        self.world.do(self.one.create("lobby"))
        self.world.do(self.world.broker.delete(lost))
        self.assertFalse(self.world.do(self.one.create("lobby")))
        stream = self.agree()["lobby"][0]
        self.assertNotEqual(stream, lost)
        self.assertEqual(self.world.do(self.world.broker.end(stream)), -1)

    def test_an_unknown_room(self) -> None:
        with self.assertRaises(ChatError) as caught:
            self.one.get("nowhere")
        self.assertIs(caught.exception.code, Code.UNKNOWN_ROOM)
        self.assertFalse(self.world.do(self.one.delete("nowhere")))
        for work in (
            self.one.add_member("nowhere", "a"),
            self.one.remove_member("nowhere", "a"),
            self.one.set_private("nowhere", True),
        ):
            self.assertIs(self.world.error(work).code, Code.UNKNOWN_ROOM)

    def test_renewed_once_however_many_nodes_ask(self) -> None:
        lost = self.one.get("lobby").stream
        self.world.do(self.one.add_member("lobby", "ann"))
        renewing = [self.world.begin(node.renew(lost)) for node in self.nodes]
        self.world.turn()
        self.assertEqual(renewing, [[None], [None]])
        stream, _, members = self.agree()["lobby"]
        self.assertNotEqual(stream, lost)
        self.assertEqual(members, {"ann"})
        self.world.do(self.one.renew(lost))
        self.assertEqual(self.agree()["lobby"][0], stream)

    def test_watchers_are_told_in_order_on_every_node(self) -> None:
        heard: list[list[DirectoryChange]] = [[], []]
        for node, changes in zip(self.nodes, heard, strict=True):
            node.watchers.add(mock.Mock(directory_changed=changes.append))
        self.world.do(self.one.create("den"))
        self.world.do(self.one.set_private("den", True))
        self.world.do(self.one.add_member("den", "ann"))
        self.world.do(self.one.remove_member("den", "ann"))
        self.world.do(self.one.delete("den"))
        for changes in heard:
            self.assertEqual(
                [change.what for change in changes],
                [
                    ChangeKind.CREATED,
                    ChangeKind.RESTRICTED,
                    ChangeKind.GRANTED,
                    ChangeKind.RESTRICTED,
                    ChangeKind.DELETED,
                ],
            )


class AwayTests(DirectoryCase):
    def test_changes_fail_within_bounded_time(self) -> None:
        self.world.broker.interrupt()
        for work in (
            self.one.create("attic"),
            self.one.delete("lobby"),
            self.one.add_member("lobby", "ann"),
            self.one.set_private("lobby", True),
        ):
            self.assertIs(self.world.error(work).code, Code.UNAVAILABLE)
        self.assertIsNotNone(self.one.find("lobby"))  # what is known stays known

    def test_appended_but_never_seen_again(self) -> None:
        with mock.patch.object(self.world.broker, "append", return_value=succeed(None)):
            error = self.world.error(self.one.create("attic"), within=PATIENCE + 1)
        self.assertIs(error.code, Code.UNAVAILABLE)
        self.assertFalse(self.one.stream._read_back.under_way)

    def test_stored_although_it_seemed_to_fail(self) -> None:
        with mock.patch.object(self.world.broker, "create", return_value=succeed(None)):
            creating = self.world.begin(self.one.create("attic"))
        self.world.broker.interrupt(stored=True)
        self.world.turn()
        self.assertEqual(len(creating), 1)
        self.world.broker.resume()
        self.world.turn()
        self.assertIn("attic", self.agree())
        self.assertFalse(self.world.do(self.one.create("attic")))

    def test_a_deleted_stream_is_deleted_in_the_end(self) -> None:
        stream = self.one.get("lobby").stream
        away = mock.Mock(side_effect=lambda stream: fail(Unavailable()))
        with (
            mock.patch.object(self.world.sites[0].broker, "delete", away),
            mock.patch.object(self.world.sites[1].broker, "delete", away),
        ):
            self.world.do(self.one.delete("lobby"))
            self.world.advance(5 + 3 * DELETE_AGAIN)
        self.assertGreaterEqual(away.call_count, 6)
        self.world.advance(DELETE_AGAIN + 0.5)
        with self.assertRaises(NoSuchStream):
            self.world.do(self.world.broker.end(stream))


class LoadingTests(DirectoryCase):
    def test_nothing_is_said_before_it_is_loaded(self) -> None:
        clock = Clock()
        broker = MemoryBroker(clock)
        broker.startService()
        directory = Directory(broker, clock)
        directory.start()
        with self.assertRaises(ChatError) as caught:
            directory.get("lobby")
        self.assertIs(caught.exception.code, Code.UNAVAILABLE)
        creating = self.world.begin(directory.create("lobby"))
        self.assertIs(creating[0].value.code, Code.UNAVAILABLE)
        clock.advance(0)
        self.assertTrue(directory.loaded)

    def test_a_broker_that_is_away_at_the_start(self) -> None:
        clock = Clock()
        broker = MemoryBroker(clock)
        directory = Directory(broker, clock)
        directory.start()
        clock.pump([1.0] * 20)
        self.assertFalse(directory.loaded)
        broker.startService()
        clock.pump([1.0] * 6)
        self.assertTrue(directory.loaded)

    def test_how_often_it_tries_to_start(self) -> None:
        """At once often, then every two seconds."""
        clock = Clock()
        away = mock.Mock(restored=False)
        away.create.side_effect = lambda _: fail(Unavailable())
        directory = Directory(away, clock)
        directory.start()
        clock.pump([0.125] * 10)
        self.assertEqual(away.create.call_count, 5)
        clock.pump([0.125] * 8 * 60)
        before = away.create.call_count
        clock.pump([0.125] * 8 * 60)
        self.assertEqual(away.create.call_count - before, 30)

    def test_stopped_before_it_could_start(self) -> None:
        clock = Clock()
        broker = MemoryBroker(clock)
        directory = Directory(broker, clock)
        directory.start()
        directory.stop()
        broker.startService()
        clock.pump([1.0] * 20)
        self.assertFalse(directory.loaded)

    def test_probes_of_a_node_are_seen_by_all_that_are_there(self) -> None:
        seen: list[list[str]] = [[], [], []]
        for node, probes in zip(self.nodes, seen, strict=False):
            node.stream.on_probe = probes.append
        self.world.do(self.one.stream.probe(PATIENCE))
        self.world.do(self.one.create("attic"))
        late = Directory(self.world.broker, self.world.clock)
        late.stream.on_probe = seen[2].append
        late.start()
        self.addCleanup(late.stop)
        self.world.turn()
        self.assertEqual(seen, [["node-0"], ["node-0"], []])

    def test_a_new_node_knows_all(self) -> None:
        for n in range(20):
            self.world.do(self.one.create(f"room{n}", private=n % 2 == 0))
        for n in range(0, 20, 3):
            self.world.do(self.one.delete(f"room{n}"))
        self.nodes.append(self.world.add_site().directory)
        self.assertEqual(len(self.agree()), 1 + 20 - 7)

    def opened_by_a_new_node(self, **errors: Exception) -> list[str]:
        """The rooms that a node opens by itself when it starts, on a broker like RabbitMQ, which
        has ``errors`` for some."""
        peer = self.world.broker.peer()
        peer.exact = False
        peer.startService()
        directory = Directory(peer, self.world.clock)
        directory.stream.on_loaded = directory.open_newest
        opened: list[str] = []

        def opening(stream: Stream) -> Deferred[None]:
            opened.append(stream.room)
            error = errors.get(stream.room)
            return fail(error) if error is not None else MemoryBroker.open(peer, stream)

        self.patch(peer, "open", opening)
        directory.start()
        self.world.turn()
        return opened

    def test_the_newest_rooms_are_opened_at_start(self) -> None:
        """Whoever made them may have died before."""
        for n in range(NEWEST + 5):
            self.world.do(self.one.create(f"room-{n}"))
        self.world.do(self.one.delete("room-50"))
        gone = self.one.get("room-51").stream
        self.world.do(self.world.broker.delete(gone))
        expected = [f"room-{n}" for n in range(5, NEWEST + 5) if n != 50]
        self.assertEqual(self.opened_by_a_new_node(), expected)
        self.assertEqual(self.one.get("room-51").stream, gone)

    def test_one_that_is_refused_keeps_none_of_the_others_from_being_opened(self) -> None:
        """But nothing more is tried when the broker has gone."""
        rooms = [f"room-{n}" for n in range(4)]
        for name in rooms:
            self.world.do(self.one.create(name))
        errors = {rooms[0]: NotStored("access refused"), rooms[2]: Unavailable("away")}
        self.assertEqual(self.opened_by_a_new_node(**errors)[-3:], rooms[:3])

    def test_what_was_deleted_is_deleted_again_at_start(self) -> None:
        stream = self.one.get("lobby").stream
        self.world.do(self.one.delete("lobby"))
        self.world.do(self.world.broker.create(stream))  # as if its deletion had failed
        self.world.add_site()
        with self.assertRaises(NoSuchStream):
            self.world.do(self.world.broker.end(stream))

    def test_but_only_so_many_of_them(self) -> None:
        for n in range(DOOMED + 20):
            self.world.do(self.one.create(f"r{n}"))
            self.world.do(self.one.delete(f"r{n}"))
        deleted: list[Stream] = []
        delete = MemoryBroker.delete

        def noting(broker: MemoryBroker, stream: Stream) -> Deferred[None]:
            deleted.append(stream)
            return delete(broker, stream)

        with mock.patch.object(MemoryBroker, "delete", noting):
            self.world.add_site()
        self.assertEqual(len(deleted), DOOMED)
        self.assertEqual(deleted[-1].room, f"r{DOOMED + 19}")

    def test_what_is_no_event_is_skipped_and_logged(self) -> None:
        epoch = self.world.stream().epoch.encode()
        with capturedLogs() as events:
            for body in (
                b"junk",
                b"{}",
                b'{"op":"create","room":7,"epoch":"e"}',
                b'{"op":"create","room":"no spaces","epoch":"e"}',
                b'{"op":["create"],"room":"r","epoch":"e"}',
                b'{"op":"create","room":"r"}',
                b'{"op":"add_member","room":"lobby","user":""}',
                b'{"op":"create","room":"r","epoch":"%s"}' % (b"e" * 300),
                b'{"op":"create","room":"r","epoch":1e999}',
                b'{"op":"create","room":"r","epoch":"a:b"}',
                b'{"op":"create","room":"r","epoch":"\\u0000"}',
                b'{"op":"create","room":"r","epoch":""}',
                b'{"op":"create","room":"r","epoch":null}',
                b'{"op":"renew","room":"lobby","old":"%s","epoch":"../x"}' % epoch,
                b'{"op":"renew","room":"lobby","old":{},"epoch":[]}',
            ):
                self.world.broker.store(DIRECTORY, body, self.world.now)
            later = {"op": "of a later version", "room": "lobby"}
            self.world.broker.store(DIRECTORY, dump(later), self.world.now)
            self.world.turn()
        skipped = [e["why"] for e in events if "skipped" in e["log_format"]]
        self.assertGreaterEqual(len(skipped), 2 * 5)
        self.assertEqual({skipped.count(why) for why in skipped}, {1})  # each kind once, on each
        # who goes back to this version is told what it does not know (docs/upgrade.rst)
        told = [why for why in skipped if "'of a later version' is no op, or" in str(why)]
        self.assertEqual(len(told), 2)
        self.assertFalse([e for e in events if "log_failure" in e])
        for site in self.world.sites:
            count = site.metrics.registry.get_sample_value("chatd_bad_events_total")
            self.assertEqual(count, 15)
        self.assertEqual(list(self.agree()), ["lobby"])
        self.assertTrue(self.world.do(self.one.create("attic")))

    def test_the_directory_itself_is_deleted(self) -> None:
        bob = self.world.join("lobby", "bob")
        self.world.do(self.world.broker.delete(DIRECTORY))
        self.world.turn()
        self.assertEqual(self.agree(), {})
        assert bob.error is not None
        self.assertIs(bob.error.code, Code.UNKNOWN_ROOM)
        self.assertTrue(self.world.do(self.one.create("lobby")))
        self.assertEqual(list(self.agree()), ["lobby"])


_names = st.sampled_from(["a", "b"])
_epochs = st.sampled_from(["e1", "e2", "e3"])
_users = st.sampled_from(["ann", "bob"])
_events = st.one_of(
    st.fixed_dictionaries(
        {"op": st.just("create"), "room": _names, "epoch": _epochs, "private": st.booleans()}
    ),
    st.fixed_dictionaries({"op": st.just("delete"), "room": _names, "epoch": _epochs}),
    st.fixed_dictionaries(
        {"op": st.just("renew"), "room": _names, "old": _epochs, "epoch": _epochs}
    ),
    st.fixed_dictionaries({"op": st.just("private"), "room": _names, "private": st.booleans()}),
    st.fixed_dictionaries({"op": st.just("add_member"), "room": _names, "user": _users}),
    st.fixed_dictionaries({"op": st.just("remove_member"), "room": _names, "user": _users}),
)


class FoldTests(TestCase):
    def test_an_event_that_is_appended_again_is_folded_once(self) -> None:
        """However late, unless very many were between."""
        create = {"op": "create", "room": "a", "epoch": "e1", "event": "first"}
        delete = {"op": "delete", "room": "a", "epoch": "e1"}
        rooms = Projection()
        self.assertTrue(rooms.apply(create))
        self.assertTrue(rooms.apply(delete))
        for n in range(EVENTS - 1):
            rooms.apply({"op": "private", "room": "b", "private": True, "event": str(n)})
        self.assertEqual(rooms.apply(create), [])
        self.assertNotIn("a", rooms.rooms)
        rooms.apply({"op": "private", "room": "b", "private": True, "event": "one more"})
        self.assertTrue(rooms.apply(create))

    def test_when_a_room_was_made(self) -> None:
        """By the event, where that says so in earnest."""
        for time, created in (
            (1_800_000_000_123, 1_800_000_000_123),
            (FIRST, FIRST),
            (LAST, LAST),
            (FIRST - 1, 0),
            (LAST + 1, 0),
            ("1800000000123", 0),
            (None, 0),
        ):
            rooms = Projection()
            rooms.apply({"op": "create", "room": "a", "epoch": "e1", "time": time})
            self.assertEqual(rooms.rooms["a"].stream.created, created, time)

    @settings(deadline=None, max_examples=100)
    @given(st.lists(_events, max_size=30))
    def test_events_that_change_nothing_could_as_well_be_absent(
        self, events: list[dict[str, Any]]
    ) -> None:
        """So it does not matter how often, or by how many nodes, something is asked for."""
        whole, sparse = Projection(), Projection()
        for event in events:
            event = json.loads(json.dumps(event))
            if whole.apply(event):
                self.assertTrue(sparse.apply(event))
        for name in ("a", "b"):
            one, other = whole.rooms.get(name), sparse.rooms.get(name)
            self.assertEqual(one is None, other is None)
            if one is not None and other is not None:
                self.assertEqual(
                    (one.stream, one.private, one.members),
                    (other.stream, other.private, other.members),
                )
