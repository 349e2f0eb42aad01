"""What voters remember through kill -9, and what becomes of a node whose memory is lost or damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polity_cli.devcluster import DevCluster, DevNode
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import (
    OK,
    UNFIT,
    VACANT,
    ask,
    ask_all,
    found,
    ledger_files,
    ledger_of,
    register_of,
    tell,
    wait_until_heard,
)


def kill_all(nodes: DevCluster) -> None:
    for node in nodes.nodes:
        node.kill()


def ids(nodes: DevCluster, asker: str = "n1") -> dict[str, tuple[str, bool, bool]]:
    """What `polity voters` shows: voter id, enrolled, answers; by node."""
    said = ask(nodes[asker], "voters")
    assert said.code == OK, said
    rows = [row for row in said.data["voters"] if row["enrolled"] or row["answers"]]
    return {
        f"{row['node']}{'' if row['enrolled'] else ' (stranger)'}": (
            row["voter"],
            row["enrolled"],
            row["answers"],
        )
        for row in rows
    }


def damage(file: Path) -> None:
    """Overwrite the middle of every page but the first few bytes of the file, and drop the log."""
    for beside in (Path(f"{file}-wal"), Path(f"{file}-shm")):
        beside.unlink(missing_ok=True)
    data = bytearray(file.read_bytes())
    assert len(data) >= 4096
    data[100:] = b"\xa5" * (len(data) - 100)
    file.write_bytes(data)


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_all_nodes_may_be_killed_and_come_back_with_holder_and_term(
    cluster: ClusterFactory, voters: str
) -> None:
    nodes = found(cluster(3, voters=voters))
    assert ask(nodes["n2"], "elect", "leader").data["term"] == 1
    assert ask(nodes["n1"], "recall", "leader").data["term"] == 2
    assert ask(nodes["n3"], "elect", "leader").data["term"] == 3
    assert ask(nodes["n3"], "elect", "vacated").data["term"] == 1
    assert ask(nodes["n3"], "recall", "vacated").data["term"] == 2
    voters_before = {node: row[0] for node, row in ids(nodes).items()}

    for _ in range(2):
        kill_all(nodes)
        nodes.heal()
        answers = ask_all(nodes.nodes, "who", "leader")
        told = {(said.code, said.data["holder"], said.data["term"]) for said in answers}
        assert told == {(OK, "n3", 3)}, tell(answers)
        vacated = ask(nodes["n2"], "who", "vacated")
        assert (vacated.code, vacated.data["term"]) == (VACANT, 2), vacated
        assert {node: row[0] for node, row in ids(nodes).items()} == voters_before

    assert ask(nodes["n3"], "elect", "leader").data["outcome"] == "held"
    assert ask(nodes["n1"], "recall", "leader").data["term"] == 4
    assert ask(nodes["n1"], "elect", "leader").data["term"] == 5
    assert ask(nodes["n2"], "elect", "vacated").data["term"] == 3


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_a_node_that_lost_its_ledger_comes_back_as_a_stranger_whose_votes_do_not_count(
    cluster: ClusterFactory, voters: str
) -> None:
    nodes = found(cluster(5, voters=voters))
    assert ask(nodes["n1"], "elect", "leader").code == OK
    before = ids(nodes)

    for name in ("n4", "n5"):
        wipe(nodes[name])
    nodes.heal()
    now = ids(nodes)
    for name in ("n4", "n5"):
        assert now[name] == (before[name][0], True, False)
        voter, enrolled, answers = now[f"{name} (stranger)"]
        assert (enrolled, answers) == (False, True)
        assert voter != before[name][0]

    # The three that remember are a quorum, and the strangers change nothing about that.
    again = ask(nodes["n2"], "elect", "leader")
    assert (again.code, again.data["holder"], again.data["term"]) == (3, "n1", 1), again
    assert set(again.data["silent"]) <= {"n2", "n3", "n4", "n5"}
    won = ask(nodes["n4"], "elect", "other")
    assert (won.code, won.data["votes"]["yes"]) == (OK, 3), won
    assert won.data["votes"]["required"] == 3, "a fast round needs four votes that count"

    # A third one lost: what is left is a minority, however many strangers answer.
    wipe(nodes["n3"])
    nodes.heal()
    for order in (["elect", "leader"], ["who", "leader"], ["recall", "leader"]):
        said = ask(nodes["n1"], *order, "--timeout", "3")
        assert said.code in (5, 6), said
        assert {"n3", "n4", "n5"} <= set(said.data["silent"]), said


def wipe(node: DevNode) -> None:
    node.kill()
    for file in ledger_files(node):
        file.unlink()


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_a_damaged_ledger_is_neither_used_nor_replaced_and_its_node_says_so(
    cluster: ClusterFactory, voters: str
) -> None:
    nodes = found(cluster(3, voters=voters)) if voters == "hook" else found(cluster(5, voters=voters))
    assert ask(nodes["n1"], "elect", "leader").code == OK
    wait_until_heard(nodes, "leader", 1)
    sick = nodes["n3"]
    sick.kill()
    damage(ledger_of(sick))
    evidence = ledger_of(sick).read_bytes()
    # A hook makes no trouble at the start; an agent must refuse to run, so the node has no voter.
    sick.start()

    for order in (["elect", "leader"], ["who", "leader"], ["voters"], ["recall", "leader"]):
        said = ask(sick, *order)
        assert said.code == UNFIT, said
        assert str(ledger_of(sick)) in said.talk, said
        assert "damaged" in said.talk, said
        assert "move the file away" in said.talk.lower(), said

    briefly = ("--timeout", "15" if nodes.size == 5 else "3")
    answers = [ask(nodes["n2"], *order, *briefly) for order in (["who", "leader"], ["elect", "second"])]
    if nodes.size == 5:
        assert [said.code for said in answers] == [OK, OK], tell(answers)
    else:
        # Of three voters three must vote by the default rule: it takes the sick one too.
        assert {said.code for said in answers} <= {5, 6}, tell(answers)
        assert all("n3" in said.data["silent"] for said in answers), tell(answers)
    assert ledger_of(sick).read_bytes() == evidence
    shown = ids(nodes)
    assert shown["n3"][1:] == (True, False)
    assert "n3 (stranger)" not in shown


def test_the_agent_of_a_damaged_ledger_ends_with_a_readable_error(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent"))
    sick = nodes["n3"]
    sick.kill_voter()
    damage(ledger_of(sick))
    done = sick.polity("agent", timeout_s=20)
    assert done.returncode == UNFIT, done
    assert "damaged" in done.stderr
    assert "becomes a new voter" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_a_ledger_copied_to_another_node_is_refused(cluster: ClusterFactory, voters: str) -> None:
    nodes = found(cluster(5, voters=voters))
    assert ask(nodes["n1"], "elect", "leader").code == OK
    thief, victim = nodes["n5"], nodes["n4"]
    thief.kill()
    victim.kill()
    for file in ledger_files(thief):
        file.unlink()
    for file in ledger_files(victim):
        shutil.copy(file, str(ledger_of(thief)) + file.name.removeprefix(ledger_of(victim).name))
    victim.start()
    thief.start()
    nodes.wait_converged()

    refused = ask(thief, "who", "leader")
    assert refused.code == UNFIT, refused
    assert "belongs to the node 'n4', not to 'n5'" in refused.talk, refused
    assert ask(nodes["n2"], "who", "leader").data["holder"] == "n1"
    shown = ids(nodes)
    assert shown["n5"][1:] == (True, False), "it has no vote, neither its own nor the copied one"
    assert shown["n4"][1:] == (True, True)
    assert register_of(victim, "leader").confirmed.holder in ("n1", None)
