"""What is explored: who votes before and after, which operations in which epochs, which coordinators.

The epochs are 1 (old voters), 2 (joint) and 3 (new voters). An operation has one attempt in each of its
epochs, in this order, and may end or die in any of them. If it `stands` it begins by that, on any vacancy
that a ledger shows; else, and whenever it comes from an older epoch, it prepares. Ballots come in any order
but for those of one operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import NamedTuple

from polity_cli.core.operation import Purpose

Voters = tuple[int, ...]


class Errand(NamedTuple):
    """An operation: it makes one attempt in each of these epochs."""

    name: str
    purpose: Purpose
    epochs: tuple[int, ...]
    stands: bool = False
    home: int = 0


class Coordinator(NamedTuple):
    """Somebody who carries the change on from the joint epoch, or, with a `target`, begins one."""

    name: str
    target: Voters = ()

    @property
    def epochs(self) -> tuple[int, ...]:
        return (1,) if self.target else (2,)


Slot = tuple[int, int]
"""One ballot: whose (the errands come first, then the coordinators), and its epoch."""


class Case(NamedTuple):
    """A change from the `old` voters to the `new`. With `news`, what is chosen is announced."""

    name: str
    old: Voters
    new: Voters
    errands: tuple[Errand, ...]
    coordinators: tuple[Coordinator, ...] = (Coordinator("C"),)
    news: bool = False
    highest: Slot | None = None
    """The one ballot that is above all others, where not every order is wanted."""

    @property
    def bodies(self) -> tuple[Errand | Coordinator, ...]:
        return (*self.errands, *self.coordinators)

    @property
    def bound(self) -> str:
        words = "; one ballot per operation and epoch, one per coordinator"
        if self.highest is not None:
            words += f"; {self.bodies[self.highest[0]].name}{self.highest[1]} highest"
        return words


def orders(case: Case) -> Iterator[tuple[Slot, ...]]:
    """Each order of a case's ballots, lowest first, up to the names of like proposers."""
    slots = [(i, epoch) for i, body in enumerate(case.bodies) for epoch in body.epochs]
    seen = set()
    for order in permutations(slots):
        if case.highest not in (None, order[-1]):
            continue
        if any(a > b for k, (i, a) in enumerate(order) for j, b in order[k:] if i == j):
            continue
        shape = min(_renamed(case, order))
        if shape not in seen:
            seen.add(shape)
            yield order


def _renamed(case: Case, order: tuple[Slot, ...]) -> Iterator[tuple[Slot, ...]]:
    kinds = [body._replace(name="", **({"home": 0} if isinstance(body, Errand) else {})) for body in case.bodies]
    fixed = None if case.highest is None else case.highest[0]
    for swap in permutations(range(len(kinds))):
        alike = all(kinds[i] == kinds[j] and type(kinds[i]) is type(kinds[j]) for i, j in enumerate(swap))
        if alike and (fixed is None or swap[fixed] == fixed):
            yield tuple((swap[i], epoch) for i, epoch in order)


def elect(name: str, home: int, *epochs: int, stands: bool = False) -> Errand:
    return Errand(name, Purpose.ELECT, epochs, stands, home)


def recall(name: str, *epochs: int) -> Errand:
    return Errand(name, Purpose.RECALL, epochs, home=9)


def query(name: str, *epochs: int) -> Errand:
    return Errand(name, Purpose.QUERY, epochs, home=8)


THREE, OTHERS = (0, 1, 2), (3, 4, 5)
_STOOD, _STANDS = elect("A", 0, 1, stands=True), elect("B", 5, 3, stands=True)

CI = (
    Case("1-3", (0,), THREE, (_STOOD, _STANDS)),
    Case("3-1", THREE, (0,), (_STOOD, _STANDS)),
    Case("3-4", THREE, (0, 1, 2, 3), (_STOOD, _STANDS)),
    Case("3-others", THREE, OTHERS, (_STOOD, _STANDS)),
)

FULL: tuple[Case, ...] = ()
