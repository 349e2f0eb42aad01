"""What the commands share on their command lines: options, and how each help page ends."""

from __future__ import annotations

import click

from polity_cli.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polity_cli.settings import Settings

DEFAULT_TIMEOUT_S = 15.0

EXIT_CODES = {
    0: "yes: done, held, answered",
    1: "unexpected failure (a bug); never an answer",
    2: "usage",
    3: "no, decided: another node holds the role, a guard did not match, or it has seen a higher term",
    4: "vacant: nobody holds the role",
    5: "no quorum, and nothing of this command can take effect later: retry freely",
    6: "unknown: it may take effect; look (`polity who ROLE`, `polity voters`), or run it again",
    7: "the Serf agent cannot be reached, or refuses us",
    8: "this node or the electorate is not fit: see `polity doctor`",
    122: "the role was lost, and the command was ended",
    125: "the command cannot be started for want of memory or processes",
    126: "the command cannot be started",
    127: "there is no such command",
    130: "interrupted (143 by SIGTERM); what may have happened is on stderr",
}


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

    def where(self) -> tuple[str, ...]:
        """The options that say where things are, as they were given."""
        given = {
            "--rpc-addr": self.rpc_addr,
            "--rpc-auth-file": self.rpc_auth_file,
            "--state-dir": self.state_dir,
            "--namespace": self.namespace,
            "--config": self.config,
        }
        return tuple(word for name, value in given.items() if value is not None for word in (name, value))

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
    """A command whose help ends in the exit codes that matter there (0 is added) and a real example.

    `meanings` are those of codes that say something else there than elsewhere.
    """

    def __init__(
        self,
        *args: Any,
        example: str = "",
        exits: tuple[int, ...] = (),
        meanings: dict[int, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.exits = (0, *exits)
        self.meanings = EXIT_CODES | (meanings or {})

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write("Exit codes:\n")
        for code in self.exits:
            formatter.write(f"  {code:<3}  {self.meanings[code]}\n")
        formatter.write_paragraph()
        formatter.write("Example:\n")
        for line in self.example.strip("\n").splitlines():
            formatter.write(f"  {line}\n")


class CommandGroup(Command, click.Group):
    """Such a command with further ones behind it."""


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


def _time_limit(default: float) -> Callable[..., Any]:
    return click.option(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=default,
        show_default=True,
        callback=_above_zero,
        help="The longest wait.",
    )


_WAIT = "Keep trying until the time-out while too few voters live."
_VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Show each message and each voter's answer.")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


def with_options(
    function: Callable[..., None] | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT_S,
    wait: str = _WAIT,
    speaks_json: bool = True,
) -> Callable[..., Any]:
    """Give a command the common options, as one argument `options`; `timeout` is the default of --timeout.

    `wait` is the help of --wait; a command whose standard output is another's has no --json.
    """
    if function is None:
        return lambda function: with_options(function, timeout=timeout, wait=wait, speaks_json=speaks_json)
    inner = function

    def wrapped(**given: Any) -> None:
        given.setdefault("as_json", False)
        options = Options(**{field: given.pop(field) for field in Options._fields})
        inner(options=options, **given)

    wrapped.__name__ = function.__name__
    wrapped.__doc__ = function.__doc__
    wrapped.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Callable[..., None] = wrapped
    how = [click.option("--wait", is_flag=True, help=wait), *([_JSON] if speaks_json else []), _VERBOSE]
    for option in reversed((_time_limit(timeout), *how, *WHERE)):
        decorated = option(decorated)
    return decorated


def with_where(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command only the options that say where things are."""
    for option in reversed(WHERE):
        function = option(function)
    return function
