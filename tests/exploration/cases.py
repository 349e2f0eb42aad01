"""What is explored: which operations, how many voters, from which past.

An operation may look at any time and has as many ballots as `ballots` allows; without that bound two
operations that outbid each other would go on for ever. Everything else is unbounded: order, loss, copies and
lateness of messages, crashes, waits that end at any time.

Rounds may grow with the clock, and of two ballots of one round the greater proposer id wins, which is random.
So ballots may come in any order but that an operation outbids whatever it has seen. A case is explored once
for each order that `orders` gives, the rounds being the places in it; orders that differ only by the names
of operations of one kind are the same exploration.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import permutations
from typing import NamedTuple

from polity_cli.core.operation import Purpose


class Op(NamedTuple):
    """An operation of the node n<home>; `ballots` bounds its attempts, looks not counted."""

    name: str
    purpose: Purpose
    home: int
    ballots: int = 1
    holder: str | None = None
    term: int | None = None
    slot: str = ""
    hints: bool = True
    """Whether it may be given a register as its local ledger; without that it looks or prepares first."""

    @property
    def node(self) -> str:
        return f"n{self.home}"


class Fate(Enum):
    ENDS = "ends"
    STAYS = "stays"
    DIES = "dies"


class Past(NamedTuple):
    """An operation begun earlier: its first message reached these voters, its second those, ...

    Then it is carried through with the last of them and ENDS, or STAYS under way with the answers still to
    be heard, or DIES. Its hint is the register of the first voter it reached, if it may have any.
    """

    op: Op
    reached: tuple[tuple[int, ...], ...]
    fate: Fate = Fate.ENDS

    @property
    def is_cut(self) -> bool:
        return self.fate is not Fate.ENDS


class Case(NamedTuple):
    """`past` happens first, in order; its messages stay under way. Then `ops`, anyhow."""

    name: str
    n: int
    ops: tuple[Op, ...]
    past: tuple[Past, ...] = ()

    @property
    def all_ops(self) -> tuple[Op, ...]:
        return (*(p.op for p in self.past), *self.ops)

    @property
    def bound(self) -> str:
        """What is bounded, in words."""
        words = ["one ballot each"] if all(op.ballots == 1 for op in self.all_ops) else []
        words += [f"{op.name} has no local ledger" for op in self.ops if not op.hints]
        words += [
            f"{p.op.name} {p.fate.value} after {len(p.reached)} message(s)" for p in self.past if p.is_cut
        ]
        return "".join(f"; {word}" for word in words)


Slot = tuple[int, int]
"""One ballot: the index of its operation among `all_ops`, and the number of the attempt."""


def orders(case: Case) -> Iterator[tuple[Slot, ...]]:
    """Each way in which the case's ballots can be ordered, lowest first, up to like operations.

    First ballots of the past come before all others, and an operation's later ballots after its earlier ones.
    """
    first = len(case.past)
    before = tuple((i, 0) for i in range(first))
    slots = [(i, k) for i, op in enumerate(case.all_ops) for k in range(op.ballots) if i >= first or k]
    seen = set()
    for order in permutations(slots):
        if any(order.index((i, k)) > order.index((i, k + 1)) for i, k in order if (i, k + 1) in order):
            continue
        shape = min(_renamed(case, order, first))
        if shape not in seen:
            seen.add(shape)
            yield (*before, *order)


def _renamed(case: Case, order: tuple[Slot, ...], first: int) -> Iterator[tuple[Slot, ...]]:
    """The order under every exchange of operations that differ in nothing but name and node."""

    def kind(op: Op) -> tuple[object, ...]:
        # A guard names a node, so nodes may be exchanged only where nobody guards.
        free = all(o.holder is None for o in case.ops) and not case.past
        return (op.purpose, op.ballots, op.holder, op.term, op.slot, op.hints, None if free else op.home)

    ops = list(case.ops)
    homes = [op.home for op in ops]
    for swap in permutations(range(len(ops))):
        same = all(kind(ops[i]) == kind(ops[j]) for i, j in enumerate(swap))
        nodes = len({(homes[i], homes[j]) for i, j in enumerate(swap)}) == len(set(homes))
        if same and nodes:
            yield tuple((first + swap[i - first] if i >= first else i, k) for i, k in order)


def elect(name: str, home: int, ballots: int = 1, *, slot: str = "", hints: bool = True) -> Op:
    return Op(name, Purpose.ELECT, home, ballots, slot=slot, hints=hints)


def recall(
    name: str, ballots: int = 1, *, holder: str | None = None, term: int | None = None, hints: bool = True
) -> Op:
    return Op(name, Purpose.RECALL, 9, ballots, holder, term, hints=hints)


def query(name: str, ballots: int = 1) -> Op:
    return Op(name, Purpose.QUERY, 8, ballots)


_WON = Past(elect("P", 2), ((0, 1, 2),))
_RECALLED = Past(recall("S"), ((0, 1),))
_TWO = (elect("E0", 0), elect("E1", 1))
_STALE = Case("elect+recall-on-recalled", 3, (elect("E", 0), recall("R")), (_WON, _RECALLED))

_FOR_1 = Past(elect("P", 2, slot="1"), ((0, 1, 2),))

CI = (
    _STALE,
    Case("slot+recall", 3, (elect("E", 0, slot="1"), recall("R")), (_FOR_1,)),
    Case("elect+elect-of-4", 4, _TWO),
    Case("elect+elect", 3, _TWO),
    Case("elect+recall", 3, (elect("E", 0), recall("R"))),
    Case("elect+query", 3, (elect("E", 0), query("Q"))),
)
"""In half a minute, the longest first."""

FIVE = Case("elect+elect-of-5", 5, _TWO)
"""A minute and a half by itself: the suite explores it, beside other tests."""

FULL = (
    FIVE,
    Case(
        "elect-again-on-recalled",
        3,
        (elect("E", 2, 2),),
        (Past(elect("P", 1), ((0, 1),)), Past(recall("S"), ((0, 1),))),
    ),
    Case("slots-on-recalled", 3, (elect("E1", 0, slot="1"), elect("E2", 1, slot="2")), (_FOR_1, _RECALLED)),
    Case("elect+elect+recall", 3, (*_TWO, recall("R"))),
    Case("elect+recall+query", 3, (elect("E", 0), recall("R"), query("Q"))),
)
"""What takes long."""

FLOORS = {
    "elect+elect": 9_900,
    "elect+elect-of-4": 15_900,
    "elect+elect-of-5": 393_000,
    "elect+recall": 9_100,
    "elect+query": 5_600,
    "elect+recall-on-recalled": 133_000,
    "slot+recall": 12_600,
    "slots-on-recalled": 344_000,
    "elect-again-on-recalled": 139_000,
    "elect+elect+recall": 1_000_000,
    "elect+recall+query": 910_000,
}
"""States of a case, all orders of ballots together, rounded down: fewer mean that some are not explored."""
