"""What is chosen, and what may come to be: the votes of a state's voters, counted in each epoch.

A tenure is chosen once enough voters of every roll of one epoch's record have a vote for it: q at a classic
ballot, f at a fast one where there is one roll. Once it is, its votes need not be remembered, and no more
those for what can never be chosen any more: voters are seen without them. Nothing said later brings that
back, as what asks for a vote has been said before the first one is cast.

Quorums are given as numbers here: no arithmetic is shared with the code that is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.exploration.changes.crowd import Crowd, Vote
from tests.exploration.index import Index

DECIDE = {1: (1, 1), 2: (2, 2), 3: (2, 3), 4: (3, 3), 5: (3, 4)}
"""For so many voters: how many votes decide in a classic round, and in the fast round."""

Masks = tuple[tuple[int, ...], ...]
"""For each voter, the sets of votes that it may come to have cast."""


class Counting:
    """Counts the votes of voters of these kinds: only old, old and new, only new."""

    def __init__(self, crowd: Crowd, kinds: Sequence[int], *, forgets: bool = True) -> None:
        self._crowd, self._forgets = crowd, forgets
        old = frozenset(i for i, kind in enumerate(kinds) if kind < 2)
        new = frozenset(i for i, kind in enumerate(kinds) if kind > 0)
        self._rolls = {1: (old,), 2: (old, new), 3: (new,)}
        self.pasts: Index[int] = Index()
        """What is chosen, as sets of votes."""
        self._utmost: dict[tuple[int, int, int], tuple[int, ...]] = {}
        self._without: dict[tuple[int, int], int] = {}
        self._able: dict[tuple[int, int, int], int] = {}
        self._enough: dict[tuple[int, int], bool] = {}
        self._seen: dict[tuple[int, ...], tuple[int, int]] = {}
        self._possible: dict[tuple[int, ...], int] = {}

    def is_enough(self, vote: int, voters: int) -> bool:
        """True if these voters (a set of bits) are enough for a vote to be chosen."""
        key = (vote, voters)
        known = self._enough.get(key)
        if known is None:
            it = self._crowd.votes.items[vote]
            rolls = self._rolls[it.epoch]
            known = self._enough[key] = (len(rolls) == 1 or not it.ballot.is_fast) and all(
                sum(voters >> i & 1 for i in roll) >= DECIDE[len(roll)][it.ballot.kind] for roll in rolls
            )
        return known

    def counted(
        self, past: int, voters: tuple[int, ...], sent: int, asked: int
    ) -> tuple[int, tuple[int, ...]]:
        """What is chosen now, and the voters without the votes that need not be remembered."""
        items = self._crowd.voters.items
        cast = tuple([items[voter].votes for voter in voters])
        seen = self._seen.get(cast)
        if seen is None:
            every = 0
            for mask in cast:
                every |= mask
            seen = self._seen[cast] = every, self._all_enough(every, cast)
        if not seen[0]:
            return past, voters
        if seen[1]:
            past = self.pasts(self.pasts.items[past] | seen[1])
        if not self._forgets:
            return past, voters
        kept = self.possible(voters, sent, asked) & ~self.pasts.items[past]
        if not seen[0] & ~kept:
            return past, voters
        return past, tuple([self._trim(voter, kept) for voter in voters])

    def _all_enough(self, votes: int, masks: tuple[int, ...]) -> int:
        """Those of these votes which as many voters have, by these masks, as it takes."""
        return sum(
            1 << i
            for i in bits(votes)
            if self.is_enough(i, sum((mask >> i & 1) << k for k, mask in enumerate(masks)))
        )

    def _trim(self, voter: int, kept: int) -> int:
        it = self._crowd.voters.items[voter]
        if it.votes & ~kept == 0:
            return voter
        key = (voter, it.votes & kept)
        known = self._without.get(key)
        if known is None:
            known = self._without[key] = self._crowd.voters(it._replace(votes=it.votes & kept))
        return known

    # What may come.

    def masks(self, voters: Sequence[int], sent: int, asked: int) -> Masks:
        return tuple(self._masks(voter, sent, asked) for voter in voters)

    def _masks(self, voter: int, sent: int, asked: int) -> tuple[int, ...]:
        """The votes a voter may come to have cast, without sets that are part of others."""
        key = (voter, sent, asked)
        known = self._utmost.get(key)
        if known is None:
            masks = {self._crowd.voters.items[v].votes for v in self._crowd.reachable(voter, sent, asked)}
            known = tuple(a for a in masks if not any(a != b and a & b == a for b in masks))
            self._utmost[key] = known
        return known

    def possible(self, voters: Sequence[int], sent: int, asked: int) -> int:
        """The votes of which each may come to be enough, as a set."""
        able = self._able
        every = 0
        masks = []
        for voter in voters:
            mask = able.get((voter, sent, asked))
            if mask is None:
                mask = 0
                for more in self._masks(voter, sent, asked):
                    mask |= more
                able[voter, sent, asked] = mask
            masks.append(mask)
            every |= mask
        key = tuple(masks)
        known = self._possible.get(key)
        if known is None:
            known = self._possible[key] = self._all_enough(every, key)
        return known

    def may_both(self, one: int, other: int, masks: Masks) -> bool:
        """True if both of these may be chosen, each voter having what it then has."""

        def some(position: int, first: int, second: int) -> bool:
            if position == len(masks):
                return self.is_enough(one, first) and self.is_enough(other, second)
            ways = {(mask >> one & 1, mask >> other & 1) for mask in masks[position]}
            return any(
                some(position + 1, first | a << position, second | b << position)
                for a, b in sorted(ways, reverse=True)
            )

        return some(0, 0, 0)

    def votes_of(self, mask: int) -> list[Vote]:
        return [self._crowd.votes.items[i] for i in bits(mask)]


def bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
