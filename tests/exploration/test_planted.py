"""Each bug is found in its case, with the way to it; what is harmless is not accused."""

from __future__ import annotations

import pytest

from tests.exploration.cases import Case, orders
from tests.exploration.planted import CAUGHT, SAFE, explore_with_bug
from tests.exploration.search import explore


@pytest.mark.parametrize("name", CAUGHT)
def test_the_explorer_finds(name: str) -> None:
    found = explore_with_bug(name, limit=100_000)
    assert found.violation.startswith(CAUGHT[name].breaks), found.violation
    assert found.trace or found.violation.startswith("L1: ")
    assert len(found.trace) <= 14


@pytest.mark.parametrize("name", SAFE)
def test_what_is_safe_is_not_accused(name: str) -> None:
    found = explore_with_bug(name)
    assert not found.violation, "\n".join((found.violation, *found.trace))
    assert found.states > 1000


@pytest.mark.parametrize(
    "case",
    {planted.case.name: planted.case for planted in CAUGHT.values()}.values(),
    ids=lambda case: case.name,
)
def test_without_its_bug_a_case_is_clean(case: Case) -> None:
    found = explore(case, next(orders(case)), limit=5_000)
    assert not found.violation, "\n".join((found.violation, *found.trace))
