"""What all commands share: options, the session, signals, and how an answer becomes an exit code.

stdout is a contract: one line, or one JSON object, and nothing else. All talk goes to stderr. A command
ends with the code of its answer; one that is interrupted first lets its operation end, so that it can say
whether the outcome is known.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from time import monotonic

import click

from polity_cli.core.record import Record
from polity_cli.errors import PolityError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from polity_cli.conduct import Watch
    from polity_cli.session import Session
    from polity_cli.settings import Settings

DEFAULT_TIMEOUT_S = 15.0


class Answer(Record):
    """What a command found out: `data` for --json, `text` for people, and the error that tells a plain no."""

    data: Mapping[str, object]
    text: str = ""
    error: PolityError | None = None
    note: str = ""


class Options(Record):
    """The options common to all commands that talk to the cluster."""

    timeout: float
    wait: bool
    as_json: bool
    verbose: bool
    rpc_addr: str | None
    rpc_auth_file: str | None
    state_dir: str | None
    namespace: str | None
    config: str | None

    def settings(self) -> Settings:
        from polity_cli.settings import load

        return load(
            rpc_addr=self.rpc_addr,
            rpc_auth_file=self.rpc_auth_file,
            state_dir=self.state_dir,
            namespace=self.namespace,
            config=self.config,
        )


class Command(click.Command):
    """A command whose help ends in an example."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write("Example:\n")
        for line in self.example.splitlines():
            formatter.write(f"  {line}\n")


def _above_zero(_: click.Context, __: click.Parameter, value: float) -> float:
    if not 0 < value < 1e6:
        raise click.BadParameter("give a number of seconds above 0, such as 15")
    return value


WHERE = (
    click.option("--rpc-addr", metavar="HOST:PORT", help="Serf agent [env SERF_RPC_ADDR; 127.0.0.1:7373]."),
    click.option("--rpc-auth-file", metavar="FILE", help="File with Serf's RPC token [env SERF_RPC_AUTH]."),
    click.option("--state-dir", metavar="DIR", help="Where ledgers are [env POLITY_STATE_DIR]."),
    click.option("--namespace", metavar="NAME", help="Which polity [env POLITY_NAMESPACE; polity]."),
    click.option("--config", metavar="FILE", help="Configuration file [env POLITY_CONFIG]."),
)

_HOW = (
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        show_default=True,
        callback=_above_zero,
        help="The longest wait.",
    ),
    click.option("--wait", is_flag=True, help="Keep trying until the time-out while too few voters live."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output."),
    click.option("-v", "--verbose", is_flag=True, help="Show each message and each voter's answer."),
)


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the common options, as one argument `options`."""

    def wrapped(**given: Any) -> None:
        options = Options(**{field: given.pop(field) for field in Options._fields})
        function(options=options, **given)

    wrapped.__name__ = function.__name__
    wrapped.__doc__ = function.__doc__
    wrapped.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Callable[..., None] = wrapped
    for option in reversed((*_HOW, *WHERE)):
        decorated = option(decorated)
    return decorated


def with_where(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command only the options that say where things are."""
    for option in reversed(WHERE):
        function = option(function)
    return function


class Interruption:
    """SIGINT and SIGTERM while an operation runs: the first asks it to end, the second ends the process."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self, number: int, _: object) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)


def in_session(command: str, options: Options, work: Callable[[Session], Answer]) -> NoReturn:
    """Do `work` with a session on the local agent, tell its answer, and end the process."""
    from polity_cli.cli.progress import Progress

    interruption = Interruption()
    interruption.listen()
    progress = Progress(verbose=options.verbose)

    def run() -> Answer:
        from polity_cli.edges.serf_rpc import SerfClient
        from polity_cli.session import Session

        settings = options.settings()
        watch: Watch = progress
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
                watch=watch,
                should_stop=lambda: interruption.signal != 0,
            ) as session,
        ):
            answer = work(session)
            if options.verbose and session.strange_answers:
                progress.say(
                    f"{session.strange_answers} answers could not be read (another version of polity?)"
                )
            return answer

    finish(command, run, as_json=options.as_json, interruption=interruption, before_talking=progress.clear)


def finish(
    command: str,
    run: Callable[[], Answer],
    *,
    as_json: bool,
    interruption: Interruption | None = None,
    before_talking: Callable[[], None] = lambda: None,
) -> NoReturn:
    """Run a command's work and end the process with what came of it."""
    try:
        answer = run()
    except PolityError as error:
        data = {"command": command, "outcome": "error", "error": str(error), "hint": error.hint}
        answer = Answer({**data, "exit_code": error.exit_code}, error=error)
    before_talking()
    code = answer.error.exit_code if answer.error is not None else 0
    # What is decided is told as such, also to somebody who wanted to leave; the rest is an interruption.
    if interruption is not None and interruption.signal and code in (5, 6):
        code = 128 + interruption.signal
        click.echo("polity: interrupted", err=True)
    if as_json:
        emit(json.dumps(answer.data, ensure_ascii=False))
    elif answer.text:
        emit(plain(answer.text))
    if answer.error is not None:
        complain(answer.error)
    if answer.note and not as_json:
        click.echo(answer.note, err=True)
    _end(code)


def emit(text: str) -> None:
    """Print to stdout; somebody who closed it has heard enough."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(error: PolityError) -> None:
    """Say on stderr what happened, and what to do next."""
    click.echo(f"polity: {plain(str(error))}", err=True)
    if error.hint:
        click.echo(f"  {plain(error.hint)}", err=True)


def plain(text: str) -> str:
    """Text with control characters made visible: names come from other machines."""
    return "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in text)


def since(started: float) -> float:
    """Seconds since a `monotonic` time, for people: milliseconds are precise enough."""
    return round(monotonic() - started, 3)


def _end(code: int) -> NoReturn:
    # The interpreter's own tidying takes as long as a local query; everything is written and closed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
