"""What decides nothing any more: votes at which no quorum can meet, operations without hope of answers.

A vote is forgotten once too many voters have promised more than its ballot to make a quorum there, whoever
else still votes (`votes`). An operation's last ballot is spent once fewer voters than make a quorum have
given it an answer of use, or may yet give one (`spent`): it says nothing more, and what it may still tell
was judged as soon as the answers for it were there, but for what a look may find. These know the rules: see
`Trust`.
"""

from __future__ import annotations

from polity_cli.core.operation import Phase
from tests.exploration.cases import Case, Slot
from tests.exploration.endings import Endings
from tests.exploration.rules import Trust
from tests.simulation.world import SHAPES


class Spent(Endings):
    """Voters and operations without what is spent."""

    def __init__(self, case: Case, order: tuple[Slot, ...], trust: Trust) -> None:
        super().__init__(case, order, trust)
        shape = SHAPES[str(case.n)]
        self._needed = (shape.q, shape.f)
        self._may_cast: dict[int, tuple[int, int]] = {}
        self._may_answer: dict[tuple[int, int, int], bool] = {}
        self._trimmed: dict[tuple[int, int], int] = {}
        self._fast_votes = 0

    def _with_live_votes(self, voters: list[int]) -> list[int]:
        """The voters without votes at which no quorum can meet any more."""
        known, may = len(self._votes.items), self._may_cast
        q, f = self._needed
        counts = [0] * (f + 1)
        cast = 0
        for voter in voters:
            it = may.get(voter)
            if it is None or it[0] != known:
                it = self._castable(voter)
            bits = it[1]
            cast |= self.voters.items[voter].votes
            for k in range(f, 1, -1):
                counts[k] |= counts[k - 1] & bits
            counts[1] |= bits
        if not cast:
            return voters
        dead = cast & ~((counts[q] & ~self._fast_votes) | counts[f])
        return [self._trim(voter, dead) for voter in voters] if dead else voters

    def _castable(self, voter: int) -> tuple[int, int]:
        """The votes that this voter has cast or may yet cast, and of how many it was asked."""
        it = self.voters.items[voter]
        bits = it.votes
        fast = 0
        for i, vote in enumerate(self._votes.items):
            bits |= (it.register.promised <= vote.ballot) << i
            fast |= vote.ballot.is_fast << i
        self._fast_votes = fast
        known = self._may_cast[voter] = (len(self._votes.items), bits)
        return known

    def _trim(self, voter: int, dead: int) -> int:
        key = (voter, dead)
        known = self._trimmed.get(key)
        if known is None:
            it = self.voters.items[voter]
            known = self._trimmed[key] = self.voters(it._replace(votes=it.votes & ~dead))
        return known

    def _without_spent(self, ops: int, voters: list[int]) -> tuple[int, list[int]]:
        """Operations that can hear nothing useful any more say nothing more."""
        roles = self.ops.items[ops]
        for op, role in enumerate(roles):
            if not self._is_asking(role):
                continue
            hopes = 0
            for voter in voters:
                hope = self._may_answer.get((op, role, voter))
                if hope is None:
                    hope = self._hope(op, role, voter)
                hopes += hope
            if hopes < self._needed[0] and self._is_last(op, role):
                spent = self._spent(op, role)
                roles = (*roles[:op], spent, *roles[op + 1 :])
                voters = self._tell(voters, op, spent)
                ops = self.ops(roles)
        return ops, voters

    def _hope(self, op: int, role: int, voter: int) -> bool:
        """True if the voter gave an answer that the operation needs, or may yet give one."""
        it = self.voters.items[voter]
        c = self.roles.items[role].candidacy
        assert c is not None
        passed = (
            it.register.accepted > c.ballot if c.phase is Phase.STAND else it.register.promised > c.ballot
        )
        known = self._may_answer[op, role, voter] = bool(self.answers.items[it.answers[op]]) or not passed
        return known
