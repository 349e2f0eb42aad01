"""A cut: the majority takes over what the minority holds, the minority nothing, and no command runs twice."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from polity_cli.devcluster import DevCluster, wait_for
from tests.netns.cluster import NetCluster, NetNode
from tests.serf.verbs import NO, OK, ask, register_of, wait_until_heard

LOST = 122

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


WAITING = """
[roles.job]
candidate = false
recall = true
takeover_delay = 5
"""
BOUNDS = ("--check", "0.5", "--grace", "2.5", "--kill-grace", "1")


def clock(path: Path) -> tuple[str, ...]:
    """A command that writes down when it is running, and does not hear TERM."""
    return "/bin/sh", "-c", f"trap '' TERM; while :; do date +%s.%N >>{path}; sleep 0.05; done"


def ticks(path: Path) -> list[float]:
    """When it was running, as far as whole lines tell."""
    return [float(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def test_what_runs_on_a_node_that_is_cut_off_has_ended_before_another_node_runs_it(
    networks: None, tmp_path: Path
) -> None:
    config = tmp_path / "polity.toml"
    config.write_text(WAITING)
    with NetCluster(5, env={"POLITY_CONFIG": str(config)}) as cluster:
        n1, n2, n3, _, _ = cluster.nodes
        assert n1.polity("found", "--expect", "5", "--wait").returncode == OK
        with n1.popen("run", "job", *BOUNDS, "--", *clock(tmp_path / "n1")) as first:
            wait_for(lambda: bool(ticks(tmp_path / "n1")), 30, "n1 to run it")
            with n3.popen("run", "job", "--wait", *BOUNDS, "--", *clock(tmp_path / "n3")):
                cluster.cut(["n1"], ["n2", "n3", "n4", "n5"])
                wait_for(lambda: len(ticks(tmp_path / "n3")) > 20, 60, "n3 to run it")
                cluster.heal()
                assert first.wait(30) == LOST
                who = ask(n2, "who", "job").data
                assert (who["holder"], who["term"]) == ("n3", 3)
        ended, began = ticks(tmp_path / "n1")[-1], ticks(tmp_path / "n3")[0]
        assert ended < began, f"n3 began {ended - began:.2f} s before n1 had ended"
