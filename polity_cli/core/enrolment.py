"""Who is to vote: wishes about a roll, in words that can be applied to whatever roll is current by then."""

from __future__ import annotations

from polity_cli.core.electorate import Enrolled, Roll
from polity_cli.core.quorum import QuorumRule, classic_quorum
from polity_cli.core.record import Record

MOST_VOTERS = 100
"""Members beyond so many stay stand-bys and take a seat that becomes free."""


class Wish(Record):
    """A change of the voters: who is enrolled, in place of whoever its node had enrolled before; which nodes
    are struck off; another rule."""

    enrol: tuple[Enrolled, ...] = ()
    strike: frozenset[str] = frozenset()
    rule: QuorumRule | None = None

    def of(self, roll: Roll) -> Roll:
        """The roll as it is wanted. Raises BadInput if its quorum rule is unsafe for so many voters."""
        gone = self.strike | {e.node for e in self.enrol}
        voters = {e for e in roll.voters if e.node not in gone} | set(self.enrol)
        rule = roll.rule if self.rule is None else self.rule
        classic_quorum(len(voters), rule)
        return Roll(tuple(sorted(voters)), rule)


def wish_of(
    roll: Roll, *, answering: dict[str, bytes], gone: frozenset[str], most: int = MOST_VOTERS
) -> Wish:
    """What brings a roll in line with the cluster: enrols all that answer, strikes off the nodes `gone`.

    `answering` maps the nodes that may vote to the voter ids they answer with. A node that answers with
    another id than the one enrolled has lost its ledger and is enrolled anew. Nobody beyond `most` voters
    is added; the first by name get the free seats.
    """
    ids = list(answering.values())
    # Two nodes that answer with one id have copies of one ledger: nobody knows whose memory that is.
    answering = {node: voter for node, voter in answering.items() if ids.count(voter) == 1}
    enrolled = {e.node: e.voter for e in roll.voters}
    strike = gone & frozenset(enrolled) - frozenset(answering)
    anew = [node for node in answering if node in enrolled and enrolled[node] != answering[node]]
    seats = most - len(enrolled) + len(strike)
    new = sorted(node for node in answering if node not in enrolled)[: max(0, seats)]
    return Wish(tuple(Enrolled(answering[node], node) for node in sorted([*anew, *new])), strike)
