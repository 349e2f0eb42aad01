"""What a history tells of each term: who made it, who held it, and whether the times allow it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polity_cli.core.operation import Purpose, Verdict
from tests.judging.operation import Effect, Operation, Violation

NEVER = float("inf")

_OUTCOMES = {
    Purpose.ELECT: (Verdict.WON, Verdict.HELD, Verdict.LOST, Verdict.TAKEN),
    Purpose.RECALL: (Verdict.RECALLED, Verdict.VACANT, Verdict.GUARD),
    Purpose.QUERY: (Verdict.ANSWER,),
}


class Term:
    """One term of a role as the answers have it. `holder` and `claim` are None while nobody named them.

    `over_by` is the earliest end of an operation that told of this term or a later one: by then it was made.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.maker: Operation | None = None
        self.answers: list[Operation] = []
        self.holder: str | None = None
        self.claim: bytes | None = None if number else b""
        self.witness: Operation | None = None

    @property
    def is_vacant(self) -> bool:
        return self.number % 2 == 0

    @property
    def over_by(self) -> float:
        return NEVER if self.witness is None else self.witness.ended

    def name_holder(self, holder: str, by: Operation) -> None:
        if self.holder not in (None, holder):
            raise Violation(f"two holders of term {self.number}: {self.holder}, and by {by} {holder}")
        self.holder = holder

    def name_claim(self, claim: bytes, by: Operation) -> None:
        if self.claim not in (None, claim):
            raise Violation(f"two tenures of term {self.number}: the claim of {by} is another")
        self.claim = claim


def chronicle(answers: Sequence[Operation]) -> list[Term]:
    """The terms from 0 to the highest that these operations, which all told something, tell of.

    Raises Violation for an answer that cannot be true, for two truths about one term, and for a term that
    was over before an operation that tells of it began.
    """
    for operation in answers:
        _check_alone(operation)
    terms = [Term(number) for number in range(_highest(answers) + 1)]
    for operation in answers:
        _enter(terms, operation)
    _check_times(terms)
    return terms


def _highest(answers: Iterable[Operation]) -> int:
    return max((operation.term or 0 for operation in answers), default=0)


def _check_alone(told: Operation) -> None:
    """What can be said of an answer without knowing any other."""
    verdict, holder = told.verdict, told.holder
    if verdict not in _OUTCOMES[told.purpose]:
        raise Violation(f"no outcome of such an operation: {told}")
    if told.term is None or told.term < 0:
        raise Violation(f"an answer without a term: {told}")
    if (holder is None) != (told.term % 2 == 0):
        raise Violation(f"odd terms are held and even ones vacant, not so {told}")
    if told.started >= told.ended:
        raise Violation(f"over before it began: {told}")
    match verdict:
        case Verdict.WON if holder != told.node:
            raise Violation(f"won for somebody else: {told}")
        case Verdict.HELD if holder != told.node:
            raise Violation(f"held, but by another: {told}")
        case Verdict.TAKEN if holder is not None:
            raise Violation(f"the slot was taken, and yet the role is held: {told}")
        case Verdict.LOST if holder is None:
            raise Violation(f"lost to nobody: {told}")
        case Verdict.LOST if holder == told.node:
            raise Violation(f"lost to itself: {told}")
        case Verdict.RECALLED if holder is not None or not told.term:
            raise Violation(f"recalled, and the role is not vacant: {told}")
        case Verdict.RECALLED if told.previous_holder is None:
            raise Violation(f"recalled nobody: {told}")
        case Verdict.RECALLED if not _guards_match(told, told.previous_holder, told.term - 1):
            raise Violation(f"recalled against its guard: {told}")
        case Verdict.VACANT if holder is not None:
            raise Violation(f"vacant, and yet held: {told}")
        case Verdict.GUARD if holder is None:
            raise Violation(f"the guard judged a vacancy: {told}")
        case Verdict.GUARD if _guards_match(told, holder, told.term):
            raise Violation(f"the guard refuses what matches: {told}")


def _guards_match(recall: Operation, holder: str | None, term: int) -> bool:
    return recall.guard_holder in (None, holder) and recall.guard_term in (None, term)


def _enter(terms: list[Term], told: Operation) -> None:
    assert told.term is not None
    term = terms[told.term]
    if told.holder is not None:
        term.name_holder(told.holder, told)
    if told.told_claim is not None:
        term.name_claim(told.told_claim, told)
    if told.effect is not Effect.YES:
        term.answers.append(told)
        return
    if term.maker is not None:
        raise Violation(f"term {told.term} was made twice, by {term.maker} and by {told}")
    term.maker = told
    if told.claim is not None:
        term.name_claim(told.claim, told)
    if told.previous_holder is not None:
        terms[told.term - 1].name_holder(told.previous_holder, told)


def _check_times(terms: list[Term]) -> None:
    """No operation may begin after one that belongs behind it is over. Leaves every term's `witness`."""
    earliest: Operation | None = None
    for term in reversed(terms):
        for answer in term.answers:
            _check_pair(answer, earliest)
        earliest = min([*term.answers, *([earliest] if earliest else [])], key=_end, default=None)
        if term.maker is not None:
            _check_pair(term.maker, earliest)
            earliest = min([term.maker, *([earliest] if earliest else [])], key=_end)
        term.witness = earliest


def _check_pair(before: Operation, after: Operation | None) -> None:
    if after is not None and before.started >= after.ended:
        raise Violation(f"the term falls: {after} was over when {before} began")


def _end(operation: Operation) -> float:
    return operation.ended
