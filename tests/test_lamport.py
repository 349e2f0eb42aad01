"""LamportWindow: a closed interval of times that only grows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polity_cli.core.lamport import LamportWindow

times = st.lists(st.integers(0, 2**64))


def test_an_empty_window_holds_nothing_and_nothing_lies_beside_it() -> None:
    window = LamportWindow()
    assert 0 not in window
    assert not window.before(0)
    assert not window.after(0)
    assert (window.first, window.last) == (None, None)


def test_a_window_grows_in_either_direction() -> None:
    window = LamportWindow(5)
    window.witness(9)
    window.witness(3)
    assert (window.first, window.last) == (3, 9)
    window.witness(4)
    assert (window.first, window.last) == (3, 9)


def test_time_zero_is_a_time() -> None:
    window = LamportWindow(0)
    assert 0 in window
    assert window.after(1)


@given(times, st.integers(0, 2**64))
def test_every_time_lies_before_in_or_after_a_window(seen: list[int], time: int) -> None:
    window = LamportWindow(*seen)
    places = [window.before(time), time in window, window.after(time)]
    assert places.count(True) == (1 if seen else 0)


@given(times.filter(bool))
def test_a_window_is_just_as_wide_as_what_it_saw(seen: list[int]) -> None:
    window = LamportWindow(*seen)
    assert (window.first, window.last) == (min(seen), max(seen))


def test_a_window_shows_its_ends() -> None:
    assert repr(LamportWindow()) == "LamportWindow()"
    assert repr(LamportWindow(4, 2)) == "LamportWindow(2, 4)"
