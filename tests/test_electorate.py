"""What is a quorum of an electorate, stable and joint."""

from __future__ import annotations

import pytest

from polity_cli.core.electorate import Electorate, Enrolled, Roll, founding_record
from polity_cli.core.quorum import QuorumPercentage, SimpleMajority
from polity_cli.errors import BadInput

MAJORITY = QuorumPercentage(0.5, 1)


def roll(*names: str) -> Roll:
    return Roll(tuple(sorted(Enrolled(name.encode(), name) for name in names)), MAJORITY)


def ids(names: str) -> frozenset[bytes]:
    return frozenset(name.encode() for name in names)


STABLE = Electorate(b"polity", 1, (roll(*"abcde"),))
JOINT = Electorate(b"polity", 2, (roll(*"abc"), roll(*"cdefg")))


def test_a_stable_electorate_decides_by_q_and_fast_by_f() -> None:
    assert STABLE.is_quorum(ids("abc"))
    assert not STABLE.is_quorum(ids("ab"))
    assert not STABLE.is_fast_quorum(ids("abc"))
    assert STABLE.is_fast_quorum(ids("abcd"))
    assert STABLE.fast_quorum == 4


def test_strangers_count_for_nothing() -> None:
    assert not STABLE.is_quorum(ids("abxyz"))
    assert STABLE.node_of(b"x") is None
    assert STABLE.node_of(b"a") == "a"


def test_a_joint_electorate_wants_a_quorum_of_both_rolls_and_has_no_fast_round() -> None:
    assert JOINT.is_joint
    assert JOINT.is_quorum(ids("bcde"))
    assert not JOINT.is_quorum(ids("cdefg"))
    assert not JOINT.is_quorum(ids("abc"))
    assert not JOINT.is_fast_quorum(ids("abcdefg"))
    assert JOINT.fast_quorum is None


def test_a_joint_electorate_names_each_voter_once_and_keeps_the_old_roll_as_current() -> None:
    assert [e.node for e in JOINT.voters] == list("abcdefg")
    assert JOINT.current == roll(*"abc")
    assert JOINT.node_of(b"g") == "g"


def test_more_votes_than_the_rule_can_be_asked_for_but_never_fewer() -> None:
    assert not STABLE.is_quorum(ids("abc"), at_least=4)
    assert STABLE.is_quorum(ids("abcd"), at_least=4)
    assert not STABLE.is_quorum(ids("ab"), at_least=1)
    assert not STABLE.is_fast_quorum(ids("abcd"), at_least=5)


def test_a_founding_record_is_epoch_one_in_the_order_of_ids_whatever_the_order_given() -> None:
    voters = [Enrolled(b"2", "n1"), Enrolled(b"1", "n2"), Enrolled(b"3", "n3")]
    record = founding_record(b"p", voters, SimpleMajority)
    assert (record.epoch, record.is_joint) == (1, False)
    assert record == founding_record(b"p", voters[::-1], SimpleMajority)
    assert [e.voter for e in record.current.voters] == [b"1", b"2", b"3"]


def test_a_founding_with_a_rule_that_does_not_suit_its_size_is_refused() -> None:
    with pytest.raises(BadInput):
        founding_record(b"p", [Enrolled(b"1", "n1")], SimpleMajority)
