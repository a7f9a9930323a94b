"""Every target takes its seeds, what was found, and some damage that is always the same."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz import socketio
from tests.fuzz.ports import FuzzedNode
from tests.fuzz.target import Escaped, Target, mutated
from tests.fuzz.targets import TARGETS

FINDINGS = Path(__file__).parent / "findings"
#: Damaged inputs for each target; ``make fuzz`` makes millions.
MUTATIONS = 25


@pytest.mark.parametrize("name", TARGETS)
def test_a_target(name: str) -> None:
    target, chance = TARGETS[name], Random(name)
    found = [path.read_bytes() for path in sorted(FINDINGS.glob(f"{name}/*"))]
    for data in (*target.seeds, *found, *(mutated(target, chance) for _ in range(MUTATIONS))):
        target.run(data)


def test_a_damaged_database_is_refused_and_not_believed() -> None:
    """Bytes in which atheris found that a number was missing."""
    for data in (b"\xa0\x04\r\xff", b"\xf3\xd8\xfb\xb2\xfb\xad\0\xa0\x06\x88\xcb\x81\\\x1fE"):
        TARGETS["database"].run(data)


def test_a_session_of_socketio_gets_as_far_as_a_room() -> None:
    """Else the mutations of its payloads would end at the first packet."""
    answers: list[bytes] = []

    class Heard(FuzzedNode):
        def feed(self, port: int, data: bytes, before: bytes = b"") -> bytes:
            answers.append(super().feed(port, data, before))
            return answers[-1]

    node = Heard()
    for name, target in socketio.targets(node).items():
        target.run(target.seeds[0])
        if name != "socketio_packets":
            assert b'["joined",' in b"".join(answers), name
        answers.clear()


def test_seeds_are_what_they_should_be() -> None:
    """Else the mutations would not get far."""
    for name, target in TARGETS.items():
        if name in ("splitter", "message", "record", "cursors", "times", "origins", "amqp_methods"):
            target.feed(target.seeds[0])


def test_what_is_not_declared_escapes() -> None:
    def feed(data: bytes) -> None:
        int(data)

    Target(feed, (ValueError,), (b"1",)).run(b"x")
    with pytest.raises(Escaped, match="ValueError"):
        Target(feed, (), (b"1",)).run(b"x")
