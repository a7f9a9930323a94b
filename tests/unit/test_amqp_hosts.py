"""Connections of a node that leave a host meet again on the next."""

from __future__ import annotations

from chatd.amqp.hosts import Hosts


def test_the_first_to_leave_moves_all() -> None:
    hosts = Hosts(3, present=1)
    hosts.leave(1)
    hosts.leave(1)
    assert hosts.present == 2


def test_whatever_hosts_they_are_on_they_go_to_one() -> None:
    hosts = Hosts(3, present=2)
    hosts.leave(2)
    hosts.leave(1)
    assert hosts.present == 0


def test_nodes_that_are_apart_meet_on_the_first() -> None:
    nodes = [Hosts(3, present=host) for host in range(3)]
    assert [node.meet(again=False) for node in nodes] == [False, True, True]
    assert {node.present for node in nodes} == {0}


def test_who_met_nobody_goes_to_any_other() -> None:
    found = set()
    for _ in range(100):
        hosts = Hosts(3, present=0)
        assert hosts.meet(again=True)
        found.add(hosts.present)
    assert found == {1, 2}


def test_connections_that_end_because_of_a_meeting_stay_there() -> None:
    hosts = Hosts(3, present=2)
    hosts.meet(again=False)
    hosts.leave(2)
    hosts.leave(2)
    assert hosts.present == 0


def test_an_only_host_is_connected_to_anew() -> None:
    for again in (False, True):
        hosts = Hosts(1)
        assert hosts.meet(again)
        assert hosts.present == 0


def test_nodes_begin_on_different_hosts() -> None:
    assert {Hosts(3).present for _ in range(200)} == {0, 1, 2}
