"""The judge of electorates refuses bad histories, each for its reason, and passes good ones."""

from __future__ import annotations

import pytest

from tests.judging.electorates import Seen, judge_electorates, seen
from tests.judging.operation import Violation


def shown(epoch: int, voters: str, started: float = 0.0) -> Seen:
    return Seen("voters", "n1", started, started + 1, epoch, frozenset(voters))


def changed(epoch: int, started: float, ended: float) -> Seen:
    return Seen("voters sync", "n1", started, ended, epoch, changed=True)


def test_a_history_of_records_may_be_told_late_and_with_gaps() -> None:
    judge_electorates(
        [
            shown(1, "abc", 50.0),
            shown(2, "abcd"),
            shown(3, "abcd"),
            shown(3, "abcd", 9.0),
            shown(6, "abcdef"),
            shown(7, "bcdef"),
            changed(3, 0.0, 5.0),
            changed(7, 4.0, 9.0),
            changed(5, 4.5, 8.0),
        ]
    )


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([shown(3, "abc"), shown(3, "abd")], "two records"),
        ([shown(1, "abc"), shown(2, "bcd")], "without some"),
        ([shown(2, "abc"), shown(3, "abcd")], "without some"),
        ([shown(1, "abc"), shown(2, "abcd"), shown(3, "abc")], "without some"),
        ([changed(2, 0.0, 1.0)], "in the middle"),
        ([changed(5, 0.0, 1.0), changed(3, 1.5, 2.0)], "went back"),
    ],
)
def test_a_bad_history_of_records_is_refused_for_the_right_reason(history: list[Seen], reason: str) -> None:
    with pytest.raises(Violation, match=reason):
        judge_electorates(history)


def test_what_is_no_answer_is_refused_and_a_failure_tells_nothing() -> None:
    failure = {"command": "voters", "outcome": "error", "error": "x", "hint": "", "exit_code": 5}
    assert seen("voters", "n1", 0.0, 1.0, 5, failure) is None
    assert seen("voters", "n1", 0.0, 1.0, -9, {}) is None
    with pytest.raises(Violation, match="no answer at all"):
        seen("voters", "n1", 0.0, 1.0, 1, failure)
    with pytest.raises(Violation, match="not the JSON"):
        seen("voters", "n1", 0.0, 1.0, 0, {"command": "voters"})
