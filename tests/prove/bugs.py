"""One planted bug: who catches it, after how much, and by which steps.

The explorer is asked first, as what it finds is shortest; then random schedules, shortened; then a schedule
or a situation made on purpose. Each bug is a small change of shipped code, made in a process of its own.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.exploration.changes import planted as changes_planted
from tests.exploration.parallel import Found
from tests.exploration.planted import CAUGHT, SAFE, explore_with_bug
from tests.judging.operation import Violation
from tests.simulation import change_bugs, edge_bugs
from tests.simulation.bugs import BUGS
from tests.simulation.chaos import Disks
from tests.simulation.disks import SqliteDisks
from tests.simulation.planted import DIRECTED, ENOUGH, RANDOM
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.schedule import schedule
from tests.simulation.script import Play
from tests.simulation.shrink import shorten
from tests.simulation.situations import SITUATIONS

EDGE_SHAPE = "4"
SQLITE_SHAPE = "3"
PATIENCE_S = 3.0
HARMLESS_SCHEDULES = 60

EDGE_BUGS = (*edge_bugs.ON_MEMORY, *edge_bugs.ON_SQLITE, *edge_bugs.DIRECTED)
EVERY_BUG = (*BUGS, *EDGE_BUGS, *change_bugs.BUGS)
HARMLESS = (*SAFE, *change_bugs.HARMLESS)


class Catch(NamedTuple):
    """`by` and `after` say who found it and what that took; `by` is empty where nobody did."""

    bug: str
    by: str
    after: str
    violation: str = ""
    trace: tuple[str, ...] = ()


def catch(bug: str) -> Catch:
    """Plant a bug in this process, which is not to be used for anything else, and look who notices."""
    if bug in CAUGHT or bug in SAFE:
        return _explored(bug, explore_with_bug(bug))
    if bug in changes_planted.CAUGHT:
        return _explored(bug, changes_planted.explore_with_bug(bug))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        if bug in change_bugs.HARMLESS:
            change_bugs.HARMLESS[bug](patch)
            return _at_random(bug, "3-others", HARMLESS_SCHEDULES)
        if bug in BUGS:
            BUGS[bug](patch)
            if bug in RANDOM:
                return _at_random(bug, RANDOM[bug], ENOUGH)
            shape, scenario = SCENARIOS[DIRECTED[bug]]
            play = Play(shape)
            return _on_purpose(bug, "scenario", play.transcript, lambda: scenario(play))
        if bug in edge_bugs.ON_MEMORY:
            edge_bugs.ON_MEMORY[bug](patch)
            return _at_random(bug, EDGE_SHAPE, ENOUGH)
        if bug in edge_bugs.ON_SQLITE:
            edge_bugs.ON_SQLITE[bug](patch)
            return _at_random(bug, SQLITE_SHAPE, ENOUGH, disks=lambda: _disks(Path(folder)))
        edge_bugs.DIRECTED[bug](patch)
        talk = io.StringIO()
        with redirect_stdout(talk):
            caught = _on_purpose(bug, "situation", [], lambda: SITUATIONS[bug](Path(folder)))
        lines = tuple(talk.getvalue().splitlines())
        return caught._replace(after=f"{len(lines)} steps", trace=lines)


def _explored(bug: str, found: Found) -> Catch:
    after = f"{found.states:,} states"
    if not found.violation:
        return Catch(bug, "", after)
    return Catch(bug, "explorer", f"{after}, {len(found.trace)} steps", found.violation, tuple(found.trace))


_numbers = count()


def _disks(folder: Path) -> SqliteDisks:
    own = folder / str(next(_numbers))
    own.mkdir()
    return SqliteDisks(own)


def _at_random(
    bug: str,
    shape: str,
    enough: int,
    disks: Callable[[], Disks | None] = lambda: None,
    patience_s: float = PATIENCE_S,
) -> Catch:
    for seed in range(enough):
        try:
            schedule(seed, shape, disks=disks())
        except Violation:
            short = shorten(seed, shape, disks=disks, patience_s=patience_s)
            after = f"{seed + 1:,} schedule{'s' if seed else ''}"
            return Catch(bug, "schedules", after, short.violation, tuple(short.transcript))
    return Catch(bug, "", f"{enough:,} schedules")


def _on_purpose(bug: str, by: str, transcript: list[str], perform: Callable[[], object]) -> Catch:
    try:
        perform()
    except Violation as violation:
        return Catch(bug, by, f"{len(transcript)} steps", str(violation), tuple(transcript))
    return Catch(bug, "", f"one {by}")
