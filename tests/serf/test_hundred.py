"""A hundred voters, each with an agent of its own: founding, elections, and a change of the electorate.

Everything but the voters runs once: what grows with their number are messages, pages and answers.
"""

from __future__ import annotations

import pytest

from polity_cli.devcluster import DevCluster
from tests.serf.verbs import NO, OK, VACANT, Said, ask

MANY = 100
PATIENT = ("--timeout", "60")


def ok(said: Said) -> Said:
    assert said.code == OK, said
    return said


@pytest.mark.timeout(400)
def test_a_hundred_voters_found_elect_recall_and_change() -> None:
    nodes = DevCluster(MANY, voters="agent", log_level="warn")
    try:
        nodes.start(timeout_s=240)
        found_elect_recall_and_change(nodes)
    finally:
        nodes.stop()


def found_elect_recall_and_change(nodes: DevCluster) -> None:
    assert ok(ask(nodes["n1"], "found", "--expect", str(MANY), *PATIENT)).data["population"] == MANY
    won = ok(ask(nodes["n1"], "elect", "leader", *PATIENT)).data
    votes = won["votes"]
    assert (won["term"], votes["population"]) == (1, MANY)
    assert votes["yes"] >= votes["required"] >= 51
    lost = ask(nodes["n100"], "elect", "leader", *PATIENT)
    assert (lost.code, lost.data["holder"]) == (NO, "n1"), lost
    assert ok(ask(nodes["n50"], "recall", "leader", "--holder", "n1", *PATIENT)).data["term"] == 2
    assert ask(nodes["n51"], "who", "leader", *PATIENT).code == VACANT
    ok(ask(nodes["n2"], "elect", "other", *PATIENT))

    changed = ok(ask(nodes["n2"], "voters", "remove", "n100", "--timeout", "120", timeout_s=150)).data
    assert (changed["strikes"], changed["after"]["population"]) == (["n100"], MANY - 1)
    said = ok(ask(nodes["n3"], "voters", *PATIENT)).data
    assert (said["population"], said["quorum"], said["epoch"]) == (MANY - 1, 50, 3)
    who = ok(ask(nodes["n99"], "who", "other", *PATIENT)).data
    assert (who["holder"], who["term"]) == ("n2", 1)
