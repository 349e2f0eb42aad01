"""What a quorum of promises means, row by row."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Enrolled, Roll
from polity_cli.core.messages import Register
from polity_cli.core.quorum import QuorumPercentage
from polity_cli.core.recovery import recover
from polity_cli.core.tenure import VACANT, Tenure

MAJORITY = QuorumPercentage(0.5, 1)
HIGH = Ballot(99, b"me")
ONE, TWO = VACANT.filled_by("n1", b"claim-1"), VACANT.filled_by("n2", b"claim-2")


def roll(n: int) -> Roll:
    return Roll(tuple(Enrolled(bytes([i]), f"n{i}") for i in range(n)), MAJORITY)


def promises(*tenures: Tenure, ballot: Ballot = ZERO.fast) -> dict[bytes, Register]:
    return {
        bytes([i]): Register(HIGH, ZERO if tenure == VACANT else ballot, tenure)
        for i, tenure in enumerate(tenures)
    }


def test_where_nobody_accepted_anything_the_role_is_vacant_in_term_zero() -> None:
    assert recover(promises(VACANT, VACANT), roll(3)) == VACANT


def test_the_highest_classic_ballot_wins_whatever_was_voted_below_it() -> None:
    states = promises(ONE, ONE, VACANT)
    states[b"\x02"] = Register(HIGH, Ballot(5, b"x"), TWO)
    assert recover(states, roll(4)) == TWO


def test_votes_that_may_have_reached_the_fast_quorum_with_unseen_voters_are_current() -> None:
    assert recover(promises(ONE, ONE), roll(3)) == ONE
    assert recover(promises(ONE, ONE, VACANT), roll(4)) == ONE


def test_votes_that_cannot_reach_the_fast_quorum_any_more_leave_the_vacancy() -> None:
    assert recover(promises(ONE, VACANT), roll(3)) == VACANT
    assert recover(promises(ONE, TWO, VACANT), roll(4)) == VACANT


def test_the_one_that_may_be_chosen_is_taken_and_not_just_any_vote() -> None:
    # Three voters of four voted for ONE, one for TWO; of the quorum seen, the last shows TWO.
    assert recover(promises(ONE, ONE, TWO), roll(4)) == ONE


def test_the_vacancy_comes_back_with_the_claim_of_the_recall_that_made_it() -> None:
    vacancy = ONE.emptied(b"recall")
    base = Ballot(3, b"r")
    states = promises(vacancy.filled_by("n1", b"a"), vacancy.filled_by("n2", b"b"), ballot=base.fast)
    states[b"\x02"] = Register(HIGH, base, vacancy)
    assert recover(states, roll(5)) == vacancy


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_whatever_was_chosen_fast_every_quorum_recovers_it(n: int) -> None:
    """All ways in which n voters may vote for ONE, TWO or nobody, seen through all quorums."""
    assembly = roll(n)
    chosen_at_all = 0
    for votes in product((VACANT, ONE, TWO), repeat=n):
        everyone = promises(*votes)
        chosen = [t for t in (ONE, TWO) if votes.count(t) >= assembly.f]
        for size in range(assembly.q, n + 1):
            for seen in combinations(everyone, size):
                current = recover({voter: everyone[voter] for voter in seen}, assembly)
                if chosen:
                    chosen_at_all += 1
                    assert [current] == chosen
                else:
                    assert current in votes or current == VACANT
    assert chosen_at_all
