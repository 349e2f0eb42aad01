"""Voters that are not enrolled: how long each is waited for, and what is remembered of it."""

from __future__ import annotations

import pytest

from polity_cli.core.messages import NO_POLITY
from polity_cli.core.strangers import PATIENCE_S, Sighting, Strangers

MINE, OTHER = b"polity-1", b"polity-2"
NOW = 1_800_000_000


def strangers(*, now_s: float = NOW, **remembered: Sighting) -> Strangers:
    return Strangers(remembered, lambda: now_s)


def test_of_whom_nothing_is_known_is_waited_for_longest() -> None:
    assert strangers().patience_s("m1", 0.1) == PATIENCE_S


@pytest.mark.parametrize(("took_s", "patience_s"), [(0.01, 0.5), (0.7, 0.7), (9.0, 1.0)])
def test_who_kept_silent_or_is_known_is_waited_for_about_as_long_as_the_operation_took(
    took_s: float, patience_s: float
) -> None:
    it = strangers(m1=Sighting(NO_POLITY, NOW - 500), m2=Sighting(OTHER, NOW - 100_000))
    assert it.patience_s("m1", took_s) == it.patience_s("m2", took_s) == patience_s


@pytest.mark.parametrize("at_s", [NOW - 601, NOW + 1])
def test_a_silence_is_forgotten_after_some_minutes_and_one_that_is_still_to_come_is_none(at_s: int) -> None:
    assert strangers(m1=Sighting(NO_POLITY, at_s)).patience_s("m1", 0.1) == PATIENCE_S


def test_what_is_heard_replaces_what_was_known() -> None:
    it = strangers(
        m1=Sighting(OTHER, 1), m2=Sighting(OTHER, 2), m3=Sighting(OTHER, 3), m4=Sighting(NO_POLITY, NOW)
    )
    it.heard({"m1": NO_POLITY, "m2": MINE, "m4": OTHER, "m5": OTHER}, MINE)
    names = ["m1", "m2", "m3", "m4", "m5", "m6"]
    assert it.others(names, MINE) == {"m3": OTHER, "m4": OTHER, "m5": OTHER}
    assert it.others(["m1", "m3"], MINE) == {"m3": OTHER}
    assert it.others(names, OTHER) == {}
    seen = Sighting(OTHER, NOW)
    assert it.news() == {"m1": None, "m2": None, "m4": seen, "m5": seen}


def test_silence_does_not_make_forget_which_polity_somebody_is_of() -> None:
    it = strangers(m1=Sighting(OTHER, 1), m2=Sighting(NO_POLITY, 2))
    it.kept_silent(["m1", "m2", "m3"])
    silent = Sighting(NO_POLITY, NOW)
    assert it.news() == {"m2": silent, "m3": silent}
    assert it.others(["m1", "m2", "m3"], MINE) == {"m1": OTHER}


def test_without_news_there_is_nothing_to_write() -> None:
    it = strangers(m1=Sighting(OTHER, NOW))
    it.heard({"m1": OTHER, "m2": MINE}, MINE)
    assert it.news() == {}
