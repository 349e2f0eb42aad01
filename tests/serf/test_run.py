"""`polity run` on real agents: one command, while the role is held, whoever is killed, stopped or cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from polity_cli.cli.shapes import mismatches
from polity_cli.devcluster import DevCluster, DevNode, wait_for
from tests.serf.conftest import ClusterFactory
from tests.serf.verbs import NO, NO_QUORUM, OK, VACANT, ask, found

LOST = 122
USAGE = 2
TIGHT = ("--check", "0.5", "--grace", "3", "--kill-grace", "1")


@pytest.fixture
def nodes(cluster: ClusterFactory) -> DevCluster:
    return found(cluster(3, voters="agent"))


@contextmanager
def running(node: DevNode, *args: str) -> Iterator[subprocess.Popen[str]]:
    """`polity run ARGS` on a node, killed at the end if it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "polity_cli", "run", *args],
        env=node.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str], timeout_s: float = 40) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def clock(path: Path) -> tuple[str, ...]:
    """A command that writes its process id, and then that it lives; it does not hear TERM."""
    return (
        "/bin/sh",
        "-c",
        f"trap '' TERM; touch {path}.alive; echo $$ >{path}; "
        f"while :; do touch {path}.alive; sleep 0.05; done",
    )


def pid_in(path: Path) -> int:
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"), 20, "the command to start")
    return int(path.read_text())


def last_alive(path: Path) -> float:
    """When the command showed last that it lived, once it does no more."""
    seen = Path(f"{path}.alive")

    def is_still() -> bool:
        before = seen.stat().st_mtime
        time.sleep(0.4)
        return seen.stat().st_mtime == before

    wait_for(is_still, 30, "the command to end")
    return seen.stat().st_mtime


