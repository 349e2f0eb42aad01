"""Ballots: one total order, and nothing between a classic ballot and its fast one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core.ballot import MAX_JUMP, MAX_ROUND, ZERO, Ballot

classic = st.builds(Ballot, st.integers(0, MAX_ROUND), st.binary(min_size=8, max_size=8))
ballots = classic | classic.map(lambda b: b.fast)


def test_the_round_counts_more_than_the_proposer_and_the_proposer_more_than_the_kind() -> None:
    assert Ballot(1, b"z", 1) < Ballot(2, b"a")
    assert Ballot(1, b"a", 1) < Ballot(1, b"b", 0)
    assert Ballot(1, b"a", 0) < Ballot(1, b"a", 1)


@given(classic, ballots)
def test_nothing_lies_between_a_ballot_and_its_fast_one(b: Ballot, other: Ballot) -> None:
    assert b < b.fast
    assert not b < other < b.fast


@given(ballots)
def test_zero_is_the_lowest(b: Ballot) -> None:
    assert b >= ZERO


@given(classic)
def test_fast_keeps_round_and_proposer(b: Ballot) -> None:
    assert not b.is_fast
    assert b.fast.is_fast
    assert b.fast[:2] == b[:2]
    assert b.fast.fast == b.fast


def test_ballots_are_told_briefly() -> None:
    assert str(ZERO) == "0"
    assert str(ZERO.fast) == "0/fast"
    assert str(Ballot(3, bytes.fromhex("a1b2c3d4e5f60718"))) == "3.a1b2c3"
    assert str(Ballot(3, bytes.fromhex("a1b2c3d4e5f60718")).fast) == "3.a1b2c3/fast"


def test_the_successor_of_the_highest_round_still_fits_a_signed_64_bit_number() -> None:
    assert MAX_ROUND + MAX_JUMP < 2**63
