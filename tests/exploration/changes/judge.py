"""S1 to S3 and S5, judged in every state over all that its voters may still become.

In a state, two tenures may both come to be chosen if each voter can become one that has the votes this takes:
whatever they take, they take by themselves. So the judge refuses a state from which, without another word of
anybody,

    S1, S2   two tenures may be chosen that are not of one chain
    S3       a tenure may be chosen whose operation has ended without effect
    S5       two records may be chosen for one epoch, or a voter may enter one that is not chosen

and, of what is so already, outcomes that tell a tenure that is not chosen (S3), and a look at one instant
that takes a tenure for settled that is not the newest chosen (S3). What is decided by disjoint quorums of two
epochs shows as a break of S1 or S2: votes count in their own epoch, and tenures are compared across all.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from polity_cli.core import messages as m
from polity_cli.core import tally
from polity_cli.core.ballot import ZERO
from polity_cli.core.operation import Verdict
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import ELECTORATE, VACANT
from tests.exploration.changes.board import Act, Board, Place
from tests.exploration.changes.counting import bits
from tests.exploration.changes.crowd import Vote
from tests.exploration.changes.proposers import owner
from tests.judging.operation import Violation
from tests.simulation.world import POLITY


class Judge:
    """Judges the states of one board."""

    def __init__(self, board: Board) -> None:
        self._board, self._crowd, self._counting = board, board.crowd, board.counting
        self._ids = board.proposers.voters
        self._joins = any(c.target for c in board.case.coordinators)
        self._conflicts: dict[tuple[int, int], str] = {}
        self._quiet: set[tuple[object, ...]] = set()
        self._looked: set[tuple[object, ...]] = set()
        self.looks = 0

    def check(self, act: Act | None, place: Place) -> None:
        """Raise Violation if this state, reached by this act, breaks a promise."""
        if act is not None and act.turn.outcome is not None:
            self._check_told(act, place)
        barred = frozenset(i for i, role in enumerate(self._board.cast(place)) if role.barred)
        key = (place[0], self._board.asked(place[1]), barred, place[2:])
        if key in self._quiet:
            return
        self._quiet.add(key)
        self._check_future(place, barred)
        self._check_looks(place)
        if self._joins:
            self._check_records(place)

    # What is so.

    def chosen(self, place: Place) -> set[Chosen]:
        """The tenures of the role that are chosen."""
        votes = self._counting.votes_of(self._counting.pasts.items[place[2]])
        return {Chosen(ZERO, VACANT), *(Chosen(v.ballot, v.tenure) for v in votes if v.role != ELECTORATE)}

    def _check_told(self, act: Act, place: Place) -> None:
        outcome = act.turn.outcome
        assert outcome is not None
        if outcome.verdict in (Verdict.UNKNOWN, Verdict.NO_QUORUM):
            return
        name = self._board.case.bodies[act.proposer].name
        chosen = self.chosen(place)
        told = f"{name} ends with {outcome.verdict.value} ({outcome.tenure})"
        if outcome.tenure is None or outcome.tenure not in {c.tenure for c in chosen}:
            raise Violation(f"S3: {told}, and that is not chosen")
        if outcome.chosen is not None and outcome.chosen not in chosen:
            raise Violation(f"S3: {told}, and would announce what is not chosen")
        mine = outcome.verdict in (Verdict.WON, Verdict.RECALLED)
        if mine != (owner(outcome.tenure.claim) == act.proposer):
            raise Violation(f"S3: {told}, which has another claim")

    def _check_looks(self, place: Place) -> None:
        """Whatever quorum of one epoch looks now, it finds the newest that is chosen, or nothing."""
        voters = [self._crowd.voters.items[voter] for voter in place[3:]]
        mark = (place[0], place[2], *((it.epoch, it.role) for it in voters))
        if mark in self._looked:
            return
        self._looked.add(mark)
        chosen = self.chosen(place)
        term = max(c.tenure.term for c in chosen)
        for epoch, record in self._board.known(place[0]).items():
            there = [i for i, it in enumerate(voters) if it.epoch == epoch]
            for many in range(1, len(there) + 1):
                for some in combinations(there, many):
                    if not record.is_quorum({self._ids[i] for i in some}):
                        continue
                    self.looks += 1
                    states = {
                        self._ids[i]: m.State(b"", self._ids[i], POLITY, epoch, *voters[i].role) for i in some
                    }
                    found = tally.settled(states, record)
                    if found is not None and (found not in chosen or found.tenure.term < term):
                        raise Violation(
                            f"S3: a look in epoch {epoch} takes {found.tenure} at {found.ballot} for "
                            "settled, "
                            f"and chosen are {', '.join(f'{c.tenure} at {c.ballot}' for c in sorted(chosen))}"
                        )

    # What may become so.

    def _check_future(self, place: Place, barred: Iterable[int]) -> None:
        now = (place[3:], place[0], self._board.asked(place[1]))
        certain = self._counting.pasts.items[place[2]]
        possible = list(bits(certain | self._counting.possible(*now)))
        for i in possible:
            vote = self._crowd.votes.items[i]
            by = owner(vote.tenure.claim) if vote.role != ELECTORATE else None
            if by is not None and by in barred:
                name = self._board.case.bodies[by].name
                raise Violation(f"S3: {name} has ended without effect, and {vote.tenure} may be chosen")
        for one, other in combinations(possible, 2):
            wrong = self._conflict(one, other)
            is_certain = certain >> one & 1 or certain >> other & 1
            if wrong and (is_certain or self._counting.may_both(one, other, self._counting.masks(*now))):
                raise Violation(wrong)

    def _conflict(self, one: int, other: int) -> str:
        """Why these two must never both be chosen, or nothing."""
        key = (one, other)
        known = self._conflicts.get(key)
        if known is None:
            known = self._conflicts[key] = _why(self._crowd.votes.items[one], self._crowd.votes.items[other])
        return known

    def _check_records(self, place: Place) -> None:
        """Whoever enters a joint record does so because a quorum has accepted it."""
        asked = self._board.asked(place[1])
        past = self._counting.votes_of(self._counting.pasts.items[place[2]])
        chosen = {vote.tenure.holder for vote in past if vote.role == ELECTORATE}
        for voter in place[3:]:
            for after in self._crowd.reachable(voter, place[0], asked):
                it = self._crowd.voters.items[after]
                if it.epoch == 2 and it.digest.hex() not in chosen:
                    raise Violation("S5: a voter enters a record of epoch 2 that is not chosen")


def _why(one: Vote, other: Vote) -> str:
    if one.role != other.role:
        return ""
    if one.role == ELECTORATE:
        two = one.epoch == other.epoch and one.tenure.holder != other.tenure.holder
        return f"S5: two records may be chosen for epoch {one.epoch + 1}" if two else ""
    low, high = sorted((one, other), key=lambda v: (v.tenure.term, v.ballot))
    both = f"{_tell(low)} and {_tell(high)} may both be chosen"
    if low.tenure.term == high.tenure.term:
        return "" if low.tenure == high.tenure else f"S1: {both}"
    if low.tenure.claim and owner(low.tenure.claim) == owner(high.tenure.claim):
        return f"S3: one operation takes effect twice: {both}"
    if low.ballot > high.ballot:
        return f"S2: the term falls: {both}"
    follows = high.tenure.after[: len(low.tenure.claim)] == low.tenure.claim
    is_next = low.tenure.term + 1 == high.tenure.term
    return f"S2: {both}" if is_next and not follows else ""


def _tell(vote: Vote) -> str:
    return f"{vote.tenure} (at {vote.ballot}, epoch {vote.epoch})"
