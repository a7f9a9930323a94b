"""RabbitMQ with Web STOMP, as one would use it for a room: python stomp.py PORT

Runs until it is terminated."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.rabbit import Node


def main(port: int) -> None:
    """Start a node, and wait."""
    listen = f'[{{ip, "127.0.0.1"}}, {{port, {port}}}, {{backlog, 4096}}]'
    listens = f"{{rabbitmq_web_stomp, [{{tcp_config, {listen}}}]}}"
    node = Node(plugins="rabbitmq_web_stomp", others=[listens])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        node.start()
        signal.pause()
    finally:
        node.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
