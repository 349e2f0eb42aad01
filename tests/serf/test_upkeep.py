"""The electorate looks after itself: agents, and elections where there are only hooks."""

from __future__ import annotations

from pathlib import Path

from polity_cli.devcluster import DevNode, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import OK, ask, found, ledger_files

PATIENCE_S = 60


def enrolled(node: DevNode) -> dict[str, str]:
    said = ask(node, "voters")
    assert said.code == OK, said
    return {row["node"]: row["voter"] for row in said.data["voters"] if row["enrolled"]}


def test_agents_enrol_who_comes_and_who_came_back_without_its_ledger(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent", env={"POLITY_TEND": "1"}))
    n1 = nodes.nodes[0]
    n4 = nodes.add_node()
    wait_for(lambda: set(enrolled(n1)) == {"n1", "n2", "n3", "n4"}, PATIENCE_S, "n4 to be enrolled")
    before = enrolled(n1)
    n4.kill()
    for file in ledger_files(n4):
        file.unlink()
    n4.start()
    wait_for(lambda: enrolled(n1)["n4"] != before["n4"], PATIENCE_S, "n4 to be enrolled anew")
    assert ask(n4, "elect", "leader").code == OK


def test_who_left_is_struck_off_after_its_grace_and_who_failed_is_not(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    config = tmp_path / "polity.toml"
    config.write_text("[voters]\nleave_grace_s = 3\n")
    nodes = found(cluster(5, voters="agent", env={"POLITY_TEND": "1", "POLITY_CONFIG": str(config)}))
    n1, _, _, n4, n5 = nodes.nodes
    n5.kill()
    n4.leave()
    wait_for(lambda: "n4" not in enrolled(n1), PATIENCE_S, "n4 to be struck off")
    assert set(enrolled(n1)) == {"n1", "n2", "n3", "n5"}


def test_a_restart_of_the_service_does_not_shrink_the_electorate(cluster: ClusterFactory) -> None:
    nodes = found(cluster(4, voters="agent", env={"POLITY_TEND": "0.5"}))
    n1, *_, n4 = nodes.nodes
    before = enrolled(n1)
    n4.leave()
    wait_for(
        lambda: ask(n1, "voters").data["voters"][3]["status"] == "left", PATIENCE_S, "Serf to show n4 as left"
    )
    n4.start()
    nodes.wait_converged()
    assert ask(n1, "elect", "leader").code == OK
    assert (enrolled(n1), ask(n1, "voters").data["epoch"]) == (before, 1)


def test_where_there_are_only_hooks_an_election_has_newcomers_enrolled(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="hook", env={"POLITY_TEND": "20"}))
    n1 = nodes.nodes[0]
    nodes.add_node()
    nodes.wait_converged()
    assert ask(n1, "elect", "leader").code == OK
    wait_for(lambda: set(enrolled(n1)) == {"n1", "n2", "n3", "n4"}, PATIENCE_S, "n4 to be enrolled")
