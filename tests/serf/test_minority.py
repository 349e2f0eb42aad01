"""Too few voters alive: each command says so soon, by name, and says what may still come of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from polity_cli.core.messages import Register
from polity_cli.devcluster import DevCluster, DevNode, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import (
    NO_QUORUM,
    OK,
    UNKNOWN,
    Said,
    ask,
    ask_all,
    found,
    register_of,
    tell,
    wait_until_heard,
)

PATIENT = ("--timeout", "60")

# After Serf has called most of a cluster failed, for which it takes 5 to 25 s: the rest of a wait between two
# attempts, two asks, and a busy machine.
SOON_S = 8.0

DEAD = ("n3", "n4", "n5")


def ask_timed(node: DevNode, *args: str) -> tuple[Said, float]:
    """What a command said, and how many seconds later than it was clear to Serf that it must."""
    with ThreadPoolExecutor(1) as pool:
        noticed = pool.submit(when_too_few_are_alive, node)
        said = ask(node, *args)
        ended = time.monotonic()
        return said, ended - noticed.result()


def when_too_few_are_alive(node: DevNode) -> float:
    def is_clear() -> bool:
        view = node.members()
        return not any(view[name] == "alive" for name in DEAD)

    wait_for(is_clear, 50, "Serf to call the killed nodes failed")
    return time.monotonic()


def names_the_silent(said: Said) -> bool:
    return set(DEAD) <= set(said.data["silent"]) and all(name in said.talk for name in DEAD)


def kill_the_majority(nodes: DevCluster) -> None:
    for name in DEAD:
        nodes[name].kill()


def wait_until_shown_failed(nodes: DevCluster) -> None:
    def shown() -> bool:
        views = [node.members() for node in nodes.running]
        return all(view[name] == "failed" for view in views for name in DEAD)

    wait_for(shown, 30, "Serf to call the killed nodes failed")


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_a_minority_decides_nothing_says_so_and_goes_on_when_the_others_are_back(
    cluster: ClusterFactory, voters: str
) -> None:
    nodes = found(cluster(5, voters=voters))
    alone, other = nodes["n1"], nodes["n2"]
    assert ask(alone, "elect", "held").code == OK
    wait_until_heard(nodes, "held", 1)

    kill_the_majority(nodes)
    with ThreadPoolExecutor() as pool:
        # At once: Serf still believes them alive, so the candidate stands and the voters vote.
        stands = pool.submit(ask_timed, alone, "elect", "fresh", *PATIENT)
        recalls = pool.submit(ask_timed, other, "recall", "held", *PATIENT)
        asks = pool.submit(ask_timed, other, "who", "held", *PATIENT)
        rivals = pool.submit(ask_timed, other, "elect", "doubtful", *PATIENT)
        stood, recalled, asked, rival = stands.result(), recalls.result(), asks.result(), rivals.result()

    for (said, took_s), code, outcome in (
        (stood, UNKNOWN, "unknown"),
        (rival, UNKNOWN, "unknown"),
        (recalled, NO_QUORUM, "no_quorum"),
        (asked, NO_QUORUM, "no_quorum"),
    ):
        assert (said.code, said.data["outcome"]) == (code, outcome), said
        assert took_s < SOON_S, f"{took_s:.1f} s: {said}"
        assert names_the_silent(said), said
    assert stood[0].data["may_take_effect"] is True
    assert recalled[0].data["may_take_effect"] is False
    assert "on record" in stood[0].talk, stood[0]
    assert "polity who fresh" in stood[0].talk, stood[0]
    assert "try again" in recalled[0].talk, recalled[0]

    wait_until_shown_failed(nodes)
    for order in (["elect", "careful"], ["elect", "held"], ["recall", "held"], ["who", "held"], ["roles"]):
        said, took_s = ask_timed(alone, *order, *PATIENT)
        assert said.code == NO_QUORUM, said
        assert all(name in said.talk for name in DEAD), said
        assert took_s < SOON_S, f"{took_s:.1f} s: {said}"
    # It looked before it stood: there is nothing on record that could be completed later.
    assert register_of(alone, "careful") == register_of(other, "careful") == Register()
    assert register_of(alone, "held").tenure.holder == "n1"

    present = ask(other, "voters", *PATIENT)
    assert present.code == OK, present
    status = {row["node"]: (row["status"], row["answers"]) for row in present.data["voters"]}
    assert status == dict.fromkeys(("n1", "n2"), ("alive", True)) | dict.fromkeys(DEAD, ("failed", False))

    with ThreadPoolExecutor() as pool:
        waits = [
            pool.submit(ask, alone, "elect", "awaited", "--wait", *PATIENT),
            pool.submit(ask, other, "recall", "held", "--wait", *PATIENT),
        ]
        assert ask(alone, "who", "held").code == NO_QUORUM
        assert not any(wait.done() for wait in waits), tell(wait.result() for wait in waits if wait.done())
        nodes.heal()
        elected, recalled_at_last = (wait.result() for wait in waits)
    assert (elected.code, elected.data["holder"], elected.data["term"]) == (OK, "n1", 1), elected
    assert (recalled_at_last.code, recalled_at_last.data["previous_holder"]) == (OK, "n1"), recalled_at_last

    for role in ("fresh", "careful", "held", "awaited"):
        answers = ask_all(nodes.nodes, "who", role)
        told = {(said.code, said.data["holder"], said.data["term"]) for said in answers}
        assert len(told) == 1, tell(answers)
    assert register_of(alone, "careful").tenure.term == 0

    # A candidacy in doubt was completed or discarded, never both: its term has one holder.
    answers = ask_all(nodes.nodes, "elect", "doubtful", "--timeout", "60")
    assert len({said.data["holder"] for said in answers}) == 1, tell(answers)
    assert {said.data["term"] for said in answers} == {1}, tell(answers)
