"""The commands of the documents that need RabbitMQ: two nodes, and Web STOMP's messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import ROOT
from tests.support.examples import Block, Mark, blocks, run
from tests.support.forked_command import ForkedCommand
from tests.support.rabbit import shared_node
from tests.support.rabbit_home import free_port
from tests.support.terminal import Terminal

HERE = Mark("run by", "tests/system/test_docs_rabbitmq.py")


def own(page: str) -> list[Block]:
    """The blocks of a page that are run here."""
    found = [block for block in blocks((ROOT / "docs" / page).read_text()) if block.mark == HERE]
    assert found
    return found


@pytest.mark.rabbitmq
def test_two_nodes_and_what_stomp_clients_send(tmp_path: Path) -> None:
    rabbit = shared_node()
    vhost = rabbit.vhost()
    ports = {str(port): free_port() for port in (8081, 8091)}
    env = {
        "CHATD_BROKER": rabbit.url(vhost),
        "CHATD_HTTP": f"tcp:{ports['8081']}:interface=127.0.0.1",
        "CHATD_WEBSOCKET": "off",
        "CHATD_SETUP": "off",
    }
    programs = tmp_path / ".programs"
    with ForkedCommand(programs), Terminal(tmp_path, ports, env, programs) as terminal:
        # the second needs what the first has made
        for page in ("nodes.rst", "moving-from-stomp.rst"):
            run(terminal, page, own(page))
    rabbit.drop_vhost(vhost)
