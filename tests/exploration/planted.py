"""Bugs planted in the shipped rules, and the case in which the explorer finds each.

The bugs are those of `tests/simulation/bugs.py`. A case is chosen so that its violation is a few steps away;
many begin in the middle of things (`Past`). A bug in what operations read or in what voters do takes away the
ground of the reductions that know just that, so these are then left out (`Trust`).
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.exploration.cases import Case, Fate, Past, elect, orders, query, recall
from tests.exploration.rules import TRUSTING, Trust
from tests.exploration.search import Found, explore
from tests.simulation.bugs import BUGS, HARMLESS

_WON = Past(elect("P", 2), ((0, 1, 2),))
_RECALLED = Past(recall("S"), ((0, 1),))
_STANDING = Past(elect("P", 2), ((0, 1),), Fate.STAYS)
_E, _Q, _R = elect("E", 0), query("Q"), recall("R")

EE = Case("two elections", 3, (elect("E0", 0), elect("E1", 1)))
ER = Case("an election and a recall", 3, (_E, _R))
STALE = Case("an election where one voter missed the recall", 3, (_E,), (_WON, _RECALLED))
STALE_QUERY = Case("a query where one voter missed the recall", 3, (_Q,), (_WON, _RECALLED))
FRESH = Case(
    "an election where one voter knows nothing", 3, (_E,), (Past(elect("P", 2), ((0, 1),)), _RECALLED)
)
FIVE = Case(
    "five voters, one stale and one that knows nothing", 5, (_E,), (_WON, Past(recall("S"), ((0, 1, 3),)))
)
OUTLIVED = Case(
    "a candidate outlived by its recall and a successor",
    3,
    (),
    (_STANDING, _RECALLED, Past(elect("W", 1), ((0, 1, 2),))),
)
UNDONE = Case(
    "a candidate that may try again after its recall",
    3,
    (),
    (Past(elect("P", 2, 2), ((0, 1),), Fate.STAYS), _RECALLED),
)
SPLIT = Case(
    "three votes of four, and a rival",
    4,
    (),
    (Past(elect("E", 0), ((3,),), Fate.STAYS), Past(elect("P", 2), ((0, 1, 2),), Fate.STAYS)),
)


class Planted(NamedTuple):
    case: Case
    trust: Trust = TRUSTING


_ANSWERS = Trust(answers=False)
_MESSAGES = Trust(messages=False)

CAUGHT = {
    "fast_quorum_is_the_classic_one": Planted(EE),
    "a_voter_counts_twice": Planted(EE, _ANSWERS),
    "a_promise_counts_as_acceptance": Planted(ER, _ANSWERS),
    "a_vote_ignores_promises": Planted(ER, _MESSAGES),
    "a_replay_ignores_promises": Planted(EE, _MESSAGES),
    "a_promise_is_lost_in_a_crash": Planted(EE, _MESSAGES),
    "a_lost_ledger_keeps_its_voter": Planted(EE, _MESSAGES),
    "no_without_an_upper_bound": Planted(OUTLIVED),
    "no_although_something_newer_is_accepted": Planted(FRESH),
    "accept_wants_more_than_the_promise": Planted(Case("one election", 3, (_E,))),
    "recovery_ignores_unseen_votes": Planted(ER),
    "recovery_takes_any_vote": Planted(SPLIT),
    "recovery_takes_no_vote": Planted(ER),
    "one_no_suffices": Planted(FIVE),
    "a_no_that_names_oneself_is_a_loss": Planted(EE),
    "told_before_the_accept_quorum": Planted(EE),
    "told_from_the_local_ledger": Planted(STALE),
    "settled_by_a_classic_quorum_of_fast_votes": Planted(EE),
    "settled_by_the_highest_accepted": Planted(EE),
    "settled_by_any_confirmation": Planted(STALE_QUERY),
    "settled_by_one_tenure_at_several_ballots": Planted(EE),
    "whatever_was_accepted_is_announced": Planted(ER),
    "a_vacancy_has_no_claim": Planted(ER),
    "a_candidate_only_stands": Planted(EE),
    "pending_is_forgotten": Planted(EE),
    "pending_is_ignored_in_a_look": Planted(OUTLIVED),
    "pending_terms_bind_nothing": Planted(UNDONE),
    "a_stand_is_always_void": Planted(EE),
}
"""Each bug that the explorer finds, and where."""

SAFE = {
    "an_announcement_overrides_a_promise": Planted(ER, _MESSAGES),
    "recovery_takes_the_most_voted": Planted(SPLIT),
    "recovery_takes_any_vote_of_three": Planted(EE),
}
"""What looks like a bug and is none: the whole case is explored and nothing found."""


def explore_with_bug(name: str, *, limit: int | None = None) -> Found:
    """Explore a bug's case with the bug planted, in each order of ballots; ends with the first violation.

    Without one, or where `limit` states are not enough to find it, the last exploration is returned.
    """
    case, trust = (CAUGHT | SAFE)[name]
    found = None
    for order in orders(case):
        with pytest.MonkeyPatch.context() as patch:
            (BUGS | HARMLESS)[name](patch)
            found = explore(case, order, trust=trust, traced=True, limit=limit)
        if found.violation:
            return found
    assert found is not None
    return found
