"""Each bug that is planted in the rules is caught, and what is harmless is not.

Most are caught by random schedules, the same as those of the shipped rules, within a few hundred. For those
that random schedules rarely hit there is a directed one: a scenario that ends well with the shipped rules.
"""

from __future__ import annotations

import pytest

from tests.exploration.planted import CAUGHT
from tests.judging.operation import Violation
from tests.simulation.bugs import BUGS, HARMLESS
from tests.simulation.planted import DIRECTED, ENOUGH, RANDOM
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.schedule import schedule
from tests.simulation.script import Play


@pytest.mark.parametrize("name", RANDOM)
def test_random_schedules_catch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS[name](monkeypatch)
    with pytest.raises(Violation) as caught:
        _many(RANDOM[name], ENOUGH)
    assert any("python -m tests.simulation" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", DIRECTED)
def test_a_directed_schedule_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS[name](monkeypatch)
    shape, scenario = SCENARIOS[DIRECTED[name]]
    with pytest.raises(Violation, match=r"^S[123]: "):
        scenario(Play(shape))


def test_every_bug_is_caught_somehow() -> None:
    assert set(BUGS) == set(RANDOM) | set(DIRECTED) | set(CAUGHT)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("an_announcement_overrides_a_promise", "3"),
        ("an_announcement_overrides_a_promise", "4"),
        ("recovery_takes_the_most_voted", "4"),
        ("recovery_takes_the_most_voted", "5"),
        ("recovery_takes_any_vote_of_three", "3"),
    ],
)
def test_what_is_harmless_is_not_accused(name: str, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    HARMLESS[name](monkeypatch)
    _many(shape, 400)


def _many(shape: str, count: int) -> None:
    for seed in range(count):
        schedule(seed, shape)
