"""What is explored: who votes before and after, which operations in which epochs, which coordinators.

The epochs are 1 (old voters), 2 (joint) and 3 (new voters). An operation has one attempt in each of its
epochs, in this order, and may end or die in any of them. If it `stands` it begins by that, on any vacancy
that a ledger shows; else, and whenever it comes from an older epoch, it prepares. Ballots come in any order
but for those of one operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any, NamedTuple

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
    limit: int | None = None
    """So many states are seen of each order, those of the fewest acts: a bound, where there are more."""

    @property
    def bodies(self) -> tuple[Errand | Coordinator, ...]:
        return (*self.errands, *self.coordinators)

    @property
    def bound(self) -> str:
        words = "; one ballot per operation and epoch, one per coordinator"
        if self.highest is not None:
            words += f"; {self.bodies[self.highest[0]].name}{self.highest[1]} highest"
        if self.limit is not None:
            words += f"; the first {self.limit:,} states of each order"
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
    kinds: list[Errand | Coordinator] = [
        body._replace(name="", home=0) if isinstance(body, Errand) else body._replace(name="")
        for body in case.bodies
    ]
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


THREE, OTHERS, FOUR, FIVE = (0, 1, 2), (3, 4, 5), (0, 1, 2, 3), (0, 1, 2, 3, 4)
COURSES: dict[str, tuple[Voters, Voters]] = {
    "1-3": ((0,), THREE),
    "1-4": ((0,), FOUR),
    "3-1": (THREE, (0,)),
    "3-4": (THREE, FOUR),
    "3-5": (THREE, FIVE),
    "5-3": (FIVE, THREE),
    "3-others": (THREE, OTHERS),
}
"""Old voters and new ones, by the names that random schedules have for them."""


def across(course: str, what: str, *errands: Errand, **more: Any) -> Case:
    """These operations while the electorate changes so."""
    return Case(f"{course}/{what}", *COURSES[course], errands, **more)


_STANDS = (elect("A", 0, 1, stands=True), elect("B", 5, 3, stands=True))
STANDS = {course: across(course, "stands", *_STANDS) for course in COURSES}
"""One stands before the change and one after it."""

LIMITS = {"3-4": 20_000, "3-5": 20_000, "3-others": 20_000}
_JOINT = (elect("A", 0, 2), elect("B", 5, 2, 3))
JOINT = {course: across(course, "joint", *_JOINT, limit=LIMITS.get(course)) for course in COURSES}
"""Two are in the joint epoch, and one of them goes on in the next."""

HANDED_ON = across("1-3", "handed-on", *_STANDS, coordinators=(Coordinator("C"), Coordinator("D")))
"""Two bring the change to its end, or one of them does, from wherever the other has left it."""

RIVALS = Case("3-4/rivals", THREE, FOUR, (), (Coordinator("C", FOUR), Coordinator("D", (0, 1))))
"""Two begin different changes."""

TRAVELS = across("1-4", "votes-travel", elect("A", 0, 1, stands=True), elect("B", 5, 2, 3))
"""New voters that are not enrolled yet vote before the change: f of the next electorate, and no old one."""

CI = (
    TRAVELS,
    *(STANDS[course] for course in ("1-3", "3-1", "3-4", "3-others")),
    JOINT["1-3"],
    HANDED_ON,
    RIVALS,
)
"""In half a minute."""

FULL = (
    STANDS["3-5"],
    STANDS["5-3"],
    *(JOINT[course] for course in ("3-1", "3-4", "3-5", "3-others")),
    across("1-3", "recall+elect", recall("R", 2), elect("B", 5, 2, 3)),
    across("1-3", "elect+recall", elect("A", 0, 2), recall("R", 2, 3)),
    across("1-3", "through", elect("A", 0, 1, 2), elect("B", 5, 2, 3)),
    across("1-3", "stand-through", elect("A", 0, 1, 2, stands=True), elect("B", 5, 2, 3)),
)
"""What takes long."""
FLOORS = {
    "1-4/votes-travel": 10_000,
    "1-3/stands": 530,
    "3-1/stands": 1_600,
    "3-4/stands": 3_100,
    "3-5/stands": 21_800,
    "5-3/stands": 23_100,
    "3-others/stands": 14_300,
    "1-3/handed-on": 9_300,
    "3-4/rivals": 100,
    "1-3/joint": 22_800,
    "3-1/joint": 25_200,
    "3-4/joint": 86_900,
    "3-5/joint": 239_000,
    "3-others/joint": 240_000,
    "1-3/recall+elect": 22_400,
    "1-3/elect+recall": 21_500,
    "1-3/through": 189_000,
    "1-3/stand-through": 153_000,
}
"""States of a case, all orders of ballots together, rounded down: fewer mean that some are not explored."""
