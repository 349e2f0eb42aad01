"""The networks themselves: cuts are cuts, loss is loss, and nothing is left of a run that was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from polity_cli.devcluster import wait_for
from polity_cli.devcluster.guard import Guard
from polity_cli.errors import BadInput
from tests.netns import space as space_room
from tests.netns.cluster import ROOT, NetCluster
from tests.netns.conftest import Fields, demand
from tests.netns.faults import both_ways, one_way, ruleset
from tests.netns.space import Space, obstacle

PORTS = {"n1": "v1", "n2": "v2", "n3": "v3"}


def test_faults_become_rules_and_nothing_else_stays() -> None:
    rules = ruleset([*both_ways(["n1"], ["n3", "n2"]), one_way(["n2"], ["n3"], 20)], PORTS).splitlines()
    assert rules[:3] == ["table bridge polity", "delete table bridge polity", "table bridge polity {"]
    assert [line.strip() for line in rules if line.endswith("drop")] == [
        "iifname { v1 } oifname { v2, v3 } drop",
        "iifname { v2, v3 } oifname { v1 } drop",
        "iifname { v2 } oifname { v3 } numgen random mod 100 < 20 drop",
    ]
    assert not [line for line in ruleset([], PORTS).splitlines() if line.endswith("drop")]
    for percent in (0, 101, -5):
        with pytest.raises(BadInput):
            one_way(["n1"], ["n2"], percent)


def test_without_root_or_tools_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert obstacle() == "network namespaces need root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setitem(space_room.ENV, "PATH", "/nowhere")
    assert obstacle() == "there is no `serf` here; `scripts/setup --dev` installs it"


def test_a_reason_skips_but_not_in_ci() -> None:
    demand(None, ci=True)
    demand(None, ci=False)
    with pytest.raises(pytest.skip.Exception, match="no root"):
        demand("no root", ci=False)
    with pytest.raises(AssertionError, match=r"must run.*no root"):
        demand("no root", ci=True)


@pytest.fixture
def wire(networks: None) -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(stack)


class Wire:
    """Three namespaces on a bridge, without agents, and datagrams between them."""

    def __init__(self, stack: ExitStack) -> None:
        guard = Guard()
        stack.callback(guard.close)
        self.cluster = NetCluster(3)
        self.sockets = {}
        self.cluster.lay(guard)
        for index, name in enumerate(PORTS, start=1):
            with self.cluster.spaces[name].inside():
                self.sockets[name] = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            self.sockets[name].bind((f"10.77.0.{index}", 5000))
            self.sockets[name].settimeout(0.5)

    def passed(self, source: str, target: str, count: int) -> int:
        """How many of so many datagrams arrive."""
        for number in range(count):
            self.sockets[source].sendto(bytes([number % 256]), (f"10.77.0.{target[1:]}", 5000))
        arrived = 0
        while True:
            try:
                self.sockets[target].recv(10)
            except TimeoutError:
                return arrived
            arrived += 1


def test_a_cut_is_a_cut_and_a_share_is_a_share(wire: Wire) -> None:
    assert wire.passed("n1", "n2", 20) == wire.passed("n2", "n1", 20) == wire.passed("n3", "n1", 20) == 20
    wire.cluster.isolate("n1")
    assert wire.passed("n1", "n2", 20) == wire.passed("n2", "n1", 20) == 0
    assert wire.passed("n2", "n3", 20) == 20
    wire.cluster.mend()
    wire.cluster.one_way_cut(["n1"], ["n2"])
    assert (wire.passed("n1", "n2", 20), wire.passed("n2", "n1", 20)) == (0, 20)
    wire.cluster.mend()
    wire.cluster.loss(20)
    # Of 200 about 160; five standard deviations to each side are 28.
    assert 130 < wire.passed("n1", "n2", 200) < 190
    wire.cluster.mend()
    assert wire.passed("n1", "n2", 20) == 20


def test_a_thread_that_was_inside_is_back_outside(networks: None) -> None:
    guard = Guard()
    try:
        space = Space(guard)
        home = os.stat("/proc/thread-self/ns/net").st_ino
        with space.inside():
            assert os.stat("/proc/thread-self/ns/net").st_ino == os.stat(space.path).st_ino != home
        with pytest.raises(KeyError), space.inside():
            raise KeyError
        assert os.stat("/proc/thread-self/ns/net").st_ino == home
    finally:
        guard.close()


_RUN = """
import os, signal, sys
from tests.netns.cluster import NetCluster
with NetCluster(2) as cluster:
    cluster.cut(["n1"], ["n2"])
    cluster["n2"].pause()
    spaces = [os.stat(space.path).st_ino for space in cluster.spaces.values()]
    print(cluster.nodes[0].folder.parent, *spaces, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_of_a_run_that_was_killed(networks: None) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _RUN], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    folder, *spaces = run.stdout.split()
    assert len(spaces) == 2

    def users() -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                inode = str(os.stat(process / "ns" / "net").st_ino)
            except OSError:
                continue
            found += [process.name] if inode in spaces else []
        return found

    # A namespace without a process in it, or a file that names it, is gone.
    wait_for(lambda: not users(), 10, "all processes in the namespaces to be gone")
    wait_for(lambda: not Path(folder).exists(), 10, "the folder to be gone")


def test_commands_reach_a_node_that_is_cut_off(field: Fields) -> None:
    it = field(5)
    it.cluster.isolate("n1")
    shown = it.cluster["n1"].polity("who", it.role(), "--cached", "--json")
    assert shown.returncode == 4, shown
    assert it.cluster["n1"].members().keys() == {node.name for node in it.cluster.nodes}
