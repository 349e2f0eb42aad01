"""What must be true at every step: S1 to S3 and S6, judged by who ever accepted what.

A state's `History` is the ghost that no node knows: every tenure chosen so far, with its ballot. A tenure's
instant is the step at which it, or one of a higher term, is first chosen; between two instants the newest
tenure is the current one. So S3 can be judged at each operation's end:

    won, recalled             its tenure's instant lies after the operation's start and not after its end
    held, lost, vacant,       the tenure told is chosen and was current at some time between start and end;
    guard, taken, answer      the operation's own claim is not chosen, then or ever
    no quorum                 its claim is not chosen, then or ever
    unknown, or no outcome    nothing, but that its claim is chosen in one tenure at most, which holds for all

A recall may empty a tenure that is not chosen, only possibly chosen; it then counts as chosen just before.
The room shares no arithmetic with what it judges: q and f are given to it as numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.messages import Register
from polity_cli.core.operation import Outcome, Purpose, Verdict
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import VACANT, Tenure
from tests.exploration.cases import Op
from tests.exploration.rules import claim_of, owner
from tests.judging.operation import Violation


class History(NamedTuple):
    """All that was chosen so far, in order of ballots, and tenures that only a recall has shown."""

    chosen: tuple[Chosen, ...] = (Chosen(ZERO, VACANT),)
    implied: frozenset[Tenure] = frozenset()

    @property
    def term(self) -> int:
        """The term of the current tenure."""
        return max(c.tenure.term for c in self.chosen)

    @property
    def tenures(self) -> frozenset[Tenure]:
        return frozenset(c.tenure for c in self.chosen) | self.implied


def choose(past: History, ballot: Ballot, tenure: Tenure) -> History:
    """The past once this is chosen too. Raises Violation if S1, S2 or "one effect" is broken by it."""
    for other in past.tenures:
        if other.term == tenure.term and not _same(past, other, tenure):
            raise Violation(f"S1: two tenures of one term are chosen: {other} and {tenure}")
        if tenure.claim and other.term != tenure.term and owner(other.claim) == owner(tenure.claim):
            raise Violation(f"S3: one operation takes effect twice: {other} and {tenure}")
        low, high = sorted((other, tenure), key=lambda t: t.term)
        follows = past.implied & {low, high} or high.after[: len(low.claim)] == low.claim
        if low.term + 1 == high.term and not follows:
            raise Violation(f"S2: {high} does not follow {low}")
        if low.term < high.term and not past.implied & {low, high}:
            _check_slots(low, high)
    for at, other in past.chosen:
        if (at < ballot and other.term > tenure.term) or (ballot < at and tenure.term > other.term):
            raise Violation(f"S2: the term falls between {other} at {at} and {tenure} at {ballot}")
        if at == ballot and other != tenure:
            raise Violation(f"S1: two tenures are chosen at {ballot}: {other} and {tenure}")
    if tenure.is_vacant != (tenure.term % 2 == 0):
        raise Violation(f"S2: vacancies have even terms, and {tenure} is chosen")
    return past._replace(chosen=tuple(sorted({*past.chosen, Chosen(ballot, tenure)})))


def _check_slots(low: Tenure, high: Tenure) -> None:
    """Raise Violation if a slot is had twice, or out of order, or forgotten. Here slots are single digits."""
    before = low.slot if low.term + 1 == high.term else high.after_slot
    is_for_one = not high.is_vacant and high.slot != high.after_slot
    if high.slot < low.slot or (is_for_one and high.slot == low.slot):
        raise Violation(f"S6: {high} for {high.slot!r} comes after {low} for {low.slot!r}")
    if low.term + 1 == high.term and (high.slot if high.is_vacant else high.after_slot) != before:
        raise Violation(f"S6: {high} does not know that {low} was for {low.slot!r}")


def _same(past: History, one: Tenure, other: Tenure) -> bool:
    """True if these are one tenure; what a tenure only implied fills is not known."""
    if past.implied & {one, other}:
        return one[:3] == other[:3]
    return one == other


def check_step(before: Register, after: Register) -> None:
    """Raise Violation if a voter's memory goes back."""
    for what in ("promised", "accepted", "confirmed_ballot"):
        if getattr(after, what) < getattr(before, what):
            raise Violation(
                f"a voter's {what} sinks from {getattr(before, what)} to {getattr(after, what)}: "
                f"{before!r} becomes {after!r}"
            )
    if after.promised < after.accepted:
        raise Violation(f"a voter accepted more than it promised: {after!r}")


