"""The window of Lamport times does what its documentation says, in both directions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polity_cli import LamportWindow

times = st.integers(0, 2**63)


def test_an_empty_window_has_nothing_before_after_or_in_it() -> None:
    window = LamportWindow()
    assert not window.before(0)
    assert not window.after(0)
    assert 0 not in window


def test_witnessing_grows_the_window_downwards_too() -> None:
    window = LamportWindow(10)
    window.witness(4)
    assert (window.first, window.last) == (4, 10)
    assert window.before(3)
    assert not window.before(4)
    assert window.after(11)
    assert not window.after(10)
    assert 7 in window


@given(st.lists(times, min_size=1), times)
def test_a_time_lies_before_in_or_after_a_window_and_only_one_of_these(seen: list[int], time: int) -> None:
    window = LamportWindow(*seen)
    assert [window.before(time), time in window, window.after(time)].count(True) == 1
    assert all(known in window for known in seen)
    assert (window.first, window.last) == (min(seen), max(seen))
