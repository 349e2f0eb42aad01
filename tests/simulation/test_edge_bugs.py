"""Each bug that is planted outside the rules is caught, and the shortest trace of it printed.

Most are caught by random schedules, the same as those of the shipped code. See the traces with `pytest -s`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.judging.operation import Violation
from tests.simulation.disks import SqliteDisks
from tests.simulation.edge_bugs import DIRECTED, ON_MEMORY, ON_SQLITE
from tests.simulation.schedule import schedule
from tests.simulation.shrink import shorten
from tests.simulation.situations import SITUATIONS

ENOUGH = 1500
"""Several times what the slowest of them takes."""

MOST_LINES = 150


def first_violation(run: Callable[[int], object], enough: int) -> tuple[int, Violation]:
    for seed in range(enough):
        try:
            run(seed)
        except Violation as violation:
            return seed, violation
    raise AssertionError("not caught")


@pytest.mark.parametrize("name", ON_MEMORY)
def test_random_schedules_catch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ON_MEMORY[name](monkeypatch)
    seed, violation = first_violation(lambda seed: schedule(seed, "4"), ENOUGH)
    short = shorten(seed, "4", patience_s=5)
    print(f"{name}, schedule {seed}, {short}")
    assert short.violation[:3] == str(violation)[:3]
    assert len(short.transcript) <= MOST_LINES


@pytest.mark.parametrize("name", ON_SQLITE)
def test_random_schedules_on_real_ledgers_catch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ON_SQLITE[name](monkeypatch)
    opened: list[SqliteDisks] = []

    def disks() -> SqliteDisks:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(SqliteDisks(folder))
        return opened[-1]

    seed, violation = first_violation(lambda seed: schedule(seed, "3", disks=disks()), 40)
    short = shorten(seed, "3", disks=disks, patience_s=3)
    print(f"{name}, schedule {seed}, {short}")
    assert short.violation[:3] == str(violation)[:3]
    for each in opened:
        each.close()


@pytest.mark.parametrize("name", DIRECTED)
def test_a_situation_made_on_purpose_catches(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    well, broken = tmp_path / "well", tmp_path / "broken"
    well.mkdir()
    SITUATIONS[name](well)
    DIRECTED[name](monkeypatch)
    broken.mkdir()
    with pytest.raises(Violation, match=r"promised sinks at n0|^S3: "):
        SITUATIONS[name](broken)


def test_every_bug_of_a_situation_has_one() -> None:
    assert set(DIRECTED) == set(SITUATIONS)
