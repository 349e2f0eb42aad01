"""Nodes that come back: one that missed a lot, and all of them after all were killed."""

from __future__ import annotations

import pytest

from tests.netns.conftest import Fields
from tests.netns.field import Field
from tests.serf.verbs import NO, NO_QUORUM, OK

MISSED = 30


def test_a_node_cut_off_for_thirty_terms_learns_the_truth(field: Fields) -> None:
    it = field(5)
    role = it.role()
    assert it.ask("n5", "elect", role).data["term"] == 1
    it.cluster.isolate("n5")
    last = play(it, role, 2, MISSED + 1)
    assert it.ask("n5", "who", role, "--timeout", "2").code == NO_QUORUM
    it.cluster.heal()
    lost = it.ask("n5", "elect", role)
    assert (lost.code, lost.data["holder"], lost.data["term"]) == (NO, f"n{1 + last % 4}", last), lost
    recalled = it.ask("n5", "recall", role, "--term", str(last))
    assert (recalled.code, recalled.data["term"]) == (OK, last + 1), recalled
    won = it.ask("n5", "elect", role)
    assert (won.code, won.data["term"]) == (OK, last + 2), won
    assert it.agree(role) == ("n5", last + 2)


def test_a_node_that_was_down_for_thirty_terms_stands_on_what_it_remembers_and_wins(
    field: Fields,
) -> None:
    it = field(5)
    role = it.role()
    assert it.ask("n5", "elect", role).data["term"] == 1
    assert it.ask("n5", "recall", role).data["term"] == 2
    it.hit("kill", "n5")
    last = play(it, role, 3, MISSED + 2)
    # Joined without the events of the meantime, its ledger still shows the vacancy of term 2.
    it.cluster["n5"].start()
    stood = it.ask("n5", "elect", role)
    # Its ballot is above all that it missed all the same, as rounds grow with the time of day.
    assert (stood.code, stood.data["term"]) == (OK, last + 1), stood
    assert it.agree(role) == ("n5", last + 1)


def play(it: Field, role: str, first: int, last: int) -> int:
    """Has the others play these terms, and gives back the last."""
    for term in range(first, last + 1):
        said = it.ask(f"n{1 + term % 4}", "elect" if term % 2 else "recall", role)
        assert (said.code, said.data["term"]) == (OK, term), said
    return last


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
