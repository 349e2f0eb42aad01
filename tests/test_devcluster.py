"""The local cluster: it starts, its verbs do what they say, and nothing of it is ever left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from polity_cli.devcluster import DevCluster, DevNode, wait_for
from polity_cli.devcluster import lease as leases
from polity_cli.errors import BadInput, SerfError, SerfTimeout, Unfit

pytestmark = pytest.mark.serf

SLEEPER = (sys.executable, "-c", "import time; print('voting', flush=True); time.sleep(600)")


@pytest.fixture(scope="module")
def trio() -> Iterator[DevCluster]:
    """Three plain agents for the tests that break nothing."""
    with DevCluster(3, voters="none") as cluster:
        yield cluster


def gone(pid: int) -> bool:
    """Whether no process has this number, or only one that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def pids(node: DevNode) -> list[int | None]:
    return [node.serf_pid, node.voter_pid]


def serf_query(node: DevNode, name: str, payload: str = "") -> list[str]:
    """What the nodes answer to a query, by `serf query` itself."""
    command = ["serf", "query", "-format=json", "-timeout=1s", name, payload]
    shown = subprocess.run(command, env=node.env, capture_output=True, text=True, check=True, timeout=20)
    return [answer.strip() for answer in json.loads(shown.stdout)["Responses"].values()]


# Starting


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_node_sees_exactly_the_nodes_of_its_cluster_after_the_start(size: int) -> None:
    with DevCluster(size, voters="none") as cluster:
        names = [f"n{i}" for i in range(1, size + 1)]
        assert [node.name for node in cluster.nodes] == names
        for node in cluster.nodes:
            assert node.members() == dict.fromkeys(names, "alive")


def test_each_node_has_its_own_address_folder_and_state(trio: DevCluster) -> None:
    assert len({node.bind_addr for node in trio.nodes}) == 3
    assert all(node.rpc_addr.startswith("127.") for node in trio.nodes)
    for node in trio.nodes:
        assert node.folder == trio.folder / node.name
        assert node.state_dir.is_dir()
        assert "Serf agent running" in node.serf_log.read_text()
        assert node.env["SERF_RPC_ADDR"] == node.rpc_addr
        assert node.env["POLITY_STATE_DIR"] == str(node.state_dir)
    assert trio["n2"] is trio.nodes[1]
    with pytest.raises(KeyError, match="n1, n2, n3"):
        trio["n9"]


def test_two_clusters_do_not_meet(trio: DevCluster) -> None:
    with DevCluster(2, voters="none", name_prefix="m") as other:
        assert not {node.bind_addr for node in trio.nodes} & {node.bind_addr for node in other.nodes}
        assert set(other["m1"].members()) == {"m1", "m2"}
        assert set(trio["n1"].members()) == {"n1", "n2", "n3"}


def test_clusters_of_processes_that_start_at_once_do_not_collide() -> None:
    program = (
        "from polity_cli.devcluster import DevCluster\n"
        "with DevCluster(2, voters='none') as c: print(c['n1'].bind_addr); input()"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    addresses = [run.stdout.readline() for run in runs if run.stdout]
    for run in runs:
        run.communicate("\n", timeout=20)
    assert all(addresses)
    assert len(set(addresses)) == 4
    assert [run.returncode for run in runs] == [0, 0, 0, 0]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody listens on all addresses, as a Serf agent of the machine would."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


def test_ports_that_somebody_has_are_passed_over(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    monkeypatch.setattr(leases, "PORTS", (leases.Ports(taken_port, 7373), *leases.PORTS))
    with DevCluster(2, voters="none") as cluster:
        assert not cluster["n1"].bind_addr.endswith(f":{taken_port}")


def test_a_port_lost_between_trying_and_starting_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, taken_port: int
) -> None:
    really_free, asked = leases._free, []

    def free(address: str, ports: leases.Ports) -> bool:
        asked.append(ports)
        return len(asked) == 1 or really_free(address, ports)

    monkeypatch.setattr(leases, "PORTS", (leases.Ports(taken_port, 7373), *leases.PORTS))
    monkeypatch.setattr(leases, "_free", free)
    with DevCluster(1, voters="none") as cluster:
        assert cluster["n1"].running
    assert asked[:2] == [leases.PORTS[0]] * 2, "the first attempt was meant to find the port taken"


def test_a_missing_serf_is_said_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="serf") as caught:
        DevCluster(1, voters="none", env={"PATH": str(tmp_path)}).start()
    assert "RUNLEVEL=1 apt-get install serf" in caught.value.hint


