"""Electorates: who counts, once each, and quorums of one roll or of two."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core.electorate import Electorate, Enrolled, Roll, founding_record
from polity_cli.core.quorum import QuorumPercentage, QuorumRule, SimpleMajority
from polity_cli.errors import BadInput

MAJORITY = QuorumPercentage(0.5, 1)


def ids(*numbers: int) -> frozenset[bytes]:
    return frozenset(b"voter%03d" % i for i in numbers)


def roll(*numbers: int, rule: QuorumRule = MAJORITY) -> Roll:
    return Roll(tuple(Enrolled(b"voter%03d" % i, f"n{i}") for i in numbers), rule)


def stable(*numbers: int, rule: QuorumRule = MAJORITY) -> Electorate:
    return Electorate(b"a polity", 1, (roll(*numbers, rule=rule),))


def joint(old: Roll, new: Roll) -> Electorate:
    return Electorate(b"a polity", 2, (old, new))


def test_a_quorum_counts_voters_and_not_strangers() -> None:
    three = stable(0, 1, 2)
    assert three.is_quorum(ids(0, 2))
    assert not three.is_quorum(ids(0, 7, 8, 9))
    assert not three.is_quorum(ids())


def test_a_fast_quorum_of_three_is_all_and_of_five_is_four() -> None:
    assert not stable(0, 1, 2).is_fast_quorum(ids(0, 1))
    assert stable(0, 1, 2).is_fast_quorum(ids(0, 1, 2))
    assert not stable(0, 1, 2, 3, 4).is_fast_quorum(ids(0, 1, 2))
    assert stable(0, 1, 2, 3, 4).is_fast_quorum(ids(0, 1, 2, 3))
    assert stable(0, 1, 2).fast_quorum == 3


def test_more_votes_may_be_asked_for_but_never_fewer() -> None:
    five = stable(0, 1, 2, 3, 4)
    assert not five.is_quorum(ids(0, 1, 2, 3), at_least=5)
    assert five.is_quorum(ids(0, 1, 2), at_least=1)
    assert not five.is_quorum(ids(0, 1), at_least=1)
    assert not five.is_fast_quorum(ids(0, 1, 2, 3), at_least=5)
    assert not five.is_fast_quorum(ids(0, 1, 2), at_least=2)


def test_a_joint_electorate_wants_a_quorum_of_both_rolls() -> None:
    growing = joint(roll(0, 1, 2), roll(0, 1, 2, 3, 4))
    assert not growing.is_quorum(ids(0, 3, 4))
    assert not growing.is_quorum(ids(0, 1))
    assert growing.is_quorum(ids(0, 1, 4))
    apart = joint(roll(0, 1, 2), roll(3, 4, 5))
    assert not apart.is_quorum(ids(0, 1, 2))
    assert not apart.is_quorum(ids(3, 4, 5))
    assert apart.is_quorum(ids(0, 1, 4, 5))
    assert not apart.is_quorum(ids(0, 1, 4, 5), at_least=3)


def test_a_joint_electorate_has_no_fast_round() -> None:
    growing = joint(roll(0, 1, 2), roll(0, 1, 2, 3))
    assert growing.is_joint
    assert growing.fast_quorum is None
    assert not growing.is_fast_quorum(ids(0, 1, 2, 3))


def test_the_current_roll_of_a_joint_electorate_is_the_old_one() -> None:
    growing = joint(roll(0), roll(0, 1, 2))
    assert growing.current == roll(0)
    assert [e.node for e in growing.voters] == ["n0", "n1", "n2"]


def test_voters_of_both_rolls_are_listed_once_by_node_name() -> None:
    changing = joint(roll(2, 0, 1), roll(3, 1))
    assert [e.node for e in changing.voters] == ["n0", "n1", "n2", "n3"]
    assert changing.node_of(b"voter003") == "n3"
    assert changing.node_of(b"voter002") == "n2"
    assert changing.node_of(b"voter009") is None


@given(st.integers(1, 7), st.integers(500_000, 1_000_000), st.data())
def test_two_quorums_always_meet_and_two_fast_ones_meet_within_a_classic_one(
    n: int, millionths: int, data: st.DataObject
) -> None:
    electorate = stable(*range(n), rule=QuorumRule(millionths, 1))
    voters = st.sets(st.integers(0, n - 1)).map(lambda s: ids(*s))
    a, b, c = data.draw(voters), data.draw(voters), data.draw(voters)
    if electorate.is_quorum(a) and electorate.is_quorum(b):
        assert a & b
    if electorate.is_quorum(a) and electorate.is_fast_quorum(b) and electorate.is_fast_quorum(c):
        assert a & b & c


@pytest.mark.parametrize("new", [roll(0, 1, 2), roll(0, 1, 2, 3, 4), roll(5, 6, 7), roll(2)])
def test_a_joint_quorum_meets_every_quorum_of_the_old_and_of_the_new(new: Roll) -> None:
    old = roll(0, 1, 2)
    both = joint(old, new)
    everyone = [e.voter for e in both.voters]
    subsets = [frozenset(s) for k in range(len(everyone) + 1) for s in combinations(everyone, k)]
    quorums = [s for s in subsets if both.is_quorum(s)]
    assert quorums
    for alone in (old, new):
        electorate = Electorate(b"a polity", 3, (alone,))
        assert all(q & s for q in quorums for s in subsets if electorate.is_quorum(s))


def test_a_founding_record_is_sorted_and_of_epoch_one() -> None:
    record = founding_record(b"a polity", list(reversed(roll(0, 1, 2).voters)), MAJORITY)
    assert record == Electorate(b"a polity", 1, (roll(0, 1, 2),))
    assert not record.is_joint


def test_a_founding_with_a_rule_that_does_not_suit_its_size_is_refused() -> None:
    with pytest.raises(BadInput, match="can never give"):
        founding_record(b"a polity", roll(0, 1).voters, SimpleMajority)
    with pytest.raises(BadInput, match="unsafe"):
        founding_record(b"a polity", roll(0, 1, 2, 3).voters, QuorumPercentage(0.3, 1))


def test_more_votes_than_the_rule_wants_are_all_there_are_at_most() -> None:
    """Of a joint electorate each roll gives what it has."""
    both = joint(roll(0, 1, 2), roll(0, 1, 2, 3, 4))
    assert not both.is_quorum(ids(0, 1, 2, 3), at_least=5)
    assert both.is_quorum(ids(0, 1, 2, 3, 4), at_least=5)
    alone = Electorate(b"a polity", 1, (roll(0, 1, 2),))
    assert alone.is_quorum(ids(0, 1, 2), at_least=5)
    assert alone.is_fast_quorum(ids(0, 1, 2), at_least=5)
    assert not alone.is_quorum(ids(0, 1), at_least=5)
