"""The judge itself: good histories pass, and each kind of bad one is refused."""

from __future__ import annotations

import pytest

from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.operation import Order, Outcome, Purpose, Verdict
from polity_cli.core.tenure import VACANT, Tenure
from tests.judging.history import Entry, judge, linearization
from tests.judging.operation import Violation
from tests.simulation.watch import Watch

T1 = Tenure(1, "n0", b"E0", b"")
T1_OF_N1 = Tenure(1, "n1", b"E1", b"")
T2 = Tenure(2, None, b"R0", b"E0")
T3 = Tenure(3, "n1", b"E1", b"R0E0")


def outcome(verdict: Verdict, tenure: Tenure | None = None, previous: str | None = None) -> Outcome:
    empty: frozenset[bytes] = frozenset()
    return Outcome(verdict, tenure, previous, empty, empty, 2, 3, 1)


def elect(name: str, started: float, ended: float | None, result: Outcome | None, node: str = "") -> Entry:
    node = node or f"n{name[1:]}"
    return Entry(name, Order(Purpose.ELECT, "leader", node, name.encode()), started, ended, result)


def recall(
    name: str, started: float, ended: float | None, result: Outcome | None, holder: str | None = None
) -> Entry:
    order = Order(Purpose.RECALL, "leader", "n2", name.encode(), holder)
    return Entry(name, order, started, ended, result)


def query(name: str, started: float, ended: float, tenure: Tenure) -> Entry:
    order = Order(Purpose.QUERY, "leader", "n2", name.encode())
    return Entry(name, order, started, ended, outcome(Verdict.ANSWER, tenure))


WON = outcome(Verdict.WON, T1)
RECALLED = outcome(Verdict.RECALLED, T2, "n0")
UNKNOWN = outcome(Verdict.UNKNOWN)
VACANT_NOW = outcome(Verdict.VACANT, VACANT)

GOOD = {
    "one after the other": [
        elect("E0", 1, 2, WON),
        recall("R0", 3, 4, RECALLED),
        elect("E1", 5, 6, outcome(Verdict.WON, T3)),
        query("Q0", 7, 8, T3),
    ],
    "the later start wins": [elect("E0", 2, 3, WON), elect("E1", 1, 4, outcome(Verdict.LOST, T1))],
    "an answer from before, told after": [elect("E0", 1, 3, WON), query("Q0", 2, 4, VACANT)],
    "an unknown election happened": [elect("E0", 1, 2, UNKNOWN), query("Q0", 3, 4, T1)],
    "an unknown election happened late": [
        elect("E0", 1, 2, UNKNOWN),
        query("Q0", 3, 4, VACANT),
        query("Q1", 5, 6, T1),
    ],
    "an unknown election never happened": [
        elect("E0", 1, 2, UNKNOWN),
        elect("E1", 3, 4, outcome(Verdict.WON, T1_OF_N1)),
    ],
    "a candidate that died won": [elect("E0", 1, None, None), recall("R0", 2, 3, RECALLED)],
    "a recall that died took effect": [
        elect("E0", 1, 2, WON),
        recall("R0", 3, None, None),
        query("Q0", 4, 5, T2),
    ],
    "no quorum and nothing happened": [
        elect("E0", 1, 2, outcome(Verdict.NO_QUORUM)),
        query("Q0", 3, 4, VACANT),
    ],
    "held by the same node": [
        elect("E0", 1, 2, WON),
        elect("E9", 3, 4, outcome(Verdict.HELD, T1), node="n0"),
    ],
    "a guard refuses": [
        elect("E0", 1, 2, WON),
        recall("R0", 3, 4, outcome(Verdict.GUARD, T1), holder="n1"),
    ],
    "a recall of a vacant role": [recall("R0", 1, 2, VACANT_NOW)],
}