def test_an_agent_that_dies_is_quoted() -> None:
    with pytest.raises(Unfit, match="Invalid log level: LOUD"):
        DevCluster(2, voters="none", log_level="loud").start()


@pytest.mark.parametrize("size", [0, -1, 251])
def test_a_size_that_cannot_be_is_bad_input(size: int) -> None:
    with pytest.raises(BadInput):
        DevCluster(size)


def test_the_temporary_folder_goes_and_a_given_one_stays(tmp_path: Path) -> None:
    with DevCluster(1, voters="none") as cluster:
        temporary = cluster.folder
        assert temporary.is_dir()
    assert not temporary.exists()
    with DevCluster(1, voters="none", folder=tmp_path / "kept") as cluster:
        pass
    assert (tmp_path / "kept" / "n1" / "serf.log").exists()


# The verbs


def test_a_killed_node_is_seen_as_failed_and_back_at_once_after_a_restart() -> None:
    with DevCluster(3, voters="none") as cluster:
        n1, n3 = cluster["n1"], cluster["n3"]
        n3.kill()
        assert not n3.running
        assert cluster.running == [n1, cluster["n2"]]
        cluster.wait_converged(timeout_s=20)
        assert n1.members()["n3"] == "failed"
        n3.start()
        began = time.monotonic()
        cluster.wait_converged(timeout_s=20)
        assert time.monotonic() - began < 5, "Serf's own reconnect takes half a minute"


def test_a_cluster_that_was_killed_as_a_whole_finds_itself_again() -> None:
    with DevCluster(3, voters="none") as cluster:
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        cluster.wait_converged(timeout_s=10)
        assert cluster["n1"].members() == dict.fromkeys(["n1", "n2", "n3"], "alive")


def test_a_paused_node_does_not_run_until_it_is_resumed() -> None:
    with DevCluster(3, voters="none") as cluster:
        n2 = cluster["n2"]
        n2.pause()
        assert not n2.running
        assert n2.serf_pid is not None
        cluster.wait_converged(timeout_s=20)
        assert cluster["n1"].members()["n2"] == "failed"
        n2.resume()
        cluster.wait_converged(timeout_s=20)
        assert cluster["n1"].members()["n2"] == "alive"


def test_leaving_is_told_to_the_others_and_sigterm_is_not() -> None:
    with DevCluster(3, voters="none") as cluster:
        cluster["n2"].leave()
        cluster["n3"].terminate()
        wait_for(lambda: cluster["n1"].members()["n2"] == "left", 5, "n1 to see n2 leave")
        wait_for(lambda: cluster["n1"].members()["n3"] == "failed", 20, "n1 to see n3 fail")
        cluster.heal()
        assert len(cluster.running) == 3


def test_a_further_node_joins() -> None:
    with DevCluster(1, voters="none") as cluster:
        added = cluster.add_node()
        cluster.wait_converged(timeout_s=5)
        assert added.name == "n2"
        assert cluster["n1"].members() == {"n1": "alive", "n2": "alive"}


def test_a_node_started_by_a_thread_outlives_the_thread() -> None:
    with DevCluster(1, voters="none") as cluster:
        thread = threading.Thread(target=cluster["n1"].restart)
        thread.start()
        thread.join()
        assert cluster["n1"].members() == {"n1": "alive"}


def test_waiting_ends_at_its_limit_and_says_for_what() -> None:
    with pytest.raises(SerfTimeout, match=r"waited 0\.05 s for the moon; there was a cloud"):
        wait_for(lambda: False, 0.05, "the moon", seen=lambda: "there was a cloud")
    assert wait_for(lambda: "moon", 0, "the moon") == "moon"


def test_waiting_in_vain_for_the_members_says_who_sees_whom(trio: DevCluster) -> None:
    with DevCluster(1, voters="none", name_prefix="lone") as other:
        trio["n1"].join([other["lone1"].bind_addr])
        with pytest.raises(SerfTimeout, match="lone1 sees lone1 n1 n2 n3"):
            other.wait_converged(timeout_s=1)
        other["lone1"].leave()
    wait_for(lambda: trio["n1"].members()["lone1"] == "left", 5, "the guest to leave")


# Voters


def test_the_handler_answers_for_every_node_with_that_nodes_state_directory() -> None:
    with DevCluster(3, handler='echo "$POLITY_STATE_DIR $POLITY_NAMESPACE"', namespace="red") as cluster:
        wanted = {f"{node.state_dir} red" for node in cluster.nodes}
        # Now and then a query misses a node, so it may have to be asked again.
        answers: set[str] = set()

        def complete() -> bool:
            answers.update(serf_query(cluster["n1"], "red"))
            return answers == wanted

        wait_for(complete, 10, "an answer of every node", seen=lambda: f"{answers}, not {wanted}")
        assert serf_query(cluster["n1"], "polity") == []


