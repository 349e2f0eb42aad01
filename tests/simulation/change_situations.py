"""Changes of the electorate made on purpose, for bugs that random schedules seldom meet.

Nothing arrives by itself: `stage.let(op, nodes, until)` lets an operation or a change talk with these nodes,
and with nobody else, until something is so or it is over. What it said to others stays under way and may
arrive later. Each situation ends well with the shipped rules, and raises Violation with its bug.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import count
from random import Random

from polity_cli import booth
from polity_cli.core import operation
from polity_cli.core.change_state import Phase
from polity_cli.core.electorate import Electorate
from polity_cli.core.operation import Order, Pace, Purpose
from polity_cli.edges import wire
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.edges.simnet import SimNet
from polity_cli.edges.simnet_change import SimChange
from polity_cli.edges.simnet_faults import Parcel, Way
from polity_cli.edges.simnet_operation import SimOperation, SimProcess
from tests.simulation.courses import COURSES, founding_of, nodes_of
from tests.simulation.epoch_witness import EpochWitness
from tests.simulation.upheaval import enter_record
from tests.simulation.world import ROLE, Chance, voter_id

WAKES = 12
"""How often `let` wakes whoever waits in vain."""


class Stage:
    """The nodes of a course, of which the first voters have founded a polity. Ids rise as they are drawn."""

    def __init__(self, course: str) -> None:
        self.course = COURSES[course]
        self.electorate = founding_of(course)
        names = {voter_id(i): f"n{i}" for i in range(nodes_of(course))}
        self.witness = EpochWitness(self.electorate, {elect.roll: elect.body for elect in self.course}, names)
        self.transcript: list[str] = []
        self.witness.transcript = self.transcript
        self.net = self.witness.net = SimNet(booth.answer, faults=[self._hold], observer=self.witness)
        self.round_floor = 0
        numbers = count(1)
        self._draws = Chance(
            lambda: next(numbers).to_bytes(3, "big") + b"\0" * 5, draw_floor=lambda: self.round_floor
        )
        self._flight: list[Parcel] = []
        for i in range(nodes_of(course)):
            ledger = MemoryLedger(voter_id(i))
            if i in self.course[0].voters:
                enter_record(ledger, self.electorate)
            self.net.add(f"n{i}", ledger)
            self.witness.look_at_all(f"n{i}")

    def begin(self, purpose: Purpose, home: int, *, floor: int = 0, hint: bool = True) -> SimOperation:
        """Begin an operation, by the record its node has, and its register if it may; with rounds from
        `floor` on.
        """
        self.round_floor = floor
        ledger = self.net.ledger(f"n{home}")
        entered = ledger.record(ledger.me().digest)
        known = self.electorate if entered is None else wire.decode_record(entered)
        op = SimOperation(
            self.net,
            Order(purpose, ROLE, f"n{home}", self._draws.id(), patient=True),
            known,
            name=f"{purpose.value[0].upper()}{len(self.witness.ops)}",
            home=f"n{home}",
            draws=self._draws,
            on_move=self.witness.moved,
        )
        self.witness.began(op)
        op.begin(local=ledger.view(ROLE)[1] if hint else None, pace=Pace(looks=1))
        self.round_floor = 0
        return op

    def change(self, home: int, *, known: Electorate | None = None) -> SimChange:
        """Begin the change to the course's second roll, or finish that under way in the record `known`."""
        op = SimChange(
            self.net,
            known or self.electorate,
            None if known else self.course[1].roll,
            name=f"C{len(self.witness.changes)}",
            home=f"n{home}",
            draws=self._draws,
            on_move=self.witness.altered,
        )
        self.witness.changes.append(op)
        self.witness.say(lambda: f"{op.name}: n{home} changes the electorate")
        op.begin(patient=True)
        return op

    def let(self, op: SimProcess, nodes: Collection[int], until: Callable[[], bool] = lambda: False) -> None:
        """Let it talk with these nodes until it is over, or this is so, or waiting has no end."""
        names = {f"n{i}" for i in nodes}
        for _ in range(WAKES):
            while op.is_active and not until() and (parcel := self._next(op, names)) is not None:
                self._flight.remove(parcel)
                self._tick()
                self.net.deliver(parcel)
            if not op.is_active or until():
                return
            self._tick()
            op.wake()

    def arrive(self, op: SimProcess, *nodes: int) -> None:
        """What an operation said last arrives at these nodes, whose answers are lost."""
        for node in nodes:
            last = [p for p in self._flight if p.caller is op and p.target == f"n{node}"][-1]
            self._tick()
            self.net.deliver(last)

    def lose(self, op: SimProcess) -> None:
        """Everything under way between an operation and the voters is lost."""
        self._flight = [p for p in self._flight if p.caller is not op]

    def judge(self) -> None:
        self.witness.judge()

    def _next(self, op: SimProcess, names: Collection[str]) -> Parcel | None:
        return next((p for p in self._flight if p.caller is op and _voter_node(p) in names), None)

    def _hold(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        self._flight.append(parcel)
        return ()

    def _tick(self) -> None:
        self.net.tick += 1
        self.net.now_s = float(self.net.tick)


def _voter_node(parcel: Parcel) -> str:
    return parcel.source if parcel.way is Way.ANSWER else parcel.target


def a_promise_is_all_that_is_left_of_a_recall(stage: Stage) -> None:
    """n0 is cut off while the electorate changes, and takes there what was prepared before the change."""
    recall = stage.begin(Purpose.RECALL, 0, floor=4, hint=False)
    stage.let(recall, (0, 1), until=lambda: recall.state.phase is operation.Phase.ACCEPT)
    change = stage.change(1)
    stage.let(change, (1, 2, 3, 4), until=lambda: change.state.electorate.is_joint)
    stage.arrive(recall, 0)
    stage.let(change, (1, 2, 3, 4))
    first = stage.begin(Purpose.ELECT, 3)
    stage.let(first, (2, 3, 4))
    second = stage.begin(Purpose.ELECT, 0)
    stage.let(second, (0, 1, 2, 3))
    stage.judge()


def an_election_between_the_lists_and_the_joint_epoch(stage: Stage) -> None:
    """n0 hears nothing of the change; n1 votes for it as long as it may."""
    change = stage.change(2)
    stage.let(
        change,
        (1, 2, 3, 4, 5),
        until=lambda: change.state.electorate.is_joint and change.state.phase is Phase.PREPARE,
    )
    old = stage.begin(Purpose.ELECT, 0)
    stage.let(old, (0, 1))
    stage.let(change, (1, 2, 3, 4, 5))
    new = stage.begin(Purpose.ELECT, 4)
    stage.let(new, (3, 4, 5))
    stage.judge()


def roles_meet_the_old_voters_only(stage: Stage) -> None:
    """While roles are carried over nobody hears the coordinator but the old voters."""
    old = stage.begin(Purpose.ELECT, 0)
    stage.let(old, (0, 1, 2))
    change = stage.change(2)
    everybody = range(6)
    stage.let(change, everybody, until=lambda: change.state.phase is Phase.CARRY)
    stage.let(change, (0, 1, 2), until=lambda: change.state.phase is Phase.PREPARE)
    stage.lose(change)
    stage.let(change, everybody)
    new = stage.begin(Purpose.ELECT, 4)
    stage.let(new, (3, 4, 5))
    stage.judge()


def an_election_goes_on_while_the_electorate_changes(stage: Stage, steps: int) -> bool:
    """It has promises of the first epoch when the change begins, and goes on after so many steps of that.

    False if the change was over by then.
    """
    everybody = range(6)
    old = stage.begin(Purpose.ELECT, 0, hint=False, floor=4)
    stage.let(old, (0, 1), until=lambda: old.state.phase is operation.Phase.ACCEPT)
    change = stage.change(2)
    left = count(steps, -1)
    stage.let(change, everybody, until=lambda: next(left) <= 0)
    is_early = change.is_active
    stage.let(old, everybody)
    stage.let(change, everybody)
    for home, voters in ((4, (3, 4)), (5, (4, 5))):
        stage.let(stage.begin(Purpose.ELECT, home), voters)
    stage.judge()
    return is_early


def new_voters_accept_alone_in_the_joint_epoch(stage: Stage) -> list[SimOperation]:
    """What n1 and n2 accept, two of three new voters, the old voter n0 has promised too much for."""
    change = stage.change(0)
    stage.let(
        change,
        (0, 1, 2),
        until=lambda: change.state.electorate.is_joint and change.state.phase is Phase.PREPARE,
    )
    first = stage.begin(Purpose.ELECT, 0, floor=2, hint=False)
    stage.let(first, (0, 2), until=lambda: first.state.phase is operation.Phase.ACCEPT)
    second = stage.begin(Purpose.ELECT, 2, floor=3, hint=False)
    stage.let(second, (0, 1), until=lambda: second.state.phase is operation.Phase.PREPARE)
    stage.arrive(second, 0)
    stage.arrive(first, 1, 2)
    stage.let(second, (0, 2), until=lambda: second.state.phase is operation.Phase.ACCEPT)
    stage.arrive(second, 0)
    stage.let(change, (0, 1, 2))
    stage.let(first, (1, 2))
    stage.let(second, (0, 2))
    stage.judge()
    return [first, second]


SITUATIONS: dict[str, tuple[str, Callable[[Stage], object]]] = {
    "bare_promises_are_not_listed": ("3-5", a_promise_is_all_that_is_left_of_a_recall),
    "roles_are_listed_before_the_joint_epoch_is_entered": (
        "3-others",
        an_election_between_the_lists_and_the_joint_epoch,
    ),
    "roles_are_carried_by_the_old_voters_only": ("3-others", roles_meet_the_old_voters_only),
    "the_new_voters_are_not_heard_in_a_joint_epoch": ("1-3", new_voters_accept_alone_in_the_joint_epoch),
}
"""The bug that each shows."""
