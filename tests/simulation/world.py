"""A small world to be moved by hand: the simulator's, in which nothing arrives by itself.

Whoever plays with the world starts operations, delivers parcels one by one (`deliver`), loses or doubles
them, wakes, stops. Everything else is the simulator's: nodes, voters, wire bytes, operations. A `Watch`
sees every ledger and raises as soon as S1 or S2 is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from functools import cache
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from polity_cli import booth
from polity_cli.core import messages as m
from polity_cli.core.electorate import Electorate, Enrolled, founding_record
from polity_cli.core.operation import Order, Pace, Purpose
from polity_cli.core.quorum import QuorumPercentage, QuorumRule, SimpleMajority
from polity_cli.core.tenure import ELECTORATE
from polity_cli.edges import simnet_faults
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.edges.simnet import SimNet
from polity_cli.edges.simnet_crash import Point
from polity_cli.edges.simnet_faults import Way
from polity_cli.edges.simnet_operation import SimOperation
from tests.judging.history import Entry
from tests.simulation.watch import Watch
from tests.simulation.witness import Witness, tell

if TYPE_CHECKING:
    from polity_cli.booth import VoterLedger
    from polity_cli.core.operation import Draws

__all__ = ["ROLE", "SHAPES", "Chance", "Kind", "Operation", "Parcel", "Shape", "World", "tell"]

ROLE = "leader"
POLITY = b"a polity"
MAJORITY = QuorumPercentage(0.5, 1)

Operation = SimOperation


class Shape(NamedTuple):
    """How many voters, and how many votes decide: in a classic round, in the fast round."""

    n: int
    rule: QuorumRule
    q: int
    f: int


SHAPES = {
    "3": Shape(3, MAJORITY, 2, 3),
    "3all": Shape(3, SimpleMajority, 3, 3),
    "4": Shape(4, MAJORITY, 3, 3),
    "5": Shape(5, MAJORITY, 3, 4),
}


class Kind(Enum):
    QUERY = Way.ASK
    REPLY = Way.ANSWER
    NEWS = Way.NEWS


class Parcel(NamedTuple):
    """Bytes under way between an operation and a voter, or an announcement on its way to a voter."""

    kind: Kind
    op: Operation
    voter: int
    data: bytes


class Chance:
    """The `Draws` of the operations."""

    def __init__(
        self,
        draw_id: Callable[[], bytes],
        draw_jitter: Callable[[], float] = lambda: 0.5,
        draw_floor: Callable[[], int] = lambda: 0,
    ) -> None:
        self._draw_id = draw_id
        self._draw_jitter = draw_jitter
        self._draw_floor = draw_floor

    def id(self) -> bytes:
        return self._draw_id()

    def jitter(self) -> float:
        return self._draw_jitter()

    def round_floor(self) -> int:
        return self._draw_floor()


def stranger_id(node: int) -> bytes:
    """The id of the voter that a node has after its ledger was lost."""
    return b"other%03d" % node


def voter_id(number: int) -> bytes:
    return b"voter%03d" % number


@cache
def electorate_of(shape: Shape) -> Electorate:
    """Voters on the nodes n0, n1, ..."""
    return founding_record(POLITY, [Enrolled(voter_id(i), f"n{i}") for i in range(shape.n)], shape.rule)


def enter(ledger: VoterLedger, electorate: Electorate) -> None:
    """Let a voter have entered the electorate's record."""
    if ledger.me().polity == POLITY:
        return
    with ledger.transaction(ELECTORATE) as turn:
        turn.enter(turn.me._replace(polity=POLITY, epoch=electorate.epoch, digest=b"d" * 16))


