"""The numbers of a connection's channels."""

from __future__ import annotations

from collections.abc import Container

from attrs import define, field

from chatd.amqp.codec import ProtocolError


@define(eq=False)
class ChannelNumbers:
    """Gives out the number that was free the longest: RabbitMQ may still deliver on a channel for a
    moment after it was closed."""

    _newest: int = field(default=0, init=False)
    _retired: set[int] = field(factory=set, init=False)

    def take(self, used: Container[int], most: int) -> int:
        """A number from 1 to ``most`` that is not ``used``. Raises `ProtocolError` if all are."""
        turn = range(self._newest + 1, self._newest + 1 + most)
        free = ((n - 1) % most + 1 for n in turn)
        number = next((n for n in free if n not in used), None)
        if number is None:
            raise ProtocolError(f"the broker allows {most} channels only")
        self._newest = number
        self._retired.discard(number)
        return number

    def retire(self, number: int) -> None:
        """The channel ``number`` is closed."""
        self._retired.add(number)

    def retired(self, number: int) -> bool:
        """Whether what comes on the channel ``number`` was meant for one that is closed."""
        return number in self._retired
