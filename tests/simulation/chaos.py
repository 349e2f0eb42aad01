"""Random schedules: one seed makes one schedule, the same every time.

A schedule (`plan.py`) starts a handful of operations on the simulator, in virtual time, and lets everything
happen that a network and processes may do. Then comes a calm with a bare quorum alive, in which operations
must come to a verdict; and then the judge.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from polity_cli import booth
from polity_cli.core.operation import Order, Outcome, Pace, Purpose, Verdict
from polity_cli.edges.memory_ledger import MemoryLedger
from polity_cli.edges.simnet import Seeded, SimNet
from polity_cli.edges.simnet_crash import Point
from polity_cli.edges.simnet_faults import hits
from polity_cli.edges.simnet_operation import SimOperation, SimProcess
from tests.judging.history import Entry
from tests.judging.operation import Violation
from tests.simulation.plan import Calm, Errand, Mishap, Plan, What, draw
from tests.simulation.watch import Watch
from tests.simulation.witness import Witness
from tests.simulation.world import ROLE, SHAPES, electorate_of, enter, stranger_id, voter_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polity_cli.booth import VoterLedger
    from polity_cli.core.electorate import Electorate

CALM_ROUND_TRIPS = 8
"""More than a lone operation ever needs with a quorum alive: three looks, a stand, two ballots."""

FIRST_IN_CALM = 20
"""The number of the first operation in the calm, whatever was before."""

STORM_S = 8.0
CALM_S = 12.0

_NO_ANSWER = (Verdict.UNKNOWN, Verdict.NO_QUORUM)


class Disks(Protocol):
    """Where ledgers come from: a new one for a voter, and `again` as its next process opens it."""

    def new(self, voter: bytes) -> VoterLedger: ...
    def again(self, ledger: VoterLedger) -> VoterLedger: ...


class MemoryDisks:
    """Ledgers in memory."""

    def new(self, voter: bytes) -> VoterLedger:
        return MemoryLedger(voter)

    def again(self, ledger: VoterLedger) -> VoterLedger:
        return ledger


class Storm:
    """A plan being carried out. `ops`, `watch` and `transcript` are for those who look at it afterwards."""

    storm_s = STORM_S
    calm_round_trips = CALM_ROUND_TRIPS

    def __init__(self, seed: int, shape: str, disks: Disks | None = None) -> None:
        self.shape = SHAPES[shape]
        self.electorate = electorate_of(self.shape)
        self.witness: Witness = Witness(self.electorate, self.shape.q, self.shape.f)
        self._open(seed, disks)
        self.plan: Plan = draw(seed, shape, lambda: self.ops)
        for i in range(self.shape.n):
            ledger = self._disks.new(voter_id(i))
            if i != self.plan.unaware:
                enter(ledger, self.electorate)
            self.net.add(f"n{i}", ledger)
        self.net.add(f"n{self.shape.n}")

    def _open(self, seed: int, disks: Disks | None) -> None:
        self.net = SimNet(booth.answer, seed=seed, observer=self.witness)
        self.witness.net = self.net
        self.witness.clock = lambda: f"{self.net.now_s:7.3f}  "
        self.witness.tells_hearing = True
        self._disks = disks or MemoryDisks()
        self._strangers: set[int] = set()
        self.turns: list[int] = []
        self.befell: Counter[str] = Counter()

    @property
    def ops(self) -> list[SimOperation]:
        return self.witness.ops

    @property
    def callers(self) -> Sequence[SimProcess]:
        """Everything that asks, to which answers may go astray."""
        return self.witness.ops

    @property
    def watch(self) -> Watch:
        return self.witness.watch(ROLE)

    @property
    def transcript(self) -> list[str] | None:
        return self.witness.transcript

    def history(self, role: str = ROLE) -> list[Entry]:
        return self.witness.history(role)

    def run(self, plan: Plan | None = None) -> None:
        """Carry out the plan, or another one. Raises Violation."""
        self.plan = plan = plan or self.plan
        self.net.faults = plan.faults
        self._prepare(plan)
        self.net.run(self.storm_s)
        self.befell = hits(plan.faults) + self.witness.befell
        if plan.calm is not None:
            self._calm(plan.calm)
        self.witness.judge()

    def _prepare(self, plan: Plan) -> None:
        for errand in plan.errands:
            self.net.call_at(errand.at_s, self._set_out, errand, node=f"n{errand.home}")
        for mishap in plan.mishaps:
            self.net.call_at(mishap.at_s, self._befall, mishap)

    def _known_to(self, errand: Errand) -> Electorate:
        """The record with which an operation begins."""
        return self.electorate

    def _clock_of(self, home: int) -> Callable[[], float]:
        """In every other schedule nodes have clocks, seconds apart, and rounds that grow with them."""
        if self.plan.seed % 2:
            return lambda: 0.0
        return lambda: self.net.now_s + self.plan.seed * (home + 1) % 7

    def _set_out(self, errand: Errand) -> None:
        hint = errand.home if errand.hint is None else errand.hint
        local = self.net.ledger(f"n{hint}").view(errand.role)[1] if hint < self.shape.n else None
        alive = None if errand.alive is None else frozenset(voter_id(i) for i in errand.alive)
        draws = Seeded(self.plan.seed * 64 + errand.number, self._clock_of(errand.home))
        node = f"n{errand.home}"
        op = SimOperation(
            self.net,
            Order(
                errand.purpose,
                errand.role,
                node,
                draws.id(),
                errand.holder,
                errand.term,
                errand.at_least,
                slot=errand.slot,
            ),
            self._known_to(errand),
            name=errand.name,
            home=node,
            draws=draws,
            rate=errand.rate,
            limit_s=errand.limit_s,
            dies_after=errand.dies_after,
            on_move=self.witness.moved,
        )
        self.witness.began(op)
        op.begin(local=local, alive=alive, pace=errand.pace)

    def _befall(self, mishap: Mishap) -> None:
        net, node = self.net, f"n{mishap.node}"
        match mishap.what:
            case What.DIE_BEFORE_SAVE:
                net.arm(node, Point.BEFORE_SAVE)
            case What.DIE_BEFORE_REPLY:
                net.arm(node, Point.BEFORE_REPLY)
            case What.CRASH:
                net.crash(node)
            case What.RESTART if not net.is_up(node):
                net.restart(node, self._disks.again(net.ledger(node)))
                self.witness.look_at_all(node)
            case What.LOSE_LEDGER if not net.is_up(node) and mishap.node not in self._strangers:
                self._strangers.add(mishap.node)
                net.restart(node, self._disks.new(stranger_id(mishap.node)))
                self._receive_stranger(node)
                self.witness.look_at_all(node)
            case What.PAUSE:
                net.pause(node)
            case What.RESUME:
                net.resume(node)
            case What.ENTER:
                enter(net.ledger(node), self.electorate)

    def _receive_stranger(self, node: str) -> None:
        """A node is back without its ledger: it soon knows of the polity."""
        enter(self.net.ledger(node), self.electorate)

    def _calm(self, calm: Calm) -> None:
        """With a quorum alive and nobody else about, whoever asks must get an answer, and the right one.

        An election on an outdated hint may end as unknown; the next one on that node may not.
        """
        for op in self.ops:
            if op.is_active:
                op.stop()
        self.net.clear()
        self.net.faults = calm.faults
        self.net.chance.seed(self.plan.seed)
        alive = [i for i in calm.ranks if i not in self._strangers][: calm.size]
        for i in range(self.shape.n):
            node = f"n{i}"
            self.net.resume(node)
            self.net.arm(node, None)
            enter(self.net.ledger(node), self.electorate)
            if i not in alive:
                self.net.crash(node)
            elif not self.net.is_up(node):
                self.net.restart(node, self._disks.again(self.net.ledger(node)))
        self.net.resume(f"n{self.shape.n}")
        home = alive[0] if calm.at_home else self.shape.n
        first = calm.first
        number = FIRST_IN_CALM
        purposes = [first, first] if first is Purpose.ELECT else [first]
        for role in self.witness.roles() or [ROLE]:
            for turn, purpose in enumerate(purposes if role == ROLE else [Purpose.QUERY]):
                self.turns.append(number)
                if number not in calm.without:
                    outcome = self._alone(number, purpose, role, home, alive)
                    may_fail = purpose is Purpose.ELECT and turn == 0
                    if not may_fail and (outcome is None or outcome.verdict in _NO_ANSWER):
                        raise Violation(f"L1: {purpose.value} is stuck, alone with a quorum: {outcome}")
                number += 1

    def _alone(
        self,
        number: int,
        purpose: Purpose,
        role: str,
        home: int,
        alive: list[int],
        hint: int | None = None,
    ) -> Outcome | None:
        """Let one operation have its way with these voters until it ends."""
        self.net.clear()
        self._set_out(
            Errand(
                number, 0.0, purpose, role, home, None, None, hint, tuple(alive), 0, Pace(), 1.0, CALM_S, None
            )
        )
        op = self.ops[-1]
        self.net.run(
            self.net.now_s + CALM_S,
            done=lambda: not op.is_active or op.state.round_trips > self.calm_round_trips,
        )
        return op.outcome