def test_a_node_with_its_own_kind_of_voter_has_the_tag_of_a_voter_only_if_it_votes(tmp_path: Path) -> None:
    with DevCluster(1, voters="agent", agent_command=SLEEPER, folder=tmp_path) as cluster:
        cluster.add_node(voters="none")
        tags = [json.loads((tmp_path / name / "serf.json").read_text()).get("tags") for name in ("n1", "n2")]
        assert tags == [{"polity": "voter"}, None]
        assert cluster["n1"].voter_pid is not None
        assert cluster["n2"].voter_pid is None


def test_agent_and_voter_are_killed_and_started_apart() -> None:
    with DevCluster(1, voters="agent", agent_command=SLEEPER) as cluster:
        node = cluster["n1"]
        wait_for(lambda: node.voter_log.read_text() == "voting\n", 10, "the voter to start")
        first = pids(node)
        node.kill_serf()
        assert pids(node) == [None, first[1]]
        node.start()
        second = pids(node)
        assert second[1] == first[1]
        node.kill_voter()
        assert pids(node) == [second[0], None]
        node.start_voter()
        third = pids(node)
        assert third[0] == second[0]
        assert third[1] not in (None, second[1])
        node.pause_voter()
        assert node.running
        node.kill()
        assert pids(node) == [None, None]


def test_a_voter_is_asked_to_end_before_its_agent() -> None:
    program = (
        "import signal, subprocess, sys\n"
        "print('voting', flush=True)\n"
        "signal.sigwait({signal.SIGTERM})\n"
        "subprocess.run(['serf', 'members', '-name=n1'])\n"
    )
    command = (sys.executable, "-c", "import signal\nsignal.pthread_sigmask(0, {15})\n" + program)
    with DevCluster(1, voters="agent", agent_command=command) as cluster:
        node = cluster["n1"]
        wait_for(lambda: "voting" in node.voter_log.read_text(), 10, "the voter to start")
        node.terminate()
        assert "alive" in node.voter_log.read_text()
        assert pids(node) == [None, None]


def test_an_agent_with_a_token_answers_only_those_who_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with DevCluster(2, voters="none", rpc_auth="secret") as cluster:
        node = cluster["n1"]
        assert set(node.members()) == {"n1", "n2"}
        assert node.env["SERF_RPC_AUTH"] == "secret"
        assert (node.folder / "serf.json").stat().st_mode & 0o077 == 0
        refused = subprocess.run(
            ["serf", "members"], env=node.env | {"SERF_RPC_AUTH": ""}, capture_output=True, timeout=20
        )
        assert refused.returncode != 0


def test_the_developers_own_settings_do_not_leak(monkeypatch: pytest.MonkeyPatch, trio: DevCluster) -> None:
    monkeypatch.setenv("SERF_RPC_AUTH", "mine")
    monkeypatch.setenv("POLITY_CONFIG", "/mine")
    monkeypatch.setenv("POLITY_STATE_DIR", "/mine")
    env = trio["n1"].env
    assert "mine" not in env.values()
    assert "/mine" not in env.values()
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


INTERPRETER = """#!/bin/sh
[ "$3" != hang ] || sleep 600
echo "$* $SERF_RPC_ADDR"
echo talk >&2
exit 3
"""


def test_a_command_runs_on_its_node_and_ends_at_its_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trio: DevCluster
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(INTERPRETER)
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setenv("MARK", mark := str(uuid.uuid4()))
    node = trio["n2"]
    done = node.polity("who", "a role")
    assert (done.returncode, done.stderr) == (3, "talk\n")
    assert done.stdout == f"-m polity_cli who a role {node.rpc_addr}\n"
    with pytest.raises(subprocess.TimeoutExpired):
        node.polity("hang", timeout_s=0.2)
    with node.popen("hang") as command:
        wait_for(lambda: marked(mark), 5, "the command to run")
        assert command.poll() is None
    wait_for(lambda: not marked(mark), 5, "what the commands started to end")


def test_a_silent_agent_is_a_serf_error() -> None:
    with DevCluster(1, voters="none") as cluster:
        cluster["n1"].kill()
        with pytest.raises(SerfError):
            cluster["n1"].members()


# Nothing stays behind

