"""Quorum rules: how many votes of n decide, and why any two decisions meet."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core.quorum import (
    QuorumPercentage,
    QuorumRule,
    SimpleMajority,
    classic_quorum,
    fast_quorum,
)
from polity_cli.errors import BadInput

SHARES = [0, 0.1, 0.25, 1 / 3, 0.5, 0.51, 0.6, 2 / 3, 0.75, 0.9, 0.999, 1]


@pytest.mark.parametrize("min_votes", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("percent", [0, 10, 25, 50, 51, 60, 75, 90, 99, 100])
def test_a_percentage_is_more_than_the_share_and_at_least_the_minimum(percent: int, min_votes: int) -> None:
    rule = QuorumPercentage(percent / 100, min_votes)
    for n in range(1, 101):
        assert rule(n) == max(min_votes, min(n, n * percent // 100 + 1)), n


def test_a_simple_majority_is_half_and_one_more_and_at_least_three() -> None:
    table = {1: 3, 2: 3, 3: 3, 4: 3, 5: 3, 6: 4, 7: 4, 8: 5, 9: 5, 10: 6, 99: 50, 100: 51}
    assert {n: SimpleMajority(n) for n in table} == table


def test_all_of_them_means_all_and_not_one_more() -> None:
    assert [QuorumPercentage(1, 1)(n) for n in (1, 3, 7)] == [1, 3, 7]


@pytest.mark.parametrize(
    ("share", "n", "votes"), [(2 / 3, 3, 3), (2 / 3, 4, 3), (2 / 3, 99, 67), (0.29, 100, 30)]
)
def test_a_share_that_is_no_round_number_is_still_exceeded(share: float, n: int, votes: int) -> None:
    assert QuorumPercentage(share, 1)(n) == votes


@pytest.mark.parametrize(("share", "n"), [(5 / 6, 6), (1 / 3, 3)])
def test_a_share_that_rounds_down_is_still_exceeded(share: float, n: int) -> None:
    assert QuorumPercentage(share, 1)(n) == math.floor(n * share) + 1


@given(st.integers(1, 300), st.integers(500_000, 1_000_000), st.integers(1, 300))
def test_any_two_quorums_share_a_voter(n: int, millionths: int, min_votes: int) -> None:
    rule = QuorumRule(millionths, min_votes)
    if rule(n) > n:
        with pytest.raises(BadInput, match="can never give"):
            classic_quorum(n, rule)
        return
    q = classic_quorum(n, rule)
    f = fast_quorum(n, q)
    assert 2 * q > n
    assert 2 * f + q > 2 * n
    assert q <= f <= n


@given(st.integers(1, 300), st.data())
def test_a_fast_quorum_is_not_larger_than_it_must_be(n: int, data: st.DataObject) -> None:
    q = data.draw(st.integers(n // 2 + 1, n))
    f = fast_quorum(n, q)
    assert f == q or 2 * (f - 1) + q <= 2 * n


def test_fast_quorums_of_small_majorities() -> None:
    majority = QuorumPercentage(0.5, 1)
    sizes = [(n, classic_quorum(n, majority)) for n in range(1, 8)]
    assert [q for _, q in sizes] == [1, 2, 2, 3, 3, 4, 4]
    assert [fast_quorum(n, q) for n, q in sizes] == [1, 2, 3, 3, 4, 5, 6]


@given(st.integers(2, 200), st.integers(0, 499_999))
def test_a_rule_by_which_two_quorums_can_miss_each_other_is_refused(n: int, millionths: int) -> None:
    rule = QuorumRule(millionths, 1)
    if rule(n) >= n // 2 + 1:
        assert classic_quorum(n, rule) == rule(n)
        return
    with pytest.raises(BadInput, match="unsafe: two such quorums could miss each other"):
        classic_quorum(n, rule)


def test_a_refusal_explains_itself_in_numbers() -> None:
    with pytest.raises(BadInput, match=r"a quorum of 2 of 5 voters is unsafe") as unsafe:
        classic_quorum(5, QuorumPercentage(0.2, 1))
    assert "at least 3 of 5" in unsafe.value.hint
    with pytest.raises(BadInput, match=r"2 voters can never give the 3 votes") as unmet:
        classic_quorum(2, SimpleMajority)
    assert "enrol at least 3 voters" in unmet.value.hint


@pytest.mark.parametrize("share", [-0.1, 1.1, 50, float("nan"), float("inf")])
def test_a_share_is_a_number_from_zero_to_one(share: float) -> None:
    with pytest.raises(BadInput, match="from 0 to 1"):
        QuorumPercentage(share, 1)


@pytest.mark.parametrize("min_votes", [0, -1])
def test_a_quorum_has_at_least_one_vote(min_votes: int) -> None:
    with pytest.raises(BadInput, match="at least 1 vote"):
        QuorumPercentage(0.5, min_votes)


def test_a_rule_is_told_in_percent() -> None:
    assert str(SimpleMajority) == "more than 50 %, at least 3"
    assert str(QuorumPercentage(0.666, 2)) == "more than 66.6 %, at least 2"


def test_equal_shares_make_equal_rules_on_every_node() -> None:
    assert QuorumPercentage(0.1 + 0.2, 1) == QuorumPercentage(0.3, 1)
    assert all(QuorumPercentage(share, 1) == QuorumPercentage(share + 1e-12, 1) for share in SHARES[:-1])
