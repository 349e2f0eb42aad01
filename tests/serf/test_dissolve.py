"""Two polities founded apart that meet: who is in which, and one of them dissolved into the other."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from polity_cli.cli.shapes import mismatches
from polity_cli.devcluster import DevCluster, wait_for
from polity_cli.edges.ledger import Ledger
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import NO, OK, UNFIT, ask, found, ledger_of

USAGE = 2


def meet(left: DevCluster, right: DevCluster) -> None:
    """Joins two clusters."""
    # Each of them: gossip of a single join may get lost, and Serf mends that after half a minute.
    for node in left.nodes:
        node.join([other.bind_addr for other in right.nodes])
    everybody = [*left.nodes, *right.nodes]
    wait_for(lambda: all(len(node.members()) == 6 for node in everybody), 30, "the clusters to meet")


@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_one_of_two_polities_is_dissolved_into_the_other_and_its_roles_are_listed(
    cluster: ClusterFactory, voters: str
) -> None:
    left = found(cluster(3, voters=voters, name_prefix="left"))
    right = found(cluster(3, voters=voters, name_prefix="right"))
    assert ask(left["left1"], "elect", "leader").code == OK
    assert ask(right["right2"], "elect", "leader").code == OK
    assert ask(right["right2"], "recall", "leader").code == OK
    assert ask(right["right3"], "elect", "leader").data["term"] == 3
    ids = {side: ask(side.nodes[0], "voters").data["polity"] for side in (left, right)}
    meet(left, right)

    def are_named(text: str) -> bool:
        sides = f"left1, left2, left3 in {ids[left]}", f"right1, right2, right3 in {ids[right]}"
        return all(side in text for side in sides)

    def met() -> str:
        said = ask(left["left1"], "voters")
        assert said.code == UNFIT, said
        assert "`polity dissolve`" in said.data["hint"]
        return str(said.data["error"])

    def doctor() -> str:
        findings = {f["check"]: f for f in ask(left["left2"], "doctor").data["findings"]}
        assert findings["polities"]["level"] == "FAIL"
        return str(findings["polities"]["text"])

    # On a busy machine some answer too late to be named the first time.
    wait_for(lambda: are_named(met()), 40, "all of both polities to be named")
    wait_for(lambda: are_named(doctor()), 40, "the doctor to name all of both polities")

    # However fast their own quorum is, whoever asks hears of the others.
    asks = [(left["left3"], right, ["elect", "late"]), (left["left1"], right, ["recall", "late"])]
    for command in (["who", "leader"], ["roles"]):
        asks += [(left["left3"], right, command), (right["right1"], left, command)]
    for node, other, command in asks * 2:
        said = ask(node, *command)
        assert said.code == UNFIT, (command, said)
        assert ids[other] in said.data["error"], said

    if voters == "agent":
        # Nor does it help the others to be slow, or dead: who has heard of them remembers.
        for node in right.nodes:
            node.kill_voter()
        for node in left.nodes[0], left.nodes[2]:
            said = ask(node, "who", "leader")
            assert said.code == UNFIT, said
            assert ids[right] in said.data["error"], said
        for node in right.nodes:
            node.start_voter()

    before = ledger_of(right["right1"]).parent
    names = {path.name for path in before.iterdir()}

    def plan() -> tuple[object, ...]:
        planned = ask(right["right1"], "dissolve")
        assert (planned.code, planned.data["outcome"]) == (USAGE, "planned"), planned
        return planned.data["roles"], planned.data["same"], planned.data["others"]

    listed_roles = [{"role": "leader", "holder": "right3", "term": 3, "source": "quorum"}]
    everybody = [f"right{n}" for n in (1, 2, 3)], [f"left{n}" for n in (1, 2, 3)]
    wait_for(lambda: plan() == (listed_roles, *everybody), 40, "all of both polities to be named")
    assert {path.name for path in before.iterdir() if ".dissolved-" in path.name} == set(), names

    old = {}
    for node in right.nodes:
        done = ask(node, "dissolve", "--yes")
        assert (done.code, done.data["outcome"]) == (OK, "dissolved"), done
        assert mismatches(done.data) == []
        assert [(r["role"], r["holder"], r["term"]) for r in done.data["roles"]] == [("leader", "right3", 3)]
        listed = json.loads(Path(done.data["list"]).read_text())
        assert (listed["polity"], listed["roles"]) == (ids[right], done.data["roles"])
        kept = Ledger.open(done.data["ledger"], node.name, create=False)
        assert kept is not None
        with closing(kept):
            assert kept.me().polity.hex() == ids[right]
            assert kept.register("leader").promised.round > 0
            old[node.name] = kept.me().voter.hex()
        again = ask(node, "dissolve", "--yes")
        assert (again.code, again.data["outcome"]) == (OK, "nothing_to_do"), again
        if node is not right.nodes[-1]:
            # While both are there, it enters neither by accident.
            assert ask(node, "who", "leader").code == UNFIT
            assert ask(node, "dissolve").data["outcome"] == "nothing_to_do"

    # Nothing was restarted: what answers there now is another voter, of no polity.
    def strangers() -> set[str]:
        rows = ask(left["left1"], "voters").data["voters"]
        return {row["node"] for row in rows if row["answers"] and not row["enrolled"]}

    wait_for(lambda: strangers() == set(old), 20, "the new voters to answer")
    synced = ask(left["left1"], "voters", "sync")
    assert synced.code == OK, synced
    assert synced.data["enrols"] == ["right1", "right2", "right3"], synced
    said = ask(right["right1"], "voters")
    assert (said.code, said.data["polity"], said.data["population"]) == (OK, ids[left], 6), said
    now = {row["node"]: row["voter"] for row in said.data["voters"]}
    assert all(now[name] != voter for name, voter in old.items())
    lost = ask(right["right3"], "elect", "leader")
    assert (lost.code, lost.data["holder"], lost.data["term"]) == (NO, "left1", 1), lost
    assert ask(right["right3"], "elect", "other").code == OK


def test_a_polity_without_a_quorum_is_dissolved_by_what_its_nodes_remember(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent"))
    n1, n2, n3 = nodes.nodes
    assert ask(n1, "elect", "leader").code == OK
    assert ask(n1, "who", "leader").code == OK
    n2.kill()
    n3.kill()
    shown = ask(n1, "dissolve", "--timeout", "5")
    assert shown.code == USAGE, shown
    assert shown.data["roles"] == [{"role": "leader", "holder": "n1", "term": 1, "source": "ledger"}]
    assert "the only one, with all its roles" in shown.data["hint"], shown
