"""Quorum rules: the formula, the two facts that safety rests on, and refusals."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from polity_cli import QuorumPercentage, SimpleMajority
from polity_cli.core.quorum import classic_quorum, fast_quorum
from polity_cli.errors import BadInput


def test_a_simple_majority_is_more_than_half_and_at_least_three() -> None:
    assert [SimpleMajority(n) for n in range(1, 10)] == [3, 3, 3, 3, 3, 4, 4, 5, 5]


@given(st.integers(0, 100), st.integers(1, 10), st.integers(1, 200))
def test_a_percentage_follows_its_formula_exactly(percent: int, least: int, n: int) -> None:
    expected = max(least, min(n, floor(n * Fraction(percent, 100)) + 1))
    assert QuorumPercentage(percent / 100, least)(n) == expected


@given(st.floats(0, 1), st.integers(1, 5), st.integers(1, 200))
def test_every_rule_that_is_let_through_makes_quorums_meet(share: float, least: int, n: int) -> None:
    try:
        q = classic_quorum(n, QuorumPercentage(share, least))
    except BadInput:
        assume(False)
    f = fast_quorum(n, q)
    assert 2 * q > n
    assert 2 * f + q > 2 * n
    assert q <= f <= n


def test_the_fast_quorum_is_the_smallest_that_is_safe() -> None:
    assert [fast_quorum(n, n // 2 + 1) for n in range(1, 10)] == [1, 2, 3, 3, 4, 5, 6, 6, 7]
    for n in range(2, 100):
        q = n // 2 + 1
        f = fast_quorum(n, q)
        assert f == q or 2 * (f - 1) + q <= 2 * n


def test_a_rule_under_which_two_quorums_could_miss_each_other_is_refused_with_an_explanation() -> None:
    with pytest.raises(BadInput, match="two such quorums could miss each other") as refused:
        classic_quorum(10, QuorumPercentage(0.3, 3))
    assert "at least 6 of 10" in refused.value.hint


def test_a_rule_that_can_never_be_met_is_refused() -> None:
    with pytest.raises(BadInput, match="can never give") as refused:
        classic_quorum(2, SimpleMajority)
    assert "--min-votes" in refused.value.hint


@pytest.mark.parametrize(("share", "least"), [(-0.1, 3), (50, 3), (float("nan"), 3), (0.5, 0)])
def test_numbers_that_are_no_rule_are_refused(share: float, least: int) -> None:
    with pytest.raises(BadInput):
        QuorumPercentage(share, least)


def test_people_read_the_share_and_the_floor() -> None:
    assert str(SimpleMajority) == "more than 50 %, at least 3"
