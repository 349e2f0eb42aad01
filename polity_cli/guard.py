"""The guard of a resource: it remembers the highest term it was shown, and lets no lower one pass.

A holder that was replaced may not know it yet. So what it touches must refuse it, and this does that for
anything a command on the resource's own host can touch. No clock and no network are in it: a file.

Beside the state FILE lie two others, which are only locked, never replaced:

- FILE.lock is held for the milliseconds in which FILE is read, judged and replaced.
- FILE.running is held for as long as a command runs; what is written in it is news for people and for
  those who wait, never what a decision about safety rests on.

A term is recorded the moment it is shown, before it waits for a command that still runs. So from then on
the replaced holder starts nothing more, however long its last command takes. It is judged again under
FILE.running, right before its own command starts, as a higher one may have come meanwhile.

    guarantee 1   once a command of term N has started, none of a lower term starts any more
    guarantee 2   two commands never run at once, whatever their terms
    guarantee 3   both hold across kill -9 of anything here, and a power cut
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
from binascii import crc32
from time import monotonic, sleep

from polity_cli.core.record import Record
from polity_cli.core.tenure import MAX_TERM, check_role
from polity_cli.errors import BadInput, GuardBusy, GuardError, NotStarted, PolityError, TermRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HEAD = "polity guard "
_VERSION = 1
# More than the longest role and all the rest take.
_MAX_BYTES = 1024

# Somebody who only looks holds FILE.running for an instant, which must not turn away who does not wait.
_LEAST_WAIT_S = 0.2
# FILE.lock is held for milliseconds, unless its holder was stopped or its disk hangs.
_JUDGING_S = 10.0
_POLL_S = (0.002, 0.05)
_SILENT_S = 0.5
_LOOK_S = 0.5

_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class Memory(Record):
    """What a state file says: the highest term seen, and of which role, if that was ever said."""

    term: int
    role: str | None = None


class Running(Record):
    """The command that runs now: its term and its process, each None where it is not known."""

    term: int | None = None
    process: int | None = None

    def __str__(self) -> str:
        term = "a command" if self.term is None else f"a command of term {self.term}"
        return term if self.process is None else f"{term} (process {self.process})"


def read(state: str) -> Memory | None:
    """What the state file says, or None if there is none: nothing was seen yet.

    Raises GuardError if it is damaged, not a guard's, or cannot be read. Takes no lock, as the file is only
    ever replaced as a whole.
    """
    path = os.path.realpath(state)
    try:
        return _read(path)
    except OSError as error:
        raise _readable(error, path) from error


def running(state: str) -> Running | None:
    """The command that runs under the guard now; None if there is none, or this user may not know."""
    try:
        fd = os.open(_running_path(os.path.realpath(state)), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if not _try_lock(fd, fcntl.LOCK_SH):
            return _news(fd)
        return None
    finally:
        os.close(fd)


def check(
    state: str, term: int, role: str | None, *, wait_s: float, on_wait: Callable[[str], None]
) -> tuple[Memory | None, Memory]:
    """Show a term to the guard without running anything: what the file said before, and what it says now.

    Returns once the term is on the disk and no command of a lower one runs any more; one of the same term
    may. Raises TermRefused, GuardBusy after `wait_s` seconds (the term is recorded all the same),
    GuardError, BadInput for the wrong role.
    """
    path = os.path.realpath(state)
    before, now = _record(path, term, role)
    fd = _wait(path, term, role, wait_s, on_wait, equal_will_do=True)
    if fd is not None:
        os.close(fd)
        _record(path, term, role)
    return before, now


def run(
    state: str,
    term: int,
    role: str | None,
    command: Sequence[str],
    *,
    wait_s: float,
    on_wait: Callable[[str], None],
) -> int:
    """Run a command under the guard, and return its exit code, or 128 and the signal that ended it.

    Must be called in the main thread of a process that does nothing else: it takes over its signals. Raises
    what `check` does, and NotStarted; then the command was not started.
    """
    path = os.path.realpath(state)
    _record(path, term, role)
    fd = _wait(path, term, role, wait_s, on_wait, equal_will_do=False)
    assert fd is not None
    try:
        # Told before it is judged, so that whoever looks in between is not misled by what stood there before.
        try:
            _tell(fd, f"{term}\n")
        except OSError as error:
            raise _readable(error, _running_path(path)) from error
        # While this waited, a higher term may have come and gone.
        _, now = _record(path, term, role)
        return _run(fd, term, now.role, command)
    finally:
        os.close(fd)


def _record(path: str, term: int, role: str | None) -> tuple[Memory | None, Memory]:
    """Judge a term under FILE.lock and make it durable: what the file said, and what it says now."""
    if not 1 <= term <= MAX_TERM:
        raise BadInput(f"{term} is no term", hint=f"terms are whole numbers from 1 to {MAX_TERM}")
    if role is not None:
        check_role(role)
    try:
        # Whoever is refused is told so at once, without a lock and without a need to write anything.
        _judge(_read(path), path, term, role)
        lock = _acquire(f"{path}.lock", monotonic() + _JUDGING_S)
        if lock is None:
            raise GuardBusy(
                f"{path}.lock stays locked: another guard was stopped or hangs while it had it",
                hint=f"see who: fuser -v {path}.lock",
            )
        try:
            before = _read(path)
            _judge(before, path, term, role)
            now = Memory(term, role if before is None or before.role is None else before.role)
            if now != before:
                _write(path, now)
            else:
                # Whoever wrote it may have been killed before it was sure to outlast a power cut.
                _sync(path)
            _sync(os.path.dirname(path))
            return before, now
        finally:
            os.close(lock)
    except OSError as error:
        raise _readable(error, path) from error


def _judge(memory: Memory | None, path: str, term: int, role: str | None) -> None:
    """Raise unless this term may pass, given what the file says."""
    if memory is None:
        return
    if role is not None and memory.role is not None and role != memory.role:
        raise BadInput(
            f"{path} is of the role {memory.role!r}, not of {role!r}",
            hint="terms of different roles cannot be compared: give each role a state file of its own",
        )
    if term < memory.term:
        of = "" if memory.role is None else f" of {memory.role}"
        raise TermRefused(
            f"term {term}{of} is refused: {path} has seen term {memory.term}",
            term=term,
            highest=memory.term,
            hint=f"whoever holds term {term} was replaced and must stop; `polity who "
            f"{'ROLE' if memory.role is None else memory.role}` on a node of the cluster says by whom",
        )


def _wait(
    path: str,
    term: int,
    role: str | None,
    wait_s: float,
    on_wait: Callable[[str], None],
    *,
    equal_will_do: bool,
) -> int | None:
    """Wait for FILE.running: its descriptor, locked. None if a command of this term has it, and that will do.

    Polling starves nobody of a higher term: from the moment it is recorded lower ones are turned away.
    """
    started = monotonic()
    told = False
    found = Running()

    def between(fd: int) -> bool:
        nonlocal told, found
        found = _news(fd)
        _judge(_read(path), path, term, role)
        if equal_will_do and found.term is not None and found.term >= term:
            return True
        if not told and wait_s and monotonic() - started > _SILENT_S:
            told = True
            on_wait(
                f"{found} still runs under the guard of {path}; waiting for its end, {wait_s:g} s at most"
            )
        return False

    try:
        fd = _acquire(_running_path(path), started + max(wait_s, _LEAST_WAIT_S), between)
    except OSError as error:
        raise _readable(error, path) from error
    if fd is None and not (equal_will_do and found.term is not None and found.term >= term):
        raise GuardBusy(
            f"{found} still runs under the guard of {path} after {wait_s:g} s",
            hint=f"try again, or see what it is: fuser -v {_running_path(path)}. Term {term} is recorded: "
            "no lower one starts any more",
        )
    return fd


def _acquire(name: str, until: float, between: Callable[[int], bool] = lambda _: False) -> int | None:
    """Lock a file that exists only for that, making it if need be: its descriptor.

    None if it is `until` before it is free, or `between`, asked now and then, says that it will do.
    """
    pause, longest = _POLL_S
    while True:
        # For others than the owner's group it is closed, as whoever can open it can lock it.
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
        try:
            if fd <= 2:
                # Stdout, say, was closed when this began: the command's output must not land in here.
                low, fd = fd, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
                os.close(low)
            while not _try_lock(fd, fcntl.LOCK_EX):
                if between(fd) or monotonic() >= until:
                    os.close(fd)
                    return None
                sleep(pause)
                pause = min(longest, pause * 2)
            if _is_still(fd, name):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # Somebody removed the file: what is locked now is not what others will lock.


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(fd: int, name: str) -> bool:
    try:
        there = os.stat(name, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _running_path(path: str) -> str:
    return f"{path}.running"


def _news(fd: int) -> Running:
    """What FILE.running says. A start cut short may have left it empty."""
    words = os.pread(fd, 100, 0).decode("ascii", "replace").split()
    numbers = [int(word) if word.isascii() and word.isdigit() else None for word in words[:2]]
    return Running(*numbers)


def _tell(fd: int, text: str) -> None:
    """Write into FILE.running. A full disk is no reason not to run, as long as nothing untrue is left."""
    os.ftruncate(fd, 0)
    with contextlib.suppress(OSError):
        os.pwrite(fd, text.encode(), 0)


def _run(lock: int, term: int, role: str | None, command: Sequence[str]) -> int:
    """Start the command, hand it the signals that are sent to this process, and wait for its end."""
    env = {**os.environ, "POLITY_TERM": str(term)}
    if role is not None:
        env["POLITY_ROLE"] = role
    # A lock of flock(2) belongs to the open file and ends when the last descriptor of it is closed. The
    # command inherits one, so it stays locked while the command runs even after a kill -9 of the guard; and
    # the guard keeps its own, so it stays locked also if the command closes all that it does not know.
    os.set_inheritable(lock, True)
    # What was ignored when this began (nohup) stays ignored, by the command too.
    minded = {number for number in _FORWARDED if signal.getsignal(number) is not signal.SIG_IGN}
    chld = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # If ignored, the exit code would be lost.
    # Blocked from before the start: a signal either ends the guard while there is no command yet, or waits
    # here to be forwarded.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*minded, signal.SIGCHLD})
    try:
        if signal.sigpending() & minded:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # It ends the process here, as a rule.
            signal.pthread_sigmask(signal.SIG_BLOCK, {*minded, signal.SIGCHLD})
        try:
            process = os.posix_spawnp(
                command[0],
                list(command),
                env,
                setsigmask=mask,
                # Python ignores these two, and the command would inherit that.
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError as error:
            raise _not_started(error, command[0]) from error
        _tell(lock, f"{term} {process}\n")
        code = _await(process, minded)
        # What came too late to be forwarded shall not end the guard before it has told the exit code.
        while signal.sigtimedwait(minded, 0):
            pass
        return code
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if chld is None else chld)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _await(process: int, minded: set[signal.Signals]) -> int:
    """Wait for a child's end, and forward the signals of `minded`, which must be blocked: its exit code."""
    while True:
        # In a process with other threads SIGCHLD may go to one of them, and be lost there.
        came = signal.sigtimedwait({*minded, signal.SIGCHLD}, _LOOK_S)
        if came is None or came.si_signo == signal.SIGCHLD:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
        elif came.si_code <= 0:
            # Sent by a process. What comes from the kernel is the terminal's (Ctrl-C), and the command has it
            # already, being of the same process group.
            with contextlib.suppress(PermissionError):  # The command has become another user, as sudo does.
                os.kill(process, came.si_signo)


