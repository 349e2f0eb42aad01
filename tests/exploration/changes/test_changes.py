"""The shipped rules keep their promises in every state of small changes of the electorate.

`python -m tests.exploration` explores these cases beside the others, and `--full` explores more of both.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from polity_cli.core.ballot import ZERO
from tests.exploration import parallel
from tests.exploration.changes.board import Board
from tests.exploration.changes.cases import (
    CI,
    FLOORS,
    FULL,
    JOINT,
    STANDS,
    TRAVELS,
    Case,
    across,
    elect,
    orders,
    recall,
)
from tests.exploration.changes.eager import Reached, reached
from tests.exploration.changes.planted import CAUGHT, SAFE, explore_with_bug
from tests.exploration.changes.search import explore
from tests.simulation.change_bugs import BUGS, HARMLESS

QUICK = (TRAVELS, *(STANDS[course] for course in ("1-3", "3-1", "3-4")))
"""Those of a few seconds; `scripts/prove` explores all of `CI`."""


@pytest.mark.proved
def test_a_change_keeps_every_promise_in_every_state() -> None:
    states: dict[str, int] = defaultdict(int)
    for case in QUICK:
        for order in orders(case):
            found = explore(case, order)
            assert not found.violation, "\n".join((case.name, found.violation, *found.trace))
            assert found.looks, f"nobody looked in {case.name}"
            states[case.name] += found.states
    assert set(QUICK) <= set(CI)
    assert all(states[case.name] >= FLOORS[case.name] for case in QUICK), states


def test_every_change_has_a_floor_and_a_name_of_its_own() -> None:
    assert set(FLOORS) == {case.name for case in (*CI, *FULL)}
    names = [case.name for case in (*parallel.CI, *parallel.FULL)]
    assert len(names) == len(set(names))


def test_what_is_cut_says_so() -> None:
    for case in (*CI, *FULL):
        assert ("the first" in case.bound) == (case.limit is not None)
    assert all(case.limit is None for case in CI)


def test_an_exploration_that_is_cut_stops_there() -> None:
    case = STANDS["3-others"]
    assert explore(case, next(orders(case)), limit=300).states in range(300, 400)


# The reductions.

ALONE = across("1-3", "one alone", elect("A", 0, 1, stands=True))
UNTIL = across("1-3", "one in two epochs", elect("A", 0, 1, 2))
EMPTIED = across("3-1", "a recall of nothing", recall("R", 2))


@pytest.mark.parametrize("case", [ALONE, UNTIL, EMPTIED], ids=lambda case: case.name)
def test_no_reduction_hides_anything(case: Case) -> None:
    for order in orders(case):
        eager, lazy = reached(case, order, eager=True), reached(case, order, eager=False)
        assert _seen(eager) == _seen(lazy)
        assert eager.states > lazy.states > 10


def _seen(it: Reached) -> tuple[object, ...]:
    return it.outcomes, it.said, it.chosen


def test_voters_that_are_not_enrolled_yet_may_vote_before_that() -> None:
    """Their votes of the first epoch do not count there, and travel."""
    case = STANDS["3-others"]
    board = Board(case, next(orders(case)))
    place = board.start()
    seen = {place}
    for _, then in board.acts(place):
        seen |= {then, *(after for _, after in board.acts(then))}
    voted = set()
    for sent, cast, _, *voters in seen:
        for kind, voter in zip(board.kinds, voters, strict=True):
            for after in board.crowd.reachable(voter, sent, board.asked(cast)) if kind == 2 else ():
                it = board.crowd.voters.items[after]
                voted |= {(vote.epoch, it.epoch) for vote in board.counting.votes_of(it.votes)}
                assert it.epoch or it.role.promised == ZERO
    assert voted >= {(1, 1), (1, 2), (2, 2)}


def test_orders_of_ballots_are_all_there_but_for_the_names_of_like_operations() -> None:
    assert len(list(orders(STANDS["1-3"]))) == 6
    assert len(list(orders(JOINT["1-3"]))) == 12
    alike = across("1-3", "alike", elect("A", 0, 2), elect("B", 5, 2))
    assert len(list(orders(alike))) == 3
    assert len(list(orders(alike._replace(highest=(1, 2))))) == 2


# Planted bugs.


def test_every_bug_of_a_change_is_explored() -> None:
    assert set(CAUGHT) == set(BUGS)
    assert set(SAFE) == set(HARMLESS)


@pytest.mark.parametrize("name", CAUGHT)
def test_the_explorer_of_changes_finds(name: str) -> None:
    found = explore_with_bug(name, limit=20_000)
    assert found.violation.startswith(CAUGHT[name].breaks), found.violation
    assert 1 <= len(found.trace) <= 40


@pytest.mark.parametrize("name", SAFE)
def test_what_is_harmless_in_a_change_is_not_accused(name: str) -> None:
    found = explore_with_bug(name)
    assert not found.violation, "\n".join((found.violation, *found.trace))
    assert found.states > 50


@pytest.mark.parametrize(
    "case", {it.case.name: it.case for it in CAUGHT.values()}.values(), ids=lambda case: case.name
)
def test_without_its_bug_a_change_is_clean(case: Case) -> None:
    for order in orders(case):
        found = explore(case, order, limit=1_500)
        assert not found.violation, "\n".join((found.violation, *found.trace))