BAD = {
    "two win one term": [elect("E0", 1, 3, WON), elect("E1", 2, 4, outcome(Verdict.WON, T1_OF_N1))],
    "won without a term between": [elect("E0", 1, 2, WON), elect("E1", 3, 4, outcome(Verdict.WON, T3))],
    "an answer from before the start": [elect("E0", 1, 2, WON), query("Q0", 3, 4, VACANT)],
    "lost to nobody": [elect("E1", 1, 2, outcome(Verdict.LOST, T1))],
    "lost to a term that has ended": [
        elect("E0", 1, 2, WON),
        recall("R0", 3, 4, RECALLED),
        elect("E1", 5, 6, outcome(Verdict.LOST, T1)),
    ],
    "held by another": [elect("E0", 1, 2, WON), elect("E1", 3, 4, outcome(Verdict.HELD, T1))],
    "lost to oneself": [elect("E0", 1, 2, outcome(Verdict.LOST, T1))],
    "vacant although held": [elect("E0", 1, 2, WON), recall("R0", 3, 4, VACANT_NOW)],
    "a guard refuses what matches": [
        elect("E0", 1, 2, WON),
        recall("R0", 3, 4, outcome(Verdict.GUARD, T1), holder="n0"),
    ],
    "recalled against its guard": [elect("E0", 1, 2, WON), recall("R0", 3, 4, RECALLED, holder="n1")],
    "recalled another than it says": [
        elect("E0", 1, 2, WON),
        recall("R0", 3, 4, outcome(Verdict.RECALLED, T2, "n1")),
    ],
    "an unknown election happened before it began": [query("Q0", 1, 2, T1), elect("E0", 3, 4, UNKNOWN)],
    "an unknown election happened twice": [
        elect("E0", 1, 2, UNKNOWN),
        recall("R0", 3, 4, RECALLED),
        query("Q0", 5, 6, Tenure(3, "n0", b"E0", b"R0")),
    ],
    "no quorum, but it happened": [elect("E0", 1, 2, outcome(Verdict.NO_QUORUM)), query("Q0", 3, 4, T1)],
    "answers go back": [elect("E0", 1, 6, WON), query("Q0", 2, 3, T1), query("Q1", 4, 5, VACANT)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_has_an_order(name: str) -> None:
    order = linearization(GOOD[name])
    assert order is not None
    known = {e.name for e in GOOD[name] if e.outcome and e.outcome.verdict not in (Verdict.NO_QUORUM,)}
    unknown = {e.name for e in GOOD[name] if e.outcome is None or e.outcome.verdict is Verdict.UNKNOWN}
    assert known - unknown <= set(order) <= known | unknown


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused(name: str) -> None:
    assert linearization(BAD[name]) is None
    with pytest.raises(Violation, match="contradict"):
        judge(BAD[name], Watch(2, 3))


def test_the_order_is_the_one_that_explains_everything() -> None:
    assert linearization(GOOD["the later start wins"]) == ["E0", "E1"]
    assert linearization(GOOD["an answer from before, told after"]) == ["Q0", "E0"]


def test_no_quorum_is_a_lie_if_the_claim_was_ever_chosen() -> None:
    watch = Watch(2, 3)
    for voter in (0, 1):
        watch.accepted(voter, Ballot(1, b"p"), T1)
    with pytest.raises(Violation, match="nothing can take effect"):
        judge([elect("E0", 1, 2, outcome(Verdict.NO_QUORUM))], watch)


def accept(watch: Watch, voters: str, ballot: Ballot, tenure: Tenure) -> None:
    for voter in voters:
        watch.accepted(int(voter), ballot, tenure)


def test_a_quorum_chooses_and_fewer_do_not() -> None:
    watch = Watch(2, 3)
    accept(watch, "0", Ballot(1, b"p"), T1)
    assert not watch.has_chosen(Ballot(1, b"p"), T1)
    accept(watch, "0", Ballot(1, b"p"), T1)
    assert not watch.has_chosen(Ballot(1, b"p"), T1)
    accept(watch, "1", Ballot(1, b"p"), T1)
    assert watch.has_chosen(Ballot(1, b"p"), T1)


def test_a_fast_ballot_wants_the_fast_quorum() -> None:
    watch = Watch(2, 3)
    accept(watch, "01", ZERO.fast, T1)
    assert not watch.has_chosen(ZERO.fast, T1)
    accept(watch, "2", ZERO.fast, T1)
    assert watch.has_chosen(ZERO.fast, T1)


def test_votes_may_differ_in_a_fast_round_but_not_in_a_classic_one() -> None:
    watch = Watch(2, 3)
    accept(watch, "0", ZERO.fast, T1)
    accept(watch, "1", ZERO.fast, T1_OF_N1)
    accept(watch, "0", Ballot(1, b"p"), T1)
    with pytest.raises(Violation, match="two values"):
        accept(watch, "1", Ballot(1, b"p"), T1_OF_N1)


@pytest.mark.parametrize(
    ("second", "promise"),
    [
        (T1_OF_N1, "S1"),
        (VACANT, "S2: the term falls"),
        (Tenure(2, "n1", b"E1", b"E0"), "S2.*even"),
        (Tenure(3, None, b"R0", b""), "S2.*even"),
    ],
)
def test_a_second_choice_that_does_not_follow_is_refused(second: Tenure, promise: str) -> None:
    watch = Watch(2, 3)
    accept(watch, "01", Ballot(1, b"p"), T1)
    with pytest.raises(Violation, match=promise):
        accept(watch, "12", Ballot(2, b"p"), second)


def test_a_filled_tenure_names_the_vacancy_before_it() -> None:
    watch = Watch(2, 3)
    accept(watch, "01", Ballot(1, b"p"), T1)
    accept(watch, "12", Ballot(2, b"p"), T2)
    accept(watch, "01", Ballot(3, b"p"), T3)
    other = Watch(2, 3)
    accept(other, "12", Ballot(2, b"p"), T2)
    with pytest.raises(Violation, match="does not follow"):
        accept(other, "01", Ballot(3, b"p"), T3._replace(after=b"R9E0"))
    third = Watch(2, 3)
    accept(third, "01", Ballot(1, b"p"), T1)
    with pytest.raises(Violation, match="does not follow"):
        accept(third, "12", Ballot(2, b"p"), T2._replace(after=b"E9"))
