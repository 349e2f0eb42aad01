"""Courses: electorates and what they are to become, and the schedules in which that happens.

A schedule with changes is one of `plan.py` with coordinators in it: one to three of them, with the same aim
or with others, each from some node, which knows the newest record or only the first, and each may die after
any step. Operations go on all the time, and some of them know only the first record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import NamedTuple

from polity_cli.core.electorate import Electorate, Enrolled, Roll, founding_record
from polity_cli.core.operation import Purpose
from polity_cli.core.quorum import QuorumPercentage, QuorumRule, SimpleMajority
from polity_cli.edges.simnet_faults import Caller, Fault, Only, Way
from tests.simulation.epochs import Body
from tests.simulation.plan import (
    ROLES,
    Alteration,
    Calm,
    Mishap,
    Plan,
    What,
    some_errands,
    some_faults,
    some_mishaps,
)
from tests.simulation.world import MAJORITY, POLITY, ROLE, stranger_id, voter_id

SPAN_S = 5.0
"""The time in which operations begin; changes begin in the first half of it."""

FIRST_CHANGE = 40
"""The number of a schedule's first change: no operation has it."""


RENEWED = 100
"""The voter that comes to node 2 after its ledger was lost has the number 102."""


def node_of(voter: int) -> int:
    return voter % RENEWED


def id_of(voter: int) -> bytes:
    return voter_id(voter) if voter < RENEWED else stranger_id(node_of(voter))


def name_of(voter: int) -> str:
    """What a voter is called where it is told from the one that its node had before."""
    return f"n{voter}" if voter < RENEWED else f"n{node_of(voter)} renewed"


class Elect(NamedTuple):
    """A roll: voters by number, their rule, and how many of them decide."""

    voters: tuple[int, ...]
    q: int
    f: int
    rule: QuorumRule = MAJORITY

    @property
    def roll(self) -> Roll:
        return Roll(tuple(sorted(Enrolled(id_of(i), f"n{node_of(i)}") for i in self.voters)), self.rule)

    @property
    def body(self) -> Body:
        return Body(frozenset(map(name_of, self.voters)), self.q, self.f)


ONE = Elect((0,), 1, 1)
THREE = Elect((0, 1, 2), 2, 3)
LATER = Elect((1, 2, 3), 2, 3)
OTHERS = Elect((3, 4, 5), 2, 3)
ALL_OF_THREE = Elect((0, 1, 2), 3, 3, SimpleMajority)
FOUR = Elect((0, 1, 2, 3), 3, 3)
FIVE = Elect((0, 1, 2, 3, 4), 3, 4)
LAST_OF_FIVE = Elect((2, 3, 4), 2, 3)
FOUR_OF_FIVE = Elect((0, 1, 2, 3, 4), 4, 4, QuorumPercentage(0.7, 1))
ONE_RENEWED = Elect((0, 1, RENEWED + 2), 2, 3)
TWO_RENEWED = Elect((0, 1, 2, RENEWED + 3, RENEWED + 4), 3, 4)

COURSES: dict[str, tuple[Elect, ...]] = {
    "1-3": (ONE, THREE),
    "3-4": (THREE, FOUR),
    "4-3": (FOUR, LATER, THREE),
    "3-5": (THREE, FIVE),
    "5-3": (FIVE, THREE, LAST_OF_FIVE),
    "3-others": (THREE, OTHERS),
    "3-rule": (THREE, ALL_OF_THREE),
    "5-rule": (FIVE, FOUR_OF_FIVE),
    "3-renewed": (THREE, ONE_RENEWED),
    "5-renewed": (FIVE, TWO_RENEWED),
}
"""What the electorate is at first, and what it is to become; the first may be wanted back."""


def nodes_of(course: str) -> int:
    """How many nodes with voters there are."""
    return max(node_of(voter) for elect in COURSES[course] for voter in elect.voters) + 1


def losers_of(course: str) -> frozenset[int]:
    """The nodes whose ledgers may be lost: their new voters are wanted in place of the old ones."""
    voters = {voter for elect in COURSES[course] for voter in elect.voters}
    return frozenset(node_of(voter) for voter in voters if voter >= RENEWED)


def founding_of(course: str) -> Electorate:
    first = COURSES[course][0]
    return founding_record(POLITY, first.roll.voters, first.rule)


def draw_course(seed: int, course: str, callers: Callable[[], Sequence[Caller]]) -> Plan:
    """The plan of this seed; `callers` gives all that answers may go astray to."""
    rng = Random(seed)
    n = nodes_of(course)
    roles = (ROLE,) if rng.random() < 0.6 else ROLES[: rng.randrange(2, 4)]
    errands = tuple(
        errand._replace(at_s=2 * errand.at_s, stale=rng.random() < 0.4)
        for errand in some_errands(rng, n, rng.choice((3, 4, 5, 6)) + len(roles) - 1, roles)
    )
    changes = _changes(rng, n, len(COURSES[course]))
    mishaps = some_mishaps(rng, n, 0) + _losses(rng, losers_of(course))
    faults = some_faults(rng, n, callers)
    if rng.random() < 0.5:
        faults = tuple(fault for fault in faults if not _is_loss(fault))
    calm = Calm(tuple(rng.sample(range(n), n)), n, rng.random() < 0.8, Purpose.QUERY)
    goal = rng.randrange(len(COURSES[course]))
    return Plan(seed, course, roles, None, errands, mishaps, faults, calm, changes, goal)


def _losses(rng: Random, nodes: Collection[int]) -> tuple[Mishap, ...]:
    mishaps: list[Mishap] = []
    for node in nodes:
        if rng.random() < 0.8:
            at_s = SPAN_S * rng.random()
            mishaps += [Mishap(at_s, node, What.CRASH), Mishap(at_s + 0.1, node, What.LOSE_LEDGER)]
    return tuple(mishaps)


def _is_loss(fault: Fault) -> bool:
    return isinstance(fault, Only) and fault.way is not Way.NEWS


def _changes(rng: Random, n: int, rolls: int) -> tuple[Alteration, ...]:
    deaths = rng.choice((0.0, 0.3, 0.7))
    return tuple(
        Alteration(
            number=FIRST_CHANGE + number,
            at_s=SPAN_S / 2 * rng.random(),
            home=rng.randrange(n + 1),
            target=None if rng.random() < 0.1 else rng.choice((1, 1, rng.randrange(rolls))),
            stale=rng.random() < 0.3,
            rate=1.0 if rng.random() < 0.8 else 3.0,
            limit_s=2.0 + 8.0 * rng.random(),
            dies_after=rng.randrange(1, 45) if rng.random() < deaths else None,
        )
        for number in range(rng.choice((1, 1, 2, 2, 3)))
    )
