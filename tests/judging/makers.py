"""Who made the terms that nobody says to have made: operations without a verdict, each at most one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from polity_cli.core.operation import Purpose
from tests.judging.operation import Operation, Undecided, Violation
from tests.judging.terms import Term


class Kind(NamedTuple):
    """What decides, beside its start, which terms an operation may have made."""

    purpose: Purpose
    node: str | None
    guard_holder: str | None
    guard_term: int | None
    claim: bytes | None

    @classmethod
    def of(cls, operation: Operation) -> Kind:
        node = operation.node if operation.purpose is Purpose.ELECT else None
        return cls(operation.purpose, node, operation.guard_holder, operation.guard_term, operation.claim)

    def fits(self, term: Term, recalled: str | None) -> bool:
        """Whether it may have made this term, when `recalled` held the one before."""
        if self.purpose is not (Purpose.RECALL if term.is_vacant else Purpose.ELECT):
            return False
        if None not in (self.claim, term.claim) and self.claim != term.claim:
            return False
        if not term.is_vacant:
            return term.holder in (None, self.node)
        return self.guard_holder in (None, recalled) and self.guard_term in (None, term.number - 1)


class _Search:
    """A search in depth over the terms without a maker, upwards; `used` counts how many of each kind are.

    Operations of one kind differ in their starts alone, and whoever began in time for one term did so for all
    later ones: of one kind it is always the earliest unused that is tried.
    """

    def __init__(self, terms: Sequence[Term], doubtful: Sequence[Operation], steps: int) -> None:
        self._terms = terms
        self._missing = [term for term in terms[1:] if term.maker is None]
        self._kinds: dict[Kind, list[Operation]] = {}
        for operation in sorted(doubtful, key=lambda o: o.started):
            self._kinds.setdefault(Kind.of(operation), []).append(operation)
        self._dead: set[tuple[int, str | None, tuple[int, ...]]] = set()
        self._steps = steps
        self.stuck_at: Term | None = None
        self.stuck_used: list[Operation] = []

    def run(self) -> dict[int, Operation] | None:
        """The makers by term; None if there are none such."""
        kinds = list(self._kinds)
        used = [0] * len(kinds)
        path: list[Iterator[int]] = []
        made: dict[int, Operation] = {}
        deepest = -1
        while len(made) < len(self._missing):
            at = len(made)
            term = self._missing[at]
            if len(path) == at:
                path.append(self._choices(at, self._holder_before(term, made), kinds, used))
            if at > deepest:
                deepest, self.stuck_at, self.stuck_used = at, term, list(made.values())
            self._steps -= 1
            if self._steps < 0:
                raise Undecided("too many ways to explain the operations without a verdict")
            choice = next(path[at], None)
            if choice is not None:
                made[term.number] = self._kinds[kinds[choice]][used[choice]]
                used[choice] += 1
                continue
            self._dead.add((at, self._holder_before(term, made), tuple(used)))
            path.pop()
            if not made:
                return None
            _, undone = made.popitem()
            used[kinds.index(Kind.of(undone))] -= 1
        return made

    def _choices(
        self, at: int, recalled: str | None, kinds: Sequence[Kind], used: Sequence[int]
    ) -> Iterator[int]:
        term = self._missing[at]
        if (at, recalled, tuple(used)) in self._dead:
            return
        # Guarded recalls fit few terms: they go first where they fit.
        ranks = sorted(
            range(len(kinds)), key=lambda i: kinds[i].guard_term is None and kinds[i].guard_holder is None
        )
        for i in ranks:
            group = self._kinds[kinds[i]]
            if (
                used[i] < len(group)
                and group[used[i]].started < term.over_by
                and kinds[i].fits(term, recalled)
            ):
                yield i

    def _holder_before(self, term: Term, made: Mapping[int, Operation]) -> str | None:
        """Who held the term before this one; only asked for vacancies."""
        if not term.is_vacant:
            return None
        before = self._terms[term.number - 1]
        return before.holder if before.holder is not None else made[before.number].node


def find_makers(
    terms: Sequence[Term], doubtful: Sequence[Operation], idle: Sequence[Operation], *, steps: int
) -> dict[int, Operation]:
    """Makers for the terms that have none, out of the `doubtful` operations.

    Raises Violation, saying what stands in the way, if there are none such; `idle` are those that said to
    have done nothing and never to do anything, and only serve to say that one of them may have lied.
    Raises Undecided after `steps` steps.
    """
    search = _Search(terms, doubtful, steps)
    found = search.run()
    if found is not None:
        return found
    term = search.stuck_at
    assert term is not None
    recalled = terms[term.number - 1].holder
    could = [o for o in doubtful if Kind.of(o).fits(term, recalled)]
    lied = [o for o in idle if Kind.of(o).fits(term, recalled) and o.started < term.over_by]
    in_time = [o for o in could if o.started < term.over_by]
    holder = "vacant" if term.is_vacant else term.holder or "by somebody"
    said = f"nobody made term {term.number}, {holder}, of which or of a later one {term.witness} tells"
    if lied:
        why = f"{lied[0]} said that nothing of it can take effect"
    elif in_time:
        why = "all that might have took effect before: " + "; ".join(map(str, search.stuck_used))
    elif could:
        why = f"{could[0]} began too late"
    else:
        why = "no operation without a verdict fits"
    raise Violation(f"{said}: {why}")
