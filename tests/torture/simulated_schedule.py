"""A schedule drawn from a seed: what is done to nodes, broker, clients and rooms, in order."""

from __future__ import annotations

from random import Random

from attrs import frozen


@frozen
class Step:
    """Do ``what`` with the numbers ``a`` and ``b``, then let ``ms`` milliseconds pass."""

    what: str
    a: int
    b: int
    ms: int


#: What a step does, and how often.
WEIGHTS = {
    "say": 30,
    "move": 10,
    "poll": 4,
    "stall": 4,
    "cut": 4,
    "append_faults": 10,
    "disconnect": 4,
    "lose_sight": 2,
    "wire_stalls": 4,
    "freeze": 3,
    "kill": 3,
    "restart": 1,
    "questions_fail": 2,
    "not_broadcast": 3,
    "delete_room": 1,
    "vanish": 1,
    "member": 1,
    "pause": 3,
}
#: Milliseconds that may pass after a step.
PAUSES = (0, 0, 1, 5, 20, 100, 500, 2000, 6000)


def draw(seed: int, steps: int) -> list[Step]:
    """The schedule of a seed."""
    chance = Random(seed)
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    return [
        Step(what, chance.randrange(1 << 16), chance.randrange(1 << 16), chance.choice(PAUSES))
        for what in chance.choices(kinds, weights, k=steps)
    ]
