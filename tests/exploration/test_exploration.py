"""The shipped rules keep their promises in every state of the smaller cases, and the explorer is not blind.

`python -m tests.exploration` explores all cases of CI, as `scripts/prove` does, and `--full` explores more.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import pytest

from polity_cli.core.ballot import ZERO
from polity_cli.core.messages import Message, Register
from polity_cli.core.operation import Verdict
from polity_cli.core.tenure import Tenure
from tests.exploration.board import EVERY, Board, Shortcuts
from tests.exploration.cases import CI, FLOORS, FULL, Case, elect, orders, query, recall
from tests.exploration.looks import unsettling
from tests.exploration.parallel import explore_all
from tests.exploration.planted import CONTESTED, ER, OUTLIVED, PENDING, SPLIT, STALE_QUERY, UNDONE
from tests.exploration.rules import TRUSTING, Trust
from tests.exploration.search import Search
from tests.simulation.bugs import BUGS

LONELY = Case("one election", 3, (elect("E", 0),))

QUICK = ("elect+elect", "elect+recall", "elect+query", "slot+recall")
"""The others take half a minute together; `scripts/prove` explores them all."""


@pytest.mark.proved
def test_the_shipped_rules_keep_every_promise_in_every_state() -> None:
    states: dict[str, int] = defaultdict(int)
    for case, _, found in explore_all([case for case in CI if case.name in QUICK], processes=1):
        assert not found.violation, "\n".join((case.name, found.violation, *found.trace))
        assert found.transitions > found.states
        assert found.lone, f"nobody was left alone in {case.name}"
        assert found.looks, f"nobody looked in {case.name}"
        states[case.name] += found.states
    assert set(states) == set(QUICK)
    assert all(states[name] >= FLOORS[name] for name in QUICK), states


def test_every_case_has_a_floor() -> None:
    assert set(FLOORS) == {case.name for case in (*CI, *FULL)}


class Reached(NamedTuple):
    """What an exploration saw, told without its own numbers."""

    ledgers: set[tuple[Register, ...]]
    outcomes: set[tuple[Verdict, Tenure | None, str | None]]
    messages: set[Message]
    barred: set[int]
    """The operations that may have ended without effect in some state, where looks are trusted."""

    def __sub__(self, other: Reached) -> Reached:
        return Reached(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))  # type: ignore[operator]


NOTHING = Reached(set(), set(), set(), set())


def _reached(case: Case, trust: Trust = TRUSTING, shortcuts: Shortcuts = EVERY) -> Reached:
    """What is reached with the last of the case's orders of ballots."""
    board = Board(case, list(orders(case))[-1], trust=trust, shortcuts=shortcuts)
    search = Search(board, traced=True)
    search.run()
    ended = board.outcomes | {turn.outcome for turn in board.turns.items if turn.outcome is not None}
    places = list(search.places())
    return Reached(
        {tuple(sorted(board.registers(place))) for place in places},
        # Giving up before anything was asked for is left out where answers are trusted.
        {(o.verdict, o.tenure, o.previous_holder) for o in ended if o.verdict is not Verdict.NO_QUORUM},
        set(board.messages.items),
        {
            op
            for op in range(len(case.all_ops))
            if trust.looks and any(board.role(p, op).barred for p in places)
        },
    )


ONE_BY_ONE = Trust(looks=False)


@pytest.mark.parametrize(
    ("case", "trust", "symmetric"),
    [
        (LONELY, ONE_BY_ONE, False),
        (LONELY, Trust(answers=False, messages=False, looks=False), True),
        (OUTLIVED, ONE_BY_ONE, False),
        (OUTLIVED, Trust(messages=False, looks=False), True),
        (OUTLIVED, Trust(answers=False, looks=False), True),
        (UNDONE, Trust(messages=False, looks=False), True),
        (LONELY, TRUSTING, False),
        (OUTLIVED, TRUSTING, False),
        (LONELY, Trust(messages=False), True),
        (UNDONE, Trust(messages=False), True),
    ],
)
def test_reductions_change_nothing_that_can_be_reached(case: Case, trust: Trust, symmetric: bool) -> None:
    reduced = _reached(case, TRUSTING._replace(looks=trust.looks))
    assert _reached(case, trust, EVERY._replace(symmetric=symmetric)) == reduced
    assert len(reduced.ledgers) >= 10


@pytest.mark.parametrize("case", [LONELY, OUTLIVED, UNDONE, CONTESTED, SPLIT], ids=lambda case: case.name)
@pytest.mark.parametrize("shortcut", ["votes", "spent"])
def test_what_is_spent_changes_nothing_that_can_be_reached(case: Case, shortcut: str) -> None:
    assert _reached(case) == _reached(case, shortcuts=EVERY._replace(**{shortcut: False}))


@pytest.mark.parametrize(
    "case", [LONELY, OUTLIVED, UNDONE, STALE_QUERY, PENDING, SPLIT, ER], ids=lambda case: case.name
)
def test_endings_and_looks_without_steps_miss_nothing(case: Case) -> None:
    """They may see more: everything chosen is announced at once, and a look may find whatever it might."""
    with_steps, without = _reached(case, ONE_BY_ONE), _reached(case)
    assert with_steps - without == NOTHING
    assert len(without.ledgers) >= 10


def test_a_look_that_would_take_too_little_for_settled_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(LONELY, next(orders(LONELY)))
    Search(board, traced=False).run()
    shown = {voter.register._replace(promised=ZERO) for voter in board.voters.items}
    tried, problem = unsettling(board.rules, shown)
    assert tried > 20
    assert not problem
    for name in BUGS:
        if name.startswith("settled_by_"):
            with monkeypatch.context() as patch:
                BUGS[name](patch)
                assert unsettling(board.rules, shown)[1], name


def test_orders_of_ballots_are_all_there_but_for_the_names_of_like_operations() -> None:
    def count(*ops: object) -> int:
        return len(list(orders(Case("", 3, ops))))  # type: ignore[arg-type]

    assert count(elect("E0", 0), elect("E1", 1)) == 1
    assert count(elect("E", 0), recall("R")) == 2
    assert count(elect("E0", 0), elect("E1", 1), recall("R")) == 3
    assert count(elect("E", 0), recall("R"), query("Q")) == 6
    assert count(elect("E", 0, 2), recall("R")) == 3


def test_what_is_bounded_beyond_one_ballot_each_says_so() -> None:
    for case in (*CI, *FULL):
        if "-again" in case.name:
            assert not case.bound
            continue
        assert case.bound.startswith("; one ballot each")
        assert case.name.endswith("-bounded") == (case.bound != "; one ballot each")
    assert {case.name.removesuffix("-bounded") for case in CI} <= {case.name for case in (*CI, *FULL)}
