"""The leash: a process that starts a command, and ends it when nobody says any more that it may run.

`polity run` (the runner) talks to it through a pipe, a line at a time:

    runner                      leash
    until SECONDS   ────►                    the command may run until then, by CLOCK_BOOTTIME
    go              ────►                    starts it, in a process group of its own
                    ◄────       started PID  or `failed ERRNO`
    signal NUMBER   ────►                    to the whole group
    stop            ────►                    TERM to the group, and KILL after the kill grace
                    ◄────       late         the deadline has passed: nothing was started
                    ◄────       stopping     the deadline has passed while it runs
                    ◄────       ended STATUS as waitpid(2) gives it
    done            ────►                    all is over

The deadline is kept here and not by the runner, so that a runner that is stopped, hangs or was killed cannot
keep the command running past it: where the pipe ends without `done`, the command is ended at once, and the
role is given back by the command in `give_back`. The leash is the command's parent and reaps it last, so the
number of its group stays its own until everything in it was killed. Should the leash itself be killed, the
kernel kills the command (PR_SET_PDEATHSIG), and the runner what that has started.

Standard library only: it must start fast and need nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_KEPT_OUT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_STEP_S = 0.05
_LOOK_S = 0.5


def boottime_s() -> float:
    """Seconds since the machine started, those in which it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Leash:
    """Its own descriptors, `orders` and `news` among them, do not reach the command."""

    def __init__(
        self, argv: list[str], kill_grace_s: float, orders: int, news: int, ignored: set[signal.Signals]
    ) -> None:
        self._argv = argv
        self._kill_grace_s = kill_grace_s
        self._orders = orders
        self._news = news
        self._runners = os.getpgid(os.getppid())
        self._ignored = ignored
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._until_s = 0.0
        self._pid = 0
        self._buffer = b""
        self.is_over = False
        self.is_orphan = False

    def serve(self) -> None:
        """Obey until the runner says `done`, or until it has gone and the command has ended."""
        while not self.is_over:
            wait_s = _LOOK_S if self._pid else None
            if self._pid:
                wait_s = max(0.0, min(_LOOK_S, self._until_s - boottime_s()))
            wake = [self._orders, self._child_fd] if self._pid else [self._orders]
            ready, _, _ = select.select(wake, [], [], wait_s)
            if self._pid:
                self._look_after()
            if self._orders in ready:
                self._read_orders()
            if self._pid and boottime_s() >= self._until_s:
                self._say("stopping")
                self._end(self._kill_grace_s)

    def _read_orders(self) -> None:
        data = os.read(self._orders, 4096)
        if not data:
            self.is_orphan = True
            if self._pid:
                self._end(self._kill_grace_s)
            self.is_over = True
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._obey(*line.decode().split())

    def _obey(self, word: str, *rest: str) -> None:
        match word:
            case "until":
                self._until_s = float(rest[0])
            case "go":
                self._start()
            case "signal" if self._pid:
                _signal_group(self._pid, int(rest[0]))
            case "stop" if self._pid:
                self._end(self._kill_grace_s)
            case "done":
                self.is_over = True

    def _start(self) -> None:
        if boottime_s() >= self._until_s:
            self._say("late")
            return
        failure_r, failure_w = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            self._say(f"failed {error.errno}")
            return
        if pid == 0:
            self._become_command(failure_w)
        os.close(failure_w)
        failure = os.read(failure_r, 16)
        os.close(failure_r)
        if failure:
            os.waitpid(pid, 0)
            self._say(f"failed {failure.decode()}")
            return
        self._pid = pid
        self._child_fd = os.pidfd_open(pid)
        self._say(f"started {pid}")

    def _become_command(self, failure: int) -> NoReturn:
        try:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == 1:
                os._exit(1)  # the leash was killed before the kernel knew
            os.setpgid(0, 0)
            _hand_terminal(self._runners, os.getpid())
            _reset_signals(self._ignored)
            os.execvp(self._argv[0], self._argv)
        except OSError as error:
            os.write(failure, str(error.errno).encode())
        finally:
            os._exit(127)

    def _look_after(self) -> None:
        """The command may have ended, or been put to sleep from the terminal, where nobody could wake it."""
        if self._has_ended():
            self._end(0.0)
            return
        found = os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
        if found is not None and found.si_status == signal.SIGTSTP:
            _signal_group(self._pid, signal.SIGCONT)

    def _has_ended(self) -> bool:
        """Whether the command itself has ended; it is not reaped by that."""
        found = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found is not None

    def _end(self, grace_s: float) -> None:
        """See to the end of the command and of all in its group, and tell it.

        What the command leaves behind is ended with it: the role is given back, and nobody may go on.
        """
        if grace_s and not self._has_ended():
            _signal_group(self._pid, signal.SIGTERM)
            _signal_group(self._pid, signal.SIGCONT)
            until_s = boottime_s() + grace_s
            while boottime_s() < until_s and not self._has_ended():
                select.select([self._child_fd], [], [], min(_STEP_S, grace_s))
        _signal_group(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        os.close(self._child_fd)
        _hand_terminal(self._pid, self._runners)
        self._pid = 0
        self._say(f"ended {status}")

    def _say(self, line: str) -> None:
        with suppress(BrokenPipeError):
            os.write(self._news, line.encode() + b"\n")


def _reset_signals(ignored: set[signal.Signals]) -> None:
    """Signals as they were when polity was started: what was ignored then, by nohup(1) for one, stays so."""
    for number in (*_KEPT_OUT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)


def _signal_group(group: int, number: int) -> None:
    # All of it may have ended, or run as somebody else now.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _hand_terminal(owner: int, group: int) -> None:
    """Let `group` read from the terminal, if `owner` has it, as a shell does for what it starts."""
    with suppress(OSError):
        if os.isatty(0) and os.tcgetpgrp(0) == owner:
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, group)


def main() -> NoReturn:
    """`python -m polity_cli.leash ORDERS,NEWS,LOCK KILL_GRACE GIVE_BACK CMD...`.

    Descriptors, seconds, the words to give the role back as JSON, and the command.
    """
    fds, kill_grace_s, give_back = sys.argv[1:4]
    orders, news, lock = map(int, fds.split(","))
    for fd in (orders, news, lock):
        os.set_inheritable(fd, False)
    ignored = {number for number in _KEPT_OUT if signal.getsignal(number) is signal.SIG_IGN}
    for number in _KEPT_OUT:
        signal.signal(number, signal.SIG_IGN)
    leash = _Leash(sys.argv[4:], float(kill_grace_s), orders, news, ignored)
    leash.serve()
    if leash.is_orphan:
        # The lock goes with it: nobody runs this here again before it is decided what is given back.
        os.set_inheritable(lock, True)
        os.dup2(2, 1)  # standard output is the command's
        _reset_signals(ignored)
        os.execv(sys.executable, [sys.executable, *json.loads(give_back)])
    os._exit(0)


if __name__ == "__main__":
    main()
