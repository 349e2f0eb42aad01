"""What the package of 2014 was measured to get wrong, where only real agents show that this one does not.

The whole list, with the tests of the rest, is in docs/protocol.md.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from polity_cli.devcluster import DevCluster, DevNode, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import NO, NO_QUORUM, OK, UNKNOWN, Said, ask, ask_all, found, tell, wait_until_heard


def quick(said: Said) -> bool:
    """Decided by as many round trips as it takes with everybody there, far below the 15 s of old."""
    return bool(said.data["round_trips"] <= 2 and said.data["seconds"] < 5)


def test_growth_elects_no_second_leader_and_newcomers_alone_decide_nothing(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent"))
    assert ask(nodes["n1"], "elect", "leader").code == OK
    # Else the founding's own messages, still being gossiped, would tell the newcomers of it by luck.
    wait_for(lambda: not any(map(queries_under_way, nodes.nodes)), 20, "the founding to be gossiped out")
    newcomers = [nodes.add_node() for _ in range(4)]
    nodes.wait_converged()

    answers = ask_all(newcomers, "elect", "leader")
    told = {(said.code, said.data["holder"], said.data["term"]) for said in answers}
    assert told == {(NO, "n1", 1)}, tell(answers)
    rows = ask(newcomers[0], "voters").data["voters"]
    assert {row["node"] for row in rows if row["enrolled"]} == {"n1", "n2", "n3"}

    for node in nodes.nodes[:3]:
        node.kill()
    # Most of the cluster, and all who are left of it, but none of them votes.
    answers = ask_all(newcomers, "elect", "other", "--timeout", "3")
    assert {said.code for said in answers} <= {NO_QUORUM, UNKNOWN}, tell(answers)
    answers = ask_all(newcomers, "found")
    assert {said.data["population"] for said in answers} == {3}, tell(answers)


def queries_under_way(node: DevNode) -> int:
    """How many queries an agent has still to gossip."""
    with node.serf() as serf:
        return int(serf.stats()["serf"]["query_queue"])


def test_members_that_are_no_voters_count_for_nothing(cluster: ClusterFactory) -> None:
    nodes = cluster(3, voters="agent")
    strangers = [nodes.add_node(voters="none") for _ in range(4)]
    nodes.wait_converged()
    said = ask(nodes["n1"], "found", "--min-votes", "2")
    assert (said.code, said.data["population"], said.data["quorum"]) == (OK, 3, 2), said

    assert ask(nodes["n1"], "elect", "leader").code == OK
    nodes["n3"].kill()
    for stranger in strangers:
        stranger.kill()
    assert ask(nodes["n2"], "elect", "leader").code == NO
    assert ask(nodes["n2"], "recall", "leader").code == OK


@pytest.mark.parametrize("silent", ["voter", "node"])
def test_one_silent_voter_costs_no_time(cluster: ClusterFactory, silent: str) -> None:
    nodes = found(cluster(5, voters="agent"))
    assert ask(nodes["n1"], "elect", "before").code == OK
    wait_until_heard(nodes, "before", 1)
    if silent == "voter":
        nodes["n5"].pause_voter()
    else:
        nodes["n5"].pause()
    for command, code in ((["elect", "leader"], OK), (["recall", "leader"], OK), (["elect", "leader"], OK)):
        said = ask(nodes["n1"], *command)
        assert said.code == code, said
        assert quick(said), said
    assert ask(nodes["n2"], "elect", "leader").code == NO


@pytest.mark.parametrize("blip", ["paused", "killed"])
def test_an_agent_whose_serf_is_away_for_two_seconds_does_not_spin(
    cluster: ClusterFactory, blip: str
) -> None:
    nodes = found(cluster(3, voters="agent"))
    node = nodes["n1"]
    pid = node.voter_pid
    assert pid is not None
    used_s = cpu_s(pid)
    if blip == "paused":
        node.pause_serf()
    else:
        node.kill_serf()
    # Not to wait for something: being away so long is what is tested.
    time.sleep(2)
    nodes.heal()
    assert ask(node, "elect", "leader").code == OK
    assert node.voter_pid == pid
    # A process that spins uses most of those two seconds.
    assert cpu_s(pid) - used_s < 0.5


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_role_names_with_blanks_are_roles_of_their_own(cluster: ClusterFactory) -> None:
    nodes: DevCluster = found(cluster(3, voters="hook"))
    names = ("night shift", "night", "night  shift")
    for name, node in zip(names, nodes.nodes, strict=True):
        assert ask(node, "elect", name).data["holder"] == node.name
    for name, node in zip(names, nodes.nodes, strict=True):
        assert ask(nodes["n1"], "who", name).data["holder"] == node.name