def leash_of(run: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    for child in children:
        if b"polity_cli.leash" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError(f"no leash among {children}")


def test_a_command_runs_in_its_term_and_its_exit_code_is_kept(nodes: DevCluster, tmp_path: Path) -> None:
    n1, n2, _ = nodes.nodes
    report = tmp_path / "report"
    text = 'echo "$POLITY_ROLE $POLITY_TERM $POLITY_NODE"; exit 7'
    with running(n1, "job", "--report", str(report), "--", "/bin/sh", "-c", text) as run:
        assert end(run) == (7, "job 1 n1\n", "")
    told = json.loads(report.read_text())
    assert mismatches(told) == []
    assert (told["outcome"], told["term"], told["exit_code"], told["given_back"]) == ("ran", 1, 7, True)
    assert ask(n2, "who", "job").code == VACANT
    with running(n2, "job", "--keep", "--", "/bin/sh", "-c", "kill -TERM $$") as run:
        assert end(run)[0] == 128 + signal.SIGTERM
    kept = ask(n1, "who", "job").data
    assert (kept["holder"], kept["term"]) == ("n2", 3)
    with running(n2, "job", "--", "/bin/sh", "-c", "echo $POLITY_TERM") as run:
        assert end(run) == (0, "3\n", ""), "what is held already is run in the same term"
    for program, code in (("none-such", 127), ("/etc/passwd", 126)):
        with running(n1, "job", "--", program) as run:
            ended, _, err = end(run)
        assert (ended, err.count(program)) == (code, 1)
        assert ask(n2, "who", "job").code == VACANT


def test_one_runs_and_others_are_told_or_stand_by(nodes: DevCluster, tmp_path: Path) -> None:
    n1, n2, _ = nodes.nodes
    started = tmp_path / "started"
    with running(n1, "job", "--", *clock(started)) as first:
        pid_in(started)
        with running(n2, "job", "--", "true") as other:
            code, _, err = end(other)
        assert (code, "n1 holds job (term 1)" in err) == (NO, True)
        with running(n2, "job", "--conflict-exit-code", "0", "--", "false") as other:
            assert end(other) == (0, "", "")
        with running(n1, "job", "--", "true") as twin:
            code, _, err = end(twin)
        assert (code, "another `polity run` of job is under way on n1" in err) == (NO, True)
        with running(n2, "job", "--wait", "--check", "0.5", "--", "/bin/sh", "-c", "echo mine") as waiting:
            assert waiting.stderr is not None
            assert waiting.stderr.readline() == "polity: standing by for job: n1 holds job (term 1)\n"
            first.send_signal(signal.SIGINT)
            os.kill(pid_in(started), signal.SIGKILL)
            assert end(first)[0] == 128 + signal.SIGKILL
            code, out, _ = end(waiting)
            assert (code, out) == (0, "mine\n")


def test_a_recall_ends_the_command_soon(nodes: DevCluster, tmp_path: Path) -> None:
    n1, n2, _ = nodes.nodes
    started, report = tmp_path / "started", tmp_path / "report"
    with running(n1, "job", "--kill-grace", "1", "--report", str(report), "--", *clock(started)) as run:
        pid_in(started)
        assert ask(n2, "recall", "job").code == OK
        recalled = time.time()
        code, _, err = end(run)
    assert code == LOST
    assert "n1 has lost job (term 1): it is vacant (term 2). The command is ended" in err
    # Its voter heard of it: it did not take until the next question, and it did not hear TERM.
    assert last_alive(started) - recalled < 4.0
    told = json.loads(report.read_text())
    assert (told["outcome"], told["given_back"]) == ("lost", False)


def test_without_a_quorum_the_command_ends_in_time(nodes: DevCluster, tmp_path: Path) -> None:
    n1, n2, n3 = nodes.nodes
    started = tmp_path / "started"
    with running(n1, "job", *TIGHT, "--timeout", "4", "--", *clock(started)) as run:
        pid_in(started)
        n2.kill()
        n3.kill()
        killed = time.time()
        assert run.stderr is not None
        assert "nobody confirms that n1 still holds job" in run.stderr.readline()
        code, _, err = end(run)
        assert code == LOST
        assert "n1 has lost job (term 1): no quorum has confirmed it for 3 s" in err
        assert "job (term 1) is not given back yet: no quorum for job" in err
    # A question that was under way when they died may still have been answered.
    assert last_alive(started) - killed < 3 + 1 + 1
    assert ask(n1, "who", "job", "--cached").data["holder"] == "n1", "nobody was there to take it back"


@pytest.mark.parametrize("victim", ["runner", "runner and leash"])
@pytest.mark.parametrize("voters", ["agent", "hook"])
def test_whoever_is_killed_the_command_ends_and_the_role_is_given_back(
    cluster: ClusterFactory, tmp_path: Path, victim: str, voters: str
) -> None:
    n1, n2, _ = found(cluster(3, voters=voters, env={"POLITY_TEND": "2"})).nodes
    started = tmp_path / "started"
    with running(n1, "job", "--kill-grace", "1", "--", *clock(started)) as run:
        pid_in(started)
        if victim == "runner and leash":
            os.kill(leash_of(run), signal.SIGKILL)
        run.kill()
        killed = time.time()
        assert last_alive(started) - killed < 3.0
        if (voters, victim) == ("hook", "runner and leash"):
            # A hook does not look again at what was written a moment ago.
            for path in Path(n1.state_dir).glob("*.run"):
                os.utime(path, (killed - 60, killed - 60))
        wait_for(lambda: ask(n2, "who", "job").code == VACANT, 30, "the role to be given back")
        if voters == "agent":
            left = list(Path(n1.state_dir).glob("*.run"))
            wait_for(lambda: all(path.read_bytes() == b"" for path in left), 20, "the agent to clear up")


def test_a_runner_that_sleeps_does_not_keep_its_command_running(nodes: DevCluster, tmp_path: Path) -> None:
    n1, n2, _ = nodes.nodes
    started = tmp_path / "started"
    with running(n1, "job", *TIGHT, "--", *clock(started)) as run:
        pid_in(started)
        run.send_signal(signal.SIGSTOP)
        stopped = time.time()
        assert last_alive(started) - stopped < 3 + 1 + 1
        run.send_signal(signal.SIGCONT)
        code, _, err = end(run)
        assert code == LOST
        assert "no quorum has confirmed it for 3 s" in err
    assert ask(n2, "who", "job").code == VACANT


def test_a_command_is_ended_by_signals_to_the_runner_and_the_role_given_back(
    nodes: DevCluster, tmp_path: Path
) -> None:
    n1, n2, _ = nodes.nodes
    up = tmp_path / "up"
    text = f"trap 'exit 9' TERM; echo $$ >{up}; while :; do sleep 0.05; done"
    with running(n1, "job", "--", "/bin/sh", "-c", text) as run:
        pid_in(up)
        run.send_signal(signal.SIGTERM)
        assert end(run)[0] == 9
    assert ask(n2, "who", "job").code == VACANT


def test_whoever_asks_to_stop_before_the_start_gets_no_start(nodes: DevCluster, tmp_path: Path) -> None:
    n1, n2, n3 = nodes.nodes
    n2.kill()
    n3.kill()
    started = tmp_path / "started"
    with running(n1, "job", "--timeout", "4", "--", *clock(started)) as run:
        code, _, err = end(run)
        assert code in (NO_QUORUM, 6), err
    with running(n1, "job", "--wait", "--", *clock(started)) as run:
        assert run.stderr is not None
        assert run.stderr.readline().startswith("polity: standing by for job: ")
        run.send_signal(signal.SIGTERM)
        assert end(run)[0] == 128 + signal.SIGTERM
    assert not started.exists()


def test_bounds_that_cannot_hold_are_refused(nodes: DevCluster) -> None:
    with running(nodes["n1"], "job", "--check", "5", "--grace", "6", "--", "true") as run:
        code, _, err = end(run)
    assert code == USAGE
    assert "leaves no room for a confirmation every 5 s" in err
    with running(nodes["n1"], "job") as run:
        assert end(run)[0] == USAGE


def test_resigning_gives_back_what_this_node_holds_and_nothing_else(nodes: DevCluster) -> None:
    n1, n2, _ = nodes.nodes
    assert ask(n1, "elect", "job").code == OK
    other = ask(n2, "resign", "job")
    assert (other.code, other.data["outcome"], other.data["holder"]) == (NO, "guard", "n1")
    assert other.data["error"] == "n1 holds job (term 1), so n2 has nothing to give back"
    assert ask(n1, "resign", "job", "--term", "9").code == NO
    done = ask(n1, "resign", "job", "--term", "1")
    assert mismatches(done.data) == []
    assert (done.code, done.data["outcome"], done.data["term"]) == (OK, "resigned", 2)
    assert ask(n1, "resign", "job").code == VACANT


def test_a_slot_is_had_once_in_the_whole_cluster_however_short_it_is(
    nodes: DevCluster, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    line = ("job", "--slot", "* * * * *", "--", "/bin/sh", "-c", f'echo "$POLITY_SLOT $POLITY_NODE" >>{runs}')
    codes = []
    for _ in range(2):
        with ExitStack() as stack:
            cron = [stack.enter_context(running(node, *line)) for node in nodes.nodes]
            codes += [end(run)[0] for run in cron]
    # A minute may have begun in between; no minute has two.
    slots = [text.split()[0] for text in runs.read_text().splitlines()]
    assert len(slots) == len(set(slots)) == codes.count(OK) >= 1, (slots, codes)
    assert set(codes) <= {OK, NO}, codes
    n1, n2, _ = nodes.nodes
    who = ask(n1, "who", "job")
    assert (who.code, who.data["slot"]) == (VACANT, slots[-1])
    assert ask(n1, "recall", "job").code == VACANT
    assert ask(n2, "who", "job").data["slot"] == slots[-1]


def test_slots_of_one_s_own_come_in_order_and_are_not_waited_for(nodes: DevCluster, tmp_path: Path) -> None:
    n1, n2, _ = nodes.nodes
    for node, slot, code in (
        (n1, "2026-W9", OK),
        (n2, "2026-W9", NO),
        (n2, "2026-W48", OK),
        (n1, "2026-W10", NO),
    ):
        with running(node, "job", "--wait", "--slot-id", slot, "--", "true") as run:
            ended, _, err = end(run)
        assert (ended, "was filled for the slot" in err) == (code, code == NO), (slot, err)
    started, report = tmp_path / "started", tmp_path / "report"
    with running(
        n1, "job", "--slot-id", "2027-W1", "--report", str(report), *TIGHT, "--", *clock(started)
    ) as run:
        pid_in(started)
        with running(n2, "job", "--wait", "--slot-id", "2027-W1", "--", "true") as other:
            code, _, err = end(other)
        assert (code, "n1 holds it" in err) == (NO, True), err
        with running(n2, "job", "--slot-id", "2027-W2", "--", "true") as later:
            code, _, err = end(later)
        assert (code, "n1 holds job" in err) == (NO, True), err
        run.send_signal(signal.SIGKILL)
        end(run)
    # Killed in the middle: that slot was had, and the next one may follow at once.
    wait_for(lambda: ask(n2, "who", "job").code == VACANT, 30, "the role to be given back")
    for slot, code in (("2027-W1", NO), ("2027-W2", OK)):
        with running(n1, "job", "--slot-id", slot, "--report", str(report), "--", "true") as run:
            assert end(run)[0] == code
        told = json.loads(report.read_text())
        assert mismatches(told) == []
        assert (told["slot"], told["exit_code"]) == (slot, code)


def test_what_a_killed_run_left_held_does_not_keep_its_node_from_the_next_slot(nodes: DevCluster) -> None:
    n1, n2, _ = nodes.nodes
    held = ask(n1, "elect", "job").data
    with running(n1, "job", "--slot-id", "7", "--", "/bin/sh", "-c", "echo $POLITY_TERM") as run:
        code, out, _ = end(run)
    assert (code, int(out)) == (OK, held["term"] + 2)
    with running(n2, "job", "--slot-id", "7", "--", "true") as run:
        assert end(run)[0] == NO


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--slot", "0 3 * *"), "not the times of a cron line"),
        (("--slot-id", "a b"), "not a slot"),
        (("--slot-id", "7", "--keep"), "exclude each other"),
        (("--slot-id", "7", "--slot", "* * * * *"), "exclude each other"),
    ],
)
def test_slots_that_make_no_sense_are_refused_before_anything_is_asked(
    nodes: DevCluster, words: tuple[str, ...], what: str
) -> None:
    with running(nodes["n1"], "job", *words, "--", "true") as run:
        code, _, err = end(run)
    assert (code, what in err) == (USAGE, True), err
