"""Ballots: who proposes, in what order, and whether in a classic or a fast round.

A ballot is ordered by its round, then by the proposer's id, then by its kind, so that `b < b.fast` and
nothing lies between the two. A proposer id is random and fresh for each attempt: a classic ballot has one
proposer and, as an attempt sends one value, one value. (Lamport, Fast Paxos, 2006, for the two kinds.)
"""

from __future__ import annotations

from polity_cli.core.record import Record

CLASSIC = 0
FAST = 1

ID_BYTES = 8
"""Length of every random id: proposer, claim, voter, polity."""

MAX_ROUND = 2**62
"""The highest round a message may name; SQLite's and msgpack's integers still hold its successor."""

MAX_JUMP = 2**42
"""How far a message may raise a voter's round at once, so that no few messages can use the rounds up.

Milliseconds of the time of day, from which rounds are taken, fit until the year 2109.
"""


class Ballot(Record):
    """`round` counts from 0; `proposer` is the id of an attempt; `kind` is CLASSIC or FAST."""

    round: int
    proposer: bytes
    kind: int = CLASSIC

    @property
    def is_fast(self) -> bool:
        return self.kind == FAST

    @property
    def fast(self) -> Ballot:
        """The fast ballot that follows this one at once."""
        return Ballot(self.round, self.proposer, FAST)

    @property
    def classic(self) -> Ballot:
        """The classic ballot that this fast one follows."""
        return Ballot(self.round, self.proposer, CLASSIC)

    def __str__(self) -> str:
        proposer = f".{self.proposer.hex()[:6]}" if self.proposer else ""
        return f"{self.round}{proposer}{'/fast' if self.is_fast else ''}"


ZERO = Ballot(0, b"")
