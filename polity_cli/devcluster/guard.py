"""Child processes that end in every way out: return, exception, Ctrl-C, SIGTERM, and kill -9 of the parent.

Nobody can clean up after being killed, so somebody else does. A guard, a shell of a few lines, sits on the
reading end of a pipe whose writing end only the parent has; when the parent goes, however it goes, the pipe
ends, and the guard kills what the parent last named. Three details make that complete:

- A child starts behind a gate: it waits for a word from the parent, and the parent gives it only after
  telling the guard. A parent killed in between leaves a gate whose pipe ends, which exits.
- What is named and killed are process groups, so the programs that Serf starts as event handlers end too,
  also when they are stopped (SIGKILL needs no running process). Every child has its own session: Ctrl-C in
  the terminal reaches the parent alone, which then ends its children in its own order.
- Children are looked at without reaping them (`waitid` with WNOWAIT). A process that is not reaped keeps its
  number, so the number that is killed is never somebody else's by then.

Linux can signal a child at its parent's death (PR_SET_PDEATHSIG) with less ado, but it fires when the
*thread* that started the child ends, and never reaches what the child has started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_GATE = 'read -r go && exec "$@" </dev/null'

# Only whole lines count: a parent killed in the middle of one has let nobody through the gate for it.
_GUARD = """
trap '' HUP INT TERM
while read -r line; do groups=$line; done
[ -z "$groups" ] || kill -s KILL -- $groups 2>/dev/null
[ -z "$1" ] || rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }
"""


class Guard:
    """Starts processes and sees to their end. Methods may be called from any thread.

    `cleanup` is a folder that is removed at the very end and need not be there before; `held` are
    descriptors that the guard keeps open until the processes are gone.
    """

    def __init__(self, *, cleanup: Path | None = None, held: Sequence[int] = ()) -> None:
        self._lock = threading.Lock()
        self._children: list[subprocess.Popen[str]] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "polity-devguard", str(cleanup or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=held,
            cwd="/",
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._guard.pid

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        stdout: IO[str] | int,
        stderr: IO[str] | int,
    ) -> subprocess.Popen[str]:
        """Starts `argv` in a session of its own, with an empty stdin.

        Raises FileNotFoundError when there is no such program in the PATH of `env`, and BrokenPipeError when
        the guard is gone, in which case nothing runs.
        """
        program = shutil.which(argv[0], path=env.get("PATH"))
        if program is None:
            raise FileNotFoundError(argv[0])
        child = subprocess.Popen(
            ["/bin/sh", "-c", _GATE, argv[0], program, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=dict(env),
            start_new_session=True,
            text=True,
        )
        with self._lock:
            self._children.append(child)
            self._tell()
        gate, child.stdin = child.stdin, None
        assert gate is not None
        # A gate that was killed already is somebody's right; the caller finds it dead.
        with contextlib.suppress(BrokenPipeError), gate:
            gate.write("go\n")
        return child

    def end(self, *children: subprocess.Popen[str]) -> None:
        """Kills these children with all their process groups, and reaps them. Returns when they are gone."""
        for child in children:
            signal_group(child, signal.SIGKILL)
        for child in children:
            child.wait()
            for pipe in (child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._children = [child for child in self._children if child not in children]
            self._tell()

    def close(self) -> None:
        """Ends every child, then the guard, which removes the `cleanup` folder. May be called twice."""
        if self._guard.returncode is not None:
            return
        try:
            self.end(*self._children)
        finally:
            assert self._guard.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait()

    def _tell(self) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(" ".join(f"-{child.pid}" for child in self._children) + "\n")
        self._guard.stdin.flush()


def alive(child: subprocess.Popen[str]) -> bool:
    """Whether the child is still there (perhaps stopped), without reaping it if it is not."""
    if child.returncode is not None:
        return False
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def signal_group(child: subprocess.Popen[str], number: signal.Signals) -> None:
    """Signals the child and what it started; does nothing once it is reaped, as its number is free then."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)


def stop_group(child: subprocess.Popen[str]) -> None:
    """SIGSTOP to the child and what it started; the child has stopped (or is dead) on return."""
    signal_group(child, signal.SIGSTOP)
    if child.returncode is None:
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
