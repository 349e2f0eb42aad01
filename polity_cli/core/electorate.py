"""Who votes: the electorate's record, and what counts as a quorum of it.

A record is stable (one roll of voters) or joint (two: the old and the new, while the electorate changes).
In a joint electorate everything takes a quorum of both rolls, and there is no fast round. An epoch number
names one record of a polity: stable ones have odd numbers, the joint ones between them even numbers.
Voters are known by their ids, and node names are kept to tell people and to tell a voter from a copy of its
disk.
"""

from __future__ import annotations

from polity_cli.core.quorum import QuorumRule, classic_quorum, fast_quorum
from polity_cli.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class Enrolled(Record):
    """One voter: its id and the name of the Serf node it lives on."""

    voter: bytes
    node: str


class Roll(Record):
    """The voters of one electorate, sorted by id, and their quorum rule."""

    voters: tuple[Enrolled, ...]
    rule: QuorumRule

    @property
    def n(self) -> int:
        return len(self.voters)

    @property
    def q(self) -> int:
        """Votes that decide in a classic round; raises BadInput for a rule that is unsafe at this n."""
        return classic_quorum(self.n, self.rule)

    @property
    def f(self) -> int:
        """Votes that decide in the fast round."""
        return fast_quorum(self.n, self.q)

    def node_of(self, voter: bytes) -> str | None:
        return next((e.node for e in self.voters if e.voter == voter), None)

    def count(self, ids: Collection[bytes]) -> int:
        return sum(e.voter in ids for e in self.voters)


class Electorate(Record):
    """`rolls` holds one roll, or the old and the new one of a joint electorate."""

    polity: bytes
    epoch: int
    rolls: tuple[Roll, ...]

    @property
    def is_joint(self) -> bool:
        return len(self.rolls) > 1

    def joint_with(self, roll: Roll) -> Electorate:
        """The record that follows this stable one when its voters are to become those of `roll`."""
        return Electorate(self.polity, self.epoch + 1, (self.current, roll))

    def completed(self) -> Electorate:
        """The only record that follows this joint one: the new voters alone."""
        return Electorate(self.polity, self.epoch + 1, self.rolls[1:])

    def is_followed_by(self, record: Electorate) -> bool:
        """True if `record` may be the next one: stable and joint ones take turns, each naming the last."""
        if self.is_joint:
            return record == self.completed()
        return record.is_joint and record == self.joint_with(record.rolls[-1])

    @property
    def current(self) -> Roll:
        """The roll whose fast rounds are on record: the only one, or the old one of a joint electorate."""
        return self.rolls[0]

    @property
    def voters(self) -> tuple[Enrolled, ...]:
        """Every voter of every roll, once, in order of node name."""
        everyone = {e for roll in self.rolls for e in roll.voters}
        return tuple(sorted(everyone, key=lambda e: (e.node, e.voter)))

    @property
    def goal(self) -> Roll:
        """The roll that will be the only one once no change is under way."""
        return self.rolls[-1]

    @property
    def fast_quorum(self) -> int | None:
        """Votes that decide in a fast round; None in a joint electorate, which has none."""
        return None if self.is_joint else self.current.f

    def node_of(self, voter: bytes) -> str | None:
        """The node name of a voter, or None for a stranger."""
        return next((node for roll in self.rolls if (node := roll.node_of(voter)) is not None), None)

    def is_quorum(self, ids: Collection[bytes], *, at_least: int = 0) -> bool:
        """True if `ids` hold a classic quorum of every roll (and `at_least` voters, or all, of each)."""
        return all(
            roll.count(ids) >= (max(roll.q, min(at_least, roll.n)) if at_least else roll.q)
            for roll in self.rolls
        )

    def is_fast_quorum(self, ids: Collection[bytes], *, at_least: int = 0) -> bool:
        """True if `ids` decide in the fast round; never in a joint electorate."""
        return not self.is_joint and self.current.count(ids) >= max(
            self.current.f, min(at_least, self.current.n)
        )


def is_joint_epoch(epoch: int) -> bool:
    """True if the record of this epoch is a joint one."""
    return epoch > 0 and epoch % 2 == 0


def founding_record(polity: bytes, voters: Collection[Enrolled], rule: QuorumRule) -> Electorate:
    """The first record of a polity (epoch 1). Raises BadInput if the rule does not suit its size."""
    roll = Roll(tuple(sorted(voters)), rule)
    classic_quorum(roll.n, rule)
    return Electorate(polity, 1, (roll,))
