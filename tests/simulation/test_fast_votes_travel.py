"""Fast votes that no old voter knows of, and that are enough once the electorate has changed.

Found by the explorer of changes. A stand before the change reaches too few voters to count for anything, but
all f that the *next* electorate takes. No old voter lists the role, so it is not carried over. Somebody else's
accept in the joint epoch, which was right to take that stand for nothing, reaches one voter beside them.
"""

from __future__ import annotations

import pytest

from polity_cli.core.change_state import Phase as ChangePhase
from polity_cli.core.operation import Phase, Purpose, Verdict
from tests.simulation import courses
from tests.simulation.change_situations import Stage
from tests.simulation.upheaval import enter_record

SEVEN = courses.Elect((0, 1, 2, 3, 4, 5, 6), 4, 6)
LAST_OF_SEVEN = courses.Elect((3, 4, 5, 6), 3, 3)


def _two_of_one_term(
    stage: Stage, stand: tuple[int, ...], lists: tuple[int, ...], joint: tuple[int, ...]
) -> None:
    """`stand` vote before the change, `lists` let it go on, `joint` promise in the joint epoch.

    The accept of the joint epoch reaches the one of `lists` that votes afterwards too.
    """
    last = (*stand, lists[-1])
    for node in stand:
        if not stage.net.ledger(f"n{node}").me().epoch:
            enter_record(stage.net.ledger(f"n{node}"), stage.electorate)
            stage.witness.look_at_all(f"n{node}")
    first = stage.begin(Purpose.ELECT, stand[0])
    for node in stand:
        stage.let(first, (node,), until=lambda: _has_voted(stage, node))
    change = stage.change(lists[0])
    everybody = tuple(sorted({*lists, *last}))
    stage.let(change, lists, until=lambda: change.state.electorate.is_joint)
    stage.let(change, everybody, until=lambda: change.state.phase is not ChangePhase.ENTER)
    stage.let(change, everybody, until=lambda: change.state.phase is ChangePhase.PREPARE)
    second = stage.begin(Purpose.ELECT, lists[-1], floor=9, hint=False)
    stage.let(second, joint, until=lambda: second.state.phase is Phase.ACCEPT)
    stage.arrive(second, lists[-1])
    stage.let(change, everybody)
    stage.let(first, stand)
    third = stage.begin(Purpose.ELECT, lists[-1], floor=19, hint=False)
    stage.let(third, (lists[-1], *stand[:2]))
    stage.judge()
    outcomes = [op.outcome for op in (first, second, third)]
    assert [o.verdict for o in outcomes if o is not None].count(Verdict.WON) == 1


def _has_voted(stage: Stage, node: int) -> bool:
    return stage.net.ledger(f"n{node}").view("leader")[1].accepted.is_fast


def test_votes_of_nodes_that_are_not_enrolled_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(courses.COURSES, "1-4", (courses.ONE, courses.FOUR))
    _two_of_one_term(Stage("1-4"), (1, 2, 3), (0,), (0, 1, 2))


def test_votes_of_voters_that_stay_while_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(courses.COURSES, "7-4", (SEVEN, LAST_OF_SEVEN))
    _two_of_one_term(Stage("7-4"), (4, 5, 6), (0, 1, 2, 3), (0, 3, 4, 5))
