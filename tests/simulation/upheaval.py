"""Random schedules in which the electorate changes: storms (`chaos.py`) with coordinators in them.

In the calm after each of them all nodes are alive, and one coordinator alone must bring the electorate to the
roll that is wanted; then every question must get its answer, also if it is asked by the first record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polity_cli import booth
from polity_cli.core import change_state
from polity_cli.core import messages as m
from polity_cli.core.electorate import Electorate
from polity_cli.core.operation import Purpose, Verdict
from polity_cli.edges import wire
from polity_cli.edges.simnet import Seeded
from polity_cli.edges.simnet_change import SimChange
from polity_cli.edges.simnet_operation import SimProcess
from tests.judging.operation import Violation
from tests.simulation.chaos import FIRST_IN_CALM, Disks, Storm
from tests.simulation.courses import (
    COURSES,
    RENEWED,
    draw_course,
    founding_of,
    id_of,
    losers_of,
    name_of,
    nodes_of,
)
from tests.simulation.epoch_witness import EpochWitness
from tests.simulation.plan import Alteration, Calm, Errand, Plan
from tests.simulation.world import MAJORITY, ROLE, Shape, voter_id

if TYPE_CHECKING:
    from polity_cli.booth import VoterLedger

CHANGES_IN_CALM = 4
"""More than a lone coordinator ever needs: what is under way, what it wants, and being overtaken."""

CHANGE_S = 40.0
_NO_END = (change_state.Verdict.NO_QUORUM, change_state.Verdict.UNFINISHED, change_state.Verdict.UNKNOWN)


class Upheaval(Storm):
    """A plan with changes being carried out."""

    storm_s = 14.0
    calm_round_trips = 20

    def __init__(self, seed: int, course: str, disks: Disks | None = None) -> None:
        self.electorate = founding_of(course)
        self.shape = Shape(nodes_of(course), MAJORITY, 0, 0)
        self.course = COURSES[course]
        renewed = [RENEWED + node for node in losers_of(course)]
        names = {id_of(voter): name_of(voter) for voter in (*range(self.shape.n), *renewed)}
        bodies = {elect.roll: elect.body for elect in self.course}
        self.witness: EpochWitness = EpochWitness(self.electorate, bodies, names)
        self._open(seed, disks)
        self.plan = draw_course(seed, course, lambda: self.callers)
        for i in range(self.shape.n):
            ledger = self._disks.new(voter_id(i))
            if i in self.course[0].voters:
                enter_record(ledger, self.electorate)
            self.net.add(f"n{i}", ledger)
            self.witness.look_at_all(f"n{i}")
        self.net.add(f"n{self.shape.n}")

    def _receive_stranger(self, node: str) -> None:
        """A node is back without its ledger: it knows of no polity until somebody tells it."""

    @property
    def changes(self) -> list[SimChange]:
        return self.witness.changes

    @property
    def callers(self) -> Sequence[SimProcess]:
        return [*self.ops, *self.changes]

    def _prepare(self, plan: Plan) -> None:
        super()._prepare(plan)
        for alteration in plan.changes:
            self.net.call_at(alteration.at_s, self._alter, alteration, node=f"n{alteration.home}")

    def _known_to(self, errand: Errand) -> Electorate:
        return self.electorate if errand.stale else self._record_at(errand.home)

    def _record_at(self, home: int) -> Electorate:
        """The record that a node's voter has entered; a node without one has learnt that of the founding."""
        if home == self.shape.n:
            return self.electorate
        ledger = self.net.ledger(f"n{home}")
        entered = ledger.record(ledger.me().digest)
        return self.electorate if entered is None else wire.decode_record(entered)

    def _alter(self, a: Alteration) -> None:
        known = self.electorate if a.stale else self._record_at(a.home)
        target = None if a.target is None else self.course[a.target].roll
        op = SimChange(
            self.net,
            known,
            target,
            name=a.name,
            home=f"n{a.home}",
            draws=Seeded(self.plan.seed * 64 + a.number, self._clock_of(a.home)),
            rate=a.rate,
            limit_s=a.limit_s,
            dies_after=a.dies_after,
            on_move=self.witness.altered,
        )
        self._begin(op)

    def _begin(self, op: SimChange) -> None:
        self.witness.changes.append(op)
        roll = op.target
        wants = "finish a change" if roll is None else f"have {', '.join(e.node for e in roll.voters)} vote"
        self.witness.say(
            lambda: f"{op.name}: {op.home} wants to {wants}, and knows epoch {op.electorate.epoch}"
        )
        op.begin(patient=True)

    def _calm(self, calm: Calm) -> None:
        for op in self.callers:
            if op.is_active:
                op.stop()
        self.net.clear()
        self.net.faults = calm.faults
        self.net.chance.seed(self.plan.seed)
        for i in range(self.shape.n):
            node = f"n{i}"
            self.net.resume(node)
            self.net.arm(node, None)
            if not self.net.is_up(node):
                self.net.restart(node, self._disks.again(self.net.ledger(node)))
                self.witness.look_at_all(node)
        self.net.resume(f"n{self.shape.n}")
        number = FIRST_IN_CALM
        self.turns.append(number)
        if number not in calm.without:
            self._finish(calm.ranks[0] if calm.at_home else self.shape.n)
        # The ledger of a node that does not vote gives the same outdated hint for ever.
        voters = self.course[self.plan.goal].voters
        home = next(i for i in calm.ranks if i in voters) if calm.at_home else self.shape.n
        newest = self.witness.records.newest.epoch
        is_behind = calm.at_home and self.net.ledger(f"n{home}").me().epoch < newest
        for role in self.witness.roles() or [ROLE]:
            for turn, purpose in enumerate((Purpose.QUERY, Purpose.ELECT, Purpose.ELECT)):
                number += 1
                self.turns.append(number)
                if number in calm.without:
                    continue
                hint = self.shape.n if is_behind else home
                outcome = self._alone(number, purpose, role, home, list(calm.ranks), hint)
                self.net.run(self.net.now_s + 1.0)  # for the news
                may_fail = turn == 1  # an election on an outdated hint
                if not may_fail and (
                    outcome is None or outcome.verdict in (Verdict.UNKNOWN, Verdict.NO_QUORUM)
                ):
                    raise Violation(f"L1: {purpose.value} is stuck, alone with everybody: {outcome}")

    def _finish(self, home: int) -> None:
        """One coordinator, alone, brings the electorate to the roll that is wanted."""
        goal = self.course[self.plan.goal].roll
        known = self._record_at(home)
        for number in range(CHANGES_IN_CALM):
            self.net.clear()
            op = SimChange(
                self.net,
                known,
                None if known.is_joint else goal,
                name=f"C{number}",
                home=f"n{home}",
                draws=Seeded(self.plan.seed * 64 + 60 + number, self._clock_of(home)),
                limit_s=CHANGE_S,
                on_move=self.witness.altered,
            )
            self._begin(op)
            self.net.run(self.net.now_s + CHANGE_S, done=lambda op=op: not op.is_active)  # type: ignore[misc]
            outcome = op.outcome
            if outcome is None or outcome.verdict in _NO_END:
                raise Violation(f"L1: a change is stuck, alone with everybody: {outcome}, {op.state.phase}")
            overtaken = outcome.verdict is change_state.Verdict.OVERTAKEN
            known = self.witness.records.newest if overtaken else outcome.electorate
            if not known.is_joint and known.current == goal:
                return
        raise Violation(f"L1: {CHANGES_IN_CALM} changes, alone with everybody, end in {known}")


def enter_record(ledger: VoterLedger, record: Electorate) -> None:
    """Let a voter hold a record and have entered it, as a founding does."""
    data = wire.encode_record(record)
    for at, page in enumerate(pages := wire.pages(data)):
        booth.handle(ledger, m.Offer(b"founding", wire.digest(data), at, len(pages), page, True))
