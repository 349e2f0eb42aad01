"""The processes that vote, under everything that happens to processes: restarts, floods, signals, company."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgpack
import pytest

from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.tenure import VACANT
from polity_cli.devcluster import DevCluster, DevNode, wait_for
from polity_cli.edges import wire
from polity_cli.edges.serf_types import Done, Response
from polity_cli.polity import Polity
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import OK, UNFIT, ask, dump_all, found, register_of, wait_until_heard

ATTEMPT = b"attempt1"
POLITY = b"pol-ity1"


@contextmanager
def polity_agent(node: DevNode, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A `polity agent` beside whatever votes for the node, from when it votes."""
    with node.popen("agent", *args) as agent:
        assert agent.stderr is not None
        line = agent.stderr.readline()
        assert "voting as" in line, line
        yield agent


def end(agent: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
    """Exit code and last words of an agent that got this signal."""
    agent.send_signal(number)
    _, talk = agent.communicate(timeout=30)
    return agent.returncode, talk


# In company


def test_a_hook_and_an_agent_on_one_node_are_one_voter(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="hook"))
    with ExitStack() as stack:
        agents = [stack.enter_context(polity_agent(node)) for node in nodes.nodes]
        for number in range(5):
            holder = nodes.nodes[number % 3]
            won = ask(holder, "elect", "leader")
            assert (won.code, won.data["holder"], won.data["term"]) == (OK, holder.name, 2 * number + 1), won
            assert won.data["votes"]["population"] == 3
            recalled = ask(holder, "recall", "leader")
            assert (recalled.code, recalled.data["term"]) == (OK, 2 * number + 2), recalled
        for agent in agents:
            code, talk = end(agent)
            assert code == 0, talk
            assert "does not take the answer" not in talk, "the answers that came too late are no news"
    rows = ask(nodes["n1"], "voters").data["voters"]
    assert [(row["node"], row["enrolled"], row["answers"]) for row in rows] == [
        (node.name, True, True) for node in nodes.nodes
    ]


# Restarts


