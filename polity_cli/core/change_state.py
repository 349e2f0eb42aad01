"""A change of the electorate as it stands: its phases, what it remembers, and what came of it."""

from __future__ import annotations

from enum import Enum

from polity_cli.core import epochs
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Electorate, Roll
from polity_cli.core.operation import Candidacy
from polity_cli.core.record import Record


class Phase(Enum):
    READ = "voters of this electorate"
    PREPARE = "promises for the electorate"
    LEARN = "the record of an earlier change"
    OFFER = "voters that hold the new record"
    ACCEPT = "acceptance of the new record"
    ENTER = "voters that enter it"
    LIST = "lists of roles"
    CARRY = "roles carried over"
    YIELD = "another change"
    DONE = "done"


class Verdict(Enum):
    CHANGED = "changed"
    """No change is under way any more, and the electorate is a newer one than at the beginning."""
    NOTHING = "nothing to do"
    OVERTAKEN = "another change came first"
    """The electorate is a newer one, which is to be looked at before anything else is proposed."""
    NO_QUORUM = "no quorum"
    """Nothing of this can take effect later."""
    UNFINISHED = "unfinished"
    """A record is chosen that not enough voters are known to have entered; anybody can finish that."""
    UNKNOWN = "unknown"
    """The joint record may be chosen, or not."""


class Outcome(Record):
    """`electorate` is the newest record known to be chosen, `carried` the roles decided anew, `silent` node
    names of voters that did not answer the last message. `may_take_effect`: what was proposed is, or may be,
    chosen, though it is not known to be in force."""

    verdict: Verdict
    electorate: Electorate
    may_take_effect: bool = False
    carried: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


class Change(Record):
    """The state of a change. `electorate` is the record of the epoch it acts in, `target` the roll wanted.

    Without a target it only finishes what is under way. `record` is what is proposed now, `chosen` says that
    it is known to be chosen; `proposed` that a joint record was sent to be accepted. Of the roles listed,
    `roles` are still to be carried over, `carries` are under way, `carried` are done.
    """

    electorate: Electorate
    target: Roll | None
    claim: bytes
    node: str
    alive: frozenset[bytes]
    patient: bool = False
    phase: Phase = Phase.PREPARE
    attempt: bytes = b""
    ballot: Ballot = ZERO
    states: tuple[tuple[bytes, m.State], ...] = ()
    done_by: frozenset[bytes] = frozenset()
    has_healed: bool = False
    learning: epochs.Learning | None = None
    found: tuple[tuple[bytes, Electorate], ...] = ()
    record: Electorate | None = None
    digest: bytes = b""
    proposed: bool = False
    lists: tuple[tuple[bytes, m.RoleList], ...] = ()
    after: str = ""
    roles: tuple[str, ...] = ()
    carries: tuple[Candidacy, ...] = ()
    carried: tuple[str, ...] = ()
    highest_round: int = 0
    attempts: int = 0
    asks: int = 0
    round_trips: int = 0
    wake_at_s: float = 0.0
    outcome: Outcome | None = None

    @property
    def answered(self) -> frozenset[bytes]:
        """The voters that have done what the phase asks for."""
        if self.phase is Phase.CARRY:
            return frozenset.intersection(*(frozenset(dict(carry.states)) for carry in self.carries))
        return self.done_by


class Move(Record):
    change: Change
    send: tuple[m.Query, ...] = ()
    again: bool = False
