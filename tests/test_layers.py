"""A room imports only from rooms below it, never up; a file without a floor fails here.

All imports count, also those inside functions. Only what stands under `if TYPE_CHECKING:` is exempt: it is
never executed, and a lower room may name an upper one in a hint. Rooms of one floor may know each other
only where they are one house of several files (`core`, `edges`, `devcluster`, `cli`).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "polity_cli"
HOME = Path(__file__).parent.parent / PACKAGE
HOUSES = ("core", "edges", "devcluster", "cli")

# From the ground up. A name stands for a file, or for a folder with all its files.
FLOORS = (
    (
        "",
        "errors",
        "leash",
        "core.record",
    ),  # "" is the package itself, whose names are imported when first used
    ("core",),
    ("watch_settings",),
    ("settings", "guard", "crontab"),
    ("edges",),
    ("asking",),
    ("booth", "conduct", "rescue", "courier"),
    ("outcomes",),
    ("session",),
    ("registrar", "lookout"),
    ("upkeep", "dissolution", "runner", "watch", "succession"),
    ("agent", "hook", "checkup"),
    ("polity", "devcluster"),
    ("demo",),
    ("cli",),
    ("__main__",),
)
# What the rules may have of the standard library: nothing that tells the time, draws, reads or writes.
PURE = {"__future__", "collections", "collections.abc", "enum", "typing"}


def rooms() -> list[str]:
    """Every file of the package as a dotted name without the package's own."""
    found = []
    for path in sorted(HOME.rglob("*.py")):
        parts = path.relative_to(HOME).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def source_of(room: str) -> str:
    path = HOME.joinpath(*room.split(".")) if room else HOME
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


def floor_of(room: str) -> int | None:
    """The floor of a room, by the longest name that covers it; None for a room nobody has thought of."""
    parts = room.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for floor, names in enumerate(FLOORS):
            if name in names and (length == len(parts) or name in HOUSES):
                return floor
    return None


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and (
        (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
        or (isinstance(node.test, ast.Attribute) and node.test.attr == "TYPE_CHECKING")
    )


def imports(tree: ast.AST) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Line, module and names of every import that can be executed."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and is_type_checking(node):
            for other in node.orelse:
                yield from imports(ast.Module([other], []))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are written out in full here"
            assert node.module
            yield node.lineno, node.module, tuple(alias.name for alias in node.names)
        else:
            yield from imports(node)


def rooms_named(module: str, names: tuple[str, ...], known: set[str]) -> list[str]:
    """The rooms of the package that an import reaches; `from polity_cli import booth` names one."""
    if module != PACKAGE and not module.startswith(PACKAGE + "."):
        return []
    room = module.removeprefix(PACKAGE).removeprefix(".")
    below = [f"{room}.{name}" if room else name for name in names]
    found = [name for name in below if name in known]
    return found if found and len(found) == len(names) else [*found, room]


def faults(room: str, source: str, known: set[str]) -> list[str]:
    """What is wrong with a room's imports, one line each."""
    mine = floor_of(room)
    if mine is None:
        return [f"{room} has no floor"]
    said = []
    house = room.split(".")[0]
    for line, module, names in imports(ast.parse(source)):
        for other in rooms_named(module, names, known):
            floor = floor_of(other)
            at_home = house in HOUSES and other.split(".")[0] == house
            if floor is None:
                said.append(f"{room}:{line} imports {other}, which has no floor")
            elif floor > mine or (floor == mine and other != "" and other != room and not at_home):
                said.append(f"{room}:{line} imports {other}, which is not below it")
            if house == "core" and not (other == "errors" or other.split(".")[0] == "core"):
                said.append(f"{room}:{line} imports {other}: the rules know nothing but themselves")
        if house == "core" and module.split(".")[0] != PACKAGE and module not in PURE:
            said.append(f"{room}:{line} imports {module}: the rules are pure")
    return said


KNOWN = set(rooms())


@pytest.mark.parametrize("room", rooms(), ids=lambda room: room or PACKAGE)
def test_a_room_imports_only_from_rooms_below_it(room: str) -> None:
    assert faults(room, source_of(room), KNOWN) == []


def test_every_name_on_a_floor_is_a_room() -> None:
    assert {name for names in FLOORS for name in names} <= KNOWN


def test_the_hook_imports_only_os_before_it_has_closed_its_mouth() -> None:
    top = [
        node for node in ast.parse(source_of("hook")).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [module for _, module, _ in imports(ast.Module([*top], []))] == ["__future__", "os"]


def test_the_rules_import_from_the_standard_library_only_what_does_nothing() -> None:
    assert {name.split(".")[0] for name in PURE} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("newcomer", "", "newcomer has no floor"),
        ("core.newcomer.deep", "", None),
        ("core.tally", "import time", "the rules are pure"),
        ("core.tally", "from polity_cli.edges import wire", "which is not below it"),
        ("core.tally", "def f():\n    from polity_cli import settings", "imports settings"),
        ("core.tally", "from polity_cli.errors import BadInput\nfrom enum import Enum", None),
        ("core.tally", "if TYPE_CHECKING:\n    import time\n    from polity_cli import session", None),
        ("core.tally", "if TYPE_CHECKING:\n    pass\nelse:\n    import time", "the rules are pure"),
        ("core.tally", "try:\n    pass\nexcept E:\n    import random", "the rules are pure"),
        ("errors", "from polity_cli.core.record import Record", "not below"),
        ("settings", "from polity_cli.edges.wire import encode", "edges.wire, which is not below it"),
        ("edges.wire", "from polity_cli.edges import ledger", None),
        ("edges.wire", "import polity_cli.booth", "imports booth"),
        ("booth", "from polity_cli.conduct import Conductor", "imports conduct"),
        ("session", "from polity_cli.nowhere import x", "imports nowhere, which has no floor"),
        ("cli.main", "from polity_cli.cli import who\nfrom polity_cli.demo import x", None),
        ("session", "from polity_cli import __version__", None),
    ],
)
def test_this_test_sees_what_is_wrong(room: str, source: str, fault: str | None) -> None:
    found = faults(room, source, KNOWN)
    assert (fault in " ".join(found)) if fault else (found == [])
