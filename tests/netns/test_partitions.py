"""Cuts before, during and after an election: a minority decides nothing and says so, a majority decides."""

from __future__ import annotations

import pytest

from tests.netns.conftest import Fields
from tests.netns.field import Field
from tests.serf.verbs import NO, NO_QUORUM, OK, UNKNOWN, Said, tell

SPLITS = {"3|2": (5, 2), "4|3": (7, 3)}
SHORT = ("--timeout", "2")


def sides(field: Field, few: int) -> tuple[list[str], list[str]]:
    names = [node.name for node in field.cluster.nodes]
    return names[:few], names[few:]


def decides_nothing(said: Said, beyond: list[str]) -> None:
    """It says that it does not know or that there is no quorum, and who is silent, in JSON and in words."""
    assert said.code in (NO_QUORUM, UNKNOWN), said
    assert set(said.data["silent"]) >= set(beyond), said
    assert all(name in said.talk for name in beyond), said
    assert said.data["term"] is None, said


@pytest.mark.parametrize("split", SPLITS)
def test_cut_before_an_election(field: Fields, split: str) -> None:
    size, few_count = SPLITS[split]
    it = field(size)
    few, many = sides(it, few_count)
    role, held = it.role(), it.role("held")
    assert it.ask(few[0], "elect", held).code == OK

    it.cluster.cut(few, many)
    elected, recalled, asked, won = it.ask_all(
        [
            (few[0], ("elect", role, *SHORT)),
            (few[1], ("recall", held, *SHORT)),
            (few[1], ("who", held, *SHORT)),
            (many[0], ("elect", role)),
        ]
    )
    for said in (elected, recalled, asked):
        decides_nothing(said, many)
    # Nothing but a prepare was sent by the recall, and nothing at all by the query.
    assert (recalled.code, asked.code) == (NO_QUORUM, NO_QUORUM), tell([recalled, asked])
    assert (won.code, won.data["holder"], won.data["term"]) == (OK, many[0], 1), won

    it.cluster.heal()
    assert it.agree(role) == (many[0], 1)
    assert it.agree(held) == (few[0], 1)


@pytest.mark.parametrize("split", SPLITS)
def test_cut_during_an_election_between_its_two_phases(field: Fields, split: str) -> None:
    size, few_count = SPLITS[split]
    it = field(size)
    few, many = sides(it, few_count)
    role = it.role()
    # Without these two no fast quorum: the candidate has to go through its second phase.
    it.hit("pause_voter", *many[-2:])
    with it.begin(few[0], "elect", role, *("--timeout", "6"), halt="before:accept") as candidate:
        candidate.wait_halted()
        it.cluster.cut(few, many)
        for name in many:
            it.cluster[name].resume()
        candidate.go_on()
        decided = it.ask(many[-1], "elect", role)
        stuck = candidate.end()
    decides_nothing(stuck, many)
    assert stuck.code == UNKNOWN, "it did send an acceptance"
    # The votes of those that slept may have come late and still count: then its candidacy is completed.
    assert decided.code in (OK, NO), decided
    holder = many[-1] if decided.code == OK else few[0]
    assert (decided.data["holder"], decided.data["term"]) == (holder, 1), decided

    it.cluster.heal()
    assert it.agree(role) == (holder, 1)
    again = it.ask(few[0], "elect", role)
    assert again.code == (OK if holder == few[0] else NO), again


@pytest.mark.parametrize("split", SPLITS)
def test_cut_after_an_election_with_the_holder_on_the_smaller_side(field: Fields, split: str) -> None:
    size, few_count = SPLITS[split]
    it = field(size)
    few, many = sides(it, few_count)
    role = it.role()
    assert it.ask(few[0], "elect", role).data["term"] == 1
    assert it.agree(role) == (few[0], 1)

    it.cluster.cut(few, many)
    recalled = it.ask(many[0], "recall", role, "--holder", few[0], "--term", "1")
    assert (recalled.code, recalled.data["term"]) == (OK, 2), recalled
    won, held, asked = it.ask_all(
        [
            (many[1], ("elect", role)),
            (few[0], ("elect", role, *SHORT)),
            (few[0], ("who", role, *SHORT)),
        ]
    )
    assert (won.code, won.data["holder"], won.data["term"]) == (OK, many[1], 3), won
    # It still remembers that it held the role. It must not say so.
    for said in (held, asked):
        decides_nothing(said, many)

    it.cluster.heal()
    assert it.agree(role) == (many[1], 3)
    assert it.ask(few[0], "elect", role).code == NO


def test_two_halves_decide_nothing_and_agree_when_they_meet_again(field: Fields) -> None:
    it = field(6)
    left, right = sides(it, 3)
    role, held = it.role(), it.role("held")
    assert it.ask("n1", "elect", held).code == OK
    it.cluster.cut(left, right)
    answers = it.ask_all(
        [
            (node, (*order, *SHORT))
            for node, other in (("n1", "n2"), ("n4", "n5"))
            for node, order in ((node, ("elect", role)), (other, ("recall", held)), (other, ("who", held)))
        ]
    )
    for said in answers:
        decides_nothing(said, right if said.node in left else left)

    it.cluster.heal()
    assert it.ask("n6", "elect", role).code in (OK, NO)
    assert it.agree(role)[1] == 1
    assert it.agree(held) == ("n1", 1)


def test_who_is_connected_through_others_only_still_finds_its_quorum(field: Fields) -> None:
    it = field(5)
    left, right = ["n1", "n2"], ["n4", "n5"]
    it.cluster.cut(left, right)
    for number in range(2):
        role = it.role(str(number))
        answers = it.ask_each(["n1", "n3", "n5"], "elect", role)
        assert sorted(said.code for said in answers) == [OK, NO, NO], tell(answers)
        holder = next(said.node for said in answers if said.code == OK)
        recalled = it.ask("n4", "recall", role, "--holder", holder)
        assert (recalled.code, recalled.data["term"]) == (OK, 2), recalled
        assert it.ask("n2", "who", role).data["term"] == 2
    it.cluster.heal()
    assert it.agree(it.role("0")) == (None, 2)


@pytest.mark.parametrize("way", ["is heard but hears nobody", "hears but is not heard"])
def test_a_node_whose_messages_pass_one_way_only(field: Fields, way: str) -> None:
    it = field(5)
    others = ["n2", "n3", "n4", "n5"]
    role = it.role()
    if way == "is heard but hears nobody":
        it.cluster.one_way_cut(others, ["n1"])
    else:
        it.cluster.one_way_cut(["n1"], others)
    stuck = it.ask("n1", "elect", role, *SHORT)
    decides_nothing(stuck, others)
    # What was heard of its candidacy is on record, and the next one to ask completes it or discards it.
    answers = it.ask_each(others, "elect", role)
    assert all(said.code in (OK, NO) for said in answers), tell(answers)
    assert sum(said.code == OK for said in answers) <= 1, tell(answers)
    assert {said.data["term"] for said in answers} == {1}, tell(answers)
    decides_nothing(it.ask("n1", "who", role, *SHORT), others)
    it.cluster.heal()
    assert it.agree(role) == (answers[0].data["holder"], 1)
