"""From a command's work to its answer on stdout, its talk on stderr and its exit code.

stdout is a contract: the answer as text, or one JSON object, and nothing else. All talk goes to stderr. A
command that is interrupted before it asked anything ends at once; later it first lets its operation end,
so that it can say whether the outcome is known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from time import monotonic, sleep

from polity_cli.core.record import Record
from polity_cli.errors import FoundingRefused, NoQuorum, PolityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import NoReturn, TypeVar

    from polity_cli.cli.common import Options
    from polity_cli.cli.progress import Progress
    from polity_cli.session import Session
    from polity_cli.settings import Upkeep

    T = TypeVar("T")

# How long an interrupted operation may take to end: it looks about five times a second, unless the Serf
# agent hangs.
_GRACE_S = 2.0
_TRY_AGAIN_S = 0.4


class Answer(Record):
    """What a command found out: `data` for --json, `text` for people, and the error that tells a plain no.

    `then` is done once all is told.
    """

    data: Mapping[str, object]
    text: str = ""
    error: PolityError | None = None
    note: str = ""
    then: Callable[[], None] | None = None


class Interrupted(BaseException):
    """A signal ended the command where nothing could be waited for."""


class Interruption:
    """SIGINT and SIGTERM: `signal` is the first that came. A second one ends the process at once."""

    def __init__(self) -> None:
        self.signal = 0
        self._asked = False
        self._slow: Callable[[], None] | None = None

    def listen(self, slow: Callable[[], None]) -> None:
        """Take over the signals. `slow` is called if `asking` is not within a second: it may only write."""
        self._slow = slow
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        signal.signal(signal.SIGALRM, self._alarmed)
        signal.setitimer(signal.ITIMER_REAL, 1.0)

    def asking(self) -> None:
        """From here on things are asked of the cluster, and only the operation knows what may come of it."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._asked = True

    def told(self) -> str:
        """What is to be said of an end that came neither from a decision nor from the operation."""
        if self._asked:
            return "interrupted while the Serf agent hangs; what was asked for may take effect"
        return "interrupted; nothing was asked for yet"

    def _signalled(self, number: int, _: object) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number
        if not self._asked:
            raise Interrupted
        signal.setitimer(signal.ITIMER_REAL, _GRACE_S)

    def _alarmed(self, _: int, __: object) -> None:
        if self.signal:
            raise Interrupted
        if self._slow is not None:
            self._slow()


class Visit(Record):
    """A command's session, and what it needs to be patient but not for ever."""

    session: Session
    options: Options
    progress: Progress
    interruption: Interruption
    started: float
    upkeep: Upkeep

    def left(self) -> float:
        """Seconds until the time limit; never 0, as every step looks once."""
        return max(0.001, self.started + self.options.timeout - monotonic())

    def anew(self) -> Visit:
        """The same visit with its time limit counted from now."""
        return self._replace(started=monotonic())

    def seconds(self) -> float:
        """Seconds since the command began, for people: milliseconds are precise enough."""
        return round(monotonic() - self.started, 3)

    def patiently(self, operation: Callable[[], T]) -> T:
        """Run an operation; with --wait, over and over while nobody answers or somebody is missing."""
        while True:
            try:
                return operation()
            except (NoQuorum, FoundingRefused) as error:
                if not self.options.wait or self.left() <= _TRY_AGAIN_S or self.interruption.signal:
                    raise
                self.progress.note(str(error))
                sleep(_TRY_AGAIN_S)


def visit(
    command: str,
    options: Options,
    work: Callable[[Visit], T],
    *,
    progress: Progress,
    interruption: Interruption,
    later: list[Callable[[], None]],
) -> T:
    """Do `work` with a session on the local agent. Raises PolityError and Interrupted.

    What is to be done once all is told comes to `later`.
    """
    settings = options.settings()
    interruption.listen(lambda: progress.draw(f"waiting for the Serf agent at {settings.rpc_addr}"))
    from polity_cli.edges.serf_rpc import SerfClient
    from polity_cli.session import Session

    started = monotonic()
    with (
        SerfClient.connect(
            settings.rpc_addr,
            auth_key=settings.rpc_auth,
            connect_timeout_s=min(5.0, options.timeout),
            timeout_s=min(10.0, options.timeout),
        ) as serf,
        Session(
            serf,
            namespace=settings.namespace,
            state_dir=settings.state_dir,
            watch=progress,
            should_stop=lambda: interruption.signal != 0,
        ) as session,
    ):
        progress.members = session.members
        interruption.asking()
        try:
            return work(Visit(session, options, progress, interruption, started, settings.upkeep))
        finally:
            # Of all voters that were set back `polity voters` tells in its own way.
            progress.end(session.strange_answers, () if command == "voters" else session.set_back)
            later.append(session.remember_later())


