"""Commands' answers become operations, and answers that contradict themselves are refused."""

from __future__ import annotations

from typing import Any

import pytest

from polity_cli.core.operation import Purpose, Verdict
from tests.judging.answers import operation
from tests.judging.operation import Operation, Violation

VOTES = {"yes": 3, "no": 0, "required": 3, "population": 5}


def answer(command: str, outcome: str, **keys: Any) -> dict[str, Any]:
    more: dict[str, Any] = {"votes": VOTES, "round_trips": 1, "seconds": 0.1, "silent": []}
    keys_of: dict[str, dict[str, Any]] = {
        "elect": {"holder": None, "term": None, "candidate": "n1"},
        "recall": {"previous_holder": None, "term": None},
        "who": {"holder": None, "term": None, "source": "quorum", "slot": None},
    }
    own = keys_of[command]
    told = {"command": command, "role": "r", "outcome": outcome, **own, **more}
    return {**told, "may_take_effect": outcome == "unknown", **keys}


ERROR = {"error": "it went wrong", "hint": "", "exit_code": 0}


def heard(code: int, data: dict[str, Any], *args: str) -> Operation:
    return operation("o", "n1", args or (data["command"], "r"), 1, 2, code, data)


def test_outcomes_become_verdicts() -> None:
    won = heard(0, answer("elect", "won", holder="n1", term=3))
    assert (won.purpose, won.verdict, won.term, won.holder) == (Purpose.ELECT, Verdict.WON, 3, "n1")
    lost = heard(3, answer("elect", "lost", holder="n2", term=3, **ERROR))
    assert (lost.verdict, lost.term, lost.holder) == (Verdict.LOST, 3, "n2")
    asked = heard(0, answer("who", "held", holder="n2", term=3))
    assert (asked.purpose, asked.verdict, asked.holder) == (Purpose.QUERY, Verdict.ANSWER, "n2")
    empty = heard(4, answer("who", "vacant", term=2, **ERROR))
    assert (empty.verdict, empty.term, empty.holder) == (Verdict.ANSWER, 2, None)
    assert heard(4, answer("recall", "vacant", term=2, **ERROR)).verdict is Verdict.VACANT
    assert heard(5, answer("recall", "no_quorum", **ERROR)).verdict is Verdict.NO_QUORUM
    assert heard(6, answer("elect", "unknown", **ERROR)).verdict is Verdict.UNKNOWN


def test_a_recall_tells_whom_it_recalled_and_a_guard_who_holds_the_role() -> None:
    args = ("recall", "r", "--term", "3", "--holder", "n2", "--timeout", "2")
    recalled = heard(0, answer("recall", "recalled", previous_holder="n2", term=4), *args)
    assert (recalled.guard_holder, recalled.guard_term) == ("n2", 3)
    assert (recalled.previous_holder, recalled.holder, recalled.term) == ("n2", None, 4)
    guarded = heard(3, answer("recall", "guard", previous_holder="n1", term=5, **ERROR), *args)
    assert (guarded.previous_holder, guarded.holder, guarded.term) == (None, "n1", 5)


def test_who_was_killed_or_interrupted_without_a_word_may_have_done_anything() -> None:
    for code in (-9, 130, 143):
        assert heard(code, {}, "elect", "r").verdict is Verdict.UNKNOWN
    told = heard(143, answer("elect", "no_quorum", **ERROR))
    assert told.verdict is Verdict.NO_QUORUM


def test_an_agent_that_failed_did_nothing_and_other_failures_are_not_judged_by_their_words() -> None:
    failed = {"command": "elect", "outcome": "error", **ERROR}
    assert heard(7, failed).verdict is Verdict.NO_QUORUM
    assert heard(8, failed).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("code", "data", "reason"),
    [
        (1, {"command": "elect", "outcome": "error", **ERROR}, "no answer at all"),
        (2, {"command": "elect", "outcome": "error", **ERROR}, "no answer at all"),
        (3, answer("elect", "won", holder="n1", term=3), "another exit code"),
        (0, answer("who", "vacant", term=2), "another exit code"),
        (0, answer("elect", "won", holder="n1", term=3, may_take_effect=True), "contradicts the outcome"),
        (6, answer("elect", "unknown", may_take_effect=False, **ERROR), "contradicts the outcome"),
        (0, {"command": "elect", "outcome": "won"}, "not the JSON that is promised"),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(code: int, data: dict[str, Any], reason: str) -> None:
    with pytest.raises(Violation, match=reason):
        heard(code, data)
