"""The witness of schedules in which the electorate changes: it also sees who enters which record."""

from __future__ import annotations

from collections.abc import Mapping

from polity_cli.core import change_state
from polity_cli.core import messages as m
from polity_cli.core.change_state import Phase, Verdict
from polity_cli.core.electorate import Electorate, Roll
from polity_cli.core.tenure import ELECTORATE
from polity_cli.edges.simnet_change import SimChange
from polity_cli.edges.simnet_faults import Caller, Parcel
from polity_cli.edges.simnet_operation import SimOperation
from tests.judging.operation import Violation
from tests.simulation.epochs import Body, EpochWatch, Records
from tests.simulation.watch import Watch
from tests.simulation.witness import Witness


class EpochWitness(Witness):
    """`names` are those of all voters there may ever be; `changes` those that it knows of."""

    def __init__(self, founding: Electorate, bodies: Mapping[Roll, Body], names: Mapping[bytes, str]) -> None:
        super().__init__(founding, 0, 0)
        self._enrolled = dict(names)
        self.records = Records(founding, bodies)
        self.changes: list[SimChange] = []

    def watch(self, role: str) -> Watch:
        found = self.watches.get(role)
        if found is None:
            found = self.watches[role] = EpochWatch(self.records)
        return found

    def look(self, node: str, role: str) -> None:
        """See which record a voter has entered, and what it has on record of a role."""
        ledger = self.net.ledger(node)
        me = ledger.me()
        name = self._enrolled[me.voter]
        if me.epoch != self.records.epoch_of(name):
            self.records.entered(name, me.epoch, me.digest, ledger.record(me.digest))
            self.say(lambda: f"{node}: enters epoch {me.epoch}")
            for each, watch in self.watches.items():
                assert isinstance(watch, EpochWatch)
                watch.entered(name, ledger.view(each)[1])
        if role == ELECTORATE:
            self.records.accepted(name, ledger.view(ELECTORATE)[1])
        elif me.epoch:
            super().look(node, role)

    def look_at_all(self, node: str) -> None:
        self.look(node, ELECTORATE)
        super().look_at_all(node)

    def heard(self, caller: Caller, node: str, reply: m.Reply) -> None:
        super().heard(caller, node, reply)
        if not isinstance(caller, SimChange):
            return
        for carry in caller.state.carries:
            if isinstance(reply, m.State) and reply.attempt == carry.attempt:
                self.watch(carry.order.role).said(self._enrolled[reply.voter], reply)
        if self.tells_hearing:
            self.say(lambda: f"{caller.name}: hears {node}")

    def altered(self, op: SimChange, move: change_state.Move) -> None:
        """A change has made a step."""
        before, c = op.state, move.change
        op.state = c  # its own name, for the transcript
        if c.phase is Phase.YIELD and before.phase is not Phase.YIELD:
            self.say(lambda: f"{op.name}: yields")
        for message in move.send:
            self.say(lambda: f"{op.name}: {m.describe(message)}")  # noqa: B023 - said at once
        outcome = c.outcome
        if outcome is None:
            return
        self.say(lambda: f"{op.name}: {outcome.verdict.value.upper()}, epoch {outcome.electorate.epoch}")
        if not self.records.is_chosen(outcome.electorate):
            raise Violation(f"S5: {op.name} calls a record chosen that is not: {outcome.electorate}")

    def judge(self) -> None:
        super().judge()
        for op in self.changes:
            verdict = None if op.outcome is None else op.outcome.verdict
            if verdict in (Verdict.NO_QUORUM, Verdict.NOTHING) and op.state.claim in self.records.claims:
                raise Violation(f"S3: {op.name} said {verdict.value!r}, and its record was accepted")

    def arrived(self, parcel: Parcel, reply: bytes | None) -> None:
        if isinstance(parcel.caller, SimOperation):
            self.look(parcel.target, ELECTORATE)
        super().arrived(parcel, reply)

    def _whose(self, attempt: str) -> str | None:
        for op in self.changes:
            ids = (op.state.attempt, *(carry.attempt for carry in op.state.carries))
            if attempt in (each.hex()[:6] for each in ids):
                return op.name
        return super()._whose(attempt)
