"""`scripts/bench`: elections on real agents, beside a bare Serf query of the same cluster and minute.

The yardstick is a query without payload that the agents themselves acknowledge: no voter, no ledger, no
Python behind it. An election is compared with one that is acknowledged by as many nodes as must vote for it
in the fast round. Rounds of the two alternate, so that both see the same noise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from polity_cli.asking import SystemDraws
from polity_cli.core.messages import Fetch, Read, Register
from polity_cli.core.operation import Outcome, Verdict
from polity_cli.core.quorum import SimpleMajority, fast_quorum
from polity_cli.devcluster import DevCluster, DevNode, wait_for
from polity_cli.edges import wire
from polity_cli.edges.ledger import Ledger, ledger_path
from polity_cli.edges.serf_types import Ack
from polity_cli.errors import SerfTimeout
from polity_cli.session import Session
from tests.bench.succession import measure_successions

ROLE = "bench"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        choices=("elections", "succession"),
        default="elections",
        help="elections, or how long a role has no living holder (needs root)",
    )
    parser.add_argument("--quick", action="store_true", help="a quarter of the rounds")
    parser.add_argument("--json", action="store_true", help="figures as JSON on standard output")
    options = parser.parse_args()
    report = Report()
    if options.what == "succession":
        measure_successions(report, 3 if options.quick else 10)
    else:
        measure_all_elections(report, 15 if options.quick else 60)
    if options.json:
        print(json.dumps(report.rows, indent=2))
    else:
        report.show()
    sys.exit(0 if all(row["ok"] for row in report.rows) else 1)


def measure_all_elections(report: Report, rounds: int) -> None:
    measure_hook(report, rounds)
    for size in (5, 7):
        with DevCluster(size, voters="agent") as cluster:
            wait_until_voting(cluster)
            with session(cluster.nodes[0]) as own:
                own.found(timeout_s=30)
            measure_elections(report, cluster, rounds)
            measure_crowd(report, cluster, rounds // 3)
            measure_after_death(report, cluster, rounds // 3)
            if size == 5:
                measure_shell(report, cluster, rounds // 3)
                measure_agent(report, cluster, rounds)


class Report:
    """What was measured, what it was compared with, and the bar."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def ratio(self, what: str, times_s: list[float], yardstick_s: list[float], bar: float) -> None:
        mine, theirs = statistics.median(times_s), statistics.median(yardstick_s)
        self._add(what, mine / theirs, bar, "x", f"{ms(mine)} / {ms(theirs)}, p95 {ms(p95(times_s))}")

    def at_most(self, what: str, value: float, bar: float, unit: str, detail: str = "") -> None:
        self._add(what, value, bar, unit, detail)

    def _add(self, what: str, value: float, bar: float, unit: str, detail: str) -> None:
        row = {"what": what, "value": round(value, 3), "bar": bar, "unit": unit, "ok": value <= bar}
        self.rows.append({**row, "detail": detail})
        print(f"  {what}: {value:.3g} {unit} (bar {bar:g}) {detail}", file=sys.stderr, flush=True)

    def show(self) -> None:
        print(f"{'':60} {'measured':>10} {'bar':>8}")
        for row in self.rows:
            mark = "" if row["ok"] else "  ABOVE THE BAR"
            print(
                f"{row['what']:60} {row['value']:>8} {row['unit']:<3} {row['bar']:>6}  {row['detail']}{mark}"
            )


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def p95(times_s: list[float]) -> float:
    return sorted(times_s)[int(len(times_s) * 0.95)]


def session(node: DevNode) -> Session:
    return Session(node.serf().__enter__(), namespace="polity", state_dir=str(node.state_dir))


def moments(rounds: int) -> Iterator[float]:
    """Parts of a gossip tick, all alike and in random order, as seconds to wait after a tick.

    When in a tick something starts makes most of how long it takes. Left to chance, that alone would move the
    median of some dozens of measurements by a tenth.
    """
    return iter(random.sample([(at + 0.5) / rounds * 0.2 for at in range(rounds)], rounds))


def wait_for_moment(node: DevNode, after_s: float) -> None:
    """Wait until after_s seconds after the node has gossiped: when another node has heard of a query."""
    with node.serf() as serf:
        query = serf.query("tick", request_ack=True, timeout_s=5)
        while isinstance(record := query.next(5), Ack) and record.node == node.name:
            pass
        time.sleep(after_s)


def timed(node: DevNode, after_s: float, work: Callable[[], Outcome], *expected: Verdict) -> float:
    wait_for_moment(node, after_s)
    started = time.perf_counter()
    outcome = work()
    took_s = time.perf_counter() - started
    assert outcome.verdict in expected, f"{outcome.verdict} instead of {expected}"
    return took_s