def test_the_agent_outlives_restarts_of_serf_and_goes_on_voting(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent"))
    voter = nodes["n3"].voter_pid
    for number in range(3):
        nodes["n3"].kill_serf()
        assert nodes["n3"].voter_pid == voter
        nodes.heal()
        # Of three voters all three are needed.
        won = ask(nodes["n1"], "elect", f"after restart {number}", "--timeout", "30")
        assert won.code == OK, won
        assert register_of(nodes["n3"], f"after restart {number}").accepted.round >= 0
    assert nodes["n3"].voter_pid == voter
    log = nodes["n3"].voter_log.read_text()
    assert log.count("voting as n3") == 4, log
    assert "trying again in" in log
    assert "Traceback" not in log


def test_an_agent_started_before_serf_waits_for_it(cluster: ClusterFactory) -> None:
    nodes = cluster(1, voters="none")
    node = nodes["n1"]
    node.kill()
    with node.popen("agent") as agent:
        assert agent.stderr is not None
        assert "trying again in" in agent.stderr.readline()
        node.start()
        wait_for(lambda: "voting as n1" in agent.stderr.readline(), 20, "the agent to vote")  # type: ignore[union-attr]
        assert end(agent)[0] == 0


# Signals, and what systemd hears


@pytest.mark.parametrize("kind", ["a path", "an abstract name"])
def test_systemd_hears_when_the_agent_is_ready_and_when_it_stops(
    cluster: ClusterFactory, tmp_path: Path, kind: str
) -> None:
    name = str(tmp_path / "notify") if kind == "a path" else f"@polity-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if name.startswith("@") else name)
        systemd.settimeout(20)
        nodes = cluster(1, voters="none", env={"NOTIFY_SOCKET": name})
        node = nodes["n1"]
        with node.popen("agent") as agent:
            assert systemd.recv(1000) == b"READY=1\nSTATUS=voting as n1"
            node.kill_serf()
            assert systemd.recv(1000).startswith(b"STATUS=serf is away: ")
            node.start()
            heard = b""
            while b"READY=1" not in heard:
                heard = systemd.recv(1000)
            code, _ = end(agent)
            assert code == 0
            while heard != b"STOPPING=1":
                heard = systemd.recv(1000)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_agent_ends_with_exit_code_0_on_a_signal(cluster: ClusterFactory, number: signal.Signals) -> None:
    node = cluster(1, voters="none")["n1"]
    with polity_agent(node) as agent:
        started = time.monotonic()
        code, talk = end(agent, number)
        assert code == 0, talk
        assert "stopped" in talk
        assert time.monotonic() - started < 10
    node.kill_serf()
    with node.popen("agent") as agent:  # without Serf it waits to try again, and ends all the same
        assert agent.stderr is not None
        agent.stderr.readline()
        assert end(agent, number)[0] == 0


def test_the_agent_takes_no_state_directory_for_an_answer(cluster: ClusterFactory, tmp_path: Path) -> None:
    node = cluster(1, voters="none")["n1"]
    (tmp_path / "file").write_text("")
    for folder in (str(tmp_path / "file" / "state"), "/proc/polity"):
        done = node.polity("agent", "--state-dir", folder, timeout_s=20)
        assert done.returncode == UNFIT, done
        assert folder in done.stderr
        assert "--state-dir" in done.stderr, "it says what to do"
        assert "Traceback" not in done.stderr


def test_sigterm_under_a_rain_of_queries_does_not_kill_serf(cluster: ClusterFactory) -> None:
    """An agent of Serf panics if a streaming client hangs up at the wrong instant: `serf_parting.py`."""
    nodes = found(cluster(3, voters="hook"))
    node, pid = nodes["n1"], nodes["n1"].serf_pid
    with rain(nodes):
        for number in range(12):
            with polity_agent(node) as agent:
                code, talk = end(agent)
                assert code == 0, talk
            assert node.serf_pid == pid, f"round {number}: {node.log_tail(40)}"
    assert "panic" not in node.serf_log.read_text()
    nodes.wait_for(lambda: ask(node, "elect", "dry again").code == OK, 60, "the rain to run off")


def test_a_library_that_votes_and_closes_under_a_rain_of_queries_does_not_kill_serf(
    cluster: ClusterFactory,
) -> None:
    nodes = found(cluster(3, voters="hook"))
    node, pid = nodes["n1"], nodes["n1"].serf_pid
    with rain(nodes):
        for number in range(12):
            with Polity.connect(node.rpc_addr, state_dir=str(node.state_dir)):
                pass
            assert node.serf_pid == pid, f"round {number}: {node.log_tail(40)}"


@contextmanager
def rain(nodes: DevCluster, *, clouds: int = 3) -> Iterator[None]:
    """So many questions are with every voter all the while: a new one comes when the last is answered."""
    stop = threading.Event()

    def pour() -> None:
        payload = wire.encode(m.Fetch(ATTEMPT, b"", 0))
        with nodes["n2"].serf() as serf:
            while not stop.is_set():
                answers = serf.query("polity", payload, timeout_s=1.0)
                for _ in nodes.nodes:
                    if not isinstance(answers.next(2.0), Response):
                        break
                answers.stop()

    threads = [threading.Thread(target=pour) for _ in range(clouds)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# Floods


def garbage(draw: random.Random) -> list[bytes]:
    """Payloads that no voter may react to."""
    read = m.Read(ATTEMPT, POLITY, 1, "leader")
    reply = m.Refusal(ATTEMPT, b"voter--1", POLITY, 1, b"", m.BEHIND)
    fixed = [
        b"",
        b"\n",
        b"deploy web 1.2.3",
        b'{"Event": "query"}',
        msgpack.packb({"version": 1}),
        msgpack.packb([wire.VERSION + 1, 1, ATTEMPT, POLITY, 1, "leader"]),  # a version to come
        msgpack.packb([wire.VERSION - 1, 1, ATTEMPT, POLITY, 1, "leader"]),  # and one gone by
        msgpack.packb([wire.VERSION, 99, ATTEMPT]),
        msgpack.packb([wire.VERSION, 1]),
        msgpack.packb([wire.VERSION, 1, ATTEMPT, POLITY, 1, "leader", "one field more"]),
        msgpack.packb([wire.VERSION, 1, ATTEMPT, POLITY, -1, "leader"]),
        msgpack.packb([True, 1, ATTEMPT, POLITY, 1, "leader"]),
        b"\xdd\xff\xff\xff\xff",  # an array of four thousand million items
        b"\x91" * 500,
        wire.encode(read)[:-3],
        wire.encode(read) + b"more",
        wire.encode(reply),
    ]
    return fixed + [draw.randbytes(draw.randrange(1, 400)) for _ in range(14)]


def test_garbage_is_never_answered_never_remembered_and_hardly_logged(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent"))
    assert ask(nodes["n1"], "elect", "leader").code == OK
    wait_until_heard(nodes, "leader", 1)
    before = dump_all(nodes)
    pids = [node.voter_pid for node in nodes.nodes]
    answers: list[Response] = []
    with nodes["n2"].serf() as serf:
        for payload in garbage(random.Random(1)):
            asked = serf.query("polity", payload, timeout_s=0.25)
            if len(payload) < 400:
                serf.event("polity", payload)
            while not isinstance(record := asked.next(10), Done):
                if isinstance(record, Response):
                    answers.append(record)
    assert answers == []
    assert [node.voter_pid for node in nodes.nodes] == pids
    assert dump_all(nodes) == before
    for node in nodes.nodes:
        lines = node.voter_log.read_text().splitlines()
        assert "makes no sense" in "\n".join(lines)
        assert len(lines) < 12, lines
        assert all(len(line) < 300 for line in lines), lines
    assert ask(nodes["n3"], "who", "leader").data["holder"] == "n1"


def test_well_formed_messages_of_strangers_are_refused_and_change_nothing(cluster: ClusterFactory) -> None:
    nodes = found(cluster(3, voters="agent"))
    assert ask(nodes["n1"], "elect", "leader").code == OK
    wait_until_heard(nodes, "leader", 1)
    before = dump_all(nodes)
    mine = bytes.fromhex(ask(nodes["n1"], "voters").data["polity"])
    ballot = ZERO._replace(round=2**62, proposer=ATTEMPT)
    usurper = VACANT.filled_by("n9", ATTEMPT)
    strange: list[tuple[m.Query, int]] = [
        (m.Prepare(ATTEMPT, POLITY, 1, "leader", ballot), m.OTHER_POLITY),
        (m.Accept(ATTEMPT, POLITY, 1, "leader", ballot, usurper), m.OTHER_POLITY),
        (m.Prepare(ATTEMPT, mine, 2, "leader", ballot), m.BEHIND),
        (m.Prepare(ATTEMPT, mine, 0, "leader", ballot), m.OLD_EPOCH),
        (m.Prepare(ATTEMPT, mine, 1, "leader", ballot), m.UNUSABLE),
        (m.Prepare(ATTEMPT, b"", 0, "", Ballot(9, ATTEMPT)), m.FOUNDED),
        (m.Stand(ATTEMPT, mine, 1, "", ZERO, VACANT, usurper, Ballot(9, ATTEMPT)), m.UNUSABLE),
    ]
    with nodes["n2"].serf() as serf:
        for query, reason in strange:
            asked = serf.query("polity", wire.encode(query), timeout_s=0.6)
            seen = {}
            while not isinstance(record := asked.next(10), Done):
                if isinstance(record, Response):
                    seen[record.node] = wire.decode_reply(record.payload)
            assert seen, query
            assert all(isinstance(r, m.Refusal) and r.reason == reason for r in seen.values()), (query, seen)
        serf.event("polity", wire.encode(m.Announce(POLITY, 1, "leader", ballot, usurper)))
        serf.event("polity", wire.encode(m.Announce(mine, 2, "leader", ballot, usurper)))
        serf.event("polity", wire.encode(m.Announce(mine, 1, "leader", ballot, usurper)))
    # Announcements have no answer; a question that every voter answers comes behind them.
    for node in nodes.nodes:
        assert ask(node, "who", "leader").data["holder"] == "n1"
    assert dump_all(nodes) == before
