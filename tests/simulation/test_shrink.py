"""A schedule that breaks a promise is shortened to one that breaks the same promise, and can be read."""

from __future__ import annotations

import pytest

from tests.judging.operation import Violation
from tests.simulation import shrink
from tests.simulation.bugs import BUGS
from tests.simulation.chaos import Storm
from tests.simulation.schedule import schedule
from tests.simulation.shrink import shorten


def first_violation(shape: str) -> tuple[int, Violation]:
    for seed in range(600):
        try:
            schedule(seed, shape)
        except Violation as violation:
            return seed, violation
    raise AssertionError("nothing was broken")


@pytest.mark.parametrize(
    ("bug", "shape", "most"),
    [
        ("fast_quorum_is_the_classic_one", "3", 30),
        ("recovery_takes_any_vote", "4", 60),
        ("told_before_the_accept_quorum", "3", 80),
        ("accept_wants_more_than_the_promise", "5", 30),
    ],
)
def test_what_is_left_is_short_and_breaks_the_same_promise(
    bug: str, shape: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    BUGS[bug](monkeypatch)
    seed, violation = first_violation(shape)
    short = shorten(seed, shape)
    print(short)
    assert short.violation[:3] == str(violation)[:3]
    assert short.kept <= most
    assert short.kept < short.of
    assert short.transcript
    assert str(short).startswith(f"shortened from {short.of} decisions to {short.kept}:")
    assert shorten(seed, shape) == short


def test_a_record_of_a_schedule_replays_it() -> None:
    for seed in range(40):
        storm = Storm(seed, "4")
        storm.witness.transcript = []
        recorder = shrink._Recorder(storm.plan.faults)
        storm.run(storm.plan._replace(faults=(recorder,)))
        assert storm.transcript == schedule(seed, "4", transcript=True).transcript
        again = Storm(seed, "4")
        again.witness.transcript = []
        script = shrink._Script(recorder.deliveries, lambda again=again: again.ops)  # type: ignore[misc]
        again.run(again.plan._replace(faults=(script,)))
        assert again.transcript == storm.transcript


def test_there_is_nothing_to_shorten_where_nothing_is_broken() -> None:
    with pytest.raises(AssertionError, match="breaks nothing"):
        shorten(11, "3")


def test_shortening_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS["fast_quorum_is_the_classic_one"](monkeypatch)
    seed, violation = first_violation("3")
    short = shorten(seed, "3", patience_s=0)
    assert short.violation[:3] == str(violation)[:3]
    assert short.kept > shorten(seed, "3").kept
