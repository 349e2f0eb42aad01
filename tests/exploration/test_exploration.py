"""The shipped rules keep their promises in every state of the smaller cases, and the explorer is not blind.

`python -m tests.exploration` explores all cases of CI, as `scripts/prove` does, and `--full` explores more.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import pytest

from polity_cli.core.candidacy import Verdict
from polity_cli.core.messages import Message, Register
from polity_cli.core.tenure import Tenure
from tests.exploration.board import Board
from tests.exploration.cases import CI, FLOORS, FULL, Case, elect, orders, query, recall
from tests.exploration.parallel import explore_all
from tests.exploration.planted import OUTLIVED, UNDONE
from tests.exploration.rules import TRUSTING, Trust
from tests.exploration.search import Search

LONELY = Case("one election", 3, (elect("E", 0),))

QUICK = ("elect+recall-on-recalled-bounded", "elect+elect-of-4-bounded")
"""The others take a minute together; `scripts/prove` explores them all."""


def test_the_shipped_rules_keep_every_promise_in_every_state() -> None:
    states: dict[str, int] = defaultdict(int)
    for case, _, found in explore_all([case for case in CI if case.name in QUICK], processes=1):
        assert not found.violation, "\n".join((case.name, found.violation, *found.trace))
        assert found.transitions > found.states
        assert found.lone, f"nobody was left alone in {case.name}"
        states[case.name] += found.states
    assert set(states) == set(QUICK)
    assert all(states[name] >= FLOORS[name] for name in QUICK), states


def test_every_case_has_a_floor() -> None:
    assert set(FLOORS) == {case.name for case in CI}


class Reached(NamedTuple):
    """What an exploration saw, told without its own numbers."""

    ledgers: set[tuple[Register, ...]]
    outcomes: set[tuple[Verdict, Tenure | None]]
    messages: set[Message]


def _reached(case: Case, trust: Trust, *, symmetric: bool) -> Reached:
    board = Board(case, next(orders(case)), trust=trust, symmetric=symmetric)
    search = Search(board, traced=True)
    search.run()
    ended = [turn.outcome for turn in board.turns.items if turn.outcome is not None]
    return Reached(
        {tuple(sorted(board.registers(place))) for place in search.places()},
        # Giving up before anything was asked for is left out where answers are trusted.
        {(o.verdict, o.tenure) for o in ended if o.verdict is not Verdict.NO_QUORUM},
        set(board.messages.items),
    )


@pytest.mark.parametrize(
    ("case", "trust", "symmetric"),
    [
        (LONELY, TRUSTING, False),
        (LONELY, Trust(answers=False, messages=False), True),
        (OUTLIVED, TRUSTING, False),
        (OUTLIVED, Trust(messages=False), True),
        (OUTLIVED, Trust(answers=False), True),
        (UNDONE, Trust(messages=False), True),
    ],
)
def test_reductions_change_nothing_that_can_be_reached(case: Case, trust: Trust, symmetric: bool) -> None:
    reduced = _reached(case, TRUSTING, symmetric=True)
    assert _reached(case, trust, symmetric=symmetric) == reduced
    assert len(reduced.ledgers) >= 10


def test_orders_of_ballots_are_all_there_but_for_the_names_of_like_operations() -> None:
    def count(*ops: object) -> int:
        return len(list(orders(Case("", 3, ops))))  # type: ignore[arg-type]

    assert count(elect("E0", 0), elect("E1", 1)) == 1
    assert count(elect("E", 0), recall("R")) == 2
    assert count(elect("E0", 0), elect("E1", 1), recall("R")) == 3
    assert count(elect("E", 0), recall("R"), query("Q")) == 6
    assert count(elect("E", 0, 2), recall("R")) == 6


def test_what_is_bounded_says_so() -> None:
    for case in (*CI, *FULL):
        assert case.name.endswith("-bounded") == bool(case.bound)
