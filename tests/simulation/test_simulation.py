"""Thousands of random schedules of the shipped rules, each judged.

A failure names its seed and the command that replays it, with the whole conversation. Run more of them
with `pytest tests/simulation --schedules 100000 --first-seed 1`.
"""

from __future__ import annotations

from collections import Counter

import pytest

from polity_cli.core.candidacy import Verdict
from tests.simulation.chaos import schedule
from tests.simulation.world import SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_random_schedules_break_no_promise(shape: str, request: pytest.FixtureRequest) -> None:
    first, count = (request.config.getoption(o) for o in ("--first-seed", "--schedules"))
    for seed in range(first, first + count):
        schedule(seed, shape)


def test_schedules_are_wild_enough_to_prove_something() -> None:
    verdicts: Counter[Verdict | None] = Counter()
    attempts: Counter[int] = Counter()
    terms = 0
    for seed in range(200):
        world = schedule(seed, "4")
        verdicts.update(op.outcome and op.outcome.verdict for op in world.ops)
        attempts.update(op.state.attempts for op in world.ops)
        terms = max(terms, *(tenure.term for tenure in world.watch.chosen.values()), 0)
    assert set(verdicts) == {*Verdict, None}
    assert sum(count for tries, count in attempts.items() if tries > 1) >= 20
    assert terms >= 4


def test_one_seed_makes_one_schedule() -> None:
    transcripts = [schedule(11, "5", transcript=True).transcript for _ in range(2)]
    assert transcripts[0]
    assert transcripts[0] == transcripts[1]
    assert transcripts[0] != schedule(12, "5", transcript=True).transcript
