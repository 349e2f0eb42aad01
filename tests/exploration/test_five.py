"""Two elections among five voters, in every state: the one case that takes a minute and more."""

from __future__ import annotations

import pytest

from tests.exploration.cases import FIVE, FLOORS
from tests.exploration.parallel import explore_all


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_elections_among_five_voters_keep_every_promise() -> None:
    states = 0
    for _, _, found in explore_all([FIVE], processes=1):
        assert not found.violation, "\n".join((found.violation, *found.trace))
        assert found.lone
        assert found.looks
        states += found.states
    assert states >= FLOORS[FIVE.name]
