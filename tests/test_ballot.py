"""The order of ballots."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core.ballot import FAST, ZERO, Ballot

ballots = st.builds(Ballot, st.integers(0, 5), st.binary(min_size=1, max_size=2), st.sampled_from([0, FAST]))


def test_ballots_are_ordered_by_round_then_proposer_then_kind() -> None:
    assert Ballot(1, b"z") < Ballot(2, b"a") < Ballot(2, b"a").fast < Ballot(2, b"b")


def test_every_proposed_ballot_lies_above_zero_and_its_fast_round() -> None:
    assert ZERO < ZERO.fast < Ballot(1, b"")


@given(ballots, ballots)
def test_nothing_lies_between_a_ballot_and_its_fast_round(one: Ballot, other: Ballot) -> None:
    base = one._replace(kind=0)
    assert not base < other < base.fast


def test_people_read_the_round_a_short_id_and_the_kind() -> None:
    assert str(Ballot(7, bytes.fromhex("a1b2c3d4e5f60718"))) == "7.a1b2c3"
    assert str(Ballot(7, bytes.fromhex("a1b2c3d4e5f60718")).fast) == "7.a1b2c3/fast"
    assert str(ZERO) == "0"
