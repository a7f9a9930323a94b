"""Who is told what a consumer of a stream on RabbitMQ gets."""

from __future__ import annotations

from collections.abc import Sequence

from chatd.amqp.deliveries import Delivery


class Owner:
    """Notes what a consumer tells it."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def delivered(self, batch: Sequence[Delivery]) -> None:
        self.told.append([one.offset for one in batch])

    def caught_up(self) -> None:
        self.told.append("caught up")

    def silent(self) -> None:
        self.told.append("silent")

    def detached(self, why: str) -> None:
        self.told.append("detached")
