"""The watch over several epochs: what is chosen where the electorate changes, and S5.

    S5  a change of the electorate never lets two disjoint quorums decide

A vote is cast in the epoch of the record that its voter has entered, and goes with its voter into the next
one while it is the newest that the voter has cast. A tenure is chosen once the voters of every roll of one
epoch's record have enough such votes: q at a classic ballot, and f at a fast one, where the record is stable.
What `Watch` does not let pass, it does not let pass over all epochs: ballots are compared across them.

Which records there are, `Records` says. Beside, it does not let pass

- two records of one epoch, entered or chosen;
- a record that is entered before it is chosen. For the successor of a joint record a quorum of the new roll
  suffices here: there is but one such record, so nothing else can be chosen;
- a record that does not follow the one before, or with a roll that nobody wants.

Quorums are numbers here as well, given with each roll: no arithmetic is shared with the code that is judged.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from polity_cli.core.ballot import CLASSIC, ZERO, Ballot
from polity_cli.core.electorate import Electorate, Roll
from polity_cli.core.messages import Register, State
from polity_cli.core.tenure import Tenure
from polity_cli.edges import wire
from tests.judging.operation import Violation
from tests.simulation.watch import Watch


class Body(NamedTuple):
    """The voters of one roll, by name, and how many of them decide."""

    voters: frozenset[str]
    q: int
    f: int


class Records:
    """The records of a polity as ledgers show them, and which epoch each voter is in.

    `bodies` are the rolls that somebody may want; `claims` those of the changes whose record was accepted.
    """

    def __init__(self, founding: Electorate, bodies: Mapping[Roll, Body]) -> None:
        self._bodies = bodies
        self._digests = {founding.epoch: _digest_of(founding)}
        self._records = {founding.epoch: founding}
        self._votes: dict[tuple[int, Ballot, str], set[str]] = {}
        self.claims: set[bytes] = set()
        self._chosen: dict[int, bytes] = dict(self._digests)
        self._epochs: dict[Hashable, int] = {}

    @property
    def newest(self) -> Electorate:
        """The newest record that a voter has entered."""
        return self._records[max(self._records)]

    def rolls(self, epoch: int) -> list[Body]:
        """The rolls of an epoch's record: one, or the old one and the new."""
        return [self._bodies[roll] for roll in self._records[epoch].rolls]

    def epoch_of(self, voter: Hashable) -> int:
        """The epoch that a voter was in when it was last looked at; 0 for one that has entered none."""
        return self._epochs.get(voter, 0)

    def entered(self, voter: str, epoch: int, digest: bytes, data: bytes | None) -> None:
        """A voter has entered a record, of these bytes, that it had not entered before."""
        before = self.epoch_of(voter)
        if epoch < before:
            raise Violation(f"S5: {voter} goes back from epoch {before} to {epoch}")
        self._epochs[voter] = epoch
        if self._digests.setdefault(epoch, digest) != digest:
            raise Violation(f"S5: two records of epoch {epoch} are entered, the second at {voter}")
        if self._chosen.get(epoch) != digest:
            raise Violation(f"S5: {voter} enters a record of epoch {epoch} that is not chosen")
        if epoch not in self._records:
            assert data is not None, "whoever enters a record holds it"
            record = wire.decode_record(data)
            if record.epoch != epoch or any(roll not in self._bodies for roll in record.rolls):
                raise Violation(f"S5: {voter} enters a record of epoch {epoch} that nobody wants: {record}")
            last = self._records.get(epoch - 1)
            if last is not None and not _follows(last, record):
                raise Violation(f"S5: the record of epoch {epoch} does not follow the one before: {record}")
            self._records[epoch] = record

    def accepted(self, voter: str, register: Register) -> None:
        """A voter holds this of the electorate's register."""
        epoch, digest = self.epoch_of(voter), register.tenure.holder
        if digest is None or register.tenure.term != epoch + 1:
            return
        votes = self._votes.setdefault((epoch, register.accepted, digest), set())
        votes.add(voter)
        self.claims.add(register.tenure.claim)
        body = self.rolls(epoch)[-1]
        if len(votes & body.voters) < body.q:
            return
        if self._chosen.setdefault(epoch + 1, bytes.fromhex(digest)) != bytes.fromhex(digest):
            raise Violation(f"S5: two records of epoch {epoch + 1} are chosen")

    def is_chosen(self, record: Electorate) -> bool:
        return self._chosen.get(record.epoch) == _digest_of(record)


class EpochWatch(Watch):
    """The watch over one role, through all epochs; see `Watch`."""

    def __init__(self, records: Records) -> None:
        super().__init__(0, 0)
        self._records = records
        self._cast: dict[tuple[int, Ballot, Tenure], set[Hashable]] = {}
        self._taken_back: dict[Hashable, Ballot] = {}

    def entered(self, voter: Hashable, register: Register) -> None:
        """A voter is in another epoch now, with this register: what it accepted last counts there too.

        By entering it may only take a fast vote back, to the vacancy that it was cast on.
        """
        before = self._known.get(voter, Register())
        if register != before and before.accepted.is_fast:
            self._taken_back[voter] = max(before.accepted, self._taken_back.get(voter, ZERO))
            base = before.accepted._replace(kind=CLASSIC)
            before = before._replace(accepted=base, tenure=before.tenure.vacancy_before())
        if register != before:
            raise Violation(f"S1: {voter} enters an epoch with {register}, and had {before}")
        self._known[voter] = register
        if register.accepted != ZERO:
            self.accepted(voter, register.accepted, register.tenure)

    def said(self, voter: Hashable, state: State) -> None:
        # An answer may be heard after its voter has gone on to another epoch.
        if state.accepted.is_fast and state.accepted <= self._taken_back.get(voter, ZERO):
            state = state._replace(accepted=state.accepted._replace(kind=CLASSIC))
        super().said(voter, state)

    def _decides(self, voter: Hashable, ballot: Ballot, tenure: Tenure, votes: set[Hashable]) -> bool:
        epoch = self._records.epoch_of(voter)
        cast = self._cast.setdefault((epoch, ballot, tenure), set())
        cast.add(voter)
        rolls = self._records.rolls(epoch)
        if ballot.is_fast:
            return len(rolls) == 1 and len(cast & rolls[0].voters) >= rolls[0].f
        return all(len(cast & roll.voters) >= roll.q for roll in rolls)


def _digest_of(record: Electorate) -> bytes:
    return wire.digest(wire.encode_record(record))


def _follows(last: Electorate, record: Electorate) -> bool:
    if len(last.rolls) == 1:
        return len(record.rolls) == 2 and record.rolls[0] == last.rolls[0]
    return record.rolls == last.rolls[1:]
