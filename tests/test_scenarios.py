"""Transcripts of named schedules: who said what, and what came of it.

The rules decide; the files in `scenarios/` show. After a change of the rules, `pytest
--regenerate-scenarios` writes them anew, and each line of the difference wants an explanation.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.scenarios import SCENARIOS
from tests.simulation.script import Play

FOLDER = Path(__file__).parent / "scenarios"


def perform(name: str) -> Play:
    shape, scenario = SCENARIOS[name]
    play = Play(shape)
    scenario(play)
    return play


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_conversation_is_the_one_on_record(name: str, request: pytest.FixtureRequest) -> None:
    play = perform(name)
    text = "\n".join(
        [f"# {play.world.shape.n} voters. {SCENARIOS[name][1].__doc__}", "", *play.transcript, ""]
    )
    path = FOLDER / f"{name}.txt"
    if request.config.getoption("--regenerate-scenarios"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), "no transcript yet: run pytest --regenerate-scenarios and read what it writes"
    assert text == path.read_text()


def test_no_transcript_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(SCENARIOS)
