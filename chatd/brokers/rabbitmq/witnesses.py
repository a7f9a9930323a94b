"""Whether a stream is gone, by the word of all hosts of RabbitMQ.

A host answers from its own copy of what queues there are. After a partition that RabbitMQ was told
to ignore, that copy lacks what was made on the other side, until the host is restarted; and a copy
may lag behind. But who takes a stream for gone gives up what is in it, for all nodes. So the word
of one host is not enough where there are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, gatherResults
from twisted.logger import Logger

from chatd.amqp.addresses import Addresses
from chatd.amqp.channel import reason_of
from chatd.amqp.client import Client
from chatd.amqp.service import BrokerConnection, endpoints
from chatd.amqp.url import BadURL, BrokerURL
from chatd.brokers.interfaces import Stream, Unavailable
from chatd.brokers.rabbitmq.queues import has_queue
from chatd.telemetry.once import Once
from chatd.timing.slots import Slots

#: Seconds for a host to answer, and to say goodbye; streams that are asked for at a time.
PATIENCE, GOODBYE, AT_ONCE = 5.0, 1.0, 4


class Undecided(Unavailable):
    """Too few hosts can be asked whether there is a stream: another host could not tell either."""


@define(eq=False)
class Witnesses:
    """The hosts of the broker at ``url``, each asked on a connection that is made for it: it is
    rare that a stream is missing. ``addresses`` are those of `Hosts`."""

    reactor: Any
    url: BrokerURL
    addresses: Sequence[Addresses]
    _turns: Slots = field(factory=lambda: Slots(AT_ONCE), init=False)
    _new: Once = field(factory=Once, init=False)

    _log = Logger()

    async def confirm(self, stream: Stream) -> None:
        """Return if most hosts say that there is no ``stream``, and none says that there is. The
        only host is not asked again. Raises `Unavailable`, `Undecided` where most say nothing."""
        if len(self.url.hosts) == 1:
            return
        await self._turns.acquire()
        try:
            answers = await self._ask_all(stream)
        except BadURL as e:  # files of TLS that are being renewed
            raise Undecided(str(e)) from None
        finally:
            self._turns.release()
        if True in answers:
            raise Unavailable("RabbitMQ's hosts do not agree on which streams there are")
        if 2 * answers.count(False) <= len(answers):
            self._say(answers)
            raise Undecided("too few of RabbitMQ's hosts can say whether there is such a stream")

    def _say(self, answers: list[bool | str]) -> None:
        """Log which hosts gave no answer, and why; each such state of affairs once. Clients are
        not told of hosts."""
        silent = [
            f"{host} ({answer})"
            for host, answer in zip(self.url.hosts, answers, strict=True)
            if isinstance(answer, str)
        ]
        if self._new(tuple(silent)):
            self._log.warn(
                "Whether a stream is there is not known: most hosts of --broker must say so, and"
                " there is no answer from {silent}",
                silent=", ".join(silent),
            )

    def _ask_all(self, stream: Stream) -> Deferred[list[bool | str]]:
        return gatherResults(
            Deferred.fromCoroutine(self._ask(endpoint, stream)).addTimeout(PATIENCE, self.reactor)
            for endpoint in endpoints(self.reactor, self.url, self.addresses)
        )

    async def _ask(self, endpoint: Any, stream: Stream) -> bool | str:
        """Whether the host has the stream; why it does not say, if it does not."""
        answers: list[bool] = []

        async def opened(client: Client) -> None:
            answers.append(await has_queue(await client.open_channel(), stream))

        asking = BrokerConnection(self.reactor, self.url, "chatd question", opened, _lost)
        try:
            client, _ = await asking.establish(endpoint)
            await Deferred.fromCoroutine(client.leave()).addTimeout(GOODBYE, self.reactor)
        except Exception as e:  # whatever keeps it from answering; what it said before counts
            late = isinstance(e, CancelledError | TimeoutError)
            why = "no answer in time" if late else str(reason_of(e))
        else:
            why = "no answer"
        return answers[0] if answers else why


def _lost(reason: object) -> None:
    """Nothing depends on the connection any more."""
