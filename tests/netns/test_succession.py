"""A cut: the majority takes over what the minority holds, and the minority nothing at all."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from polity_cli.devcluster import DevCluster, wait_for
from tests.netns.cluster import NetCluster, NetNode
from tests.serf.verbs import NO, OK, ask, register_of, wait_until_heard

ROLES = """
[roles.theirs]
takeover_delay = 2

[roles.ours]
takeover_delay = 30
"""


def hold(node: NetNode, role: str) -> int:
    """Have the node hold the role; its term. Candidates leave a vacancy alone for a moment."""
    said = ask(node, "elect", role)
    if said.code == NO:
        assert ask(node, "recall", role).code == OK
        said = ask(node, "elect", role)
    assert said.code == OK, said
    term = said.data["term"]
    assert isinstance(term, int), said
    return term


def test_a_cut_moves_only_what_the_minority_holds(networks: None, tmp_path: Path) -> None:
    config = tmp_path / "polity.toml"
    config.write_text(ROLES)
    with NetCluster(5, env={"POLITY_CONFIG": str(config)}) as cluster:
        n1, n2, n3, _, _ = cluster.nodes
        assert n1.polity("found", "--expect", "5", "--wait").returncode == OK
        before = {"theirs": hold(n1, "theirs"), "ours": hold(n3, "ours")}
        for role, term in before.items():
            wait_until_heard(cast(DevCluster, cluster), role, term)
        cluster.cut(["n1", "n2"], ["n3", "n4", "n5"])
        wait_for(
            lambda: register_of(n3, "theirs").confirmed.holder in ("n3", "n4", "n5"), 60, "a successor of n1"
        )
        assert register_of(n3, "theirs").confirmed.term == before["theirs"] + 2
        assert register_of(n1, "theirs").confirmed.term == before["theirs"], "n1 cannot know yet"
        gone = f"ours: n3 holds it (term {before['ours']}) and is failed in Serf"
        for node in (n1, n2):
            wait_for(lambda node=node: gone in node.voter_log.read_text(), 60, f"{node.name} to miss n3")  # type: ignore[misc]
        cluster.heal()
        back = f"ours: n3 holds it (term {before['ours']}) and is back; nothing is done"
        for node in (n1, n2):
            wait_for(lambda node=node: back in node.voter_log.read_text(), 30, f"{node.name} to see n3")  # type: ignore[misc]
        now = {role: ask(n1, "who", role).data for role in before}
        assert (now["ours"]["holder"], now["ours"]["term"]) == ("n3", before["ours"])
        assert now["theirs"]["term"] == before["theirs"] + 2, "nobody took it back"
