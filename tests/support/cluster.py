"""RabbitMQ nodes for tests that are one broker."""

from __future__ import annotations

from urllib.parse import quote

from tests.support.rabbit import Node


class Cluster:
    """Nodes that are one broker: streams have a replica on each."""

    def __init__(self, size: int = 3) -> None:
        self.nodes = [Node() for _ in range(size)]
        # found at their first start (https://www.rabbitmq.com/docs/cluster-formation), which takes
        # half of what joining with rabbitmqctl takes
        names = ", ".join(f"'{node.name}'" for node in self.nodes)
        for node in self.nodes:
            node.config.append(f"{{cluster_nodes, {{[{names}], disc}}}}")

    def start(self) -> Cluster:
        """Start all nodes and return when they are one cluster."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.await_startup()
        for node in self.nodes:
            node.settle()
        running = self.nodes[0].eval("length(rabbit_mnesia:cluster_nodes(running))")
        assert running == str(len(self.nodes)), f"only {running} nodes found each other"
        return self

    def url(self, vhost: str = "/") -> str:
        """The address that lists all nodes."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"amqp://guest:guest@{hosts}/{quote(vhost, safe='')}"

    def vhost(self) -> str:
        """As `Node.vhost`, on all nodes."""
        return self.nodes[0].vhost()

    def drop_vhost(self, name: str) -> None:
        """As `Node.drop_vhost`."""
        self.nodes[0].drop_vhost(name)

    def leader(self, vhost: str, room: str) -> Node:
        """The node that leads the stream of a room."""
        for node in self.nodes:
            if node.process is None or node.process.poll() is not None:
                continue
            found = node.eval(
                "[atom_to_list(node(amqqueue:get_pid(Q))) || "
                f'Q <- rabbit_amqqueue:list(<<"{vhost}">>), '
                f'binary:match(element(4, amqqueue:get_name(Q)), <<"chatd.room.{room}.">>)'
                " =/= nomatch, is_pid(amqqueue:get_pid(Q))]"
            )
            for other in self.nodes:
                if other.name in found:
                    return other
        raise AssertionError(f"nobody leads {room}")

    def hold_back(self, leader: Node, other: Node) -> None:
        """What ``leader`` has from now on does not come to the replicas on ``other``."""
        leader.eval(_HOLD_BACK.format(other.name))

    def let_go(self, leader: Node) -> None:
        """End `hold_back`."""
        leader.eval("held_back ! over")

    def close(self) -> None:
        for node in self.nodes:
            node.close()


#: Erlang: suspend what sends to the replicas on another node, until it is over.
_HOLD_BACK = (
    "Sends = fun(P) -> element(1, proc_lib:translate_initial_call(P)) =:= osiris_replica_reader"
    " andalso lists:member('{}', [node(Q) || Q <- tuple_to_list(sys:get_state(P)), is_pid(Q)])"
    " end, Here = self(), Held = spawn(fun() ->"
    " [erlang:suspend_process(P) || P <- processes(), Sends(P)], Here ! held,"
    " receive over -> ok end end), register(held_back, Held), receive held -> ok end"
)
