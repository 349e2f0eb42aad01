"""S1 to S3 and S5, judged in every state over all that its voters may still become.

A tenure is chosen once enough voters of every roll of one epoch's record have a vote for it: q at a classic
ballot, f at a fast one where there is one roll. In a state, two tenures may both come to be chosen if each
voter can become one that has the votes this takes: whatever they take, they take by themselves. So the judge
refuses a state from which, without another word of anybody,

    S1, S2   two tenures may be chosen that are not of one chain
    S3       a tenure may be chosen whose operation has ended without effect
    S5       two records may be chosen for one epoch, or a voter may enter one that is not chosen

and, of what is so already, outcomes that tell a tenure that is not chosen (S3), and a look at one instant
that takes a tenure for settled that is not the newest chosen (S3). What is decided by disjoint quorums of two
epochs shows as a break of S1 or S2: votes count in their own epoch, and tenures are compared across all.

Quorums are given as numbers here: no arithmetic is shared with the code that is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from polity_cli.core import tally
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO
from polity_cli.core.messages import Register
from polity_cli.core.operation import Verdict
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import ELECTORATE, VACANT, Tenure
from tests.exploration.changes.board import Act, Board, Place
from tests.exploration.changes.crowd import Vote
from tests.exploration.changes.proposers import owner
from tests.judging.operation import Violation
from tests.simulation.world import POLITY

DECIDE = {1: (1, 1), 2: (2, 2), 3: (2, 3), 4: (3, 3), 5: (3, 4)}
"""For so many voters: how many votes decide in a classic round, and in the fast round."""


class Judge:
    """Judges the states of one board."""

    def __init__(self, board: Board) -> None:
        self._board, self._crowd = board, board.crowd
        voters = board.proposers.voters
        old = frozenset(i for i, kind in enumerate(board.kinds) if kind < 2)
        new = frozenset(i for i, kind in enumerate(board.kinds) if kind > 0)
        self._rolls = {1: (old,), 2: (old, new), 3: (new,)}
        self._ids = voters
        self._joins = any(c.target for c in board.case.coordinators)
        self._utmost: dict[tuple[int, int, int], tuple[int, ...]] = {}
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
        self._check_future(place, barred)
        self._check_looks(place)
        if self._joins:
            self._check_records(place)
        self._quiet.add(key)

    # What is so.

    def chosen(self, voters: Sequence[int]) -> set[Chosen]:
        """What is chosen by the votes that were cast."""
        masks = [self._crowd.voters.items[voter].votes for voter in voters]
        votes = 0
        for mask in masks:
            votes |= mask
        found = {Chosen(ZERO, VACANT)}
        for i in _bits(votes):
            vote = self._crowd.votes.items[i]
            if vote.role != ELECTORATE and self._is_enough(vote, {k for k, mask in enumerate(masks) if mask >> i & 1}):
                found.add(Chosen(vote.ballot, vote.tenure))
        return found

    def _is_enough(self, vote: Vote, voters: set[int]) -> bool:
        rolls = self._rolls[vote.epoch]
        if vote.ballot.is_fast and len(rolls) > 1:
            return False
        return all(len(voters & roll) >= DECIDE[len(roll)][vote.ballot.kind] for roll in rolls)

    def _check_told(self, act: Act, place: Place) -> None:
        outcome = act.turn.outcome
        assert outcome is not None
        if outcome.verdict in (Verdict.UNKNOWN, Verdict.NO_QUORUM):
            return
        name = self._board.case.bodies[act.proposer].name
        chosen = self.chosen(place[2:])
        told = f"{name} ends with {outcome.verdict.value} ({outcome.tenure})"
        if outcome.tenure not in {c.tenure for c in chosen}:
            raise Violation(f"S3: {told}, and that is not chosen")
        if outcome.chosen is not None and outcome.chosen not in chosen:
            raise Violation(f"S3: {told}, and would announce what is not chosen")
        mine = outcome.verdict in (Verdict.WON, Verdict.RECALLED)
        if mine != (owner(outcome.tenure.claim) == act.proposer):
            raise Violation(f"S3: {told}, which has another claim")

    def _check_looks(self, place: Place) -> None:
        """Whatever quorum of one epoch looks now, it finds the newest that is chosen, or nothing."""
        voters = [self._crowd.voters.items[voter] for voter in place[2:]]
        shown = tuple((it.epoch, it.role) for it in voters)
        chosen = self.chosen(place[2:])
        mark = (shown, frozenset(chosen))
        if mark in self._looked:
            return
        self._looked.add(mark)
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
                            f"S3: a look in epoch {epoch} takes {found.tenure} at {found.ballot} for settled, "
                            f"and chosen are {', '.join(f'{c.tenure} at {c.ballot}' for c in sorted(chosen))}"
                        )

    # What may become so.

    def _masks(self, voter: int, sent: int, asked: int) -> tuple[int, ...]:
        """The votes a voter may come to have cast, without those that are less than others."""
        key = (voter, sent, asked)
        known = self._utmost.get(key)
        if known is None:
            masks = {self._crowd.voters.items[v].votes for v in self._crowd.reachable(voter, sent, asked)}
            known = tuple(a for a in masks if not any(a != b and a & b == a for b in masks))
            self._utmost[key] = known
        return known

    def _check_future(self, place: Place, barred: Iterable[int]) -> None:
        asked = self._board.asked(place[1])
        masks = [self._masks(voter, place[0], asked) for voter in place[2:]]
        able: dict[int, set[int]] = {}
        for k, some in enumerate(masks):
            for mask in some:
                for i in _bits(mask):
                    able.setdefault(i, set()).add(k)
        possible = [i for i, voters in able.items() if self._is_enough(self._crowd.votes.items[i], voters)]
        for i in possible:
            vote = self._crowd.votes.items[i]
            by = owner(vote.tenure.claim) if vote.role != ELECTORATE else None
            if by in barred:
                name = self._board.case.bodies[by].name  # type: ignore[index]
                raise Violation(f"S3: {name} has ended without effect, and {vote.tenure} may be chosen")
        for one, other in combinations(possible, 2):
            wrong = self._conflict(one, other)
            if wrong and self._may_both(one, other, masks):
                raise Violation(wrong)

    def _may_both(self, one: int, other: int, masks: Sequence[tuple[int, ...]]) -> bool:
        votes = self._crowd.votes.items[one], self._crowd.votes.items[other]

        def some(position: int, first: set[int], second: set[int]) -> bool:
            if position == len(masks):
                return self._is_enough(votes[0], first) and self._is_enough(votes[1], second)
            ways = {(mask >> one & 1, mask >> other & 1) for mask in masks[position]}
            here = {position}
            return any(
                some(position + 1, first | here if a else first, second | here if b else second)
                for a, b in sorted(ways, reverse=True)
            )

        return some(0, set(), set())

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
        for position, voter in enumerate(place[2:]):
            for after in self._crowd.reachable(voter, place[0], asked):
                it = self._crowd.voters.items[after]
                if it.epoch != 2:
                    continue
                masks = [self._crowd.voters.items[v].votes for v in place[2:]]
                masks[position] = it.votes
                if not any(
                    vote.role == ELECTORATE
                    and vote.tenure.holder == it.digest.hex()
                    and self._is_enough(vote, {k for k, mask in enumerate(masks) if mask >> i & 1})
                    for i, vote in enumerate(self._crowd.votes.items)
                ):
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
    follows = high.tenure.after == low.tenure.claim
    is_next = low.tenure.term + 1 == high.tenure.term
    return f"S2: {both}" if is_next and low.tenure.is_vacant and not follows else ""


def _tell(vote: Vote) -> str:
    return f"{vote.tenure} (at {vote.ballot}, epoch {vote.epoch})"


def _bits(mask: int) -> Iterable[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


__all__ = ["DECIDE", "Judge", "Register", "Tenure"]
