"""Slots: which of two comes after the other, and what one may look like."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core.slot import MAX_SLOT_BYTES, check_slot, is_after
from polity_cli.errors import BadInput

slots = st.text("0123456789abT-:.", max_size=8)


@pytest.mark.parametrize(
    "in_order",
    [
        ["", "0", "7", "12", "100"],
        ["2026-11-09", "2026-11-24", "2026-12-01", "2027-01-01"],
        ["2026-11-24T03:00Z", "2026-11-24T03:05Z", "2026-11-24T12:00Z", "2026-11-25T00:00Z"],
        ["2026-W9", "2026-W48", "2027-W1"],
        ["build-7", "build-12"],
        ["a", "a1", "b"],
        ["007", "7", "08"],
    ],
)
def test_slots_come_in_the_order_that_people_expect(in_order: list[str]) -> None:
    for one, other in itertools.combinations(in_order, 2):
        assert is_after(other, one), (one, other)
        assert not is_after(one, other), (one, other)


@given(slots, slots, slots)
def test_of_two_different_slots_one_comes_after_the_other_and_never_in_a_circle(
    a: str, b: str, c: str
) -> None:
    assert is_after(a, b) + is_after(b, a) + (a == b) == 1
    if is_after(a, b) and is_after(b, c):
        assert is_after(a, c)


@pytest.mark.parametrize("slot", ["7", "2026-11-24T03:00Z", "run_1,a=b/c@d+e", "x" * MAX_SLOT_BYTES])
def test_a_usable_slot_comes_back_unchanged(slot: str) -> None:
    assert check_slot(slot) == slot


@pytest.mark.parametrize("slot", ["", " ", "a b", "x" * (MAX_SLOT_BYTES + 1), "é", "७", "a\n", "a;b"])
def test_what_is_no_slot_is_refused_with_an_example(slot: str) -> None:
    with pytest.raises(BadInput, match="not a slot") as caught:
        check_slot(slot)
    assert "2026-11-24" in caught.value.hint
