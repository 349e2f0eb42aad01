"""The judge of histories: what operations said, and when, must have happened in some order, one by one.

An operation takes effect at most once, at an instant between its start and its end. Where nobody knows
its end (`unknown`, or a process that was killed) it takes effect at any time after its start, or never;
where it said `no quorum`, never. What it told must be true at its instant. That is S3, and S1 and S2 as
far as anybody outside can see them.

In general such a question takes a search through all orders. Here it does not, because every effect
raises the term by one and every outcome names a term:

- The order of all operations that told something is given by their terms: first the one operation that made
  term t, then those that told of it, then the one that made t + 1.
- Such an order is possible if no operation began after one that belongs behind it was over. Two values per
  operation decide it, in one pass from the highest term down.
- Terms that nobody says to have made were made by operations without a verdict, each by another one. A later
  term leaves a maker more time, so among operations alike the earliest start is always the best choice; a
  search remains over kinds of operations (who stood, which guard), and it is short.

So thousands of operations are judged in milliseconds, and exactly. A search that does become long is
given up with `Undecided`, which is as red as a violation.

Operations may carry claims, as the simulation knows them, or not, as nobody sees them from outside:
then a tenure is known by its term and its holder. The judge shares no arithmetic with the code it
judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from polity_cli.core.ballot import Ballot
from polity_cli.core.operation import Order, Outcome, Verdict
from polity_cli.core.tenure import Tenure
from tests.judging.makers import find_makers
from tests.judging.operation import Effect, Operation, Undecided, Violation
from tests.judging.terms import chronicle

STEPS = 200_000
"""More than any history here needs; a search for makers that takes more is given up."""


def order_of(history: Sequence[Operation], *, steps: int = STEPS) -> list[Operation]:
    """An order in which the operations of one role may have happened.

    Without those that did nothing, and of those without a verdict only the ones that must have taken effect.
    Raises Violation with the reason if there is no such order, Undecided after `steps` steps of searching.
    """
    terms = chronicle([operation for operation in history if operation.tells])
    doubtful = [operation for operation in history if operation.effect is Effect.UNKNOWN]
    idle = [operation for operation in history if operation.verdict is Verdict.NO_QUORUM]
    makers = find_makers(terms, doubtful, idle, steps=steps)
    order: list[Operation] = []
    for number, term in enumerate(terms):
        maker = makers.get(number, term.maker)
        order += [maker] if maker is not None else []
        order += sorted(term.answers, key=lambda operation: operation.started)
    return order


def judge_roles(history: Iterable[Operation], *, steps: int = STEPS) -> dict[str, list[Operation]]:
    """An order for each role; roles know nothing of each other, so that is an order for all of them.

    Raises Violation, naming the role, and Undecided.
    """
    roles: dict[str, list[Operation]] = {}
    for operation in history:
        roles.setdefault(operation.role, []).append(operation)
    orders = {}
    for role, operations in roles.items():
        try:
            orders[role] = order_of(operations, steps=steps)
        except (Violation, Undecided) as error:
            error.add_note(f"role {role!r}, {len(operations)} operations")
            raise
    return orders


class Entry(NamedTuple):
    """One operation of a simulation; `ended` and `outcome` are None where it stopped before it knew."""

    name: str
    order: Order
    started: float
    ended: float | None
    outcome: Outcome | None

    def operation(self) -> Operation:
        """The same with what its user saw, claims included."""
        order, outcome = self.order, self.outcome
        verdict = Verdict.UNKNOWN if outcome is None or self.ended is None else outcome.verdict
        tenure = outcome.tenure if outcome is not None else None
        return Operation(
            self.name,
            order.role,
            order.purpose,
            order.node,
            self.started,
            self.started if self.ended is None else self.ended,
            verdict,
            term=tenure.term if tenure else None,
            holder=tenure.holder if tenure else None,
            previous_holder=outcome.previous_holder if outcome and verdict is Verdict.RECALLED else None,
            guard_holder=order.holder,
            guard_term=order.term,
            claim=order.claim,
            told_claim=tenure.claim if tenure else None,
        )


def linearization(history: Sequence[Entry]) -> list[str] | None:
    """The names in an order in which the operations may have happened, or None: then S3 is broken."""
    try:
        return [operation.name for operation in order_of([entry.operation() for entry in history])]
    except Violation:
        return None


class Watcher(Protocol):
    """Whoever saw all ledgers, and so knows what was chosen at which ballot."""

    @property
    def chosen(self) -> Mapping[Ballot, Tenure]: ...


def _judge_slots(history: Sequence[Entry], watch: Watcher) -> None:
    """Raise Violation if a slot was had twice or out of order, or said to be taken and was not.

    Slots of simulations are numbers.
    """

    def number(slot: str) -> int:
        return int(slot or 0)

    newest = 0
    chosen = {tenure.term: tenure for tenure in watch.chosen.values()}
    for term in sorted(chosen):
        tenure = chosen[term]
        had = number(tenure.slot)
        is_new = not tenure.is_vacant and tenure.slot != tenure.after_slot
        if had < newest or (is_new and had == newest):
            raise Violation(f"S6: {tenure} is for {tenure.slot!r}, and the role had {newest} before")
        newest = max(newest, had)
    for entry in history:
        outcome, slot = entry.outcome, number(entry.order.slot)
        if outcome is None or outcome.tenure is None or not slot:
            continue
        had, before = number(outcome.tenure.slot), number(outcome.tenure.after_slot)
        verdict = outcome.verdict
        if (verdict is Verdict.TAKEN and had < slot) or (verdict is Verdict.WON and not before < slot == had):
            raise Violation(
                f"S6: {entry.name} for {slot} {verdict.value}, the tenure has {had} after {before}"
            )


def judge(history: Sequence[Entry], watch: Watcher) -> None:
    """Raise Violation unless the history of one role is linearizable and nothing was chosen for an operation
    that said `no quorum`.
    """
    claims = {tenure.claim for tenure in watch.chosen.values()}
    _judge_slots(history, watch)
    for entry in history:
        no_quorum = entry.outcome is not None and entry.outcome.verdict is Verdict.NO_QUORUM
        if no_quorum and entry.order.claim in claims:
            raise Violation(f"S3: {entry.name} said that nothing can take effect, and yet it was chosen")
    operations = [entry.operation() for entry in history]
    try:
        order_of(operations)
    except Violation as error:
        lines = "\n".join(f"    {operation}" for operation in operations)
        raise Violation(f"S3: the outcomes contradict each other: {error}\n{lines}") from error
