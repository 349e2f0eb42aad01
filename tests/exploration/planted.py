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

_FOR_1 = Past(elect("P", 2, slot="1"), ((0, 1, 2),))
_FOR_2 = Past(elect("P", 2, slot="2"), ((0, 1, 2),))

SLOTS = Case(
    "an election for a slot that one voter does not know was had",
    3,
    (elect("E", 0, slot="1"),),
    (_FOR_1, _RECALLED),
)
AGAIN = Case("a slot that was had and its recall", 3, (elect("E", 0, slot="1"), _R), (_FOR_1,))
OLDER = SLOTS._replace(name="an election for an older slot", past=(_FOR_2, _RECALLED))
NEXT = Case("an election for the next slot", 3, (elect("E", 0, slot="2"),), (_FOR_1, _RECALLED))
EE = Case("two elections", 3, (elect("E0", 0), elect("E1", 1)))
EE_OF_4 = EE._replace(name="two elections among four", n=4)
ALONE = Case("one election", 3, (_E,))
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


REPLAYED = Case(
    "two elections on the accept of a recaller that died",
    3,
    (elect("E0", 0), elect("E1", 1)),
    (Past(recall("S", hints=False), ((0, 1), (0,)), Fate.DIES),),
)
PENDING = Case(
    "an election on a vacancy that one voter has",
    3,
    (_E,),
    (Past(elect("P", 2), ((1, 2),)), Past(recall("S", hints=False), ((0, 1), (0,)), Fate.DIES)),
)
OVERTAKEN = Case(
    "a recall of two ballots whose first accept reached one voter",
    3,
    (),
    (_WON, Past(recall("R", 2, hints=False), ((0, 1), (0,)), Fate.STAYS)),
)
LOWER = Case(
    "two votes, a recall with a lower ballot, and a successor",
    3,
    (elect("W", 1),),
    (Past(recall("R", hints=False), ((2,),), Fate.STAYS), _STANDING),
)
CONTESTED = Case(
    "a candidate that came second at one voter, and a query",
    3,
    (_Q,),
    (Past(elect("X", 1), ((0,),), Fate.DIES), Past(elect("E", 0), ((1, 0),), Fate.STAYS)),
)
COMPLETED = Case(
    "two votes of five, and a rival that began to put them through",
    5,
    (),
    (Past(elect("E", 0), ((0, 1),), Fate.STAYS), Past(elect("W", 4), ((2, 0, 1), (2, 3)), Fate.DIES)),
)


class Planted(NamedTuple):
    """Where a bug is looked for, and how the violation that it makes begins."""

    case: Case
    breaks: str
    trust: Trust = TRUSTING


_ANSWERS = Trust(answers=False, looks=False)
_MESSAGES = Trust(messages=False)
_LOOKS = Trust(looks=False)

CAUGHT = {
    "fast_quorum_is_the_classic_one": Planted(EE, "S3"),
    "a_voter_counts_twice": Planted(EE, "S3", _ANSWERS),
    "votes_at_a_classic_ballot_count_as_yes": Planted(COMPLETED, "S3", _ANSWERS),
    "a_promise_counts_as_acceptance": Planted(ER, "S3", _ANSWERS),
    "a_stand_promises_nothing": Planted(LOWER, "S3"),
    "a_late_copy_of_the_base_undoes_a_vote": Planted(REPLAYED, "a voter accepted more", _MESSAGES),
    "a_vote_ignores_promises": Planted(ER, "S2", _MESSAGES),
    "a_replay_ignores_promises": Planted(EE, "a voter's accepted sinks", _MESSAGES),
    "a_promise_is_lost_in_a_crash": Planted(EE, "S1", _MESSAGES),
    "a_lost_ledger_keeps_its_voter": Planted(EE, "a voter's promised sinks", _MESSAGES),
    "no_without_an_upper_bound": Planted(OUTLIVED, "S3"),
    "no_although_something_newer_is_accepted": Planted(FRESH, "S3"),
    "accept_wants_more_than_the_promise": Planted(ALONE, "L1"),
    "recovery_ignores_unseen_votes": Planted(ER, "S2"),
    "recovery_takes_any_vote": Planted(SPLIT, "S1"),
    "recovery_takes_no_vote": Planted(ER, "S2"),
    "one_no_suffices": Planted(FIVE, "S3"),
    "a_no_that_names_oneself_is_a_loss": Planted(EE, "S3"),
    "told_before_the_accept_quorum": Planted(EE, "S3"),
    "told_from_the_local_ledger": Planted(STALE, "S3"),
    "settled_by_a_classic_quorum_of_fast_votes": Planted(EE, "S3", _LOOKS),
    "settled_by_the_highest_accepted": Planted(EE, "S3", _LOOKS),
    "settled_by_any_confirmation": Planted(STALE_QUERY, "S3", _LOOKS),
    "settled_by_one_tenure_at_several_ballots": Planted(EE, "S3", _LOOKS),
    "a_look_tells_whatever_is_pending": Planted(PENDING, "S3", _LOOKS),
    "whatever_was_accepted_is_announced": Planted(ER, "S3", _LOOKS),
    "a_vacancy_has_no_claim": Planted(OVERTAKEN, "S3"),
    "a_vacancy_forgets_the_slot": Planted(AGAIN, "S6"),
    "votes_do_not_tell_the_slot_of_the_vacancy": Planted(NEXT, "S6"),
    "nobody_asks_whether_the_slot_was_had": Planted(SLOTS, "S3"),
    "a_slot_is_had_only_where_it_is_the_newest": Planted(OLDER, "S6"),
    "a_candidate_only_stands": Planted(EE, "L1", _LOOKS),
    "each_attempt_has_a_new_claim": Planted(OVERTAKEN, "S3"),
    "pending_is_forgotten": Planted(EE, "S3"),
    "pending_is_ignored_in_a_look": Planted(OUTLIVED, "S3", _LOOKS),
    "pending_terms_bind_nothing": Planted(UNDONE, "S3"),
    "a_stand_is_void_one_voter_early": Planted(CONTESTED, "S3"),
    "a_stand_is_always_void": Planted(EE, "S3"),
}
"""Each bug that the explorer finds, and where."""

SAFE = {
    "an_announcement_overrides_a_promise": Planted(LOWER, "", _MESSAGES),
    "recovery_takes_the_most_voted": Planted(EE_OF_4, ""),
    "recovery_takes_any_vote_of_three": Planted(EE, ""),
}
"""What looks like a bug and is none: the whole case is explored and nothing found."""


def explore_with_bug(name: str, *, limit: int | None = None) -> Found:
    """Explore a bug's case with the bug planted, in each order of ballots; ends with the first violation.

    Without one, or where `limit` states are not enough to find it, the last exploration is returned.
    """
    case, _, trust = (CAUGHT | SAFE)[name]
    found = None
    for order in orders(case):
        with pytest.MonkeyPatch.context() as patch:
            (BUGS | HARMLESS)[name](patch)
            found = explore(case, order, trust=trust, traced=True, limit=limit)
        if found.violation:
            return found
    assert found is not None
    return found
