"""The judge: sees every ledger and every outcome, and says which of the promises S1 to S3 was broken.

    S1  one tenure per term              `Watch`, told of every acceptance, as soon as it happens
    S2  one chain, terms only grow       `Watch`
    S3  linearizable outcomes            `contradiction`, a search over the whole history of a role

It shares no arithmetic with the code it judges: q and f are given to it as numbers.
"""

from __future__ import annotations

from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.tenure import VACANT, Tenure
from tests.judging.history import Entry as Entry
from tests.judging.history import judge as judge
from tests.judging.history import linearization as linearization
from tests.judging.operation import Violation as Violation


class Watch:
    """Remembers who ever accepted what, and so what was chosen: by q at a classic ballot, f at a fast."""

    def __init__(self, q: int, f: int) -> None:
        self._needed = (q, f)
        self._votes: dict[tuple[Ballot, Tenure], set[int]] = {}
        self._values: dict[Ballot, Tenure] = {ZERO: VACANT}
        self.chosen: dict[Ballot, Tenure] = {}

    def accepted(self, voter: int, ballot: Ballot, tenure: Tenure) -> None:
        """A ledger holds this now. Raises Violation if S1 or S2 is broken thereby."""
        if not ballot.is_fast and self._values.setdefault(ballot, tenure) != tenure:
            raise Violation(f"two values at classic ballot {ballot}: {self._values[ballot]} and {tenure}")
        votes = self._votes.setdefault((ballot, tenure), set())
        votes.add(voter)
        if len(votes) == self._needed[ballot.kind]:
            self._choose(ballot, tenure)

    def _choose(self, ballot: Ballot, tenure: Tenure) -> None:
        for other_ballot, other in self.chosen.items():
            if other.term == tenure.term and other != tenure:
                raise Violation(f"S1: {other!r} and {tenure!r} are chosen, at {other_ballot} and {ballot}")
            if (other_ballot < ballot and other.term > tenure.term) or (
                ballot < other_ballot and tenure.term > other.term
            ):
                raise Violation(
                    f"S2: the term falls between {other_ballot} ({other}) and {ballot} ({tenure})"
                )
            for vacancy, filled in ((other, tenure), (tenure, other)):
                if vacancy.term + 1 == filled.term and not filled.is_vacant and filled.after != vacancy.claim:
                    raise Violation(f"S2: {filled!r} does not follow {vacancy!r}")
        if tenure.is_vacant != (tenure.term % 2 == 0):
            raise Violation(f"S2: {tenure!r} is out of step: vacancies have even terms")
        self.chosen[ballot] = tenure

    def has_chosen(self, ballot: Ballot, tenure: Tenure) -> bool:
        return self.chosen.get(ballot) == tenure
