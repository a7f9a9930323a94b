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


def test_nodes_begin_on_different_hosts() -> None:
    assert {Hosts(3).present for _ in range(200)} == {0, 1, 2}
