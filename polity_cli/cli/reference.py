"""docs/cli.md, made from the commands themselves: `python -m polity_cli.cli.reference > docs/cli.md`.

Written from what click knows of each command, not from its help screen, whose layout changes with click.
"""

from __future__ import annotations

import inspect

import click

from polity_cli.cli.main import cli
from polity_cli.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# An option that so many commands share is described once.
_COMMON = 5

_HEAD = """\
# Commands

Made by `python -m polity_cli.cli.reference`; `tests/test_docs.py` fails when it is out of date.
Exit codes and JSON are in [json.md](json.md), what to do about each error in [operations.md](operations.md).
"""


class Row(Record):
    """How an option is written, and what is said of it."""

    option: str
    text: str


def commands(group: click.Group = cli, path: str = "polity") -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, with the words that run it, in the order of the help."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def document() -> str:
    """All of docs/cli.md."""
    found = list(commands())
    rows = {words: _rows(command) for words, command in found}
    every = [row for options in rows.values() for row in options]
    common = [row for row in dict.fromkeys(every) if every.count(row) >= _COMMON]
    parts = [_HEAD, _text(cli)]
    for words, command in found:
        own = [row for row in rows[words] if row not in common]
        shared = [f"`{row.option.split()[0].rstrip(',')}`" for row in rows[words] if row in common]
        parts += [f"## {words}", f"```text\n{_usage(words, command)}\n```", _text(command)]
        if own:
            parts.append(_table(own))
        if shared:
            also = "Also" if own else "Options:"
            parts.append(f"{also} {', '.join(shared)}: see [common options](#common-options).")
        example = getattr(command, "example", "")
        if example:
            parts.append(f"```console\n{_prompted(example)}\n```")
    parts += ["## Common options", _table(common)]
    parts.append("All commands: `-h`, `--help`. `polity --version` says which version this is.")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _text(command: click.Command) -> str:
    """The help text as paragraphs; an example in it is shown elsewhere."""
    text = inspect.cleandoc(command.help or "").split("\b")[0]
    return text.replace("\f", "").strip()


def _usage(words: str, command: click.Command) -> str:
    arguments = [p.metavar or str(p.name).upper() for p in command.params if isinstance(p, click.Argument)]
    return " ".join([words, "[OPTIONS]", *arguments])


def _rows(command: click.Command) -> list[Row]:
    return [_row(param) for param in command.params if isinstance(param, click.Option)]


def _row(option: click.Option) -> Row:
    ways = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag or option.count else f" {option.metavar or option.type.name.upper()}"
    text = option.help or ""
    if option.show_default and option.default not in (None, False):
        text += f" Default: {option.default}."
    return Row(ways + value, text)


def _table(rows: list[Row]) -> str:
    lines = ["| option | |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{row.option}` | {row.text} |" for row in rows)])


def _prompted(example: str) -> str:
    return "\n".join(f"$ {line}" for line in example.splitlines())


if __name__ == "__main__":
    click.echo(document(), nl=False)
