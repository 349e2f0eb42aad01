"""Nodes that come back: one that missed a lot, and all of them after all were killed."""

from __future__ import annotations

import pytest

from tests.netns.conftest import Fields
from tests.serf.verbs import NO, OK, UNKNOWN

MISSED = 30


@pytest.mark.parametrize("end", ["held", "vacant"])
def test_a_node_that_missed_thirty_terms_learns_the_truth(field: Fields, end: str) -> None:
    it = field(5)
    role = it.role()
    assert it.ask("n5", "elect", role).data["term"] == 1
    it.cluster.isolate("n5")
    last = MISSED + (end == "held")
    for term in range(2, last + 1):
        said = it.ask(f"n{1 + term % 4}", *(("recall", role) if term % 2 == 0 else ("elect", role)))
        assert (said.code, said.data["term"]) == (OK, term), said
    it.cluster.mend()
    # Serf needs no time to notice anything here: the cut was shorter than that, or the agents were told.
    it.cluster.heal()
    stood = it.ask("n5", "elect", role)
    if end == "held":
        assert (stood.code, stood.data["term"]) == (NO, last), stood
    elif stood.code == UNKNOWN:
        # A stand on a vacancy long gone is put in doubt by the terms after it; it is on record nowhere.
        stood = it.ask("n5", "elect", role)
        assert (stood.code, stood.data["term"]) == (OK, last + 1), stood
    assert it.agree(role)[1] == stood.data["term"]


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_all_nodes_killed_at_once_remember_everything(field: Fields, voters: str) -> None:
    it = field(5 if voters == "agent" else 3, voters)
    held, vacated = it.role("held"), it.role("vacated")
    assert it.ask("n2", "elect", held).data["term"] == 1
    assert it.ask("n3", "elect", vacated).data["term"] == 1
    assert it.ask("n1", "recall", vacated).data["term"] == 2
    # One is killed in the middle of it all: nobody may know what became of that one, but all the same thing.
    with it.begin("n1", "recall", held, halt="after:accept") as recaller:
        recaller.wait_halted()
        it.hit("kill", *(node.name for node in it.cluster.nodes))
        recaller.kill()
    it.cluster.heal()
    assert it.agree(held) in (("n2", 1), (None, 2))
    assert it.agree(vacated) == (None, 2)
    won = it.ask("n3", "elect", vacated)
    assert (won.code, won.data["term"]) == (OK, 3), won
