"""How long a role has no living holder: a machine dies, Serf notices, another node takes over.

Each machine is a network namespace. The one that holds the role loses its network and all its processes at
one instant (kill -9), so that it says no goodbye of any kind. Then two things are timed from the outside:

    detection    until the first of the survivors' agents shows the node as failed, as `serf members` does
    take-over    from there until the first of the survivors' voters knows of the new holder

The first is Serf's own; what polity adds is the second.
"""

from __future__ import annotations

import contextlib
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from polity_cli.core.succession import SETTLE_S
from polity_cli.core.tenure import Tenure
from polity_cli.devcluster import Voters, wait_for
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.serf_rpc import SerfClient
from tests.netns.cluster import NetCluster, NetNode
from tests.netns.space import obstacle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.bench.__main__ import Report

ROLE = "primary"
SIZE = 5
BAR_S = 1.5
# Serf gathers member events for a second or more, and whoever has just begun to look does so for five.
HOOK_BAR_S = 10.0
HOOK = shlex.quote(str(Path(sys.executable).parent / "polity-hook"))
EVENTS = ("query:polity", "user:polity", "member-join,member-failed,member-leave,member-reap")
_LOOK_S = 0.01
_LIMIT_S = 60.0


class Machine:
    """A survivor, looked at from outside: its agent's list of members, and its voter's ledger."""

    def __init__(self, node: NetNode, serf: SerfClient, ledger: Ledger) -> None:
        self.node = node
        self._serf = serf
        self._ledger = ledger

    def status_of(self, name: str) -> str:
        return "".join(member.status for member in self._serf.members_filtered(name=name))

    def tenure(self) -> Tenure:
        return self._ledger.register(ROLE).confirmed


@contextlib.contextmanager
def watched(nodes: list[NetNode]) -> Iterator[list[Machine]]:
    with contextlib.ExitStack() as stack:
        machines = []
        for node in nodes:
            path = ledger_path(str(node.state_dir), "polity", node.name)
            ledger = Ledger.open(path, node.name, create=False)
            assert ledger is not None
            stack.callback(ledger.close)
            machines.append(Machine(node, stack.enter_context(node.serf()), ledger))
        yield machines


def measure_successions(report: Report, rounds: int) -> None:
    reason = obstacle()
    if reason is not None:
        sys.exit(f"not here: {reason}")
    measure(report, "agent", rounds, BAR_S)
    measure(report, "hook", max(2, rounds // 3), HOOK_BAR_S)


def measure(report: Report, voters: Voters, rounds: int, bar_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "polity.toml"
        config.write_text(f"[roles.{ROLE}]\ntakeover_delay = 0\n")
        env = {"POLITY_CONFIG": str(config)}
        handlers = {"event_handlers": [f"{events}={HOOK}" for events in EVENTS]} if voters == "hook" else None
        with NetCluster(SIZE, voters=voters, env=env, serf_config=handlers) as cluster:
            assert cluster.nodes[0].polity("found", "--expect", str(SIZE), "--wait").returncode == 0
            if voters == "hook":
                assert cluster.nodes[0].polity("elect", ROLE).returncode == 0
            times = [one_death(cluster, number) for number in range(1, rounds + 1)]
    detections, takeovers = [d for d, _ in times], [t for _, t in times]
    totals = [d + t for d, t in times]
    for what, seconds in (("kill -9 to the new holder", totals), ("of that Serf's detection", detections)):
        print(
            f"    {what}: median {statistics.median(seconds):.2f} s, max {max(seconds):.2f} s",
            file=sys.stderr,
        )
    detail = f"Serf needed {min(detections):.1f} to {max(detections):.1f} s before"
    for kind, value in (("median", statistics.median(takeovers)), ("max", max(takeovers))):
        what = f"n={SIZE}, {voters}s: take-over after detection, {kind} of {rounds}"
        report.at_most(what, value, bar_s, "s", detail)


def one_death(cluster: NetCluster, number: int) -> tuple[float, float]:
    """Seconds from the death to its detection, and from there to the new holder."""
    before = wait_for_holder(cluster)
    assert before.holder is not None
    victim = cluster[before.holder]
    with watched([node for node in cluster.nodes if node is not victim]) as machines:
        cluster.isolate(victim.name)
        died_s = time.monotonic()
        victim.kill()
        detected_s = None
        while True:
            now_s = time.monotonic()
            if detected_s is None and any(m.status_of(victim.name) == "failed" for m in machines):
                detected_s = time.monotonic()
            newest = max((machine.tenure() for machine in machines), key=lambda tenure: tenure.term)
            if newest.term > before.term and newest.holder is not None:
                taken_s = time.monotonic()
                break
            assert now_s - died_s < _LIMIT_S, f"nobody took over from {victim.name}: {newest}"
            time.sleep(_LOOK_S)
    assert detected_s is not None, "it was taken over before anybody could know"
    detection_s, takeover_s = detected_s - died_s, taken_s - detected_s
    print(
        f"    {number}: {victim.name} died; detected after {detection_s:.2f} s, "
        f"{newest.holder} holds it {takeover_s:.2f} s later",
        file=sys.stderr,
        flush=True,
    )
    cluster.heal()
    return detection_s, takeover_s


def wait_for_holder(cluster: NetCluster) -> Tenure:
    """The tenure on which all voters agree, once whoever came back has looked around for long enough."""
    for node in cluster.nodes if cluster.voters == "agent" else []:
        wait_for(lambda node=node: "voting as" in node.voter_log.read_text(), 20, f"{node.name} to vote")  # type: ignore[misc]
    time.sleep(SETTLE_S + 3.0)
    if cluster.voters == "hook":
        # A voter that was away hears of it from whoever asks next; agents do so by themselves.
        cluster.nodes[0].polity("who", ROLE)
    with watched(cluster.nodes) as machines:

        def agreed() -> bool:
            return len({machine.tenure() for machine in machines}) == 1 and not machines[0].tenure().is_vacant

        wait_for(agreed, 60, "all voters to know of one holder")
        return machines[0].tenure()