def bare_query(node: DevNode, answers: int, after_s: float) -> float:
    """Seconds until so many nodes acknowledged a query of this node's agent."""
    with node.serf() as serf:
        wait_for_moment(node, after_s)
        started = time.perf_counter()
        query = serf.query("bare", request_ack=True, timeout_s=5)
        seen = 0
        while seen < answers:
            record = query.next(5)
            assert record is not None, "the bare query was lost"
            seen += isinstance(record, Ack)
        return time.perf_counter() - started


def ledgers(cluster: DevCluster) -> list[Register]:
    """What each voter remembers of the role."""
    found: list[Register] = []
    for node in cluster.running:
        ledger = Ledger.open(ledger_path(str(node.state_dir), "polity", node.name), node.name, create=False)
        assert ledger is not None
        found.append(ledger.register(ROLE))
        ledger.close()
    return found


def wait_until_settled(cluster: DevCluster) -> None:
    """Until all voters have heard the last announcement.

    Serf loses some announcements; a query repeats those that it sees missing.
    """

    def settled() -> bool:
        known = ledgers(cluster)
        newest = max(register.accepted for register in known)
        return all(register.confirmed_ballot == newest for register in known)

    for _ in range(10):
        with contextlib.suppress(SerfTimeout):
            wait_for(settled, 1, "all voters to hear the announcement")
            return
        with session(cluster.running[0]) as own:
            own.who(ROLE)
    raise SerfTimeout(f"voters do not hear the announcement: {ledgers(cluster)}")


def wait_until_voting(cluster: DevCluster) -> None:
    for node in cluster.nodes:
        wait_for(lambda log=node.voter_log: "voting as" in log.read_text(), 20, f"{node.name} to vote")  # type: ignore[misc]


def recall(node: DevNode) -> None:
    with session(node) as own:
        assert own.recall(ROLE).verdict in (Verdict.RECALLED, Verdict.VACANT)


def measure_elections(report: Report, cluster: DevCluster, rounds: int) -> None:
    size = len(cluster.nodes)
    fast = fast_quorum(size, SimpleMajority(size))
    first, second = cluster.nodes[:2]
    won: list[float] = []
    lost: list[float] = []
    asked: list[float] = []
    bare: list[float] = []
    bare_majority: list[float] = []
    when = [moments(rounds) for _ in range(5)]
    for _ in range(rounds):
        wait_until_settled(cluster)
        after_s = [next(moment) for moment in when]
        bare.append(bare_query(first, fast, after_s[0]))
        with session(first) as own:
            won.append(timed(first, after_s[1], lambda: own.elect(ROLE), Verdict.WON))
        wait_until_settled(cluster)
        before = ledgers(cluster)
        bare_majority.append(bare_query(second, SimpleMajority(size), after_s[2]))
        with session(second) as own:
            lost.append(timed(second, after_s[3], lambda: own.elect(ROLE), Verdict.LOST))
            asked.append(timed(second, after_s[4], lambda: own.who(ROLE), Verdict.ANSWER))
        assert ledgers(cluster) == before, "a lost election or a query wrote to a ledger"
        recall(second)
    report.ratio(f"n={size}: uncontended election, fast quorum of {fast}", won, bare, 1.15)
    report.ratio(f"n={size}: lost election (writes nothing)", lost, bare_majority, 1.15)
    report.ratio(f"n={size}: query (writes nothing)", asked, bare_majority, 1.15)


