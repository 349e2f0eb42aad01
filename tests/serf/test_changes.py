"""Changes of the electorate on real agents, by the commands alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from polity_cli.devcluster import DevCluster, DevNode, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import NO, OK, UNFIT, Said, ask, ask_all, found, ledger_files, tell


def grown(cluster: DevCluster, more: int) -> list[DevNode]:
    """Adds nodes whose voters answer and are not enrolled."""
    new = [cluster.add_node() for _ in range(more)]
    cluster.wait_converged()
    names = {node.name for node in new}

    def answering() -> set[str]:
        rows = ask(cluster.nodes[0], "voters").data["voters"]
        return {row["node"] for row in rows if row["answers"] and not row["enrolled"]}

    wait_for(lambda: answering() >= names, 20, "the newcomers' voters to answer")
    return new


def enrolled(node: DevNode) -> dict[str, str]:
    said = ask(node, "voters")
    assert said.code == OK, said
    assert said.data["is_changing"] is False, said
    return {row["node"]: row["voter"] for row in said.data["voters"] if row["enrolled"]}


def ok(said: Said) -> Said:
    assert said.code == OK, said
    return said


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_three_voters_become_five_and_then_two_may_fail(cluster: ClusterFactory, voters: str) -> None:
    nodes = found(cluster(3, voters=voters))
    n1, n2, n3 = nodes.nodes
    ok(ask(n1, "elect", "leader"))
    n4, n5 = grown(nodes, 2)
    planned = ok(ask(n4, "voters", "add", "n4", "n5", "--dry-run")).data
    assert (planned["outcome"], planned["epoch"], planned["enrols"]) == ("planned", 1, ["n4", "n5"])
    assert (planned["before"]["quorum"], planned["after"]["population"]) == (3, 5)
    assert set(enrolled(n1)) == {"n1", "n2", "n3"}, "a dry run changes nothing"

    changed = ok(ask(n4, "voters", "add", "n4", "n5")).data
    assert (changed["outcome"], changed["epoch"], changed["carried"]) == ("changed", 3, ["leader"])
    assert set(enrolled(n2)) == {"n1", "n2", "n3", "n4", "n5"}
    n1.kill()
    n2.kill()
    lost = ask(n5, "elect", "leader")
    assert (lost.code, lost.data["holder"], lost.data["term"]) == (NO, "n1", 1), lost
    assert ok(ask(n4, "elect", "other")).data["votes"]["population"] == 5
    again = ok(ask(n3, "voters", "add", "n4", "n5")).data
    assert (again["outcome"], again["epoch"]) == ("unchanged", 3)


def test_nodes_added_from_two_sides_at_once_are_both_enrolled(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent"))
    grown(nodes, 2)
    answers = [*ask_all(nodes.nodes[:1], "voters", "add", "n4", "--timeout", "30")]
    answers += ask_all(nodes.nodes[1:4], "voters", "sync", "--timeout", "60")
    assert all(said.code == OK for said in answers), tell(answers)
    assert set(enrolled(nodes.nodes[4])) == {"n1", "n2", "n3", "n4", "n5"}


def test_a_voter_that_lost_its_ledger_is_enrolled_anew_in_its_own_place(cluster: ClusterFactory) -> None:
    nodes = cluster(3, voters="hook")
    ok(ask(nodes.nodes[0], "found", "--min-votes", "2"))
    n1, n2, n3 = nodes.nodes
    before = enrolled(n1)
    ok(ask(n3, "elect", "leader"))
    n3.kill()
    for file in ledger_files(n3):
        file.unlink()
    n3.start()
    nodes.wait_converged()
    said = ask(n2, "voters")
    rows = [row for row in said.data["voters"] if row["node"] == "n3"]
    assert [row["enrolled"] for row in rows] == [True, False], said
    assert "another ledger than the one enrolled" in said.data["hint"]
    changed = ok(ask(n2, "voters", "sync")).data
    assert (changed["enrols"], changed["strikes"]) == (["n3"], ["n3"])
    after = enrolled(n1)
    assert after["n3"] != before["n3"]
    assert {name: after[name] for name in ("n1", "n2")} == {name: before[name] for name in ("n1", "n2")}
    assert ask(n1, "elect", "leader").data["holder"] == "n3", "what it held it still holds"


def test_sync_strikes_off_who_left_and_keeps_who_failed(cluster: ClusterFactory) -> None:
    nodes = cluster(5, voters="agent")
    ok(ask(nodes.nodes[0], "found", "--min-votes", "2"))
    n1, n2, _, n4, n5 = nodes.nodes
    n4.leave()
    n5.kill()

    def status() -> dict[str, str]:
        return {row["node"]: row["status"] for row in ask(n1, "voters").data["voters"]}

    wait_for(lambda: (status()["n4"], status()["n5"]) == ("left", "failed"), 30, "Serf to notice")
    changed = ok(ask(n2, "voters", "sync")).data
    assert (changed["enrols"], changed["strikes"]) == ([], ["n4"])
    assert set(enrolled(n1)) == {"n1", "n2", "n3", "n5"}
    ok(ask(n1, "voters", "remove", "n5"))
    assert set(enrolled(n2)) == {"n1", "n2", "n3"}


def test_a_change_that_would_leave_no_quorum_is_refused(cluster: ClusterFactory) -> None:
    nodes = cluster(3, voters="agent")
    n1, n2, n3 = nodes.nodes
    ok(ask(n1, "found", "--min-votes", "2"))
    n3.kill_voter()
    refused = ask(n1, "voters", "rule", "--min-votes", "3")
    assert refused.code == UNFIT, refused
    assert "2 of the 3 voters" in refused.data["error"]
    refused = ask(n1, "voters", "remove", "n2")
    assert refused.code == UNFIT, refused
    assert ask(n1, "voters", "remove", "n9").code == 2
    assert ask(n1, "voters", "add", "n9").code == 2
    unsafe = ask(n1, "voters", "remove", "n1", "n2")
    assert unsafe.code == 2, unsafe
    assert set(enrolled(n2)) == {"n1", "n2", "n3"}
    ok(ask(n1, "voters", "remove", "n3"))
    assert ok(ask(n1, "voters", "rule", "--min-votes", "1")).data["after"]["quorum"] == 2
    assert ok(ask(n2, "elect", "leader")).data["votes"]["population"] == 2


def test_watching_shows_each_state_of_the_electorate_once(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent"))
    n1 = nodes.nodes[0]
    command = [sys.executable, "-m", "polity_cli", "voters", "--watch", "--json"]
    with subprocess.Popen(command, env=n1.env, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        first = json.loads(watcher.stdout.readline())
        assert (first["epoch"], first["population"]) == (1, 3)
        grown(nodes, 1)
        ok(ask(n1, "voters", "sync"))
        for line in watcher.stdout:
            shown = json.loads(line)
            if shown["epoch"] == 3:
                break
        assert shown["population"] == 4
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(10) == 143


def test_watching_shows_each_state_of_the_roles_once(cluster: ClusterFactory) -> None:
    n1, n2, _ = found(cluster(3, voters="agent")).nodes
    command = [sys.executable, "-m", "polity_cli", "roles", "--watch", "--json"]
    with subprocess.Popen(command, env=n1.env, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())["roles"] == []
        for what in ("elect", "recall", "elect"):
            ok(ask(n2, what, "leader"))
            (row,) = json.loads(watcher.stdout.readline())["roles"]
            assert (row["role"], row["holder"]) == ("leader", "n2" if what == "elect" else None)
        assert row["term"] == 3
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(10) == 143
