"""Bugs planted in changes of the electorate, and the case in which the explorer finds each.

The bugs are those of `tests/simulation/change_bugs.py`. Each case is one in which a few acts are enough.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.exploration.changes.cases import (
    JOINT,
    STANDS,
    THREE,
    TRAVELS,
    Case,
    Coordinator,
    Slot,
    elect,
    orders,
)
from tests.exploration.changes.search import Found, explore
from tests.simulation.change_bugs import BUGS, HARMLESS

FROM_ONE = STANDS["1-3"]
TO_OTHERS = STANDS["3-others"]
BEGUN = Case("a change that begins", THREE, (0, 1, 2, 3), (), (Coordinator("C", (0, 1, 2, 3)),))
FAST = Case("a stand in the joint epoch", (0,), THREE, (elect("A", 0, 2, stands=True), elect("B", 5, 2, 3)))
LATE = Case("an accept that comes late", THREE, (0, 3, 4), (elect("A", 0, 1, 3), elect("B", 5, 3)))
SHRUNK = Case("three become one", THREE, (0,), (elect("A", 0, 2), elect("B", 5, 3)))


class Planted(NamedTuple):
    """Where a bug is looked for, and how the violation that it makes begins."""

    case: Case
    breaks: str
    order: tuple[Slot, ...] = ()
    """The order of ballots in which it is looked for; else it may be any."""


CAUGHT = {
    "a_record_is_entered_when_it_is_accepted": Planted(BEGUN, "S5"),
    "an_older_epoch_is_not_refused": Planted(TO_OTHERS, "S3"),
    "roles_are_listed_before_the_joint_epoch_is_entered": Planted(FROM_ONE, "S1"),
    "bare_promises_are_not_listed": Planted(LATE, "S1", ((1, 3), (0, 1), (0, 3), (2, 2))),
    "the_new_voters_alone_are_a_joint_quorum": Planted(FROM_ONE, "S2"),
    "the_old_voters_alone_are_a_joint_quorum": Planted(TO_OTHERS, "S3"),
    "nodes_stand_in_a_joint_epoch": Planted(FAST, "S3"),
    "fast_votes_of_old_are_judged_by_the_new_roll": Planted(FROM_ONE, "S2"),
    "new_voters_are_not_heard_in_a_joint_epoch": Planted(JOINT["1-3"], "S1"),
    "fast_votes_are_not_taken_back": Planted(TRAVELS, "S1"),
    "nothing_is_carried_over": Planted(FROM_ONE, "S1"),
    "roles_are_carried_by_the_old_voters_only": Planted(TO_OTHERS, "S1"),
    "roles_are_carried_by_the_new_voters_only": Planted(FROM_ONE, "S2"),
    "the_new_voters_list_the_roles": Planted(FROM_ONE, "S1"),
    "a_second_coordinator_trusts_the_first": Planted(FROM_ONE, "S1"),
}
"""Each bug that the explorer finds, and where."""

SAFE = {
    "a_last_record_that_somebody_accepted_is_not_prepared_for_again": FROM_ONE,
    "the_last_record_is_chosen_by_the_new_voters_alone": FROM_ONE,
    "a_ballot_goes_on_in_the_next_epoch": FROM_ONE,
}
"""What looks like a bug and is none: the whole case is explored and nothing found."""


def explore_with_bug(name: str, *, limit: int | None = None) -> Found:
    """Explore a bug's case with the bug planted, in each order of ballots; ends with the first violation.

    Without one, what is returned is the exploration of the most states.
    """
    it = CAUGHT[name] if name in CAUGHT else Planted(SAFE[name], "")
    best = None
    for order in (it.order,) if it.order else orders(it.case):
        with pytest.MonkeyPatch.context() as patch:
            (BUGS | HARMLESS)[name](patch)
            found = explore(it.case, order, limit=limit)
        if found.violation:
            return found
        if best is None or found.states > best.states:
            best = found
    assert best is not None
    return best
