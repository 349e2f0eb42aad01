"""The judge itself: good histories pass, and bad ones are refused for the right reason."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from polity_cli.core.operation import Purpose, Verdict
from tests.judging.history import judge_roles, order_of
from tests.judging.operation import Effect, Operation, Undecided, Violation
from tests.judging.play import has_an_order, play


def elect(
    node: str,
    started: float,
    ended: float,
    verdict: Verdict,
    term: int | None = None,
    holder: str | None = None,
) -> Operation:
    holder = node if verdict in (Verdict.WON, Verdict.HELD) and holder is None else holder
    name = f"E{started:g}"
    return Operation(name, "leader", Purpose.ELECT, node, started, ended, verdict, term, holder)


def recall(
    started: float,
    ended: float,
    verdict: Verdict,
    term: int | None = None,
    previous: str | None = None,
    *,
    holder: str | None = None,
    if_holder: str | None = None,
    if_term: int | None = None,
) -> Operation:
    name = f"R{started:g}"
    told = Operation(name, "leader", Purpose.RECALL, "op", started, ended, verdict, term, holder, previous)
    return told._replace(guard_holder=if_holder, guard_term=if_term)


def who(started: float, ended: float, term: int, holder: str | None = None) -> Operation:
    name = f"Q{started:g}"
    return Operation(name, "leader", Purpose.QUERY, "op", started, ended, Verdict.ANSWER, term, holder)


WON, HELD, LOST, UNKNOWN = Verdict.WON, Verdict.HELD, Verdict.LOST, Verdict.UNKNOWN
RECALLED, VACANT, GUARD, NO_QUORUM = Verdict.RECALLED, Verdict.VACANT, Verdict.GUARD, Verdict.NO_QUORUM

ONE = elect("a", 1, 2, WON, 1)
TWO = recall(3, 4, RECALLED, 2, "a")
THREE = elect("b", 5, 6, WON, 3)

GOOD = {
    "nothing at all": [],
    "one after the other": [ONE, TWO, THREE, who(7, 8, 3, "b")],
    "the later start wins": [elect("a", 2, 3, WON, 1), elect("b", 1, 4, LOST, 1, "a")],
    "an answer from before, told after": [elect("a", 1, 3, WON, 1), who(2, 4, 0)],
    "answers from both sides of an effect": [elect("a", 1, 9, WON, 1), who(2, 3, 0), who(4, 5, 1, "a")],
    "an unknown election happened long after its end": [
        elect("a", 1, 2, UNKNOWN),
        who(5, 6, 0),
        who(7, 8, 1, "a"),
    ],
    "an unknown election never happened": [elect("a", 1, 2, UNKNOWN), elect("b", 3, 4, WON, 1)],
    "an unknown recall made way for a win": [ONE, recall(3, 4, UNKNOWN), THREE],
    "unknown operations of which nobody tells": [
        elect("a", 1, 2, UNKNOWN),
        recall(1, 2, UNKNOWN, if_holder="a"),
        elect("b", 5, 6, WON, 3),
    ],
    "the unknown recall whose guard fits": [
        ONE,
        recall(2, 3, UNKNOWN, if_term=3),
        recall(2.5, 3, UNKNOWN, if_term=1),
        recall(7, 8, UNKNOWN),
        THREE,
        who(9, 10, 4),
    ],
    "no quorum and nothing happened": [elect("a", 1, 2, NO_QUORUM), who(3, 4, 0)],
    "an unknown query": [ONE, who(3, 4, 9, "z")._replace(verdict=UNKNOWN)],
    "a guard refuses": [ONE, recall(3, 4, GUARD, 1, holder="a", if_holder="b")],
    "a recall of a role nobody held": [recall(1, 2, VACANT, 0)],
}

BAD: dict[str, tuple[list[Operation], str]] = {
    "two winners of one term": (
        [elect("a", 1, 3, WON, 1), elect("b", 2, 4, WON, 1)],
        "two holders of term 1",
    ),
    "one node wins one term twice": ([ONE, elect("a", 3, 4, WON, 1)], "term 1 was made twice"),
    "two recalls of one term": ([ONE, TWO, recall(3.5, 5, RECALLED, 2, "a")], "term 2 was made twice"),
    "lost to nobody": ([elect("a", 1, 2, LOST, 0)], "lost to nobody"),
    "lost to itself": ([elect("a", 1, 2, LOST, 1, "a")], "lost to itself"),
    "won for somebody else": ([elect("a", 1, 2, WON, 1, "b")], "won for somebody else"),
    "who answers the old holder after a recall returned": (
        [ONE, TWO, who(5, 6, 1, "a")],
        "the term falls: R3",
    ),
    "lost to the old holder after a recall returned": (
        [ONE, TWO, elect("b", 5, 6, LOST, 1, "a")],
        "the term falls: R3",
    ),
    "answers go back": ([elect("a", 1, 9, WON, 1), who(2, 3, 1, "a"), who(4, 5, 0)], "the term falls: Q2"),
    "an answer older than what returned before": ([ONE, who(3, 4, 0)], "the term falls: E1"),
    "won in a term that was over": ([ONE, TWO, elect("b", 5, 6, WON, 1, "b")], "two holders of term 1"),
    "a later win of an earlier term": (
        [elect("a", 5, 6, WON, 1), recall(1, 2, RECALLED, 2, "a")],
        "the term falls: R1",
    ),
    "held by another": ([ONE, elect("b", 3, 4, HELD, 1, "a")], "held, but by another"),
    "held, but somebody else won that term": ([ONE, elect("b", 3, 4, HELD, 1)], "two holders of term 1"),
    "a recall that took effect twice": (
        [ONE, recall(3, 4, UNKNOWN), THREE, who(7, 8, 4)],
        "nobody made term 4, vacant.*took effect before: R3",
    ),
    "an election that took effect twice": (
        [elect("a", 1, 2, UNKNOWN), recall(3, 4, RECALLED, 2, "a"), who(5, 6, 3, "a")],
        "nobody made term 3, a.*took effect before: E1",
    ),
    "no quorum, but it took effect": (
        [elect("a", 1, 2, NO_QUORUM), who(3, 4, 1, "a")],
        "nobody made term 1, a.*E1.*said that nothing of it can take effect",
    ),
    "a recall without a quorum took effect": (
        [ONE, recall(3, 4, NO_QUORUM), who(5, 6, 2)],
        "R3.*said that nothing of it can take effect",
    ),
    "it happened before it began": (
        [who(1, 2, 1, "a"), elect("a", 3, 4, UNKNOWN)],
        "nobody made term 1.*E3.*began too late",
    ),
    "a holder nobody stood for": ([elect("a", 1, 2, UNKNOWN), who(3, 4, 1, "b")], "no operation .* fits"),
    "a win without the term before": ([ONE, THREE], "nobody made term 2, vacant.*E5"),
    "a guard refuses the holder it names": (
        [ONE, recall(3, 4, GUARD, 1, holder="a", if_holder="a")],
        "refuses what matches",
    ),
    "a guard refuses without any": ([ONE, recall(3, 4, GUARD, 1, holder="a")], "refuses what matches"),
    "a guard judges a vacancy": ([recall(1, 2, GUARD, 0, if_term=1)], "judged a vacancy"),
    "a guard names a term that is over": (
        [ONE, TWO, recall(5, 6, GUARD, 1, holder="a", if_holder="b")],
        "the term falls: R3",
    ),
    "recalled against its guard": (
        [ONE, recall(3, 4, RECALLED, 2, "a", if_holder="b")],
        "recalled against its guard",
    ),
    "recalled in another term than its guard": (
        [ONE, TWO, THREE, recall(7, 8, RECALLED, 4, "b", if_term=1)],
        "recalled against its guard",
    ),
    "an unknown recall whose guard does not fit made way": (
        [ONE, recall(3, 4, UNKNOWN, if_holder="b"), THREE],
        "nobody made term 2.*no operation .* fits",
    ),
    "vacant although held": ([ONE, recall(3, 4, VACANT, 0)], "the term falls: E1"),
    "vacant and held in one": ([ONE, recall(3, 4, VACANT, 1, holder="a")], "vacant, and yet held"),
    "vacant in a term that is held": ([ONE, recall(3, 4, VACANT, 1)], "odd terms are held"),
    "another previous holder": ([ONE, recall(3, 4, RECALLED, 2, "b")], "two holders of term 1"),
    "no previous holder": ([ONE, recall(3, 4, RECALLED, 2)], "recalled nobody"),
    "recalled, and still held": ([ONE, recall(3, 4, RECALLED, 3, "a", holder="b")], "not vacant"),
    "a role that begins with a holder": ([who(1, 2, 0, "a")], "odd terms are held"),
    "an answer without a term": ([who(1, 2, 0)._replace(term=None)], "without a term"),
    "an outcome of another command": ([elect("a", 1, 2, RECALLED, 0)], "no outcome of such an operation"),
    "over before it began": ([elect("a", 2, 1, WON, 1)], "over before it began"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_has_an_order(name: str) -> None:
    order = order_of(GOOD[name])
    assert {o for o in GOOD[name] if o.tells} <= set(order) <= set(GOOD[name])
    assert not [o for o in order if o.verdict is NO_QUORUM]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused_for_the_right_reason(name: str) -> None:
    history, reason = BAD[name]
    with pytest.raises(Violation, match=reason):
        order_of(history)
    with pytest.raises(Violation, match=reason):
        order_of(history[::-1])


def test_the_order_explains_everything() -> None:
    names = {name: [o.name for o in order_of(history)] for name, history in GOOD.items()}
    assert names["the later start wins"] == ["E2", "E1"]
    assert names["an answer from before, told after"] == ["Q2", "E1"]
    assert names["an unknown election never happened"] == ["E3"]
    assert names["unknown operations of which nobody tells"] == ["E1", "R1", "E5"]
    assert names["the unknown recall whose guard fits"] == ["E1", "R2.5", "E5", "R2", "Q9"]


def test_with_claims_an_operation_is_told_from_another_of_its_node() -> None:
    first, second = ONE._replace(claim=b"1", told_claim=b"1"), who(3, 4, 1, "a")
    assert order_of([first, second._replace(told_claim=b"1")])
    with pytest.raises(Violation, match="two tenures of term 1"):
        order_of([first, second._replace(told_claim=b"2")])
    unknown = elect("a", 1, 2, UNKNOWN)._replace(claim=b"1")
    assert order_of([unknown, second._replace(told_claim=b"1")])
    with pytest.raises(Violation, match=r"no operation .* fits"):
        order_of([unknown, second._replace(told_claim=b"2")])


def test_roles_are_judged_each_by_itself() -> None:
    other = ONE._replace(role="backup", node="b", holder="b")
    orders = judge_roles([ONE, other, TWO])
    assert {role: [o.name for o in order] for role, order in orders.items()} == {
        "leader": ["E1", "R3"],
        "backup": ["E1"],
    }
    with pytest.raises(Violation) as refused:
        judge_roles([ONE, TWO, other, who(5, 6, 0)._replace(role="backup")])
    assert refused.value.__notes__ == ["role 'backup', 2 operations"]


def test_a_search_that_takes_too_long_is_no_pass() -> None:
    history = GOOD["unknown operations of which nobody tells"]
    assert order_of(history, steps=2)
    with pytest.raises(Undecided):
        order_of(history, steps=1)
    with pytest.raises(Undecided):
        judge_roles(history, steps=1)
    assert not issubclass(Undecided, Violation)


SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_whatever_one_server_did_is_accepted(seed: int, claims: bool) -> None:
    rng = Random(seed)
    history = play(rng, count=rng.randrange(60), clients=rng.randrange(1, 11), doubtful=0.1, claims=claims)
    order = order_of(history)
    told = [operation for operation in order if operation.tells]
    assert [o.term for o in told] == sorted(o.term or 0 for o in told)
    for before, after in pairwise(told):
        assert before.started < after.ended


@given(SEEDS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_one_changed_answer_is_refused_where_every_operation_is_known(seed: int, claims: bool) -> None:
    rng = Random(seed)
    history = play(rng, count=20, clients=4, doubtful=0, claims=claims)
    at = rng.randrange(len(history))
    operation = history[at]
    assert operation.term is not None
    changes = [operation._replace(term=operation.term + 2)]
    if operation.effect is Effect.NO:
        # An answer from the future: its term has no maker, or a maker that began too late.
        changes = [operation._replace(term=1001, holder="n9"), operation._replace(term=1000, holder=None)]
    elif operation.term > 2:
        changes.append(operation._replace(term=operation.term - 2))
    if operation.holder is not None:
        changes.append(operation._replace(holder="n9"))
    if operation.previous_holder is not None:
        changes.append(operation._replace(previous_holder="n9"))
    history[at] = rng.choice(changes)
    with pytest.raises(Violation):
        order_of(history)


@given(SEEDS, st.booleans())
@settings(max_examples=600, deadline=None)
def test_it_agrees_with_a_search_through_all_orders(seed: int, claims: bool) -> None:
    rng = Random(seed)
    history = play(rng, count=rng.randrange(2, 9), clients=rng.randrange(1, 4), doubtful=0.15, claims=claims)
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(history))
        history[at] = _disturbed(rng, history, at)
    expected = has_an_order(history)
    event(f"has an order: {expected}")
    assert accepts(history) == expected, "\n".join(map(str, history))


def accepts(history: list[Operation]) -> bool:
    try:
        order_of(history)
    except Violation:
        return False
    return True


def _disturbed(rng: Random, history: list[Operation], at: int) -> Operation:
    """An operation with something about it changed, so that it may or may not fit the others any more."""
    operation, other = history[at], rng.choice(history)
    shift = rng.choice((-1, 1)) * rng.random() * 3
    changes = [
        operation._replace(started=operation.started + shift, ended=operation.ended + shift),
        operation._replace(verdict=rng.choice((UNKNOWN, NO_QUORUM))),
        operation._replace(guard_holder=rng.choice((None, "n0", "n1"))),
    ]
    if operation.term is not None and other.term is not None:
        changes.append(operation._replace(term=other.term, holder=other.holder))
        changes.append(operation._replace(term=max(0, operation.term + rng.choice((-2, 2)))))
    changed = rng.choice(changes)
    return changed if changed.purpose is Purpose.RECALL else changed._replace(guard_holder=None)


def test_thousands_of_operations_of_ten_clients_are_judged() -> None:
    history = play(Random(1), count=5000, clients=10, doubtful=0.01, claims=False)
    unknown = [o for o in history if o.effect is Effect.UNKNOWN]
    assert len(unknown) > 30
    assert len(order_of(history)) >= sum(o.tells for o in history)
    late = max(history, key=lambda o: o.started)
    with pytest.raises(Violation, match="the term falls"):
        order_of([*history, who(late.ended + 1, late.ended + 2, 0)])
