"""The guard of a resource: real processes, killed and raced, against what docs/fencing.md promises."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from polity_cli import guard
from polity_cli.cli import shapes
from polity_cli.core.tenure import MAX_TERM
from polity_cli.errors import BadInput, GuardBusy, GuardError, NotStarted, TermRefused

POLITY = (sys.executable, "-m", "polity_cli", "guard")


def environment(**more: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("POLITY_")} | more


class Place:
    """A state file in a folder of its own, the guard of it, and the processes that a test started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "backup.term"
        self.log = folder / "log"
        self._started: list[subprocess.Popen[str]] = []

    def words(self, term: int | None, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        said = [] if term is None else ["--term", str(term)]
        return [*POLITY, "--state", str(self.state), *said, *options, *(("--", *command) if command else ())]

    def run(
        self, term: int | None, *command: str, options: tuple[str, ...] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(term, *command, options=options),
            env=environment(**env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, term: int, *command: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            self.words(term, *command, options=options),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(started)
        return started

    def sleeper(self, term: int, then: str = "exec sleep 60", trap: str = ":") -> subprocess.Popen[str]:
        """A guarded shell that has said it runs, and then does what it is told."""
        started = self.start(term, "sh", "-c", f"{trap}; echo up; {then}")
        assert started.stdout is not None
        assert started.stdout.readline() == "up\n"
        wait_for(lambda: guard.running(str(self.state)) not in (None, guard.Running(term)))
        return started

    def process(self) -> int:
        """The process that runs under the guard."""
        found = guard.running(str(self.state))
        assert found is not None
        assert found.process is not None
        return found.process

    def seen(self) -> int:
        memory = guard.read(str(self.state))
        return 0 if memory is None else memory.term

    def close(self) -> None:
        found = guard.running(str(self.state))
        if found is not None and found.process is not None:
            kill(found.process)
        for started in self._started:
            started.kill()
            started.communicate(timeout=10)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    try:
        yield made
    finally:
        made.close()


def wait_for(what: Callable[[], object], limit_s: float = 20.0) -> None:
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until, "it did not come to it"
        time.sleep(0.01)


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def nothing(_: str) -> None:
    pass


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    answer = json.loads(done.stdout)
    assert shapes.mismatches(answer) == []
    assert answer.get("exit_code", 0) == done.returncode
    assert isinstance(answer, dict)
    return answer


# What passes


def test_a_higher_and_an_equal_term_pass_and_a_lower_one_is_refused(place: Place) -> None:
    codes = [place.run(term, "true").returncode for term in (3, 3, 5, 4, 3, 5, 6, 5)]
    assert codes == [0, 0, 0, 3, 3, 0, 0, 3]
    assert place.seen() == 6


def test_a_refusal_names_both_terms_starts_nothing_and_says_what_to_do(place: Place) -> None:
    place.run(9, options=("--role", "backup"))
    done = place.run(7, "touch", str(place.log))
    assert done.returncode == 3
    assert not place.log.exists()
    message, hint = done.stderr.splitlines()
    assert message == f"polity: term 7 of backup is refused: {place.state} has seen term 9"
    assert "must stop" in hint
    assert "polity who backup" in hint
    assert place.seen() == 9


def test_a_refusal_can_have_another_exit_code(place: Place) -> None:
    place.run(9)
    assert place.run(7, "sh", "-c", "exit 3", options=("--conflict-exit-code", "77")).returncode == 77
    assert place.run(9, "sh", "-c", "exit 3", options=("--conflict-exit-code", "77")).returncode == 3
    answer = said(place.run(7, options=("--json", "--conflict-exit-code", "77")))
    assert (answer["outcome"], answer["exit_code"]) == ("refused", 77)


def test_the_term_is_in_the_file_before_the_command_starts(place: Place) -> None:
    place.run(3, "true")
    done = place.run(9, "cat", str(place.state))
    assert "\nterm 9\n" in done.stdout


def test_the_command_has_its_streams_its_term_and_its_role(place: Place) -> None:
    script = 'read -r word; echo "$word $POLITY_ROLE $POLITY_TERM"; echo talk >&2'
    done = subprocess.run(
        place.words(7, "sh", "-c", script, options=("--role", "the backup")),
        env=environment(),
        input="hello\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("hello the backup 7\n", "talk\n", 0)
    # A caller that names no role is told whose terms these are.
    assert place.run(7, "sh", "-c", "echo $POLITY_ROLE").stdout == "the backup\n"


def test_term_and_role_come_from_the_environment_unless_given(place: Place) -> None:
    assert place.run(None, POLITY_TERM="7", POLITY_ROLE="backup").returncode == 0
    assert guard.read(str(place.state)) == guard.Memory(7, "backup")
    assert place.run(9, POLITY_TERM="7", POLITY_ROLE="backup").returncode == 0
    assert place.run(None, POLITY_TERM="7").returncode == 3


def test_options_of_the_command_are_its_own(place: Place) -> None:
    assert place.run(7, "echo", "--term", "--json", "-h").stdout == "--term --json -h\n"
    bare = subprocess.run(
        [*POLITY, "--state", str(place.state), "--term", "7", "echo", "--wait"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert bare.stdout == "--wait\n"


def test_terms_reach_to_the_highest_there_is(place: Place) -> None:
    assert place.run(MAX_TERM).returncode == 0
    assert place.run(MAX_TERM - 1).returncode == 3
    assert place.run(MAX_TERM + 1).returncode == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "give --term, or set POLITY_TERM"),
        (("--term", "0"), "not in the range"),
        (("--term", "-1"), "not in the range"),
        (("--term", "seven"), "not a valid"),
        (("--term", "7", "--wait", "-1"), "number of seconds"),
        (("--term", "7", "--wait", "nan"), "number of seconds"),
        (("--term", "7", "--conflict-exit-code", "0"), "not in the range"),
        (("--term", "7", "--conflict-exit-code", "256"), "not in the range"),
        (("--term", "7", "--role", " backup"), "blank"),
        (("--term", "7", "--role", ""), "empty"),
        (("--term", "7", "--json", "--", "true"), "stdout is CMD's"),
        (("--show", "--term", "7"), "leave out --term"),
        (("--show", "--", "true"), "leave out CMD"),
    ],
)
def test_what_makes_no_sense_is_refused(place: Place, words: tuple[str, ...], complaint: str) -> None:
    done = place.run(None, options=words)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert list(place.folder.iterdir()) == []


def test_a_usage_error_speaks_json_only_if_the_guard_was_asked_to(place: Place) -> None:
    assert place.run(0, "tool", "--json").stdout == ""
    assert said(place.run(0, options=("--json",)))["outcome"] == "error"


# Roles


def test_a_file_is_of_one_role_for_good(place: Place) -> None:
    assert place.run(7).returncode == 0
    assert place.run(7, options=("--role", "backup")).returncode == 0
    done = place.run(9, "touch", str(place.log), options=("--role", "primary"))
    assert done.returncode == 2
    assert "is of the role 'backup', not of 'primary'" in done.stderr
    assert not place.log.exists()
    assert guard.read(str(place.state)) == guard.Memory(7, "backup")
    assert place.run(9).returncode == 0
    assert guard.read(str(place.state)) == guard.Memory(9, "backup")


def test_a_refused_caller_names_no_role(place: Place) -> None:
    place.run(9)
    assert place.run(7, options=("--role", "backup")).returncode == 3
    assert guard.read(str(place.state)) == guard.Memory(9, None)


def test_a_role_may_have_any_name_that_roles_have(place: Place) -> None:
    for number, role in enumerate(["a", "Büro  2", "term 9", "sum 00000000", "x" * 128]):
        path = str(place.folder / str(number))
        guard.check(path, 5, role, wait_s=0, on_wait=nothing)
        assert guard.read(path) == guard.Memory(5, role)


# Exit codes


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 1", 1), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill $$", 143)],
)
def test_the_exit_code_is_the_commands_own(place: Place, script: str, code: int) -> None:
    assert place.run(7, "sh", "-c", script).returncode == code