HANGING_HOOK = 'echo > "$POLITY_STATE_DIR/asked"; sleep 600'

# A voter that hangs, a hook that hangs, and a node that stands still: all that could be left.
RUN = f"""
import signal, subprocess, sys
from polity_cli.devcluster import DevCluster, wait_for
# Whoever runs the tests may ignore these, as a shell does for what it puts into the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with DevCluster(2, handler={HANGING_HOOK!r}) as cluster:
    voting = cluster.add_node(voters="agent")
    n1 = cluster["n1"]
    ask = ["serf", "query", "-node=n1", "-timeout=50ms", "polity"]
    subprocess.run(ask, env=n1.env, stdout=subprocess.DEVNULL)
    wait_for((n1.state_dir / "asked").exists, 10, "the hook to hang")
    cluster["n2"].pause()
    print(cluster.folder, flush=True)
    if sys.argv[1] == "raise":
        raise ValueError("on purpose")
    if sys.argv[1] != "return":
        signal.pause()
"""


def marked(mark: str) -> list[str]:
    """The command lines of all processes whose environment has the mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.parametrize("way", ["return", "raise", "SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_nothing_is_left_whichever_way_the_owner_ends(way: str) -> None:
    mark = f"MARK={uuid.uuid4()}"
    program = RUN.replace("DevCluster(2,", f"DevCluster(2, agent_command={SLEEPER!r},")
    env = dict(os.environ) | dict([mark.split("=")])
    owner = subprocess.Popen(
        [sys.executable, "-c", program, way],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert folder.is_absolute(), "the owner was meant to get as far as naming its folder"
        if way.startswith("SIG"):
            # The owner, guard, three agents, voter, and a hook: its shell and its sleep.
            wait_for(lambda: len(marked(mark)) == 8, 5, "all to run", seen=lambda: str(marked(mark)))
            assert folder.is_dir()
            # To the group, as a terminal does.
            os.killpg(owner.pid, signal.Signals[way])
        owner.communicate(timeout=20)
        assert {"return": 0, "raise": 1}.get(way, -getattr(signal, way, 0)) == owner.returncode
        wait_for(lambda: not marked(mark), 5, "everything to end", seen=lambda: "; ".join(marked(mark)))
        wait_for(lambda: not folder.exists(), 5, "the folder to go")
    finally:
        owner.kill()
        owner.communicate()


def test_nothing_is_left_when_the_owner_is_killed_while_it_starts(tmp_path: Path) -> None:
    program = (
        "from polity_cli.devcluster import DevCluster\n"
        "print('now', flush=True)\n"
        "DevCluster(5, voters='none').start()"
    )
    seen = set()
    for delay_ms in range(0, 60, 4):
        mark = f"MARK={uuid.uuid4()}"
        env = dict(os.environ) | dict([mark.split("=")]) | {"TMPDIR": str(tmp_path)}
        owner = subprocess.Popen(
            [sys.executable, "-c", program],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert owner.stdout is not None
        assert owner.stdout.readline() == "now\n"
        # Not to wait for something: the delay is what is varied.
        time.sleep(delay_ms / 1000)
        seen.add(len(marked(mark)))
        owner.kill()
        owner.communicate()
        wait_for(lambda mark=mark: not marked(mark), 5, f"everything to end, killed after {delay_ms} ms")  # type: ignore[misc]
    wait_for(lambda: not list(tmp_path.iterdir()), 5, "the folders to go")
    assert len(seen) > 2, "the owner was meant to be killed at different points of its start"


def test_the_handlers_of_a_killed_agent_end_with_it() -> None:
    handler = (
        'echo $$ > "$POLITY_STATE_DIR/pid"; mv "$POLITY_STATE_DIR/pid" "$POLITY_STATE_DIR/hook"; sleep 600'
    )
    with DevCluster(1, handler=handler) as cluster:
        node = cluster["n1"]
        serf_query(node, "polity")
        wait_for((node.state_dir / "hook").exists, 10, "the handler to run")
        hook = int((node.state_dir / "hook").read_text())
        assert not gone(hook)
        node.kill_serf()
        wait_for(lambda: gone(hook), 5, "the handler to end")


def test_a_failed_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    mark = f"MARK={uuid.uuid4()}"
    cluster = DevCluster(2, voters="agent", agent_command=["no-such-voter"], env=dict([mark.split("=")]))
    with pytest.raises(Unfit, match="no-such-voter"):
        cluster.start()
    assert marked(mark) == []
    assert list(tmp_path.iterdir()) == []
    cluster.stop()
