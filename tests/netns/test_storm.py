"""Cron jobs in a storm; the long version of this is `scripts/soak-netns`."""

from __future__ import annotations

import pytest

from tests.netns.conftest import Fields
from tests.netns.storm import storm


@pytest.mark.parametrize(("size", "voters", "seed", "attacks"), [(5, "agent", 1, 11), (3, "hook", 2, 6)])
def test_cron_jobs_in_a_storm_leave_one_history(
    field: Fields, size: int, voters: str, seed: int, attacks: int
) -> None:
    it = field(size, voters)
    storm(it, seed=seed, attacks=attacks)
    assert it.record.outcomes["won"] >= 2, "one in each role, if only when all was over"
    assert len(it.record.operations) > 5 * attacks, "there was something to judge"
    assert sum(it.record.faults.values()) >= attacks // 2
