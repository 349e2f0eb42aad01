"""The watch: sees every ledger as it changes, and says which of the promises S1 and S2 was broken.

    S1  one tenure per term              `Watch`, told of every ledger as soon as it changes
    S2  one chain, terms only grow       `Watch`

S3, that outcomes are linearizable, is judged over the whole history of a role (`tests/judging/`).
It shares no arithmetic with the code it judges: q and f are given to it as numbers.
"""

from __future__ import annotations

from collections.abc import Hashable

from polity_cli.core.ballot import CLASSIC, ZERO, Ballot
from polity_cli.core.messages import Register, State
from polity_cli.core.tenure import VACANT, Tenure
from tests.judging.operation import Violation


class Watch:
    """Watches the voters of one role, and raises Violation as soon as what they remember breaks a promise.

    It remembers who ever accepted what, and so what was chosen: by q at a classic ballot, f at a fast one.
    What it does not let pass:

    - two values at one classic ballot;
    - anything in a ledger that goes back: a promise, an acceptance, what is confirmed;
    - an acceptance below a promise, unless of what is chosen;
    - an acceptance above a chosen tenure that does not carry it on, for that tenure may be unchosen by it;
    - two tenures chosen for one term, terms that fall, tenures that do not follow each other;
    - a voter told that something is chosen which is not, or saying more than its ledger holds.
    """

    def __init__(self, q: int, f: int) -> None:
        self._needed = (q, f)
        self._votes: dict[tuple[Ballot, Tenure], set[Hashable]] = {}
        self._values: dict[Ballot, Tenure] = {ZERO: VACANT}
        self._known: dict[Hashable, Register] = {}
        self.chosen: dict[Ballot, Tenure] = {}

    def remembers(self, voter: Hashable, after: Register) -> None:
        """This is in a voter's ledger now; a voter that is watched for the first time remembered nothing."""
        before = self._known.get(voter, _BLANK)
        if after is before or after == before:
            return
        for what in ("promised", "accepted", "confirmed_ballot"):
            if getattr(after, what) < getattr(before, what):
                raise Violation(
                    f"S1: {what} sinks at {_name_of(voter)} "
                    f"from {getattr(before, what)} to {getattr(after, what)}"
                )
        if after.promised < after.accepted:
            raise Violation(f"S1: {_name_of(voter)} accepted above its promise: {after}")
        if after.accepted == before.accepted and after.tenure != before.tenure:
            raise Violation(f"S1: {_name_of(voter)} takes another tenure at {after.accepted}: {after.tenure}")
        self._known[voter] = after
        if after.accepted != before.accepted:
            if after.accepted < before.promised and not self.has_chosen(after.accepted, after.tenure):
                raise Violation(
                    f"S1: {_name_of(voter)} promised {before.promised}, "
                    f"and accepts {after.tenure} at {after.accepted}"
                )
            if after.accepted.is_fast:
                # A vote is cast after the vacancy it fills was accepted again.
                self.accepted(voter, after.accepted._replace(kind=CLASSIC), after.tenure.vacancy_before())
            self.accepted(voter, after.accepted, after.tenure)
        if after.confirmed_ballot != before.confirmed_ballot and not self.has_chosen(
            after.confirmed_ballot, after.confirmed
        ):
            raise Violation(
                f"S3: {_name_of(voter)} is told that {after.confirmed} at {after.confirmed_ballot} is chosen"
            )

    def said(self, voter: Hashable, state: State) -> None:
        """A voter said this; by then its ledger had to hold as much, and forgets nothing."""
        held = self._known.get(voter, _BLANK)
        if (
            state.promised > held.promised
            or state.accepted > held.accepted
            or state.confirmed_ballot > held.confirmed_ballot
        ):
            raise Violation(f"S1: {_name_of(voter)} said more than its ledger holds: {state}, {held}")

    def accepted(self, voter: Hashable, ballot: Ballot, tenure: Tenure) -> None:
        """A ledger holds this now. Raises Violation if S1 or S2 is broken thereby."""
        if not ballot.is_fast and self._values.setdefault(ballot, tenure) != tenure:
            raise Violation(f"S1: two values at classic ballot {ballot}: {self._values[ballot]} and {tenure}")
        votes = self._votes.get((ballot, tenure))
        if votes is None:
            votes = self._votes[ballot, tenure] = set()
            for below, chosen in self.chosen.items():
                _must_carry_on(below, chosen, ballot, tenure)
        votes.add(voter)
        if self._decides(voter, ballot, tenure, votes):
            self._choose(ballot, tenure)

    def _decides(self, voter: Hashable, ballot: Ballot, tenure: Tenure, votes: set[Hashable]) -> bool:
        """Whether this voter's vote is the one that chooses."""
        return len(votes) == self._needed[ballot.kind]

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
            for before, following in ((other, tenure), (tenure, other)):
                follows = following.after[: len(before.claim)] == before.claim
                if before.term + 1 == following.term and not follows:
                    raise Violation(f"S2: {following!r} does not follow {before!r}")
        if tenure.is_vacant != (tenure.term % 2 == 0):
            raise Violation(f"S2: {tenure!r} is out of step: vacancies have even terms")
        self.chosen[ballot] = tenure
        for above, accepted in self._votes:
            _must_carry_on(ballot, tenure, above, accepted)

    def has_chosen(self, ballot: Ballot, tenure: Tenure) -> bool:
        return self.chosen.get(ballot) == tenure


_BLANK = Register()


def _must_carry_on(ballot: Ballot, chosen: Tenure, above: Ballot, accepted: Tenure) -> None:
    """Whoever proposes above a chosen ballot met its tenure in every quorum: the same, or one after it."""
    if ballot < above and accepted != chosen and accepted.term <= chosen.term:
        what = "S2: the term falls:" if accepted.term < chosen.term else "S1:"
        raise Violation(
            f"{what} {chosen!r} is chosen at {ballot}, {accepted!r} accepted above it, at {above}"
        )


def _name_of(voter: Hashable) -> str:
    return f"n{voter}" if isinstance(voter, int) else str(voter)
