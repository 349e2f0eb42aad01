"""Packets lost at random: elections take longer, none hangs, and every answer is true."""

from __future__ import annotations

import pytest

from tests.netns.conftest import Fields
from tests.serf.verbs import NO, OK, UNKNOWN, VACANT, tell

ROUNDS = 4
DECIDED = (OK, NO, VACANT)


@pytest.mark.parametrize("percent", [5, 20])
def test_elections_end_with_true_answers(field: Fields, percent: int) -> None:
    it = field(5)
    names = [node.name for node in it.cluster.nodes]
    role = it.role()
    it.cluster.loss(percent)
    unknown = 0
    for number in range(ROUNDS):
        answers = it.ask_each(names, "elect", role)
        recaller, asker = names[number % 5], names[(number + 2) % 5]
        answers += it.ask_all([(recaller, ("recall", role)), (asker, ("who", role))])
        assert all(said.code in (*DECIDED, UNKNOWN) for said in answers), tell(answers)
        unknown += sum(said.code == UNKNOWN for said in answers)
    assert unknown < ROUNDS * 7 / 4, "most of them must come to know"
    it.cluster.mend()
    _, term = it.agree(role)
    assert term >= 1, "nobody was ever elected"


@pytest.mark.parametrize("way", ["to", "from"])
def test_one_node_loses_half_of_its_packets_one_way(field: Fields, way: str) -> None:
    it = field(5)
    others = ["n2", "n3", "n4", "n5"]
    role = it.role()
    it.cluster.one_way_loss(50, *((others, ["n1"]) if way == "to" else (["n1"], others)))
    answers = it.ask_each(["n1", "n3"], "elect", role)
    answers.append(it.ask("n1", "recall", role))
    answers.append(it.ask("n1", "elect", role))
    assert all(said.code in (*DECIDED, UNKNOWN) for said in answers), tell(answers)
    it.cluster.mend()
    it.agree(role)
