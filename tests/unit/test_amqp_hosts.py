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


def test_nodes_that_are_all_apart_meet() -> None:
    """Each moves as long as there are more nodes of ours elsewhere than on its own host."""
    nodes = [Hosts(3, present=host) for host in range(3)]
    for _ in range(2):
        where = [node.present for node in nodes]
        for node in nodes:
            if 2 * where.count(node.present) < len(nodes):
                node.meet()
    assert {node.present for node in nodes} == {0}


def test_connections_that_end_because_of_a_meeting_stay_there() -> None:
    hosts = Hosts(3, present=2)
    hosts.meet()
    hosts.leave(2)
    hosts.leave(2)
    assert hosts.present == 0


def test_one_host_is_the_meeting_place() -> None:
    hosts = Hosts(1)
    hosts.meet()
    assert hosts.present == 0


def test_nodes_begin_on_different_hosts() -> None:
    assert {Hosts(3).present for _ in range(200)} == {0, 1, 2}
