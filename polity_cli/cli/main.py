"""The command `polity`: finds the command that was asked for and imports no other.

Start-up is part of every election from a shell, so this room imports click and nothing else; each command
lives in a room of its own and imports what it needs when it runs.
"""

from __future__ import annotations

import gc
import os
import sys

# Importing makes ten thousands of objects, all to stay: looking for garbage among them takes 5 ms.
gc.set_threshold(100_000)

import click  # noqa: E402 - see above

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

COMMANDS = {
    "found": ("polity_cli.cli.found", "found"),
    "elect": ("polity_cli.cli.elect", "elect"),
    "recall": ("polity_cli.cli.recall", "recall"),
    "resign": ("polity_cli.cli.resign", "resign"),
    "run": ("polity_cli.cli.run", "run"),
    "who": ("polity_cli.cli.who", "who"),
    "roles": ("polity_cli.cli.roles", "roles"),
    "watch": ("polity_cli.cli.watch", "watch"),
    "voters": ("polity_cli.cli.voters", "voters"),
    "guard": ("polity_cli.cli.guard", "guard"),
    "dissolve": ("polity_cli.cli.dissolve", "dissolve"),
    "agent": ("polity_cli.cli.agent", "agent"),
    "succeed": ("polity_cli.cli.succeed", "succeed"),
    "serf-config": ("polity_cli.cli.serf_config", "serf_config"),
    "doctor": ("polity_cli.cli.doctor", "doctor"),
    "demo": ("polity_cli.cli.demo", "demo"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when asked for, listed in the order of the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        from importlib import import_module

        module, attribute = COMMANDS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from polity_cli import __version__

        click.echo(f"polity {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Say which."
)
def cli() -> None:
    """Elect one node into a role over HashiCorp Serf, with strong consensus.

    A role is held until it is recalled. Exit codes: 0 yes, 3 no (another node holds it), 4 vacant,
    5 no quorum (retry freely), 6 unknown (ask `polity who ROLE`), 7 no Serf agent, 8 this node or the
    electorate is not fit, 2 usage, 1 a bug, 130 and 143 interrupted.

    \b
    Example:
      polity elect backup && run-backup
    """


def main() -> NoReturn:
    """Entry point; ends the process with one of the named exit codes."""
    # Names are data here: whatever the locale is, printing one must not fail.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        # A command ends the process by itself; only help pages and the like come back.
        cli.main(prog_name="polity", standalone_mode=False)
    except SystemExit:
        # Click's way when somebody closes stdout in the middle of a help page, and has seen enough of it.
        sys.stderr = None
    except BaseException as error:  # noqa: BLE001 - the last frame: everything has its exit code
        _fail(error)
    from polity_cli.cli.running import leave

    leave(0)


def _fail(error: BaseException) -> NoReturn:
    """End the process over what no command has dealt with: usage, an early Ctrl-C, or a bug."""
    from polity_cli.cli.running import end, failure
    from polity_cli.errors import BadInput, PolityError

    words = sys.argv[1:]
    if "--" in words:
        words = words[: words.index("--")]  # What comes behind is for the command that `guard` runs.
    as_json = "--json" in words
    command = next((word for word in words if word in COMMANDS), None)
    code = 1
    match error:
        case click.exceptions.NoArgsIsHelpError() if not as_json:
            error.show()
            answer = failure(command, BadInput("no command given"))._replace(error=None)
            code = 2
        case click.ClickException():
            page = "polity" if command is None else f"polity {command}"
            if isinstance(error, click.UsageError) and error.ctx is not None:
                page = error.ctx.command_path
            answer, code = failure(command, BadInput(error.format_message(), hint=f"see `{page} --help`")), 2
        case PolityError():
            answer, code = failure(command, error), error.exit_code
        case click.Abort() | KeyboardInterrupt():
            answer, code = failure(command, PolityError("interrupted"), 130), 130
        case _:
            if os.environ.get("POLITY_DEBUG"):
                import traceback

                traceback.print_exception(error)
            bug = f"a bug: {' '.join(f'{type(error).__name__}: {error}'.split())}"
            hint = "run it again with POLITY_DEBUG=1 and report what it prints"
            answer = failure(command, PolityError(bug, hint=hint))
    end(answer, code, as_json=as_json)


if __name__ == "__main__":
    main()
