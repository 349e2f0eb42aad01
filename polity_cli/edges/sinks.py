"""Where a watcher delivers changes to: lines on standard output, and a command. Web addresses: `webhook.py`.

A sink's `deliver` returns when a change is delivered, and raises Undelivered, saying why, when it has to be
tried again, or Stopped if it was told to stop meanwhile. One change at a time is given to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from polity_cli.edges.spool import RoleChange

    class Sink(Protocol):
        name: str

        def deliver(self, change: RoleChange) -> None: ...


_LOOK_S = 0.1
_KILL_GRACE_S = 5.0
_WAITED_S = 1.0


class Undelivered(Exception):
    """Not delivered this time; the text says why."""


class Gone(Undelivered):
    """Nobody is there any more, and nobody will be."""


class Stopped(Exception):
    """Told to stop before it was delivered."""


class LineSink:
    """A line for each change, written to a file descriptor past all buffers.

    What of a line could not be written comes first the next time, so that there are only whole lines.
    """

    name = "stdout"

    def __init__(self, fd: int, line_of: Callable[[RoleChange], str]) -> None:
        self._fd = fd
        self._line_of = line_of
        self._begun: RoleChange | None = None
        self._rest = b""

    def deliver(self, change: RoleChange) -> None:
        if change != self._begun:
            self._put()  # the rest of another role's line
            self._begun, self._rest = change, self._bytes_of(change)
        self._put()
        self._begun = None

    def is_gone(self) -> bool:
        """True if nobody can read it any more, as where a pipe's other end is closed."""
        poll = select.poll()
        poll.register(self._fd, 0)
        return any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))

    def _bytes_of(self, change: RoleChange) -> bytes:
        return self._line_of(change).encode("utf-8", "backslashreplace") + b"\n"

    def _put(self) -> None:
        while self._rest:
            try:
                written = os.write(self._fd, self._rest)
            except BrokenPipeError as error:
                raise Gone("standard output was closed") from error
            except OSError as error:
                raise Undelivered(f"standard output cannot be written: {error.strerror}") from error
            self._rest = self._rest[written:]


class CommandSink:
    """A shell's command for each change, one at a time, that has delivered it if it ends with 0.

    Also after a watcher was killed one runs at most: the lock on the file at `lock_path` is also the
    command's, and of what it has started, until the watcher sees the command end. `stop` ends a command that
    runs.
    """

    name = "exec"

    def __init__(
        self,
        command: str,
        *,
        timeout_s: float,
        lock_path: str | None,
        stop: threading.Event,
        say: Callable[[str], None],
        kill_grace_s: float = _KILL_GRACE_S,
    ) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._lock_path = lock_path
        self._stop = stop
        self._say = say
        self._kill_grace_s = kill_grace_s

    def deliver(self, change: RoleChange) -> None:
        fd = self._locked()
        try:
            self._run(change, () if fd is None else (fd,))
        finally:
            if fd is not None:
                # Not left to the last who has it: what the command may have started to stay needs it no more.
                fcntl.flock(fd, fcntl.LOCK_UN)
                os.close(fd)

    def _locked(self) -> int | None:
        if self._lock_path is None:
            return None
        try:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Undelivered(f"{self._lock_path} cannot be written: {error.strerror}") from error
        began_s, due_s = monotonic(), _WAITED_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                if monotonic() - began_s >= due_s:
                    self._say(
                        "the command of a watcher that was killed still runs, and is waited for: "
                        f"fuser -v {self._lock_path} shows it"
                    )
                    due_s *= 4
                if self._stop.wait(_LOOK_S):
                    os.close(fd)
                    raise Stopped from None

    def _run(self, change: RoleChange, fds: tuple[int, ...]) -> None:
        # Standard output is the watcher's own; and where there is no standard error, 2 may be any file.
        out = subprocess.DEVNULL if sys.stderr is None else 2
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                env={
                    **os.environ,
                    "POLITY_ROLE": change.role,
                    "POLITY_TERM": str(change.term),
                    "POLITY_HOLDER": change.holder or "",
                    "POLITY_NODE": change.node,
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=fds,
                process_group=0,
            )
        except OSError as error:
            raise Undelivered(f"the command cannot be started: {error.strerror}") from error
        except ValueError as error:  # a name from another machine that no environment can have
            raise Undelivered(f"the command cannot be started: {error}") from error
        code = self._wait(process, monotonic() + self._timeout_s)
        if code is None:
            self._end(process)
            if self._stop.is_set():
                raise Stopped
            raise Undelivered(f"the command ran for more than {self._timeout_s:g} s and was ended")
        if code:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise Undelivered(f"the command ended with {how}")

    def _wait(self, process: subprocess.Popen[bytes], until_s: float) -> int | None:
        """Its exit code; None if it is to be ended."""
        while (left_s := until_s - monotonic()) > 0 and not self._stop.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(min(_LOOK_S * 2, left_s))
        return process.poll()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """TERM to all of the command's group, and KILL to what is left of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self._kill_grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
