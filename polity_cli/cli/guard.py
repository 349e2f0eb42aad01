"""`polity guard`."""

from __future__ import annotations

import click

from polity_cli.cli.common import Command
from polity_cli.core.tenure import MAX_TERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.cli.running import Answer
    from polity_cli.guard import Memory

DEFAULT_WAIT_S = 60.0


def _bounded(_: click.Context, __: click.Parameter, value: float) -> float:
    if not 0 <= value < 1e6:
        raise click.BadParameter("give a number of seconds, such as 60, or 0 not to wait")
    return value


@click.command(
    cls=Command,
    exits=(2, 3, 5, 8, 125, 126, 127, 130),
    meanings={
        0: "yes: the term may pass; with CMD the exit code is CMD's own",
        3: "refused: a higher term was seen (see --conflict-exit-code)",
        5: "busy: another command still runs; nothing was started, so try again freely",
        8: "the state file is damaged, not a guard's, or cannot be written",
        125: "CMD cannot be started: this host lacks memory or processes",
        126: "CMD cannot be started: not executable",
        127: "CMD cannot be started: not found",
        130: "interrupted (128 + N where signal N ended CMD)",
    },
    example="polity guard --state /var/lib/backup.term --role backup --term 7 -- cp -a /data/. /backup/",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--state", metavar="FILE", required=True, help="Where the highest term is kept.")
@click.option(
    "--term",
    metavar="N",
    type=click.IntRange(1, MAX_TERM),
    envvar="POLITY_TERM",
    help="The caller's term [env POLITY_TERM].",
)
@click.option(
    "--role",
    metavar="ROLE",
    envvar="POLITY_ROLE",
    help="Whose terms FILE keeps; others are misuse [env POLITY_ROLE].",
)
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=float,
    default=DEFAULT_WAIT_S,
    show_default=True,
    callback=_bounded,
    help="The longest wait for a command that still runs.",
)
@click.option(
    "--conflict-exit-code",
    metavar="CODE",
    type=click.IntRange(1, 255),
    default=3,
    show_default=True,
    help="The exit code of a refusal, where CMD has a 3 of its own.",
)
@click.option("--show", is_flag=True, help="Only print what FILE knows.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output; not with CMD.")
@click.argument("command", metavar="[-- CMD...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def guard(
    ctx: click.Context,
    state: str,
    term: int | None,
    role: str | None,
    wait_s: float,
    conflict_exit_code: int,
    show: bool,
    as_json: bool,
    command: tuple[str, ...],
) -> None:
    """Run CMD unless a holder with a higher term has been here: the resource's side of a fencing token.

    FILE remembers the highest term that was shown to it. A lower one is refused, with exit code 3. A higher
    one is written to the disk before anything starts, and waits for a command that still runs: at any time
    one runs at most, and once one has started none of a lower term starts any more. Nobody but the guard may
    touch FILE, FILE.lock and FILE.running.

    Without CMD the term is recorded and checked alike. Neither Serf nor a polity is needed on this host.
    """
    if show:
        given = [name for name in ("term", "role") if _is_on_command_line(ctx, name)]
        if given or command:
            what = "CMD" if command else f"--{given[0]}"
            raise click.UsageError(f"--show only looks: leave out {what}", ctx=ctx)
    elif term is None:
        raise click.UsageError("give --term, or set POLITY_TERM", ctx=ctx)
    if not state:
        raise click.UsageError("--state is empty", ctx=ctx)
    if command and as_json:
        raise click.UsageError("--json goes without CMD: stdout is CMD's", ctx=ctx)

    from polity_cli import guard as gate
    from polity_cli.cli.running import Answer, finish, leave, say
    from polity_cli.errors import TermRefused

    def run() -> Answer:
        if show or term is None:
            return _shown(state)
        try:
            if command:
                leave(gate.run(state, term, role, command, wait_s=wait_s, on_wait=say))
            return _checked(state, term, role, wait_s)
        except TermRefused as error:
            error.exit_code = conflict_exit_code
            return Answer(_data("refused", state, term), error=error)

    finish("guard", run, as_json=as_json)


def _is_on_command_line(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _shown(state: str) -> Answer:
    from polity_cli import guard as gate
    from polity_cli.cli.running import Answer

    memory = gate.read(state)
    running = gate.running(state)
    if memory is None:
        text = f"{state}: no term seen yet"
    else:
        text = f"{state}: {_of(memory)}term {memory.term} is the highest seen"
    if running is not None:
        text += f"; {running} runs"
    return Answer(_data("shown", state, None), text)


def _checked(state: str, term: int, role: str | None, wait_s: float) -> Answer:
    from polity_cli import guard as gate
    from polity_cli.cli.running import Answer, say
    from polity_cli.errors import GuardBusy

    try:
        before, now = gate.check(state, term, role, wait_s=wait_s, on_wait=say)
    except GuardBusy as error:
        return Answer(_data("busy", state, term), error=error)
    if before is not None and before.term == term:
        return Answer(_data("known", state, term), f"{_of(now)}term {term} is the highest seen")
    was = "no term" if before is None else f"term {before.term}"
    return Answer(_data("recorded", state, term), f"{_of(now)}term {term} is recorded; {was} before")


def _of(memory: Memory) -> str:
    return "" if memory.role is None else f"{memory.role}, "


def _data(outcome: str, state: str, given: int | None) -> dict[str, object]:
    """The JSON object: what was asked, and what the guard knows now."""
    from polity_cli import guard as gate

    memory = gate.read(state)
    running = gate.running(state)
    return {
        "command": "guard",
        "outcome": outcome,
        "state": state,
        "given": given,
        "term": None if memory is None else memory.term,
        "role": None if memory is None else memory.role,
        "running": None if running is None else running.term,
    }
