"""How many voters decide: quorum rules, and the classic and fast quorum of an electorate of n.

Two facts carry all safety arguments. Any two classic quorums share a voter: 2q > n. Any classic quorum
and any two fast quorums share one: 2f + q > 2n (Lamport, Fast Paxos, 2006). A rule that breaks the first
is refused; the second holds by the choice of f.
"""

from __future__ import annotations

from polity_cli.core.record import Record
from polity_cli.errors import BadInput

_WHOLE = 1_000_000


class QuorumRule(Record):
    """A share of the voters, in millionths so that no rounding differs between nodes, and a floor."""

    millionths: int
    min_votes: int

    def __call__(self, population: int) -> int:
        """Votes needed of `population` voters: more than the share, at least `min_votes`."""
        return max(self.min_votes, min(population, population * self.millionths // _WHOLE + 1))

    def __str__(self) -> str:
        percent = f"{self.millionths / 10_000:g}"
        return f"more than {percent} %, at least {self.min_votes}"


def QuorumPercentage(share: float, min_votes: int) -> QuorumRule:
    """A rule that wants more than `share` (0 to 1) of the voters and never fewer than `min_votes`.

    `QuorumPercentage(p, m)(n)` is max(m, min(n, floor(n * p) + 1)). Raises BadInput.
    """
    if not 0 <= share <= 1:
        raise BadInput(
            f"the share of a quorum is a number from 0 to 1, not {share:g}", hint="half of the voters is 0.5"
        )
    if min_votes < 1:
        raise BadInput(f"a quorum has at least 1 vote, not {min_votes}", hint="use min_votes=1 or more")
    # Rounded up (but for the error of a float itself): a share such as 5/6 shall still be exceeded.
    millionths = -int(-round(share * _WHOLE, 3) // 1)
    return QuorumRule(millionths, min_votes)


SimpleMajority = QuorumPercentage(0.5, 3)
"""50 % + 1 of the voters, at least 3."""


def classic_quorum(population: int, rule: QuorumRule) -> int:
    """q: votes that decide in a classic round. Raises BadInput if the rule is unsafe or cannot be met."""
    needed = rule(population)
    majority = population // 2 + 1
    if needed < majority:
        raise BadInput(
            f"a quorum of {needed} of {population} voters is unsafe: two such quorums could miss each other "
            f"and elect two nodes",
            hint=f"ask for at least {majority} of {population}: a share of 0.5 (50 percent) or more",
        )
    if needed > population:
        raise BadInput(
            f"{population} voters can never give the {needed} votes this rule wants ({rule})",
            hint=f"enrol at least {needed} voters, or lower the rule's minimum (--min-votes)",
        )
    return needed


def fast_quorum(population: int, classic: int) -> int:
    """f: votes that decide in the fast round, so that 2f + q > 2n; never below q."""
    return max(classic, (2 * population - classic) // 2 + 1)
