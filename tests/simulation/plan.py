"""What a random schedule consists of: decisions, all drawn from its seed before anything happens.

    errands   operations: who wants what and when, with which hint, clock and patience, when it dies
    changes   of the electorate, in schedules that have some (`courses.py`)
    mishaps   what befalls nodes: crashes at either point or in between, restarts with and without the
              ledger, pauses
    faults    the chain of filters in front of the network
    calm      who is alive afterwards, and who asks then

How often each happens is drawn per schedule, so that calm and stormy ones both occur. Each errand draws its
ids from a seed of its own: to leave one out changes nothing in the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import NamedTuple

from polity_cli.core.operation import Pace, Purpose
from polity_cli.edges.simnet_faults import (
    Caller,
    Cut,
    Delay,
    Drop,
    Duplicate,
    During,
    Fault,
    Only,
    Reorder,
    Slow,
    Stray,
    Way,
)
from tests.simulation.world import ROLE, SHAPES

ROLES = (ROLE, "cache", "cache warmer")

SPAN_S = 2.5
"""The time in which operations begin."""


class Errand(NamedTuple):
    """One operation. `hint` is the voter of whose register it is told, `alive` what it believes.

    An election may be for a `slot`. Where the electorate changes, `stale` makes it begin with the record of
    the founding.
    """

    number: int
    at_s: float
    purpose: Purpose
    role: str
    home: int
    holder: str | None
    term: int | None
    hint: int | None
    alive: tuple[int, ...] | None
    at_least: int
    pace: Pace
    rate: float
    limit_s: float
    dies_after: int | None
    stale: bool = False
    slot: str = ""

    @property
    def name(self) -> str:
        return f"{self.purpose.value[0].upper()}{self.number}"


class Alteration(NamedTuple):
    """One change of the electorate, to the course's roll of that number; None only finishes another's."""

    number: int
    at_s: float
    home: int
    target: int | None
    stale: bool
    rate: float
    limit_s: float
    dies_after: int | None

    @property
    def name(self) -> str:
        return f"C{self.number}"


class What(Enum):
    DIE_BEFORE_SAVE = "will die between receiving and saving"
    DIE_BEFORE_REPLY = "will die between saving and replying"
    CRASH = "crashes"
    RESTART = "starts again"
    LOSE_LEDGER = "loses its ledger"
    PAUSE = "is paused"
    RESUME = "goes on"
    ENTER = "enters the record"


class Mishap(NamedTuple):
    at_s: float
    node: int
    what: What


class Calm(NamedTuple):
    """`ranks` orders the voters: the first `size` of those that still have their ledgers are alive.

    `faults` and the operations `without` which it goes on are for those who shorten it.
    """

    ranks: tuple[int, ...]
    size: int
    at_home: bool
    first: Purpose
    faults: tuple[Fault, ...] = ()
    without: frozenset[int] = frozenset()


class Plan(NamedTuple):
    """`unaware` is a voter that has not heard yet that the polity is founded, and refuses to take part.

    `goal` is the roll that the calm is to end with, if there are changes.
    """

    seed: int
    shape: str
    roles: tuple[str, ...]
    unaware: int | None
    errands: tuple[Errand, ...]
    mishaps: tuple[Mishap, ...]
    faults: tuple[Fault, ...]
    calm: Calm | None
    changes: tuple[Alteration, ...] = ()
    goal: int = 0


def draw(seed: int, shape: str, callers: Callable[[], Sequence[Caller]]) -> Plan:
    """The plan of this seed; `callers` gives the operations that answers may go astray to."""
    rng = Random(seed)
    n, q = SHAPES[shape].n, SHAPES[shape].q
    roles = (ROLE,) if rng.random() < 0.8 else ROLES[: rng.randrange(2, 4)]
    size = rng.choice((2, 2, 3, 3, 4, 5)) + len(roles) - 1
    errands = some_errands(rng, n, size, roles)
    mishaps = some_mishaps(rng, n, n - q)
    faults = some_faults(rng, n, callers)
    calm = Calm(
        tuple(rng.sample(range(n), n)),
        rng.randrange(q, n + 1),
        rng.random() < 0.8,
        rng.choice((Purpose.QUERY, Purpose.ELECT, Purpose.RECALL)),
    )
    unaware = rng.randrange(n) if rng.random() < 0.1 else None
    if unaware is not None:
        mishaps = (*mishaps, Mishap(SPAN_S * rng.random(), unaware, What.ENTER))
    # Drawn last: whatever has no slots is as it would be without them.
    if rng.random() < 0.3:
        errands = tuple(
            errand._replace(slot=str(rng.randrange(1, 4))) if errand.purpose is Purpose.ELECT else errand
            for errand in errands
        )
    return Plan(seed, shape, roles, unaware, errands, mishaps, faults, calm)


def some_errands(rng: Random, n: int, size: int, roles: tuple[str, ...]) -> tuple[Errand, ...]:
    some = rng.choice
    span_s = some((0.1, 0.8, SPAN_S))
    recall = some((0.2, 0.35, 0.5))
    query = some((0.0, 0.1, 0.3))
    stale = some((0.0, 0.0, 0.5))
    death = some((0.0, 0.0, 0.15, 0.4))
    looks = some((1, 1, 3))
    haste = some((1.0, 1.0, 1.0, 3.0))
    patience_s = some((1.0, 2.0, 5.0))
    begins = sorted(span_s * rng.random() for _ in range(size))
    errands = []
    for number, at_s in enumerate(begins):
        purpose, holder, term = Purpose.ELECT, None, None
        kind = rng.random() if number else 1.0
        if kind < query:
            purpose = Purpose.QUERY
        elif kind < query + recall:
            purpose = Purpose.RECALL
            if rng.random() < 0.2:
                holder, term = some((("n0", None), ("n1", None), (None, 1), (None, 3), ("n0", 1)))
        chance = rng.random
        errands.append(
            Errand(
                number=number,
                at_s=at_s,
                purpose=purpose,
                role=some(roles),
                home=rng.randrange(n + 1) if chance() < 0.3 else rng.randrange(n),
                holder=holder,
                term=term,
                hint=rng.randrange(n) if chance() < stale else None,
                alive=tuple(rng.sample(range(n), rng.randrange(n + 1))) if chance() < 0.05 else None,
                at_least=rng.randrange(n + 1) if chance() < 0.1 else 0,
                pace=Pace(looks=looks, asks=rng.randrange(1, 4)),
                rate=1.0 if chance() < 0.5 else haste,
                limit_s=patience_s * (0.2 + chance()),
                dies_after=1 + int(rng.expovariate(0.15)) if chance() < death else None,
            )
        )
    return tuple(errands)


def some_mishaps(rng: Random, n: int, spare: int) -> tuple[Mishap, ...]:
    mishaps = []
    crashes = rng.choice((0, 0, 1, 3))
    pauses = rng.choice((0, 0, 0, 1, 2))
    losses = spare if rng.random() < 0.35 else 0
    for _ in range(crashes):
        at_s, node = 1.5 * SPAN_S * rng.random(), rng.randrange(n)
        how = rng.choice((What.DIE_BEFORE_SAVE, What.DIE_BEFORE_REPLY, What.CRASH))
        again = What.RESTART
        if losses and rng.random() < 0.5:
            losses, again = losses - 1, What.LOSE_LEDGER
        mishaps += [Mishap(at_s, node, how), Mishap(at_s + 0.1 + rng.expovariate(2.0), node, again)]
    for _ in range(pauses):
        at_s, node = SPAN_S * rng.random(), rng.randrange(n + 1)
        mishaps += [
            Mishap(at_s, node, What.PAUSE),
            Mishap(at_s + rng.expovariate(1.0), node, What.RESUME),
        ]
    return tuple(sorted(mishaps, key=lambda m: m.at_s))


def some_faults(rng: Random, n: int, callers: Callable[[], Sequence[Caller]]) -> tuple[Fault, ...]:
    some = rng.choice
    nodes = [f"n{i}" for i in range(n + 1)]
    faults: list[Fault] = []
    ask_loss, answer_loss = some((0.0, 0.1, 0.25, 0.4)), some((0.0, 0.0, 0.1, 0.3))
    if ask_loss:
        faults.append(Only(Way.ASK, Drop(ask_loss)))
    if answer_loss:
        faults.append(Only(Way.ANSWER, Drop(answer_loss)))
    faults.append(Only(Way.NEWS, Drop(some((0.1, 0.3, 0.8)))))
    if slowness := some((0.0, 0.3, 0.8)):
        faults.append(Delay(slowness, some((0.05, 0.3, 0.8))))
    if double := some((0.0, 0.05, 0.15)):
        faults.append(Duplicate(double, some((0.3, 1.5))))
    if lateness := some((0.0, 0.05, 0.2)):
        faults.append(Only(Way.ASK, Delay(lateness, 2.0)))
    if rng.random() < 0.2:
        faults.append(Reorder(some((0.1, 0.3))))
    if rng.random() < 0.15:
        faults.append(Slow(some(nodes), some((0.2, 0.5, 1.0))))
    if rng.random() < 0.3:
        faults.append(Stray(0.1, callers))
    for _ in range(some((0, 0, 1, 3))):
        these = set(rng.sample(nodes, rng.randrange(1, n + 1)))
        from_s = 1.5 * SPAN_S * rng.random()
        cut = Cut(these, set(nodes) - these, one_way=rng.random() < 0.4)
        faults.append(During(from_s, from_s + rng.expovariate(1.5), cut))
    return tuple(faults)