class World:
    """Voters 0 .. n-1 on nodes n0 .. n(n-1), with one role. `flight` are the parcels under way.

    `transcript`, if it is a list, becomes the conversation, for people.
    """

    def __init__(self, shape: Shape, draws: Draws) -> None:
        self.shape = shape
        self.draws = draws
        self.flight: list[Parcel] = []
        self.electorate = electorate_of(shape)
        self.voters = [voter_id(i) for i in range(shape.n)]
        self.witness = Witness(self.electorate, shape.q, shape.f)
        self.net = SimNet(booth.answer, faults=[self._hold], observer=self.witness)
        self.witness.net = self.net
        for i, voter in enumerate(self.voters):
            ledger = MemoryLedger(voter)
            enter(ledger, self.electorate)
            self.net.add(f"n{i}", ledger)

    @property
    def ops(self) -> list[Operation]:
        return self.witness.ops

    @property
    def watch(self) -> Watch:
        return self.witness.watch(ROLE)

    @property
    def transcript(self) -> list[str] | None:
        return self.witness.transcript

    @transcript.setter
    def transcript(self, lines: list[str] | None) -> None:
        self.witness.transcript = lines

    def register(self, voter: int) -> m.Register:
        return self.net.ledger(f"n{voter}").view(ROLE)[1]

    def start(
        self,
        purpose: Purpose,
        home: int,
        *,
        holder: str | None = None,
        term: int | None = None,
        local: m.Register | None = None,
        alive: Collection[int] | None = None,
        at_least: int = 0,
        name: str | None = None,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> Operation:
        """Begin an operation on node `home`; `local` is its hint, its own voter's register if not given."""
        self._tick()
        name = name or f"{purpose.value[0].upper()}{len(self.ops)}"
        order = Order(purpose, ROLE, f"n{home}", self.draws.id(), holder, term, at_least)
        if local is None and home < self.shape.n:
            local = self.register(home)
        op = SimOperation(
            self.net,
            order,
            self.electorate,
            name=name,
            home=f"n{home}",
            draws=self.draws,
            on_move=self.witness.moved,
        )
        self.witness.began(op)
        op.begin(local=local, alive=self._ids(alive), pace=pace)
        return op

    def deliver(self, parcel: Parcel, *, crash: bool = False) -> None:
        """Bring a parcel to where it goes; `crash` ends the voter's process before it has saved anything."""
        self._tick()
        way, node = parcel.kind.value, f"n{parcel.voter}"
        source, target = (node, parcel.op.home) if way is Way.ANSWER else (parcel.op.home, node)
        if crash:
            self.net.arm(node, Point.BEFORE_SAVE)
        now_s = self.net.now_s
        self.net.deliver(
            simnet_faults.Parcel(0, way, parcel.op, 0, source, target, parcel.data, now_s, now_s)
        )
        if crash:
            self.net.restart(node)

    def wake(self, op: Operation, alive: Collection[int] | None = None) -> None:
        """Tell an operation that its wait is over."""
        self._tick()
        if op.is_active:
            self.witness.say(lambda: f"{op.name}: has waited long enough")
            op.wake(self._ids(alive))

    def give_up(self, op: Operation) -> None:
        """No more time: the operation ends and says what it knows."""
        self._tick()
        if op.is_active:
            self.witness.say(lambda: f"{op.name}: has no more time")
            op.give_up()

    def stop(self, op: Operation) -> None:
        """The operation's process dies; what it has sent is still under way."""
        self._tick()
        op.stop()

    def history(self) -> list[Entry]:
        return self.witness.history(ROLE)

    def judge(self) -> None:
        """Raise Violation unless everything that happened so far keeps S1 to S3."""
        self.witness.judge()

    def _ids(self, alive: Collection[int] | None) -> set[bytes] | None:
        return None if alive is None else {self.voters[i] for i in alive}

    def _tick(self) -> None:
        self.net.tick += 1
        self.net.now_s = float(self.net.tick)

    def _hold(self, parcel: simnet_faults.Parcel, chance: Random) -> Sequence[simnet_faults.Parcel]:
        assert isinstance(parcel.caller, SimOperation)
        node = parcel.source if parcel.way is Way.ANSWER else parcel.target
        self.flight.append(Parcel(Kind(parcel.way), parcel.caller, int(node[1:]), parcel.data))
        return ()