def test_a_command_that_cannot_be_started_is_told_as_env_tells_it(place: Place) -> None:
    plain = place.folder / "plain"
    plain.write_text("#!/bin/sh\n")
    script = place.folder / "script"
    script.write_text("#!/no/such/shell\n")
    script.chmod(0o755)
    for command, code in ((str(plain), 126), (str(place.folder), 126), (str(script), 127), ("no-such", 127)):
        done = place.run(7, command)
        assert done.returncode == code, done
        assert done.stderr.startswith(f"polity: '{command}' cannot be started: ")
    # It does not leave the resource locked.
    assert place.run(7, "true", options=("--wait", "0")).returncode == 0


def test_no_process_to_be_had_is_125(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawnp", refuse)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(NotStarted) as caught:
        guard.run(str(place.state), 7, None, ["true"], wait_s=0, on_wait=nothing)
    assert caught.value.exit_code == 125
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


# One at a time


def test_a_higher_term_waits_for_the_command_of_a_lower_one_and_says_so(place: Place) -> None:
    place.sleeper(7, "sleep 2; echo end >> '" + str(place.log) + "'")
    done = place.run(9, "cat", str(place.log))
    assert (done.returncode, done.stdout) == (0, "end\n")
    assert done.stderr.startswith("a command of term 7 (process ")
    assert "waiting for its end, 60 s at most" in done.stderr


def test_who_waited_in_vain_is_told_and_has_shut_out_the_lower_term_all_the_same(place: Place) -> None:
    first = place.sleeper(7)
    done = place.run(9, "touch", str(place.log), options=("--wait", "1"))
    assert done.returncode == 5
    message, hint = done.stderr.splitlines()[-2:]
    who = f"a command of term 7 (process {place.process()})"
    assert message == f"polity: {who} still runs under the guard of {place.state} after 1 s"
    assert "Term 9 is recorded" in hint
    assert first.poll() is None
    # Refused at once, not after waiting.
    begun = time.monotonic()
    assert place.run(7, "touch", str(place.log)).returncode == 3
    assert time.monotonic() - begun < 20
    assert not place.log.exists()
    assert said(place.run(9, options=("--json", "--wait", "0")))["outcome"] == "busy"


def test_who_waits_is_turned_away_once_a_higher_term_comes(place: Place) -> None:
    place.sleeper(7)
    waiting = place.start(9, "touch", str(place.log))
    wait_for(lambda: place.seen() == 9)
    assert place.run(11, options=("--wait", "0")).returncode == 5
    _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 3
    assert "has seen term 11" in err
    assert not place.log.exists()


def test_who_has_waited_is_judged_once_more(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A higher term may have come, run and gone between the last look of who waits and the lock it gets."""
    real = guard._wait

    def overtaken(path: str, *how: Any, **more: Any) -> int | None:
        fd = real(path, *how, **more)
        guard._write(path, guard.Memory(11))
        return fd

    monkeypatch.setattr(guard, "_wait", overtaken)
    for call in (
        lambda: guard.check(str(place.state), 9, None, wait_s=0, on_wait=nothing),
        lambda: guard.run(str(place.state), 9, None, ["touch", str(place.log)], wait_s=0, on_wait=nothing),
    ):
        place.state.unlink(missing_ok=True)
        with pytest.raises(TermRefused):
            call()
    assert not place.log.exists()


def test_news_of_terms_that_began_again_mislead_nobody(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """FILE was moved away, and what FILE.running says of an earlier command has the higher number."""
    guard.run(str(place.state), 13, None, ["true"], wait_s=0, on_wait=nothing)
    place.state.unlink()
    real = guard._record
    looked: list[int] = []

    def record(path: str, term: int, role: str | None) -> Any:
        if len(looked) == 1:  # The command of term 1 has the lock, and is about to be judged once more.
            looked.append(0)
            with pytest.raises(GuardBusy, match=r"^a command of term 1 still runs"):
                guard.check(path, 3, None, wait_s=0, on_wait=nothing)
        looked.append(term)
        return real(path, term, role)

    monkeypatch.setattr(guard, "_record", record)
    with pytest.raises(TermRefused):
        guard.run(str(place.state), 1, None, ["touch", str(place.log)], wait_s=0, on_wait=nothing)
    assert not place.log.exists()


def test_news_that_cannot_be_written_stop_nothing_and_leave_nothing_untrue(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard.run(str(place.state), 7, None, ["true"], wait_s=0, on_wait=nothing)

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    command = ["sh", "-c", f"[ ! -s '{place.state}.running' ] || exit 9"]
    assert guard.run(str(place.state), 7, None, command, wait_s=0, on_wait=nothing) == 0


def test_commands_of_one_term_run_one_after_the_other(place: Place) -> None:
    place.sleeper(7)
    assert place.run(7, "true", options=("--wait", "0")).returncode == 5


def test_a_command_may_ask_whether_its_term_is_still_the_highest(place: Place) -> None:
    ask = " ".join([*POLITY, "--state", str(place.state)])
    first = place.sleeper(7, f"{ask}; echo $?; read -r go; {ask}; echo $?; exec sleep 60")
    assert first.stdout is not None
    first.stdout.readline()
    assert first.stdout.readline() == "0\n"
    assert place.run(9, options=("--wait", "0")).returncode == 5
    first.kill()


def test_the_lock_outlives_a_guard_that_is_killed(place: Place) -> None:
    first = place.sleeper(7)
    process = place.process()
    first.kill()
    first.wait(10)
    assert place.run(9, "touch", str(place.log), options=("--wait", "0.5")).returncode == 5
    assert not place.log.exists()
    second = place.start(9, "touch", str(place.log))
    time.sleep(0.5)
    assert second.poll() is None
    kill(process)
    assert second.wait(20) == 0
    assert place.log.exists()


def test_the_lock_outlives_a_command_that_closes_what_it_inherits(place: Place) -> None:
    closing = "import os, time; os.closerange(3, 1000); print('up', flush=True); time.sleep(60)"
    first = place.start(7, sys.executable, "-c", closing)
    assert first.stdout is not None
    first.stdout.readline()
    assert place.run(9, "true", options=("--wait", "0.5")).returncode == 5


def test_what_a_command_leaves_behind_counts_as_the_command(place: Place) -> None:
    first = place.sleeper(7, "sleep 2 >&- 2>&- & exit 4")
    assert first.wait(10) == 4
    assert place.run(9, "true", options=("--wait", "0")).returncode == 5
    assert place.run(9, "true").returncode == 0


def test_a_lock_that_was_removed_is_not_waited_for_in_vain(place: Place) -> None:
    """Whoever removes it breaks the guard while a command runs; but nobody locks a file that is gone."""
    name = str(place.folder / "x.lock")
    held = guard._acquire(name, time.monotonic() + 1)
    assert held is not None
    rounds: list[int] = []

    def between(_: int) -> bool:
        if not rounds:
            os.unlink(name)
            os.close(held)
        rounds.append(1)
        return False

    fd = guard._acquire(name, time.monotonic() + 10, between)
    assert fd is not None
    assert os.path.samestat(os.fstat(fd), os.stat(name))
    os.close(fd)


def test_shuffled_terms_never_go_back_and_never_overlap(place: Place) -> None:
    """Thirty guards at once. Each command writes when it begins and ends, in one append each."""
    drawn = random.Random(7)
    terms = [drawn.randint(1, 12) for _ in range(30)]
    script = 'echo "begin $POLITY_TERM" >> "$0"; sleep 0.05; echo "end $POLITY_TERM" >> "$0"'
    started = [
        (term, place.start(term, "sh", "-c", script, str(place.log), options=("--wait", "100")))
        for term in terms
    ]
    codes = [(term, one.wait(120)) for term, one in started]
    events = [line.split() for line in place.log.read_text().splitlines()]
    begun = [int(term) for word, term in events if word == "begin"]
    assert begun == sorted(begun)
    assert [word for word, _ in events] == ["begin", "end"] * len(begun)
    assert sorted(begun) == sorted(term for term, code in codes if code == 0)
    assert {code for _, code in codes} <= {0, 3}
    assert max(terms) in begun
    assert place.seen() == max(terms)


# Durable


def test_a_crash_between_record_and_start_leaves_the_term_recorded(place: Place) -> None:
    place.run(7)
    program = (
        "import os, sys\n"
        "from polity_cli import guard\n"
        "os.posix_spawnp = lambda *_, **__: os.kill(os.getpid(), 9)\n"
        "guard.run(sys.argv[1], 9, None, ['true'], wait_s=0, on_wait=print)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(place.state)], check=False)
    assert done.returncode == -9
    assert place.run(7, "true").returncode == 3
    assert place.run(9, "true", options=("--wait", "0")).returncode == 0


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_crash_while_recording_leaves_the_old_term_or_the_new_one(place: Place, call: str) -> None:
    place.run(7)
    for after in (False, True):
        program = (
            "import os, sys\n"
            "from polity_cli import guard\n"
            f"real = os.{call}\n"
            "def crash(*a):\n"
            f"    {'real(*a)' if after else 'pass'}\n"
            "    os.kill(os.getpid(), 9)\n"
            f"os.{call} = crash\n"
            "guard.check(sys.argv[1], 9, None, wait_s=0, on_wait=print)\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(place.state)], check=False)
        assert done.returncode == -9
        assert place.seen() == (9 if after and call == "rename" else 7)
    assert place.run(9, "true", options=("--wait", "0")).returncode == 0
    assert place.seen() == 9


def test_a_term_that_is_being_written_is_not_overtaken(place: Place) -> None:
    """Were two guards to judge at once, the one that writes last could take the file back to a lower term."""
    program = (
        "import sys\n"
        "from polity_cli import guard\n"
        "write = guard._write\n"
        "def slowly(*what):\n"
        "    print('judged', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    write(*what)\n"
        "guard._write = slowly\n"
        "guard.check(sys.argv[1], 9, None, wait_s=0, on_wait=print)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(place.state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as slow:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "judged\n"
        higher = place.start(11)
        time.sleep(1)
        slow.communicate("go\n")
    assert higher.wait(20) == 0
    assert place.seen() == 11


def flushes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to make a file durable, in order; descriptors by the names of what they were opened on."""
    done: list[str] = []
    fsync, rename, spawn = os.fsync, os.rename, os.posix_spawnp

    def name(fd: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{fd}")).name

    def sees_fsync(fd: int) -> None:
        done.append(f"flush {name(fd)}")
        fsync(fd)

    def sees_rename(old: str, new: str) -> None:
        done.append(f"rename {Path(old).name} {Path(new).name}")
        rename(old, new)

    def sees_spawn(*args: Any, **how: Any) -> int:
        done.append("start")
        return spawn(*args, **how)

    monkeypatch.setattr(os, "fsync", sees_fsync)
    monkeypatch.setattr(os, "rename", sees_rename)
    monkeypatch.setattr(os, "posix_spawnp", sees_spawn)
    return done


def test_everything_is_on_the_disk_before_the_start(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    done = flushes(monkeypatch)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    guard.run(str(place.state), 7, None, ["true"], wait_s=0, on_wait=nothing)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    folder = place.folder.name
    assert done[:3] == ["flush backup.term.new", "rename backup.term.new backup.term", f"flush {folder}"]
    assert done[-1] == "start"


def test_a_term_that_another_guard_wrote_is_made_durable_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been killed between its rename and the flush of the folder."""
    guard.check(str(place.state), 7, None, wait_s=0, on_wait=nothing)
    done = flushes(monkeypatch)
    guard.run(str(place.state), 7, None, ["true"], wait_s=0, on_wait=nothing)
    assert done[:2] == ["flush backup.term", f"flush {place.folder.name}"]
    assert done[-1] == "start"


def test_a_leftover_of_a_killed_guard_is_in_nobodys_way(place: Place) -> None:
    (place.folder / "backup.term.new").write_text("half a fi")
    assert place.run(7, "true").returncode == 0
    assert not (place.folder / "backup.term.new").exists()


def test_the_rights_of_the_file_are_kept(place: Place) -> None:
    place.run(7)
    place.state.chmod(0o600)
    place.run(9)
    assert place.state.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_term_that_cannot_be_written_starts_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    guard.check(str(place.state), 7, None, wait_s=0, on_wait=nothing)

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    for call in ("write", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(GuardError) as caught:
                guard.run(str(place.state), 9, None, ["touch", str(place.log)], wait_s=0, on_wait=nothing)
        full = number in (errno.ENOSPC, errno.EDQUOT)
        assert ("disk is full" if full else os.strerror(number)) in str(caught.value)
        assert caught.value.hint
        assert not place.log.exists()
        assert place.seen() == 7
        assert not (place.folder / "backup.term.new").exists()


def test_a_file_size_limit_is_told_as_what_it_is(place: Place) -> None:
    """A real process whose write fails; of all failures this one needs neither root nor a full disk."""
    done = subprocess.run(
        place.words(7, "true"),
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)),
        check=False,
    )
    assert done.returncode == 8
    assert "File too large" in done.stderr
    assert place.seen() == 0


def test_a_disk_that_is_full(place: Place) -> None:
    if os.geteuid():
        pytest.skip("needs root to mount a small disk")
    disk = place.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this root may not mount")
    try:
        place.state = disk / "backup.term"
        assert place.run(7).returncode == 0
        subprocess.run(["dd", "if=/dev/zero", f"of={disk}/filling"], capture_output=True, check=False)
        done = place.run(9, "touch", str(place.log))
        assert done.returncode == 8
        assert "the disk is full" in done.stderr
        assert not place.log.exists()
        # What needs no writing goes on, and what was seen stays.
        assert place.run(6, "true").returncode == 3
        assert place.run(7, "true").returncode == 0
        (disk / "filling").unlink()
        assert place.run(9, "true").returncode == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Files that are not what they should be


GOOD = guard._encode(guard.Memory(7, "backup"))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is empty"),
        (b"7\n", "was not written by polity guard"),
        (b"\x00" * len(GOOD), "was not written by polity guard"),
        (b"\xff" * 5000, "was not written by polity guard"),
        (GOOD[:-1], "is damaged"),
        (GOOD[:30], "is damaged"),
        (GOOD + b"\n", "is damaged"),
        (GOOD.replace(b"term 7", b"term 6"), "is damaged"),
        (GOOD.replace(b"term 7", b"term 07"), "is damaged"),
        (GOOD.replace(b"backup", b"backun"), "is damaged"),
        (guard._encode(guard.Memory(0)), "is damaged"),
        (guard._encode(guard.Memory(MAX_TERM + 1)), "is damaged"),
        (b"polity guard 2\nterm 9\n", "is of version 2"),
        (b"polity guard x\nterm 9\n", "is damaged"),
    ],
    ids=range(14),
)
def test_a_file_that_is_damaged_or_not_the_guards_is_refused_and_kept(
    place: Place, data: bytes, complaint: str
) -> None:
    place.state.write_bytes(data)
    with pytest.raises(GuardError, match=complaint) as caught:
        guard.run(str(place.state), 9, None, ["touch", str(place.log)], wait_s=0, on_wait=nothing)
    assert caught.value.exit_code == 8
    assert caught.value.hint
    assert not place.log.exists()
    assert place.state.read_bytes() == data
    with pytest.raises(GuardError, match=complaint):
        guard.read(str(place.state))


def test_any_flipped_bit_is_noticed(place: Place) -> None:
    for place_of_byte in range(len(GOOD)):
        for bit in range(8):
            data = bytearray(GOOD)
            data[place_of_byte] ^= 1 << bit
            with pytest.raises(GuardError):
                guard._decode(bytes(data), "x")


def test_a_damaged_file_is_told_by_the_command(place: Place) -> None:
    place.state.write_bytes(GOOD[:-1])
    for done in (place.run(9, "true"), place.run(None, options=("--show",))):
        assert done.returncode == 8
        assert f"polity: {place.state} is damaged, so the highest term is not known" in done.stderr
    assert said(place.run(9, options=("--json",)))["outcome"] == "error"


def test_what_is_no_file_is_refused(place: Place) -> None:
    pipe = place.folder / "pipe"
    os.mkfifo(pipe)
    for path in (str(pipe), str(place.folder), os.devnull):
        with pytest.raises(GuardError, match="is no regular file"):
            guard.check(path, 7, None, wait_s=0, on_wait=nothing)


def test_the_folder_must_be_there(place: Place) -> None:
    place.state = place.folder / "none" / "backup.term"
    done = place.run(7, "true")
    assert done.returncode == 8
    assert f"the folder {place.folder}/none of the state file does not exist" in done.stderr
    assert place.run(None, options=("--show",)).returncode == 8


def test_a_link_is_followed_and_stays_one(place: Place) -> None:
    """Both names must share one lock, so the lock lies beside the file itself."""
    there = place.folder / "there"
    there.mkdir()
    real, link = there / "real.term", place.state
    link.symlink_to(real)
    assert place.run(7).returncode == 0
    assert link.is_symlink()
    assert real.is_file()
    place.sleeper(7)
    place.state = real
    assert place.run(7, "true", options=("--wait", "0")).returncode == 5


def test_links_in_a_circle_are_an_error(place: Place) -> None:
    place.state.symlink_to(place.state)
    done = place.run(7, "true")
    assert done.returncode == 8
    assert "symbolic links" in done.stderr


def test_a_link_in_place_of_the_lock_is_not_followed(place: Place) -> None:
    (place.folder / "backup.term.lock").symlink_to(place.folder / "elsewhere")
    assert place.run(7, "true").returncode == 8
    assert not (place.folder / "elsewhere").exists()


def test_a_lock_that_somebody_hangs_on_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_JUDGING_S", 0.1)
    held = guard._acquire(f"{place.state}.lock", time.monotonic() + 1)
    assert held is not None
    with pytest.raises(GuardBusy, match="stays locked") as caught:
        guard.check(str(place.state), 7, None, wait_s=0, on_wait=nothing)
    assert "fuser" in caught.value.hint
    os.close(held)


# Signals and streams


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_command_and_the_guard_waits_for_it(place: Place, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    first = place.sleeper(7, "while :; do sleep 0.1; done", trap=f"trap 'echo {name}; exit 9' {name}")
    first.send_signal(number)
    assert first.wait(20) == 9
    assert first.stdout is not None
    assert first.stdout.read() == f"{name}\n"


def test_a_signal_that_ends_the_command_is_in_the_exit_code(place: Place) -> None:
    first = place.sleeper(7)
    first.terminate()
    assert first.wait(20) == 143


def test_a_signal_that_comes_too_late_costs_no_exit_code(place: Place) -> None:
    program = (
        "import os, signal, sys\n"
        "from polity_cli import guard\n"
        "real = guard._await\n"
        "def late(*how):\n"
        "    code = real(*how)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return code\n"
        "guard._await = late\n"
        "sys.exit(guard.run(sys.argv[1], 7, None, ['sh', '-c', 'exit 4'], wait_s=0, on_wait=print))\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(place.state)], check=False).returncode == 4


def test_a_guard_that_waits_ends_at_once(place: Place) -> None:
    place.sleeper(7)
    for number, code in ((signal.SIGTERM, -15), (signal.SIGINT, 130)):
        waiting = place.start(9, "touch", str(place.log))
        assert waiting.stderr is not None
        assert "waiting for its end" in waiting.stderr.readline()
        waiting.send_signal(number)
        assert waiting.wait(20) == code
    assert not place.log.exists()


def test_what_is_ignored_stays_ignored_and_what_python_ignores_does_not(place: Place) -> None:
    show = "grep -E '^Sig(Ign|Blk)' /proc/self/status"
    done = subprocess.run(
        ["sh", "-c", f"trap '' HUP; {show}; exec \"$@\"", "sh", *place.words(7, "sh", "-c", show)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    blocked, ignored, blocked_there, ignored_there = (
        int(line.split()[1], 16) for line in done.stdout.splitlines()
    )
    assert blocked == blocked_there
    # glibc's posix_spawn ignores the two signals that it keeps for itself, 32 and 33.
    assert ignored == ignored_there & ~(3 << 31)
    first = place.sleeper(7, "sleep 1; exit 5", trap="trap '' HUP")
    first.send_signal(signal.SIGHUP)
    assert first.wait(20) == 5


def test_ctrl_c_in_a_terminal_reaches_the_command_once(place: Place) -> None:
    ours, theirs = pty.openpty()
    count = (
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        "print('up', flush=True)\n"
        "while signal.sigtimedwait([signal.SIGINT], 2): print('got', flush=True)\n"
        "raise SystemExit(6)\n"
    )
    started = subprocess.Popen(
        ["setsid", "-c", *place.words(7, sys.executable, "-c", count)],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while b"up" not in shown:
            shown += os.read(ours, 1000)
        # Two that come at once would count as one: so the guard is late.
        started.send_signal(signal.SIGSTOP)
        os.write(ours, b"\x03")
        while b"got" not in shown:
            shown += os.read(ours, 1000)
        started.send_signal(signal.SIGCONT)
        while piece := os.read(ours, 1000):
            shown += piece
    except OSError:
        pass  # Linux says so when the other end of a terminal is closed.
    finally:
        os.close(ours)
    assert started.wait(20) == 6
    assert shown.count(b"got") == 1


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_a_closed_stream_does_not_become_the_lock(place: Place, stream: int) -> None:
    words = place.words(7, "sh", "-c", f"[ -e /proc/$$/fd/{stream} ]; exit $((5 + $?))")
    closing = f'exec "$@" {stream}{"<" if stream == 0 else ">"}&-'
    done = subprocess.run(["sh", "-c", closing, "sh", *words], env=environment(), check=False)
    assert done.returncode == 6


# What is told


def test_show_tells_what_the_file_knows_and_changes_nothing(place: Place) -> None:
    empty = place.run(None, options=("--show",))
    assert (empty.returncode, empty.stdout) == (0, f"{place.state}: no term seen yet\n")
    assert list(place.folder.iterdir()) == []
    assert said(place.run(None, options=("--show", "--json")))["term"] is None
    place.run(7, options=("--role", "backup"))
    shown = place.run(None, options=("--show",), POLITY_TERM="9", POLITY_ROLE="other")
    assert shown.stdout == f"{place.state}: backup, term 7 is the highest seen\n"
    place.sleeper(7)
    answer = said(place.run(None, options=("--show", "--json")))
    assert (answer["outcome"], answer["term"], answer["role"], answer["running"]) == (
        "shown",
        7,
        "backup",
        7,
    )
    assert (
        f"; a command of term 7 (process {place.process()}) runs"
        in place.run(None, options=("--show",)).stdout
    )


def test_a_check_without_a_command_tells_what_it_did(place: Place) -> None:
    first = place.run(7, options=("--role", "backup"))
    assert first.stdout == "backup, term 7 is recorded; no term before\n"
    assert place.run(9).stdout == "backup, term 9 is recorded; term 7 before\n"
    assert place.run(9).stdout == "backup, term 9 is the highest seen\n"
    outcomes = [said(place.run(term, options=("--json",)))["outcome"] for term in (9, 11, 9)]
    assert outcomes == ["known", "recorded", "refused"]


def test_a_check_waits_for_the_command_of_a_lower_term(place: Place) -> None:
    """So `polity guard ... && work` works on what nobody else is at any more."""
    place.sleeper(7, f"sleep 1.5; touch '{place.log}'")
    assert place.run(9).returncode == 0
    assert place.log.exists()


def test_the_library_raises_what_the_command_tells(place: Place) -> None:
    state = str(place.state)
    with pytest.raises(BadInput):
        guard.check(state, 0, None, wait_s=0, on_wait=nothing)
    with pytest.raises(BadInput):
        guard.check(state, 1, " ", wait_s=0, on_wait=nothing)
    guard.check(state, 9, None, wait_s=0, on_wait=nothing)
    with pytest.raises(TermRefused) as caught:
        guard.check(state, 7, None, wait_s=0, on_wait=nothing)
    assert (caught.value.term, caught.value.highest) == (7, 9)


def test_the_guard_starts_without_what_talks_to_the_cluster() -> None:
    program = (
        "import sys\n"
        "from polity_cli.cli.main import cli\n"
        "cli.main(['guard', '--help'], standalone_mode=False)\n"
        "import polity_cli.guard, polity_cli.cli.running\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    dear = {"asyncio", "dataclasses", "json", "logging", "msgpack", "sqlite3", "subprocess", "tomllib"}
    assert loaded & (dear | {"polity_cli.session", "polity_cli.settings", "polity_cli.edges"}) == set()


# What docs/fencing.md shows, done


def shown(language: str) -> list[str]:
    """The blocks of one language on the page, in order."""
    page = (Path(__file__).parents[1] / "docs" / "fencing.md").read_text(encoding="utf-8")
    return [part.split("```")[0] for part in page.split(f"```{language}\n")[1:]]


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="this SQLite has no RETURNING")
def test_the_fence_in_a_database_lets_no_lower_term_write() -> None:
    setup, work = shown("sql")
    statement = work.partition("BEGIN;")[2].partition(";")[0]
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(setup)

        def passes(term: int, role: str = "backup") -> bool:
            rows = db.execute(statement, {"role": role, "term": term}).fetchall()
            assert rows in ([], [(term,)])
            return bool(rows)

        passed = [term for term in (3, 3, 5, 4, 3, 5, 6, 5) if passes(term)]
        assert passed == [3, 3, 5, 5, 6]
        assert db.execute("SELECT * FROM fence").fetchall() == [("backup", 6)]
        assert not passes(9, "never heard of")


class Found(NamedTuple):
    version: str
    term: int


class Storage:
    """Object storage with conditional writes. `version` makes a version of an object's content and term."""

    def __init__(self, version: Callable[[bytes, str], str]) -> None:
        self._version = version
        self._objects: dict[str, tuple[bytes, str, str]] = {}
        self.between: list[Callable[[], None]] = []  # what others do after each look, one after the other

    def head(self, key: str) -> Found | None:
        found = self._objects.get(key)
        answer = None if found is None else Found(found[2], int(found[1]))
        if self.between:
            self.between.pop(0)()
        return answer

    def put(
        self,
        key: str,
        body: bytes,
        *,
        metadata: dict[str, str],
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> bool:
        found = self._objects.get(key)
        if if_none_match is not None and found is not None:
            return False
        if if_match is not None and (found is None or found[2] != if_match):
            return False
        term = metadata["term"]
        self._objects[key] = (body, term, self._version(body, term))
        return True

    def body(self, key: str) -> bytes:
        return self._objects[key][0]


@pytest.mark.parametrize("exists", [False, True])
def test_the_fence_in_an_object_storage_lets_no_lower_term_write(exists: bool) -> None:
    names: dict[str, Any] = {}
    exec(shown("python")[0], names)
    put_fenced, replaced = names["put_fenced"], names["Replaced"]
    storage = Storage(lambda body, term: f"{body!r} {term}")
    if exists:
        put_fenced(storage, "current", b"7", 7)
    # The old holder has looked; then the new one comes.
    storage.between = [lambda: put_fenced(storage, "current", b"9", 9)]
    with pytest.raises(replaced):
        put_fenced(storage, "current", b"late", 7)
    assert storage.body("current") == b"9"
    # The other way round the new one finds that somebody was faster, and writes all the same.
    storage.between = [lambda: put_fenced(storage, "current", b"9 too", 9)]
    put_fenced(storage, "current", b"11", 11)
    assert storage.body("current") == b"11"


def test_versions_of_the_content_alone_are_no_fence_as_the_page_says() -> None:
    names: dict[str, Any] = {}
    exec(shown("python")[0], names)
    put_fenced = names["put_fenced"]
    storage = Storage(lambda body, _: repr(body))
    put_fenced(storage, "current", b"same", 7)
    storage.between = [lambda: put_fenced(storage, "current", b"same", 9)]
    put_fenced(storage, "current", b"late", 7)
    assert storage.body("current") == b"late"


def test_the_script_over_ssh_reaches_the_guard_and_nothing_else(place: Place) -> None:
    """The page's script and the page's line of authorized_keys; between them a stand-in for ssh."""
    data, backup, tools = (place.folder / name for name in ("data", "backup", "tools"))
    for folder in (data, backup, tools):
        folder.mkdir()
    (data / "file").write_text("precious")
    (line,) = [block for block in shown("text") if "command=" in block]
    forced = line.removeprefix('command="').rpartition('",restrict')[0].replace('\\"', '"')
    for old, new in (("/srv/backup/term", place.state), ("/srv/backup/data", backup)):
        assert old in forced
        forced = forced.replace(old, str(new))
    (script,) = [block for block in shown("sh") if "| ssh " in block]
    guarded = " ".join([sys.executable, "-m", "polity_cli"])
    programs = {
        "run-backup": script.replace("/srv/data", str(data)),
        "polity": f'#!/bin/sh\n[ "$1" = elect ] || exec {guarded} "$@"\necho "term $TERM_NOW"\n',
        "ssh": f"#!/bin/sh\nSSH_ORIGINAL_COMMAND=$2 exec sh -c '{forced}'\n",
        "jq": "#!/bin/sh\ntr -dc 0-9\n",
    }
    for name, text in programs.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)

    def backs_up(term: str) -> subprocess.CompletedProcess[str]:
        path = f"{tools}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [tools / "run-backup"],
            env=environment(PATH=path, TERM_NOW=term),
            capture_output=True,
            text=True,
            check=False,
        )

    assert backs_up("9").returncode == 0
    assert (backup / "file").read_text() == "precious"
    (data / "file").write_text("old news")
    late = backs_up("7")
    assert late.returncode == 3
    assert "has seen term 9" in late.stderr
    assert (backup / "file").read_text() == "precious"
    escape = subprocess.run(
        [tools / "ssh", "store", "9 -- touch /nowhere"],
        env=environment(PATH=f"{tools}{os.pathsep}{os.environ['PATH']}"),
        capture_output=True,
        check=False,
    )
    assert escape.returncode == 2


def test_a_command_s_end_is_noticed_in_a_process_with_other_threads_too(place: Place) -> None:
    """The kernel gives a signal to any thread that does not block it."""
    is_over = threading.Event()
    others = [threading.Thread(target=is_over.wait) for _ in range(4)]
    for other in others:
        other.start()
    try:
        for term in range(1, 40):
            code = guard.run(str(place.state), term, None, ["true"], wait_s=0, on_wait=nothing)
            assert code == 0
    finally:
        is_over.set()
