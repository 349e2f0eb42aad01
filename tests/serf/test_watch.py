"""`polity watch` on real agents: every change that is seen is told, whatever is lost or killed meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from threading import Timer
from typing import IO, Any

import pytest

from polity_cli.cli.shapes import mismatches
from polity_cli.devcluster import DevCluster, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import OK, ask

NEVER = ("--every", "3600")


@pytest.fixture(scope="module")
def told_by_agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("watch") / "told"


@pytest.fixture
def nodes(shared_cluster: ClusterFactory, told_by_agents: Path) -> DevCluster:
    config = told_by_agents.with_name("polity.toml")
    command = f"echo $POLITY_NODE $POLITY_TERM $POLITY_HOLDER >>{told_by_agents}"
    config.write_text(f'[watch]\nroles = ["by-agents"]\nevery_s = 1\nexec = "{command}"\n')
    made = shared_cluster(3, voters="agent", env={"POLITY_CONFIG": str(config)})
    assert ask(made["n1"], "found", "--expect", "3", "--min-votes", "2").code == OK
    return made


def line_of(watch: subprocess.Popen[str], stream: IO[str] | None) -> str:
    """The next line of it; a watcher that says nothing is killed, so that no test hangs."""
    assert stream is not None
    timer = Timer(40, watch.kill)
    timer.start()
    try:
        line = stream.readline()
    finally:
        timer.cancel()
    assert line, "it said nothing"
    return line


def next_of(watch: subprocess.Popen[str]) -> dict[str, Any]:
    told = json.loads(line_of(watch, watch.stdout))
    assert mismatches(told) == []
    assert isinstance(told, dict)
    return told


def end(watch: subprocess.Popen[str], number: int) -> tuple[int, str]:
    watch.send_signal(number)
    _, err = watch.communicate(timeout=60)
    return watch.returncode, err


def test_changes_are_told_in_order_as_they_are_heard_of(nodes: DevCluster) -> None:
    n1 = nodes["n1"]
    assert ask(n1, "elect", "heard").code == OK
    with n1.popen("watch", "heard", "--json", *NEVER) as watch:
        told = [next_of(watch)]
        # On its own node, as an event may be lost on the way to others.
        for verb in ("recall", "elect", "recall"):
            assert ask(n1, verb, "heard").code == OK
            told.append(next_of(watch))
        assert end(watch, signal.SIGTERM) == (128 + signal.SIGTERM, "")
    assert [(c["term"], c["previous_term"], c["holder"]) for c in told] == [
        (1, 0, "n1"),
        (2, 1, None),
        (3, 2, "n1"),
        (4, 3, None),
    ]
    assert {(c["role"], c["node"]) for c in told} == {("heard", "n1")}
    assert n1.running


def test_a_lost_event_is_a_delay_and_silence_is_said(nodes: DevCluster) -> None:
    n1, n2, n3 = nodes.nodes
    with n3.popen("watch", "--no-events", "--every", "0.3", "--since", "heard=1000") as watch:
        assert ask(n1, "elect", "unheard").code == OK
        assert line_of(watch, watch.stdout).endswith("Z n1 holds unheard (term 1)\n")
        for node in (n1, n2):
            node.pause_voter()
        assert line_of(watch, watch.stderr).startswith("polity: nobody says who holds what: ")
        for node in (n1, n2):
            node.resume()
        assert ask(n2, "recall", "unheard").code == OK
        assert line_of(watch, watch.stdout).endswith("Z unheard is vacant (term 2)\n")
        code, err = end(watch, signal.SIGINT)
        assert (code, "the cluster answers again" in err) == (128 + signal.SIGINT, True)


def test_a_watcher_that_is_killed_loses_nothing(nodes: DevCluster, tmp_path: Path) -> None:
    n1, n2, _ = nodes.nodes
    up, go, log = tmp_path / "up", tmp_path / "go", tmp_path / "log"
    command = f"touch {up}; until test -e {go}; do sleep 0.02; done; echo $POLITY_TERM >>{log}"
    words = ("watch", "job", "--state", str(tmp_path / "state"), "--exec", command, "--every", "1")
    assert ask(n1, "elect", "job").code == OK
    try:
        with n1.popen(*words, "--json") as watch:
            assert next_of(watch)["term"] == 1
            wait_for(up.exists, 30, "the command to start")
            assert ask(n2, "recall", "job").code == OK
            assert next_of(watch)["term"] == 2, "standard output does not wait for the command"
            watch.kill()
            watch.wait()
        assert ask(n2, "elect", "job").code == OK
    finally:
        go.touch()
    with n1.popen(*words, "--json") as watch:
        told = next_of(watch)
        if told["term"] == 2:  # killed between the line and the note that it was written
            told = next_of(watch)
        assert (told["term"], told["previous_term"]) == (3, 2)
        wait_for(lambda: "3" in log.read_text(), 30, "the newest term to be told")
        assert end(watch, signal.SIGTERM)[0] == 128 + signal.SIGTERM
    # The first may come twice: nobody saw that it had ended well.
    assert [term for term in log.read_text().split() if term != "1"] == ["2", "3"]
    assert log.read_text().split()[0] == "1"


def test_what_happens_while_its_agent_is_away_is_told_when_that_is_back(nodes: DevCluster) -> None:
    n1, n2, _ = nodes.nodes
    assert ask(n1, "elect", "away").code == OK
    with n1.popen("watch", "away", "--json", *NEVER) as watch:
        assert next_of(watch)["term"] == 1
        n1.kill_serf()
        assert ask(n2, "recall", "away").code == OK
        n1.start()
        assert next_of(watch)["term"] == 2
        code, err = end(watch, signal.SIGTERM)
        assert (code, "polity: no events: " in err) == (128 + signal.SIGTERM, True)


def test_agents_tell_of_changes_by_their_configuration(nodes: DevCluster, told_by_agents: Path) -> None:
    n1, n2, _ = nodes.nodes

    def have_told(*lines: str) -> bool:
        said = told_by_agents.read_text().splitlines() if told_by_agents.exists() else []
        return set(lines) <= set(said)

    assert ask(n1, "elect", "by-agents").code == OK
    wait_for(lambda: have_told("n1 1 n1", "n2 1 n1", "n3 1 n1"), 30, "all agents to tell of it")
    n1.kill_voter()
    assert ask(n2, "recall", "by-agents").code == OK
    n1.start_voter()
    wait_for(lambda: have_told("n1 2", "n2 2", "n3 2"), 30, "all agents to tell of it")
    assert told_by_agents.read_text().splitlines().count("n1 1 n1") == 1, "it was delivered before"


def test_watchers_part_from_an_agent_that_starts_scripts(cluster: ClusterFactory) -> None:
    (n1,) = cluster(1, voters="hook").nodes
    assert ask(n1, "found", "--expect", "1", "--min-votes", "1").code == OK
    assert ask(n1, "elect", "job").code == OK
    for _ in range(3):
        with n1.popen("watch") as watch:
            assert line_of(watch, watch.stdout)
            # Its answer keeps the hook busy while the watcher leaves.
            with n1.popen("who", "job"):
                assert end(watch, signal.SIGTERM) == (128 + signal.SIGTERM, "")
        assert n1.running