def in_session(command: str, options: Options, work: Callable[[Visit], Answer]) -> NoReturn:
    """Do `work` with a session on the local agent, tell its answer, and end the process."""
    from polity_cli.cli.progress import Progress

    interruption = Interruption()
    progress = Progress(verbose=options.verbose, started=monotonic())
    later: list[Callable[[], None]] = []
    finish(
        command,
        lambda: visit(command, options, work, progress=progress, interruption=interruption, later=later),
        as_json=options.as_json,
        interruption=interruption,
        before_talking=progress.clear,
        later=later,
    )


def finish(
    command: str | None,
    run: Callable[[], Answer],
    *,
    as_json: bool,
    interruption: Interruption | None = None,
    before_talking: Callable[[], None] = lambda: None,
    later: Iterable[Callable[[], None]] = (),
) -> NoReturn:
    """Run a command's work and end the process with what came of it; `later` is done once all is told."""
    code = 0
    try:
        answer = run()
    except PolityError as error:
        answer = failure(command, error)
    except Interrupted:
        assert interruption is not None
        code = 128 + interruption.signal
        answer = failure(command, PolityError(interruption.told()), code)
    before_talking()
    if answer.error is not None and not code:
        code = answer.error.exit_code
        # What is decided is told as such, also to somebody who wanted to leave; the rest is an interruption.
        if interruption is not None and interruption.signal and _is_open(answer.error):
            code = 128 + interruption.signal
            unknown = answer.error.exit_code == 6
            complain(PolityError(f"interrupted; {'it may' if unknown else 'nothing of it can'} take effect"))
        answer = answer._replace(
            data={
                **answer.data,
                "error": str(answer.error),
                "hint": answer.error.hint,
                "exit_code": code,
            }
        )
    end(answer, code, as_json=as_json, later=later)


def failure(command: str | None, error: PolityError, code: int | None = None) -> Answer:
    """The answer that an error is."""
    data = {
        "command": command,
        "outcome": "error",
        "error": str(error),
        "hint": error.hint,
        "exit_code": error.exit_code if code is None else code,
    }
    return Answer(data, error=error)


def end(answer: Answer, code: int, *, as_json: bool, later: Iterable[Callable[[], None]] = ()) -> NoReturn:
    """Tell the answer and end the process."""
    written = True
    if as_json:
        import json

        # ASCII alone: any locale can print it, and no name in it can drive a terminal.
        written = emit(json.dumps(dict(answer.data)))
    elif answer.text:
        written = emit("\n".join(plain(line) for line in answer.text.split("\n")))
    if answer.error is not None:
        complain(answer.error)
    if answer.note and not as_json:
        say(answer.note)
    if answer.then is not None:
        answer.then()
    for work in later:
        work()
    leave(code if written else 1)


def emit(text: str) -> bool:
    """Print to stdout; False if it cannot be written. Somebody who closed it has heard enough."""
    if sys.stdout is None:
        return True
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
    except OSError as error:
        _close_stdout()
        complain(PolityError(f"the answer cannot be written to stdout: {error.strerror}"))
        return False
    return True


def complain(error: PolityError) -> None:
    """Say on stderr what happened, and what to do next."""
    say(f"polity: {error}")
    if error.hint:
        say(f"  {error.hint}")


def say(text: str) -> None:
    """A line on stderr, if anybody listens there."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError):
        sys.stderr.write(plain(text) + "\n")
        sys.stderr.flush()


def plain(text: str) -> str:
    """Text with everything unprintable made visible, line ends included: names come from other machines."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def leave(code: int) -> NoReturn:
    """End the process now: the interpreter's own tidying takes as long as a local query."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
    os._exit(code)


def _is_open(error: PolityError) -> bool:
    """True for the ends of an operation that did not come to one; a founding then tells who was missing."""
    return error.exit_code in (5, 6) or isinstance(error, FoundingRefused)


def _close_stdout() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
