"""The tables [roles.NAME] of a configuration file, checked."""

from __future__ import annotations

from polity_cli.core.succession import MOST_PRIORITY, Succession
from polity_cli.core.tenure import check_role
from polity_cli.errors import BadConfiguration, BadInput

_WORDS = "a command, either words in a list or one text for /bin/sh"
# What each setting must be, and how it is written.
_KINDS = {
    "candidate": ("true or false", "candidate = true"),
    "recall": ("true or false", "recall = true"),
    "takeover_delay": ("a number of seconds", "takeover_delay = 60"),
    "priority": (f"a whole number from 0 to {MOST_PRIORITY}", "priority = 1"),
    "only_if": (_WORDS, 'only_if = ["/usr/local/bin/is-fit", "--now"]'),
    "only_if_timeout": ("a number of seconds above 0", "only_if_timeout = 5"),
}


def successions(tables: dict[str, object], path: str) -> tuple[Succession, ...]:
    """What each table says, in the order of the file. Raises BadConfiguration naming the file and the key."""
    return tuple(_succession(role, table, path) for role, table in tables.items())


def _succession(role: str, table: object, path: str) -> Succession:
    where = f"roles.{role}"
    try:
        check_role(role)
    except BadInput as error:
        raise BadConfiguration(f"in {path}, [{where}] names no role: {error}", hint=error.hint) from None
    if not isinstance(table, dict):
        raise BadConfiguration(
            f"in {path}, {where} must be a table", hint=f"write [{where}] on a line of its own"
        )
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in _KINDS:
            raise BadConfiguration(
                f"the configuration file {path} has an unknown setting {f'{where}.{key}'!r}",
                hint=f"known ones in [roles.NAME]: {', '.join(_KINDS)}",
            )
        if not _fits(key, value):
            what, example = _KINDS[key]
            raise BadConfiguration(
                f"in {path}, {where}.{key} must be {what}, not {value!r}", hint=f"write {example}"
            )
        values[key] = value
    only_if = values.get("only_if")
    if only_if is not None:
        values["only_if"] = ("/bin/sh", "-c", only_if) if isinstance(only_if, str) else tuple(only_if)  # type: ignore[arg-type]
    # Who does not stand leaves the role to others: emptying it is for whoever says so.
    values.setdefault("recall", values.get("candidate", True))
    return Succession(role)._replace(**values)  # type: ignore[arg-type]


def _fits(key: str, value: object) -> bool:
    match key:
        case "candidate" | "recall":
            return isinstance(value, bool)
        case "takeover_delay" | "only_if_timeout":
            is_number = type(value) in (int, float)
            return is_number and (0 if key == "takeover_delay" else 1e-3) <= value < 1e9  # type: ignore[operator]
        case "priority":
            return type(value) is int and 0 <= value <= MOST_PRIORITY
        case _:
            if isinstance(value, list):
                return (
                    bool(value)
                    and all(isinstance(word, str) and word for word in value[:1])
                    and all(isinstance(word, str) and "\0" not in word for word in value)
                )
            return isinstance(value, str) and bool(value.strip()) and "\0" not in value
