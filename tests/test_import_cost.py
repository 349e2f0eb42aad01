"""`polity-hook` is a process per query: what it imports is most of what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polity_cli.core import messages as m
from polity_cli.edges import wire

ROOMS = (
    "polity_cli.booth, polity_cli.edges.ledger, polity_cli.edges.wire, polity_cli.settings, polity_cli.hook"
)
DEAR = {
    "asyncio",
    "click",
    "contextlib",
    "dataclasses",
    "enum",
    "hashlib",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "re",
    "requests",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "tomllib",
    "typing",
    "urllib",
    "uuid",
}


def loaded_by(program: str, *, env: dict[str, str] | None = None, stdin: bytes = b"") -> set[str]:
    """Modules in memory at the end of a program in a fresh interpreter, without those of the site."""
    report = "import os, sys; os.write(3, ' '.join(sys.modules).encode())"
    reading, writing = os.pipe()
    try:
        # -S: what .pth files of an editable install import is none of the hook's business.
        done = subprocess.run(
            [sys.executable, "-S", "-c", f"import os; os.dup2({writing}, 3)\n{program}\n{report}"],
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **(env or {})},
            input=stdin,
            capture_output=True,
            pass_fds=[writing],
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return set(os.read(reading, 100_000).decode().split())
    finally:
        os.close(reading)
        os.close(writing)


def test_the_hooks_rooms_load_nothing_dear() -> None:
    loaded = loaded_by(f"import {ROOMS}")
    assert {"polity_cli.booth", "polity_cli.edges.ledger", "sqlite3", "msgpack"} <= loaded
    assert loaded & DEAR == set()


def test_the_watch_for_dear_modules_sees_them() -> None:
    assert loaded_by("import dataclasses, logging") & DEAR >= {"dataclasses", "logging", "inspect", "re"}


def test_the_hooks_rooms_load_no_others_of_the_house() -> None:
    own = {name for name in loaded_by(f"import {ROOMS}") if name.startswith("polity_cli")}
    assert own == {
        "polity_cli",
        "polity_cli.booth",
        "polity_cli.core",
        "polity_cli.core.ballot",
        "polity_cli.core.electorate",
        "polity_cli.core.messages",
        "polity_cli.core.quorum",
        "polity_cli.core.record",
        "polity_cli.core.slot",
        "polity_cli.core.tenure",
        "polity_cli.core.voter",
        "polity_cli.core.witness",
        "polity_cli.edges",
        "polity_cli.edges.ledger",
        "polity_cli.edges.ledger_file",
        "polity_cli.edges.wire",
        "polity_cli.errors",
        "polity_cli.hook",
        "polity_cli.settings",
    }


@pytest.mark.parametrize("message", [m.Read(b"a" * 8, b"", 0, ""), m.Fetch(b"a" * 8, b"", 0)], ids=m.describe)
def test_making_a_ledger_and_answering_load_nothing_dear_either(tmp_path: Path, message: m.Message) -> None:
    """Some rooms import what is dear where they need it; an ordinary answer must not need it."""
    program = (
        "import os, sys\n"
        "from polity_cli import booth\n"
        "from polity_cli.edges.ledger import Ledger\n"
        "ledger = Ledger.open(os.environ['LEDGER'], 'node-1')\n"
        "assert booth.answer(ledger, sys.stdin.buffer.read())\n"
    )
    loaded = loaded_by(program, env={"LEDGER": str(tmp_path / "x.ledger")}, stdin=wire.encode(message))
    assert loaded & DEAR == set()
