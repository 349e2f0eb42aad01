"""When the electorate is out of line with the cluster, and for how long a node may be away."""

from __future__ import annotations

import pytest

from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.enrolment import MOST_VOTERS, Wish, wish_of
from polity_cli.core.quorum import QuorumPercentage, SimpleMajority
from polity_cli.edges.network import Node
from polity_cli.errors import BadInput
from polity_cli.settings import Upkeep
from polity_cli.upkeep import Absences, is_due
from tests.fake_network import POLITY, voter_id


def roll(*numbers: int) -> Roll:
    return Roll(tuple(sorted(Enrolled(voter_id(n), f"n{n}") for n in numbers)), SimpleMajority)


STABLE = Electorate(POLITY, 1, (roll(1, 2, 3),))
ALIVE = tuple(Node(f"n{n}", "alive", True) for n in (1, 2, 3))
NOBODY: frozenset[str] = frozenset()


def due(
    electorate: Electorate,
    *more: Node,
    me: tuple[str, bytes] = ("n1", voter_id(1)),
    gone: frozenset[str] = NOBODY,
) -> bool:
    return is_due(electorate, (*ALIVE, *more), *me, gone)


def test_nothing_is_due_where_all_is_in_line() -> None:
    assert not due(STABLE)
    assert not due(STABLE, Node("n4", "alive", False), Node("n5", "failed", True), Node("n6", "left", True))
    assert not due(STABLE, me=("n9", b"")), "who is no voter and has no ledger is nobody's loss"


@pytest.mark.parametrize(
    ("electorate", "more", "me", "gone"),
    [
        (STABLE.joint_with(roll(1, 2, 3, 4)), (), ("n1", voter_id(1)), NOBODY),
        (STABLE, (Node("n4", "alive", True),), ("n1", voter_id(1)), NOBODY),
        (STABLE, (), ("n1", voter_id(9)), NOBODY),
        (STABLE, (), ("n1", voter_id(1)), frozenset({"n3"})),
    ],
    ids=["a change under way", "a newcomer", "a lost ledger", "a voter that is gone"],
)
def test_what_is_out_of_line_is_due(
    electorate: Electorate, more: tuple[Node, ...], me: tuple[str, bytes], gone: frozenset[str]
) -> None:
    assert due(electorate, *more, me=me, gone=gone)


def test_a_newcomer_waits_while_there_is_no_free_seat() -> None:
    full = Electorate(POLITY, 1, (roll(*range(1, MOST_VOTERS + 1)),))
    newcomer = Node("n999", "alive", True)
    assert not due(full, newcomer)
    assert due(full, newcomer, gone=frozenset({"n7"}))


def test_an_absence_counts_from_when_it_was_first_seen_and_ends_with_the_return() -> None:
    upkeep = Upkeep(leave_grace_s=100.0)
    left, back = Node("n3", "left", True), Node("n3", "alive", True)
    seen = Absences().look([left], 1000.0)
    assert seen.over(upkeep, 1099.0) == NOBODY
    assert seen.look([left], 1050.0) == seen
    assert seen.over(upkeep, 1100.0) == {"n3"}
    again = seen.look([back], 1060.0).look([left], 1070.0)
    assert again.over(upkeep, 1169.0) == NOBODY
    assert again.over(upkeep, 1170.0) == {"n3"}


def test_a_clock_set_back_restarts_a_grace_and_one_set_forward_cannot_be_told() -> None:
    left = Node("n3", "left", True)
    seen = Absences().look([left], 1000.0).look([left], 500.0)
    assert seen.over(Upkeep(leave_grace_s=100.0), 599.0) == NOBODY
    assert seen.over(Upkeep(leave_grace_s=100.0), 600.0) == {"n3"}


def test_failed_nodes_stay_unless_a_limit_is_set_for_them() -> None:
    seen = Absences().look([Node("n3", "failed", True)], 0.0)
    assert seen.over(Upkeep(), 1e9) == NOBODY
    assert seen.over(Upkeep(strike_failed_after_s=60.0), 60.0) == {"n3"}
    left = seen.look([Node("n3", "left", True)], 50.0)
    assert left.over(Upkeep(strike_failed_after_s=60.0, leave_grace_s=60.0), 100.0) == NOBODY


# Wishes.


def test_a_wish_enrols_in_place_of_the_voter_its_node_had() -> None:
    wanted = Wish(enrol=(Enrolled(voter_id(9), "n3"), Enrolled(voter_id(4), "n4"))).of(roll(1, 2, 3))
    assert {(e.node, e.voter) for e in wanted.voters} == {
        ("n1", voter_id(1)),
        ("n2", voter_id(2)),
        ("n3", voter_id(9)),
        ("n4", voter_id(4)),
    }


def test_a_wish_with_an_unsafe_rule_is_refused() -> None:
    with pytest.raises(BadInput, match="never give"):
        Wish(strike=frozenset({"n3"})).of(roll(1, 2, 3))
    lenient = Wish(strike=frozenset({"n3"}), rule=QuorumPercentage(0.5, 1))
    assert lenient.of(roll(1, 2, 3)).q == 2


def test_a_wish_made_twice_is_the_same_as_once() -> None:
    wish = Wish(enrol=(Enrolled(voter_id(4), "n4"),), strike=frozenset({"n1"}))
    once = wish.of(roll(1, 2, 3))
    assert wish.of(once) == once


def test_in_line_means_those_that_answer_without_those_that_are_gone() -> None:
    answering = {"n1": voter_id(1), "n2": voter_id(8), "n4": voter_id(4)}
    wish = wish_of(roll(1, 2, 3, 5), answering=answering, gone=frozenset({"n5", "n7"}))
    assert {e.node: e.voter for e in wish.enrol} == {"n2": voter_id(8), "n4": voter_id(4)}
    assert wish.strike == {"n5"}
    assert {e.node for e in wish.of(roll(1, 2, 3, 5)).voters} == {"n1", "n2", "n3", "n4"}


def test_copies_of_one_ledger_are_not_enrolled() -> None:
    answering = {"n3": voter_id(3), "n4": voter_id(7), "n5": voter_id(7), "n6": voter_id(6)}
    wish = wish_of(roll(1, 2, 3), answering=answering, gone=NOBODY)
    assert [e.node for e in wish.enrol] == ["n6"]


def test_free_seats_are_given_by_name_and_a_stand_by_takes_that_of_whoever_left() -> None:
    answering = {name: voter_id(int(name[1:])) for name in ("n1", "n2", "n3", "n4", "n5")}
    wish = wish_of(roll(1, 2, 3), answering=answering, gone=NOBODY, most=4)
    assert [e.node for e in wish.enrol] == ["n4"]
    del answering["n3"]
    wish = wish_of(roll(1, 2, 3, 4), answering=answering, gone=frozenset({"n3"}), most=4)
    assert [e.node for e in wish.enrol] == ["n5"]
    assert wish.strike == {"n3"}
