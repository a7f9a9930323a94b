"""Connections of a node that leave a host meet again on the next."""

from __future__ import annotations

from chatd.amqp.hosts import Hosts


def connected(count: int, *to: int) -> Hosts:
    """With a connection to each of these; the last is to the present one."""
    hosts = Hosts(count, present=to[-1])
    for host in to:
        hosts.connected(host)
    return hosts


def test_connections_that_end_go_on_to_one_host() -> None:
    hosts = connected(3, 1, 1)
    hosts.ended(1, soon=False)
    hosts.ended(1, soon=False)
    assert hosts.present == 2


def test_where_one_connection_is_left_the_other_comes_back() -> None:
    """On different hosts they would be on different sides of a split."""
    hosts = connected(3, 1, 1)
    hosts.ended(1, soon=False)
    assert hosts.present == 1
    hosts.unreachable(1)
    assert hosts.present == 2, "it has to connect to some host"


def test_where_a_connection_does_not_last_it_is_not_made_again_and_again() -> None:
    """The other one may: RabbitMQ may serve publishers, and fail whoever consumes."""
    hosts = connected(3, 1, 1)
    hosts.ended(1, soon=False)
    assert hosts.present == 1
    hosts.connected(1)
    hosts.ended(1, soon=True)
    assert hosts.present == 2


def test_whatever_hosts_they_are_on_they_go_to_one() -> None:
    hosts = connected(3, 1, 2)
    hosts.ended(2, soon=False)
    hosts.ended(1, soon=False)
    assert hosts.present == 0


def test_nodes_that_are_apart_meet_on_the_first() -> None:
    nodes = [connected(3, host, host) for host in range(3)]
    for node in nodes:
        node.meet(again=False)
    assert {node.present for node in nodes} == {0}
    assert [node.must_leave(host) for host, node in enumerate(nodes)] == [False, True, True]


def test_only_the_connection_that_is_elsewhere_leaves() -> None:
    hosts = connected(3, 2, 0)
    hosts.meet(again=False)
    assert (hosts.must_leave(2), hosts.must_leave(0)) == (True, False)
    hosts.ended(2, soon=False)
    assert hosts.present == 0


def test_who_met_nobody_goes_to_any_other() -> None:
    found = set()
    for _ in range(100):
        hosts = connected(3, 0, 0)
        hosts.meet(again=True)
        assert hosts.must_leave(0)
        found.add(hosts.present)
    assert found == {1, 2}


def test_connections_that_end_because_of_a_meeting_stay_there() -> None:
    hosts = connected(3, 2, 2)
    hosts.meet(again=False)
    hosts.ended(2, soon=False)
    hosts.ended(2, soon=False)
    assert hosts.present == 0


def test_an_only_host_is_connected_to_anew() -> None:
    for again in (False, True):
        hosts = connected(1, 0)
        hosts.meet(again)
        assert hosts.must_leave(0)
        hosts.ended(0, soon=False)
        assert hosts.present == 0


def test_nodes_begin_on_different_hosts() -> None:
    assert {Hosts(3).present for _ in range(200)} == {0, 1, 2}