def _not_started(error: OSError, name: str) -> PolityError:
    """The error for a command that could not be started, with the exit code that env(1) would give."""
    why = error.strerror or str(error)
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return NotStarted(
            f"{name!r} cannot be started: {why}", 125, hint="this host is short of it: try again"
        )
    if error.errno == errno.ENOENT:
        return NotStarted(
            f"{name!r} cannot be started: {why}", 127, hint="check its name, the PATH here, and its #!"
        )
    return NotStarted(
        f"{name!r} cannot be started: {why}", 126, hint="it must be executable, and a script begins with #!"
    )


def _read(path: str) -> Memory | None:
    try:
        # Not to hang on a pipe, which is refused below.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            raise GuardError(
                f"the folder {folder} of the state file does not exist",
                hint="make it, on a local disk of the host whose resource is guarded, or name another file",
            ) from None
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise GuardError(
                f"{path} is no regular file", hint="name one with --state; it need not exist yet"
            )
        data = os.read(fd, _MAX_BYTES + 1)
    finally:
        os.close(fd)
    return _decode(data, path)


def _encode(memory: Memory) -> bytes:
    lines = [f"{_HEAD}{_VERSION}", f"term {memory.term}"]
    if memory.role is not None:
        lines.append(f"role {memory.role}")
    body = "".join(f"{line}\n" for line in lines).encode()
    return body + b"sum %08x\n" % crc32(body)


