"""The witness: an observer of the simulator that watches every ledger, and writes down who said what.

One `Watch` per role. It looks at the ledger itself after each message, and again when an answer is heard:
by then, what the answer says has to be on record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from polity_cli.core import messages as m
from polity_cli.core import tally
from polity_cli.core.electorate import Electorate
from polity_cli.core.guided import Move
from polity_cli.core.operation import Outcome, Phase, Purpose
from polity_cli.edges import wire
from polity_cli.edges.simnet import Observer, SimNet
from polity_cli.edges.simnet_faults import Caller, Parcel
from polity_cli.edges.simnet_operation import SimOperation
from tests.judging.history import Entry, judge
from tests.judging.operation import Violation
from tests.simulation.watch import Watch


class Witness(Observer):
    """`ops` are the operations it knows of; `transcript`, if it is a list, becomes the conversation."""

    def __init__(self, electorate: Electorate, q: int, f: int) -> None:
        self.net: SimNet
        self.ops: list[SimOperation] = []
        self.watches: dict[str, Watch] = {}
        self.befell: Counter[str] = Counter()
        self.messages = 0
        self.transcript: list[str] | None = None
        self.tells_hearing = False
        self.clock: Callable[[], str] = str
        self._names: dict[str, str] = {}
        self._needed = (q, f)
        self._enrolled = {e.voter: e.node for e in electorate.voters}

    def watch(self, role: str) -> Watch:
        found = self.watches.get(role)
        if found is None:
            found = self.watches[role] = Watch(*self._needed)
        return found

    def look(self, node: str, role: str) -> None:
        """See what a voter has on record of a role now; of a stranger's it takes no notice."""
        me, register = self.net.ledger(node).view(role)
        if me.voter in self._enrolled:
            self.watch(role).remembers(self._enrolled[me.voter], register)

    def look_at_all(self, node: str) -> None:
        for role in self.watches:
            self.look(node, role)

    # What the simulator tells.

    def arrived(self, parcel: Parcel, reply: bytes | None) -> None:
        self.messages += 1
        if isinstance(parcel.caller, SimOperation):
            self.look(parcel.target, parcel.caller.order.role)
        else:
            self.look_at_all(parcel.target)
        if reply is not None and self.transcript is not None:
            self.say(lambda: f"    {parcel.target}: {_in_words(parcel.data, reply)}")

    def happened(self, node: str, what: str) -> None:
        self.befell[what] += 1
        self.say(lambda: f"{node}: {what}")

    def heard(self, caller: Caller, node: str, reply: m.Reply) -> None:
        if isinstance(reply, m.Refusal):
            self.befell["refusal"] += 1
        if not isinstance(reply, m.State) or not isinstance(caller, SimOperation):
            return
        # The role of a stray answer is that of whoever it was meant for.
        if reply.attempt == caller.state.attempt and reply.voter in self._enrolled:
            self.watch(caller.order.role).said(self._enrolled[reply.voter], reply)
        if self.tells_hearing:
            self.say(lambda: f"{caller.name}: hears {node}")

    # What the operations tell.

    def began(self, op: SimOperation) -> None:
        self.ops.append(op)
        order = op.order
        guards = "".join(
            f", if the {k} is {v}" for k, v in (("holder", order.holder), ("term", order.term)) if v
        )
        self.say(lambda: f"{op.name}: {order.node} wants to {_WANTS[order.purpose]}{guards}")

    def moved(self, op: SimOperation, move: Move) -> None:
        before, c = op.state, move.guided.candidacy
        if c.phase is Phase.YIELD and before.phase is not Phase.YIELD:
            self.say(lambda: f"{op.name}: yields")
        for message in move.send:
            op.state = c  # its own name, for the transcript
            self.say(lambda: f"{op.name}: {m.describe(message)}")  # noqa: B023 - said at once
        outcome = c.outcome
        if outcome is None:
            return
        self.say(lambda: f"{op.name}: {tell(outcome)}")
        if outcome.chosen is not None and not self.watch(op.order.role).has_chosen(*outcome.chosen):
            ballot, tenure = outcome.chosen
            raise Violation(f"S3: {op.name} calls chosen what is not: {tenure} at {ballot}")

    # In the end.

    def roles(self) -> list[str]:
        return sorted({op.order.role for op in self.ops})

    def history(self, role: str) -> list[Entry]:
        return [
            Entry(op.name, op.state.order, op.started, op.ended, op.outcome)
            for op in self.ops
            if op.order.role == role
        ]

    def judge(self) -> None:
        """Raise Violation unless everything that happened so far keeps S1 to S3, in each role."""
        for role in self.roles():
            judge(self.history(role), self.watch(role))

    def say(self, line: Callable[[], str]) -> None:
        """Add a line to the transcript, with proposers by the names of their operations: 2.E0, then 4.E0b."""
        if self.transcript is not None:
            self.transcript.append(self.clock() + re.sub(r"\.([0-9a-f]{6})\b", self._name, line()))

    def _name(self, found: re.Match[str]) -> str:
        proposer = found[1]
        if proposer not in self._names:
            name = self._whose(proposer)
            if name is None:
                return found[0]
            known = sum(known.rstrip("bcdefgh") == name for known in self._names.values())
            self._names[proposer] = name + " bcdefgh"[known % 8].strip()
        return f".{self._names[proposer]}"

    def _whose(self, attempt: str) -> str | None:
        """The name of the operation whose present attempt has an id that begins like this."""
        return next((op.name for op in self.ops if op.state.attempt.hex()[:6] == attempt), None)


_WANTS = {Purpose.ELECT: "be elected", Purpose.RECALL: "recall", Purpose.QUERY: "know"}


def _in_words(query: bytes, answer: bytes) -> str:
    message, reply = wire.decode_message(query), wire.decode_reply(answer)
    about_role = isinstance(message, m.Read | m.Prepare | m.Accept | m.Stand) and isinstance(reply, m.State)
    word = tally.vote_of(message, reply) if about_role else ""  # type: ignore[arg-type]
    return f"{word + ': ' if word else ''}{m.describe(reply)}"


def tell(outcome: Outcome) -> str:
    """An outcome in words."""
    trips = f"{outcome.round_trips} round trip{'s' if outcome.round_trips != 1 else ''}"
    tenure = "" if outcome.tenure is None else f", {outcome.tenure}"
    return f"{outcome.verdict.value.upper().replace('_', ' ')}{tenure}, after {trips}"