def end(past: History, ops: tuple[Op, ...], op: int, start: int, outcome: Outcome) -> History:
    """The past after an operation that began in term `start` ended so. Raises Violation if that is untrue."""
    spec, tenure = ops[op], outcome.tenure
    problem = _problem(past, spec, op, start, outcome)
    if problem:
        raise Violation(f"S3: {spec.name} ends with {outcome.verdict.value} ({tenure}), but {problem}")
    if outcome.verdict is Verdict.RECALLED:
        assert tenure is not None
        ended = [
            i for i, o in enumerate(ops) if o.purpose is Purpose.ELECT and o.node == outcome.previous_holder
        ]
        if len(ended) == 1 and all(t.term != tenure.term - 1 for t in past.tenures):
            before = Tenure(tenure.term - 1, outcome.previous_holder, claim_of(ended[0]))
            return past._replace(implied=past.implied | {before})
    return past


def _problem(past: History, spec: Op, op: int, start: int, outcome: Outcome) -> str:
    tenure, verdict = outcome.tenure, outcome.verdict
    own = [t for t in sorted(past.tenures, key=lambda t: t.term) if owner(t.claim) == op]
    if outcome.chosen is not None and outcome.chosen not in past.chosen:
        return f"what it would announce is not chosen: {outcome.chosen.tenure} at {outcome.chosen.ballot}"
    if verdict is Verdict.UNKNOWN:
        return ""
    if verdict is Verdict.NO_QUORUM:
        return f"it has taken effect: {own[0]}" if own else ""
    if tenure is None or tenure not in {c.tenure for c in past.chosen}:
        return "that is not chosen"
    took_effect = verdict in (Verdict.WON, Verdict.RECALLED)
    if took_effect != (owner(tenure.claim) == op) or (own and not took_effect):
        return f"its claim is that of {own[0] if own else 'no chosen tenure'}"
    if not start + took_effect <= tenure.term <= past.term:
        return f"the current term was {start} when it began, and is {past.term}"
    previous = outcome.previous_holder
    guarded = spec.holder in (None, previous) and spec.term in (None, tenure.term - 1)
    match verdict:
        case Verdict.WON:
            is_for_it = not spec.slot or tenure.after_slot < spec.slot == tenure.slot
            true = spec.purpose is Purpose.ELECT and tenure.holder == spec.node and is_for_it
        case Verdict.RECALLED:
            emptied = [t.holder for t in past.tenures if t.term == tenure.term - 1]
            true = tenure.is_vacant and guarded and previous is not None and set(emptied) <= {previous}
        case Verdict.HELD:
            true = spec.purpose is Purpose.ELECT and tenure.holder == spec.node
        case Verdict.LOST:
            true = spec.purpose is Purpose.ELECT and tenure.holder not in (None, spec.node)
        case Verdict.TAKEN:
            true = spec.purpose is Purpose.ELECT and tenure.is_vacant and "" < spec.slot <= tenure.slot
        case Verdict.VACANT:
            true = spec.purpose is Purpose.RECALL and tenure.is_vacant
        case Verdict.GUARD:
            matches = spec.holder in (None, tenure.holder) and spec.term in (None, tenure.term)
            true = spec.purpose is Purpose.RECALL and not tenure.is_vacant and not matches
        case _:
            true = spec.purpose is Purpose.QUERY
    return "" if true else "that does not answer what it was asked"


def check_value(sent: list[m.Message], before: list[m.Message]) -> None:
    """Raise Violation if a second value is sent at a classic ballot."""
    for new in sent:
        for old in before:
            if not (isinstance(new, m.Accept) and isinstance(old, m.Accept)):
                continue
            if new.ballot == old.ballot and new.tenure != old.tenure:
                raise Violation(f"two values at {new.ballot}: {old.tenure} and {new.tenure}")