def _decode(data: bytes, path: str) -> Memory:
    """Read a state file. What this could not have written, to the byte, is refused."""
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    fields = dict(line.split(" ", 1) for line in lines[1:] if " " in line)
    number = fields.get("term", "")
    if lines[0] == f"{_HEAD}{_VERSION}" and len(number) < 20 and number.isascii() and number.isdigit():
        memory = Memory(int(number), fields.get("role"))
        if 1 <= memory.term <= MAX_TERM and _encode(memory) == data:
            return memory
    version = lines[0].removeprefix(_HEAD)
    if lines[0].startswith(_HEAD) and version.isdecimal() and int(version[:9]) > _VERSION:
        raise GuardError(
            f"{path} is of version {version}; this polity knows {_VERSION} at most",
            hint="install the newer polity that wrote it on this host again; keep the file as it is",
        )
    what = (
        "is damaged"
        if text.startswith(_HEAD)
        else "is empty"
        if not data
        else "was not written by polity guard"
    )
    raise GuardError(
        f"{path} {what}, so the highest term is not known",
        hint="if it is not the guard's, name another file. Else move it away, and show the guard the role's "
        f"term of now, as `polity who` tells it: polity guard --state {path} --term N",
    )


def _write(path: str, memory: Memory) -> None:
    """Replace the state file so that after a crash the old one or the new one is there, whole."""
    fresh = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)  # of a guard that was killed
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(fd, stat.S_IMODE(os.stat(path).st_mode))
        data = _encode(memory)
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
        os.rename(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
    finally:
        os.close(fd)


def _sync(path: str) -> None:
    """Flush a file or a folder to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _readable(error: OSError, path: str) -> GuardError:
    """Tell what happened to a state file in words an operator can act on."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return GuardError(
            f"{path} cannot be written, the disk is full",
            hint="free some space on that file system; what was seen before is kept, and nothing was started",
        )
    name = error.filename or path
    return GuardError(
        f"the guard cannot use {name}: {error.strerror or error}",
        hint=f"check the rights of {os.path.dirname(path)} and what is in it; nothing was started",
    )