def measure_crowd(report: Report, cluster: DevCluster, rounds: int) -> None:
    """Five candidates at once: the time until one of them knows that it holds the role."""
    size = len(cluster.nodes)
    fast = fast_quorum(size, SimpleMajority(size))
    first_win: list[float] = []
    all_done: list[float] = []
    bare: list[float] = []
    for bare_s, crowd_s in zip(moments(rounds), moments(rounds), strict=True):
        wait_until_settled(cluster)
        bare.append(bare_query(cluster.nodes[0], fast, bare_s))
        times: dict[str, tuple[float, Verdict]] = {}
        gate = threading.Barrier(5, action=lambda crowd_s=crowd_s: time.sleep(crowd_s))  # type: ignore[misc]

        def stand(
            node: DevNode, times: dict[str, tuple[float, Verdict]] = times, gate: threading.Barrier = gate
        ) -> None:
            with session(node) as own:
                gate.wait()
                started = time.perf_counter()
                verdict = own.elect(ROLE).verdict
                times[node.name] = time.perf_counter() - started, verdict

        threads = [threading.Thread(target=stand, args=(node,)) for node in cluster.nodes[:5]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wins = [took for took, verdict in times.values() if verdict is Verdict.WON]
        assert len(wins) == 1, f"not exactly one winner: {times}"
        assert sum(verdict is Verdict.LOST for _, verdict in times.values()) == 4, times
        first_win += wins
        all_done.append(max(took for took, _ in times.values()))
        recall(cluster.nodes[0])
    report.ratio(f"n={size}: five candidates at once, until one holds", first_win, bare, 2.5)
    print(
        f"    all five have their answer: p50 {ms(statistics.median(all_done))}, max {ms(max(all_done))}",
        file=sys.stderr,
    )


def measure_after_death(report: Report, cluster: DevCluster, rounds: int) -> None:
    """An election in the moment after a voter was killed, before Serf has noticed."""
    size = len(cluster.nodes)
    times: list[float] = []
    for after_s in moments(rounds):
        wait_until_settled(cluster)
        victim = cluster.nodes[-1]
        victim.kill()
        with session(cluster.nodes[0]) as own:
            times.append(timed(cluster.nodes[0], after_s, lambda: own.elect(ROLE), Verdict.WON))
            own.recall(ROLE)
        cluster.heal()
        wait_until_voting(cluster)
        # A voter that was away hears of the last tenure when it is asked next.
        with session(cluster.nodes[0]) as own:
            own.who(ROLE)
            own.elect(ROLE)
        recall(cluster.nodes[1])
    report.at_most(
        f"n={size}: election just after a voter was killed, p95",
        p95(times),
        1.5,
        "s",
        f"p50 {ms(statistics.median(times))}",
    )


def measure_shell(report: Report, cluster: DevCluster, rounds: int) -> None:
    """`polity elect` as a process, against a bare query by a client that is already connected."""
    times: list[float] = []
    bare: list[float] = []
    node = cluster.nodes[0]
    command = [str(Path(sys.executable).parent / "polity"), "elect", ROLE]
    for bare_s, after_s in zip(moments(rounds), moments(rounds), strict=True):
        wait_until_settled(cluster)
        bare.append(bare_query(node, 4, bare_s))
        wait_for_moment(node, after_s)
        started = time.perf_counter()
        subprocess.run(command, env=node.env, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
        recall(node)
    extra_s = statistics.median(times) - statistics.median(bare)
    report.at_most(
        "n=5: `polity elect` from the shell, above a bare query",
        extra_s * 1000,
        80,
        "ms",
        f"{ms(statistics.median(times))} - {ms(statistics.median(bare))}",
    )


def measure_agent(report: Report, cluster: DevCluster, rounds: int) -> None:
    """Memory and idle CPU of `polity agent`, and its memory after 10,000 queries (1,000 with --quick)."""
    node = cluster.nodes[1]
    pid = node.voter_pid
    assert pid is not None
    before_kb = resident_kb(pid)
    report.at_most("polity agent: resident", before_kb / 1024, 30, "MB")
    started, used = time.monotonic(), cpu_s(pid)
    time.sleep(10 if rounds > 15 else 3)
    idle = (cpu_s(pid) - used) / (time.monotonic() - started) * 100
    report.at_most("polity agent: CPU when idle", idle, 0.5, "%")
    count = 10_000 if rounds > 15 else 1_000
    draws = SystemDraws()
    with node.serf() as serf:
        for _ in range(count):
            query = serf.query(
                "polity", wire.encode(Fetch(draws.id(), b"", 0)), filter_nodes=[node.name], timeout_s=1
            )
            assert query.next(5) is not None
            query.stop()
    grown = resident_kb(pid) / before_kb
    report.at_most(f"polity agent: resident after {count:,} queries, to before", grown, 1.05, "x")


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_hook(report: Report, rounds: int) -> None:
    """`polity-hook` answering a read, against starting Python with the two modules it cannot do without."""
    with tempfile.TemporaryDirectory() as folder:
        env = {
            **os.environ,
            "POLITY_STATE_DIR": folder,
            "POLITY_NAMESPACE": "polity",
            "SERF_EVENT": "query",
            "SERF_QUERY_NAME": "polity",
            "SERF_SELF_NAME": "n1",
        }
        payload = wire.encode(Read(bytes(8), b"", 0, ""))
        hook = [str(Path(sys.executable).parent / "polity-hook")]
        start = [sys.executable, "-c", "import sqlite3, msgpack"]
        times: dict[str, list[float]] = {"hook": [], "start": []}
        for turn in range(rounds + 3):
            for name, command in (("hook", hook), ("start", start)):
                began = time.perf_counter()
                done = subprocess.run(command, env=env, input=payload, capture_output=True, check=True)
                if turn >= 3:  # the first ones fill caches
                    times[name].append(time.perf_counter() - began)
                assert bool(done.stdout) == (name == "hook")
    report.ratio(
        "polity-hook, against `python3 -c 'import sqlite3, msgpack'`", times["hook"], times["start"], 1.3
    )


if __name__ == "__main__":
    main()
