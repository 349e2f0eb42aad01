"""Standard output and a command as sinks: whole lines, one command at a time, and what becomes of both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from polity_cli.edges.sinks import CommandSink, Gone, LineSink, Stopped, Undelivered
from polity_cli.edges.spool import RoleChange
from tests.watching import change, until


def line_of(change: RoleChange) -> str:
    return f"{change.role} {change.term}"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


# Lines.


def test_each_change_is_a_line(pipe: tuple[int, int]) -> None:
    sink = LineSink(pipe[1], line_of)
    sink.deliver(change("backup", 1))
    sink.deliver(change("primär", 2))
    assert os.read(pipe[0], 1000) == "backup 1\nprimär 2\n".encode()


def test_what_was_begun_is_ended_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    got, room = bytearray(), [5]

    def write(fd: int, data: bytes) -> int:
        taken = data[: room[0]]
        if not taken:
            raise OSError(28, os.strerror(28))
        got.extend(taken)
        room[0] -= len(taken)
        return len(taken)

    monkeypatch.setattr(os, "write", write)
    sink = LineSink(7, line_of)
    for other in (change("backup", 1), change("backup", 1)):
        with pytest.raises(Undelivered, match="No space left"):
            sink.deliver(other)
    room[0] = 10
    with pytest.raises(Undelivered):
        sink.deliver(change("primary", 3))
    room[0] = 1000
    sink.deliver(change("primary", 3))
    sink.deliver(change("backup", 1))
    assert got.decode().splitlines() == ["backup 1", "primary 3", "backup 1"]


def test_a_reader_that_is_gone_is_noticed_without_writing(pipe: tuple[int, int]) -> None:
    sink = LineSink(pipe[1], line_of)
    assert not sink.is_gone()
    os.close(pipe[0])
    assert sink.is_gone()
    with pytest.raises(Gone):
        sink.deliver(change())


def test_a_file_is_never_gone(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert not LineSink(file.fileno(), line_of).is_gone()


# A command.


class Commands:
    """Makes sinks whose lock is in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop = threading.Event()
        self.said: list[str] = []

    def sink(self, command: str, *, timeout_s: float = 20, kill_grace_s: float = 5) -> CommandSink:
        return CommandSink(
            command,
            timeout_s=timeout_s,
            lock_path=str(self.folder / "state.running"),
            stop=self.stop,
            say=self.said.append,
            kill_grace_s=kill_grace_s,
        )


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_the_command_is_told_all_and_its_standard_output_is_not_the_watchers(
    commands: Commands, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = '"$POLITY_ROLE,$POLITY_TERM,$POLITY_HOLDER,$POLITY_NODE"'
    sink = commands.sink(f"echo {words} >>{tmp_path}/told; echo loud; cat")
    sink.deliver(change("my role", 3, "n1"))
    sink.deliver(change("my role", 4, None))
    assert (tmp_path / "told").read_text() == "my role,3,n1,n9\nmy role,4,,n9\n"
    out, err = capfd.readouterr()
    assert (out, err) == ("", "loud\nloud\n")


@pytest.mark.parametrize(
    ("command", "why"),
    [("exit 3", "exit code 3"), ("kill -KILL $$", "signal 9"), ("/no/such/program", "exit code 127")],
)
def test_anything_but_0_is_no_delivery(commands: Commands, command: str, why: str) -> None:
    with pytest.raises(Undelivered, match=why):
        commands.sink(command).deliver(change())


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(
    commands: Commands, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    text = f"trap '' TERM; (trap '' TERM; echo $$ >>{pids}; sleep 60) & echo $! >>{pids}; sleep 60; sleep 60"
    with pytest.raises(Undelivered, match=r"more than 0\.5 s"):
        commands.sink(text, timeout_s=0.5, kill_grace_s=0.2).deliver(change())
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 2
    until(lambda: not any(is_running(pid) for pid in found), "all of them to be gone")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_to_stop_ends_a_command_that_runs(commands: Commands, tmp_path: Path) -> None:
    sink = commands.sink(
        f"trap 'echo ended >>{tmp_path}/told; exit 0' TERM; touch {tmp_path}/up; sleep 60 & wait"
    )
    ended: list[BaseException] = []

    def deliver() -> None:
        try:
            sink.deliver(change())
        except Stopped as error:
            ended.append(error)

    thread = threading.Thread(target=deliver)
    thread.start()
    until((tmp_path / "up").exists, "the command to start")
    commands.stop.set()
    thread.join(30)
    assert ended, "what was ended for that is not delivered"
    assert (tmp_path / "told").read_text() == "ended\n"


def test_one_at_a_time_also_after_the_watcher_was_killed(commands: Commands, tmp_path: Path) -> None:
    """What a killed watcher has started holds the lock until it ends."""
    up, go, told = tmp_path / "up", tmp_path / "go", tmp_path / "told"
    text = f"touch {up}; until test -e {go}; do sleep 0.02; done; echo $POLITY_TERM >>{told}"
    program = (
        "import sys, threading\n"
        "from polity_cli.edges.sinks import CommandSink\n"
        "from tests.watching import change\n"
        "sink = CommandSink(sys.argv[1], timeout_s=60, lock_path=sys.argv[2], "
        "stop=threading.Event(), say=print)\n"
        "sink.deliver(change(term=1))\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", program, text, str(tmp_path / "state.running")])
    until(up.exists, "the first command to start")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    thread = threading.Thread(target=commands.sink(text).deliver, args=(change(term=2),))
    thread.start()
    until(lambda: commands.said, "the second watcher to say that it waits")
    assert "fuser" in commands.said[0]
    assert not told.exists()
    go.touch()
    thread.join(30)
    assert told.read_text() == "1\n2\n"


def test_what_a_command_leaves_running_does_not_hold_up_the_next(commands: Commands, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    commands.sink(f"sleep 60 & echo $! >{pid}").deliver(change())
    left = int(pid.read_text())
    try:
        commands.sink("exit 0").deliver(change())
        assert is_running(left)
    finally:
        os.kill(left, signal.SIGKILL)
    assert commands.said == []


def test_a_lock_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    sink = CommandSink(
        "exit 0", timeout_s=1, lock_path=str(tmp_path / "no" / "lock"), stop=threading.Event(), say=print
    )
    with pytest.raises(Undelivered, match="No such file"):
        sink.deliver(change())


def test_a_name_that_no_environment_can_have_is_a_failure(commands: Commands) -> None:
    with pytest.raises(Undelivered, match="null byte"):
        commands.sink("exit 0").deliver(change(holder="n\0"))


def test_without_standard_error_its_number_is_not_used(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    commands.sink("echo loud; echo louder >&2").deliver(change())
    assert capfd.readouterr() == ("", "")
