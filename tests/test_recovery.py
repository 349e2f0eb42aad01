"""Recovery: what a quorum of promises means, for every way n = 3 to 7 voters can have voted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement

import pytest

from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Enrolled, Roll
from polity_cli.core.messages import Register
from polity_cli.core.quorum import QuorumPercentage
from polity_cli.core.recovery import recover
from polity_cli.core.tenure import VACANT, Tenure

B1, B2 = Ballot(1, b"p"), Ballot(2, b"p")
BASE = B1
T2 = Tenure(2, None, b"claim-r0")
CANDIDATES = [T2.filled_by(f"n{i}", f"claim-{i}".encode()) for i in range(3)]
A, B, C = CANDIDATES


def roll(n: int, share: float = 0.5) -> Roll:
    return Roll(tuple(Enrolled(b"voter%03d" % i, f"n{i}") for i in range(n)), QuorumPercentage(share, 1))


def votes(*tenures: Tenure | None) -> dict[bytes, Register]:
    """Promises of the first voters, in order: votes in the fast round after BASE, None for a mere base."""
    return {
        b"voter%03d" % i: Register(B2, BASE, T2) if tenure is None else Register(B2, BASE.fast, tenure)
        for i, tenure in enumerate(tenures)
    }


def test_nothing_was_ever_accepted() -> None:
    assert recover({b"voter000": Register(B1), b"voter001": Register(B1)}, roll(3)) == VACANT


def test_the_highest_classic_ballot_counts_and_one_voter_is_enough() -> None:
    seen = votes(A, A, None)
    seen[b"voter002"] = Register(B2, Ballot(1, b"q"), Tenure(9, "n7", b"claim-7"))
    assert recover(seen, roll(5)) == Tenure(9, "n7", b"claim-7")


def test_votes_after_an_older_base_do_not_count() -> None:
    seen = votes(A, A)
    seen[b"voter002"] = Register(B2, Ballot(1, b"z"), T2)
    assert recover(seen, roll(3)) == T2


def test_the_vacancy_comes_back_with_its_claim_even_if_nobody_shows_it() -> None:
    assert recover(votes(A, B), roll(3)) == T2
    assert recover(votes(A, B, A, B), roll(5)) == T2


def test_unseen_voters_may_have_voted() -> None:
    assert recover(votes(A, A), roll(3)) == A
    assert recover(votes(A, A, B), roll(4)) == A
    assert recover(votes(A, A, A, B), roll(5)) == A
    assert recover(votes(A, A, A, A, B), roll(6)) == A


def test_two_votes_of_three_seen_with_two_unseen_of_five_may_be_four() -> None:
    assert roll(5).f == 4
    assert recover(votes(A, A, B), roll(5)) == A
    assert recover(votes(A, B, C), roll(5)) == T2
    assert recover(votes(A, A, B, B), roll(5)) == T2


def test_all_voters_seen_and_too_few_votes_is_a_vacancy() -> None:
    assert recover(votes(A, A, B), roll(3)) == T2
    assert recover(votes(A, A, B, B), roll(4)) == T2


def test_the_most_voted_is_not_current_if_it_cannot_have_been_chosen() -> None:
    assert recover(votes(A, A, A, B, B, C, C), roll(7)) == T2
    assert recover(votes(A, A, B, C), roll(4)) == T2


def test_voters_that_only_know_the_base_are_no_votes() -> None:
    assert recover(votes(A, None), roll(3)) == T2
    assert recover(votes(A, A, A, None, None), roll(5)) == T2


def ways_to_vote(n: int) -> Iterator[tuple[Tenure | None, ...]]:
    return combinations_with_replacement([*CANDIDATES, None], n)


@pytest.mark.parametrize("share", [0.5, 0.7, 1])
@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_what_was_chosen_is_found_by_every_quorum_and_nothing_impossible_ever_is(
    n: int, share: float
) -> None:
    electorate = roll(n, share)
    q, f = electorate.q, electorate.f
    for way in ways_to_vote(n):
        ledgers = votes(*way)
        chosen = [t for t, count in Counter(t for t in way if t is not None).items() if count >= f]
        for size in range(q, n + 1):
            for seen in combinations(ledgers, size):
                current = recover({v: ledgers[v] for v in seen}, electorate)
                shown = [ledgers[v].tenure for v in seen if ledgers[v].accepted == BASE.fast]
                assert current == T2 or shown.count(current) + n - size >= f
                assert not chosen or current == chosen[0]


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_votes_cast_after_the_promises_cannot_make_another_winner(n: int) -> None:
    """Once a quorum has promised, only unseen voters can still vote: what they add is foreseen."""
    electorate = roll(n)
    for way in ways_to_vote(electorate.q):
        current = recover(votes(*way), electorate)
        for late in CANDIDATES:
            reached = way.count(late) + n - electorate.q >= electorate.f
            assert not reached or current == late


def test_a_fresh_role_recovers_the_first_vacancy() -> None:
    first = [VACANT.filled_by(f"n{i}", f"claim-{i}".encode()) for i in range(2)]
    seen = {b"voter%03d" % i: Register(B1, ZERO.fast, tenure) for i, tenure in enumerate(first)}
    assert recover(seen, roll(3)) == VACANT
