"""Candidates that stand at the same instant: one of them wins, and the others learn who."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from polity_cli.devcluster import DevCluster
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import NO, OK, UNKNOWN, VACANT, Said, ask, ask_all, found, tell

ROUNDS = {"agent": 50, "hook": 10}
# Five candidates and five hooks on two busy cores take their time; what they come to is what is tested.
PATIENT = ("--timeout", "60")


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_of_five_candidates_at_once_exactly_one_wins_and_the_others_know_it(
    cluster: ClusterFactory, voters: str
) -> None:
    nodes = found(cluster(5, voters=voters))
    winners = set()
    for number in range(ROUNDS[voters]):
        answers = ask_all(nodes.nodes, "elect", "leader", "--verbose", *PATIENT)
        winner = the_winner_of(answers, term=2 * number + 1)
        winners.add(winner)
        asker = nodes.nodes[number % 5]
        guards = ("--holder", winner, "--term", str(2 * number + 1))
        recalled = ask(asker, "recall", "leader", *guards, *PATIENT)
        assert (recalled.code, recalled.data["term"]) == (OK, 2 * number + 2), tell([*answers, recalled])
    # Nobody is favoured so much that it wins them all: the one with the best place in the queue changes.
    assert len(winners) > 1


def the_winner_of(answers: list[Said], *, term: int) -> str:
    """The one node that won; everybody else must have lost to it in this term, and nobody is in doubt."""
    won = [said for said in answers if said.code == OK]
    lost = [said for said in answers if said.code == NO]
    assert (len(won), len(lost)) == (1, len(answers) - 1), tell(answers)
    assert won[0].data["outcome"] == "won", tell(answers)
    told = {(said.data["holder"], said.data["term"]) for said in answers}
    assert told == {(won[0].node, term)}, tell(answers)
    return won[0].node


def test_candidates_and_recallers_at_once_leave_one_history(cluster: ClusterFactory) -> None:
    nodes = found(cluster(5, voters="agent"))
    terms: dict[int, set[str]] = {}
    for _ in range(5):
        answers = ask_all(nodes.nodes[:3], "elect", "leader")
        mixed = together(nodes)
        for said in [*answers, *mixed]:
            assert said.code in (OK, NO, VACANT, UNKNOWN), tell([*answers, *mixed])
            if said.args[0] == "elect" and said.code == OK:
                terms.setdefault(said.data["term"], set()).add(said.node)
        told = ask_all(nodes.nodes, "who", "leader")
        assert len({(said.data["holder"], said.data["term"]) for said in told}) == 1, tell(told)
    assert all(len(holders) == 1 for holders in terms.values()), terms
    assert terms


def together(nodes: DevCluster) -> list[Said]:
    """Two recalls and three elections at the same time."""
    orders = ["recall", "elect", "elect", "recall", "elect"]
    with ThreadPoolExecutor(5) as pool:
        return list(
            pool.map(
                lambda pair: ask(pair[0], pair[1], "leader", "-v"), zip(nodes.nodes, orders, strict=True)
            )
        )
