"""An election, a recall or a query: what is wanted, how it stands, and what came of it."""

from __future__ import annotations

from enum import Enum

from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Electorate
from polity_cli.core.messages import RoleQuery, State
from polity_cli.core.record import Record
from polity_cli.core.slot import NO_SLOT
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import VACANT, Tenure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Draws(Protocol):
        """Chance, injected: `id()` is a fresh random id, `jitter()` uniform in [0, 1).

        New ballots have a round of at least `round_floor()`. If that grows with time, whoever missed some
        terms is above them all the same, gets a NO or promises, and need not end as unknown; any value is
        safe.
        """

        def id(self) -> bytes: ...
        def jitter(self) -> float: ...
        def round_floor(self) -> int: ...


class Purpose(Enum):
    ELECT = "elect"
    RECALL = "recall"
    QUERY = "who"
    CARRY = "carry"
    """Decide what is current once more, in this epoch: so a change of the electorate takes roles along."""


class Phase(Enum):
    LOOK = "look"
    STAND = "stand"
    PREPARE = "prepare"
    ACCEPT = "accept"
    YIELD = "yield"
    DONE = "done"


class Verdict(Enum):
    WON = "won"
    HELD = "held"
    LOST = "lost"
    RECALLED = "recalled"
    VACANT = "vacant"
    GUARD = "guard"
    TAKEN = "taken"
    """The slot that was wanted is one that the role has had."""
    ANSWER = "answer"
    NO_QUORUM = "no_quorum"
    UNKNOWN = "unknown"


class Pace(Record):
    """How long to wait, in seconds, and how often; after Serf's gossip tick of 0.2 s."""

    ask_again_s: float = 0.45
    grace_s: float = 0.22
    yield_min_s: float = 0.25
    yield_max_s: float = 0.6
    asks: int = 4
    looks: int = 3


class Order(Record):
    """What is wanted. `claim` is this operation's id in all its attempts; `node` the candidate or asker.

    `holder` and `term` guard a recall. `at_least` votes are wanted on top of the electorate's rule.
    `patient` keeps an operation asking while Serf shows too few voters alive. An election for a `slot` is
    won only if that comes after all that the role was filled for.
    """

    purpose: Purpose
    role: str
    node: str
    claim: bytes
    holder: str | None = None
    term: int | None = None
    at_least: int = 0
    patient: bool = False
    slot: str = NO_SLOT


class Outcome(Record):
    """What is known. `tenure` is None where nothing is; `chosen` is worth announcing to voters that miss it.

    `yes` and `no` are voter ids, `required` the votes that decided or were missing, `silent` the node names
    of voters that did not answer the last message, where that left it undecided. `may_take_effect` is True
    only with UNKNOWN.
    """

    verdict: Verdict
    tenure: Tenure | None
    previous_holder: str | None
    yes: frozenset[bytes]
    no: frozenset[bytes]
    required: int
    population: int
    round_trips: int
    silent: tuple[str, ...] = ()
    chosen: Chosen | None = None
    may_take_effect: bool = False


class Candidacy(Record):
    """The state of an operation; `states` are the newest states of voters in this phase, sorted by voter."""

    order: Order
    electorate: Electorate
    pace: Pace
    alive: frozenset[bytes]
    phase: Phase = Phase.YIELD
    attempt: bytes = b""
    ballot: Ballot = ZERO
    base: Chosen = Chosen(ZERO, VACANT)
    stood: Tenure | None = None
    proposal: Tenure | None = None
    verdict: Verdict | None = None
    previous_holder: str | None = None
    states: tuple[tuple[bytes, State], ...] = ()
    pending: tuple[int, int] | None = None
    highest_round: int = 0
    asks: int = 0
    unsettled: int = 0
    attempts: int = 0
    round_trips: int = 0
    wake_at_s: float = 0.0
    outcome: Outcome | None = None


class Move(Record):
    candidacy: Candidacy
    send: RoleQuery | None = None
