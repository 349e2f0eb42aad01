"""The leash: a command that runs as long as somebody says so, and no longer, whoever is killed or sleeps."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from polity_cli.leash import boottime_s

PATIENCE_S = 10.0

Start = Callable[..., "Runner"]


class Runner:
    """What `polity run` is to a leash: orders, news, and the lock that goes with them."""

    def __init__(self, folder: Path, argv: list[str], *, kill_grace_s: float = 5.0) -> None:
        orders, self.orders = os.pipe()
        self.news, news = os.pipe()
        self.lock_path = folder / "lock"
        lock = os.open(self.lock_path, os.O_RDWR | os.O_CREAT)
        self.given_back = folder / "given-back"
        give_back = ["-c", f"import os; os.close(os.open({str(self.given_back)!r}, os.O_CREAT))"]
        self._heard = b""
        self.leash = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "polity_cli.leash",
                f"{orders},{news},{lock}",
                str(kill_grace_s),
                json.dumps(give_back),
                *argv,
            ],
            pass_fds=(orders, news, lock),
            process_group=0,
        )
        for fd in (orders, news, lock):
            os.close(fd)

    def order(self, line: str) -> None:
        os.write(self.orders, line.encode() + b"\n")

    def go(self, for_s: float = 60.0) -> int:
        """Let the command start; its process id."""
        self.order(f"until {boottime_s() + for_s}")
        self.order("go")
        return int(self.next("started"))

    def next(self, word: str) -> str:
        """What the next line says, which must begin with this word."""
        until = time.monotonic() + PATIENCE_S
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self.news], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self.news, 4096) if ready else b""
            assert data, f"{word} is not told; so far {self._heard!r}"
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        said, _, rest = line.decode().partition(" ")
        assert said == word, line
        return rest

    def ended(self) -> int:
        return os.waitstatus_to_exitcode(int(self.next("ended")))

    def vanish(self) -> None:
        """As if this process were killed."""
        os.close(self.orders)
        os.close(self.news)
        self.orders = self.news = -1

    def close(self) -> None:
        for fd in (self.orders, self.news):
            with suppress(OSError):
                os.close(fd)
        self.leash.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    runners: list[Runner] = []

    def make(*argv: str, **options: float) -> Runner:
        runners.append(Runner(tmp_path, list(argv), **options))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()


def shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_alive(pid: int) -> bool:
    """False for a zombie too: it runs no more."""
    return _state_of(pid) not in ("", "Z")


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while is_alive(pid):
        assert time.monotonic() < until, f"{pid} lives on"
        time.sleep(0.01)


def written(path: Path) -> str:
    """What a command writes there, once it has."""
    until = time.monotonic() + PATIENCE_S
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < until, f"{path} is not written"
        time.sleep(0.01)
    return path.read_text().strip()


@pytest.mark.parametrize(("text", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
def test_how_the_command_ends_is_told(start: Start, text: str, code: int) -> None:
    runner = start(*shell(text))
    runner.go()
    assert runner.ended() == code
    runner.order("done")
    runner.leash.wait(PATIENCE_S)
    assert not runner.given_back.exists(), "whoever says `done` has given the role back"


@pytest.mark.parametrize(("program", "number"), [("/none/such", 2), ("/etc/passwd", 13)])
def test_what_cannot_be_started_is_told(start: Start, program: str, number: int) -> None:
    runner = start(program)
    runner.order(f"until {boottime_s() + 60}")
    runner.order("go")
    assert int(runner.next("failed")) == number
    runner.order("done")


def test_nothing_starts_before_it_is_told_to(start: Start, tmp_path: Path) -> None:
    runner = start(*shell(f"touch {tmp_path}/started"))
    runner.order(f"until {boottime_s() + 60}")
    runner.order("done")
    runner.leash.wait(PATIENCE_S)
    assert not (tmp_path / "started").exists()


def test_the_command_is_ended_at_the_deadline_and_not_before_it_is_put_off(start: Start) -> None:
    runner = start("/bin/sleep", "60")
    pid = runner.go(for_s=1.0)
    until_s = boottime_s() + 2.0
    runner.order(f"until {until_s}")
    assert runner.next("stopping") == ""
    assert until_s <= boottime_s() < until_s + 1.0
    assert runner.ended() == -signal.SIGTERM
    assert not is_alive(pid)


def test_a_command_deaf_to_term_is_killed_with_all_it_started(start: Start, tmp_path: Path) -> None:
    text = f"trap '' TERM; (trap '' TERM; sleep 60) & echo $! >{tmp_path}/child; wait; sleep 60"
    runner = start(*shell(text), kill_grace_s=0.5)
    runner.go()
    child = int(written(tmp_path / "child"))
    began_s = boottime_s()
    runner.order("stop")
    assert runner.ended() == -signal.SIGKILL
    assert 0.5 <= boottime_s() - began_s < 3.0
    wait_until_gone(child)


def test_what_a_command_leaves_behind_ends_with_it(start: Start, tmp_path: Path) -> None:
    runner = start(*shell(f"sleep 60 & echo $! >{tmp_path}/child"))
    runner.go()
    assert runner.ended() == 0
    wait_until_gone(int(written(tmp_path / "child")))


def test_a_stopped_command_is_ended_too(start: Start) -> None:
    runner = start("/bin/sleep", "60", kill_grace_s=30.0)
    os.kill(runner.go(), signal.SIGSTOP)
    runner.order("stop")
    assert runner.ended() == -signal.SIGTERM


def test_a_command_put_to_sleep_from_the_terminal_is_woken(start: Start) -> None:
    runner = start("/bin/sleep", "60")
    pid = runner.go()
    os.kill(pid, signal.SIGTSTP)
    until = time.monotonic() + PATIENCE_S
    while _state_of(pid) != "T":
        assert time.monotonic() < until - PATIENCE_S / 2, "it was never put to sleep"
    while _state_of(pid) == "T":
        assert time.monotonic() < until, "it sleeps on"
        time.sleep(0.01)


def test_what_was_ignored_before_stays_so(tmp_path: Path) -> None:
    show = f"grep -E '^SigIgn' /proc/self/status >{tmp_path}/seen"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        runner = Runner(tmp_path, list(shell(show)))
    finally:
        signal.signal(signal.SIGHUP, before)
    runner.go()
    assert runner.ended() == 0
    runner.close()
    ignored = int((tmp_path / "seen").read_text().split()[1], 16)
    assert ignored & 1 << (signal.SIGHUP - 1)
    assert not ignored & 1 << (signal.SIGTERM - 1)


def test_signals_reach_all_of_the_group(start: Start, tmp_path: Path) -> None:
    trap = f"trap 'echo inner >>{tmp_path}/heard; exit' USR1; echo in >{tmp_path}/in"
    inner = f"{trap}; while :; do sleep 0.05; done"
    text = (
        f"sh -c \"{inner}\" & trap 'wait; exit 3' USR1; echo up >{tmp_path}/up; while :; do sleep 0.05; done"
    )
    runner = start(*shell(text))
    runner.go()
    written(tmp_path / "up")
    written(tmp_path / "in")
    runner.order(f"signal {signal.SIGUSR1.value}")
    assert runner.ended() == 3
    assert written(tmp_path / "heard") == "inner"


def test_when_the_runner_is_gone_the_command_is_ended_and_the_role_given_back(start: Start) -> None:
    runner = start("/bin/sleep", "60")
    pid = runner.go()
    runner.vanish()
    wait_until_gone(pid)
    runner.leash.wait(PATIENCE_S)
    assert runner.given_back.exists()


def test_when_the_runner_is_gone_after_the_command_the_role_is_given_back_all_the_same(start: Start) -> None:
    runner = start("/bin/true")
    runner.go()
    assert runner.ended() == 0
    runner.vanish()
    runner.leash.wait(PATIENCE_S)
    assert runner.given_back.exists()


def test_when_the_leash_is_killed_the_command_dies(start: Start) -> None:
    runner = start("/bin/sleep", "60")
    pid = runner.go()
    runner.leash.kill()
    wait_until_gone(pid)


def test_polite_signals_do_not_end_the_leash(start: Start) -> None:
    runner = start("/bin/sleep", "60")
    pid = runner.go()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        runner.leash.send_signal(number)
    runner.order("stop")
    assert runner.ended() == -signal.SIGTERM, pid


def test_the_command_has_its_own_signals_and_descriptors(start: Start, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; n = signal.getsignal; "
        "fds = sorted(map(int, os.listdir('/proc/self/fd')))[:4]; "
        f"open({str(tmp_path / 'seen')!r}, 'w').write(repr((fds, "
        "n(signal.SIGTERM) == n(signal.SIGHUP) == signal.SIG_DFL, os.getpgid(0) == os.getpid())) + '\\n')"
    )
    runner = start(sys.executable, "-S", "-c", program)
    runner.go()
    assert runner.ended() == 0
    # The last of these is the folder of descriptors itself, or the file.
    assert written(tmp_path / "seen") == "([0, 1, 2, 3], True, True)"
