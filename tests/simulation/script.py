"""Directed schedules: a few verbs to say, step by step, which message reaches whom.

    e0 = play.elect(0)             begin an election on node n0; its first message is on its way
    play.reach(e0, 0, 1)           its newest message reaches voters 0 and 1, and their answers come back
    play.reach(e0, 2, back=False)  ... reaches voter 2, whose answer is lost
    play.reach(e0, 0, nth=0)       ... its first message once more: a late or a doubled one
    play.announce(e0, 1)           the announcement of its result reaches voter 1
    play.wake(e0)                  its wait is over

Whatever is not said to arrive is lost. `play.transcript` is the conversation, for people.
"""

from __future__ import annotations

import re
from itertools import count

from polity_cli.core import messages as m
from polity_cli.core import tally
from polity_cli.core.candidacy import Outcome, Pace, Phase, Purpose
from polity_cli.edges import wire
from tests.simulation.world import SHAPES, Chance, Kind, Operation, Parcel, World


class Play:
    """A world that is told what to do. Ids are drawn in rising order, so of two ballots the later is higher."""

    def __init__(self, shape: str) -> None:
        numbers = count(1)
        self.world = World(SHAPES[shape], Chance(lambda: next(numbers).to_bytes(3, "big") + b"\0" * 5))
        self.transcript: list[str] = []
        self._names: dict[str, str] = {}

    def elect(self, home: int, *, local: m.Register | None = None, name: str | None = None) -> Operation:
        return self._begin(Purpose.ELECT, home, local=local, name=name)

    def recall(
        self, home: int, *, holder: str | None = None, term: int | None = None, name: str | None = None
    ) -> Operation:
        return self._begin(Purpose.RECALL, home, holder=holder, term=term, name=name)

    def query(self, home: int) -> Operation:
        return self._begin(Purpose.QUERY, home)

    def _begin(
        self,
        purpose: Purpose,
        home: int,
        *,
        holder: str | None = None,
        term: int | None = None,
        local: m.Register | None = None,
        name: str | None = None,
    ) -> Operation:
        op = self.world.start(
            purpose, home, holder=holder, term=term, local=local, name=name, pace=Pace(looks=1)
        )
        guard = "".join(f", if {k} is {v}" for k, v in (("holder", holder), ("term", term)) if v is not None)
        self.note(f"{op.name}: {op.order.node} wants to {purpose.value}{guard}")
        self._sends(op)
        return op

    def note(self, line: str) -> None:
        self.transcript.append(self._named(line))

    def _named(self, line: str) -> str:
        """Proposers by the names of their operations: 2.E0 for a first ballot, 4.E0b for a second."""

        def name(found: re.Match[str]) -> str:
            proposer = found[1]
            if proposer not in self._names:
                op = next(op for op in self.world.ops if op.state.attempt.hex()[:6] == proposer)
                earlier = sum(known.rstrip("bcdefg") == op.name for known in self._names.values())
                self._names[proposer] = op.name + " bcdefg"[earlier].strip()
            return "." + self._names[proposer]

        return re.sub(r"\.([0-9a-f]{6})\b", name, line)

    def _sends(self, op: Operation) -> None:
        self.note(f"{op.name}: {m.describe(wire.decode_message(op.sent[-1]))}")

    def reach(self, op: Operation, *voters: int, back: bool = True, nth: int = -1) -> None:
        """A message of `op` reaches these voters, in this order; each answer comes back at once, or is lost."""
        data = op.sent[nth]
        if nth != -1:
            self.note(f"    again, {m.describe(wire.decode_message(data))}")
        message = wire.decode_message(data)
        for voter in voters:
            flight = self.world.flight
            flight.clear()
            self.world.deliver(Parcel(Kind.QUERY, op, voter, data))
            (answer,) = flight
            reply = wire.decode_reply(answer.data)
            says = m.describe(reply)
            if isinstance(reply, m.State) and not isinstance(message, m.Announce | m.Offer | m.Fetch | m.ListRoles):
                word = tally.vote_of(message, reply)
                says = f"{word + ': ' if word else ''}{says}"
            self.note(f"    n{voter}: {says}{'' if back else '   (the answer is lost)'}")
            if back:
                self._after(op, lambda answer=answer: self.world.deliver(answer))  # type: ignore[misc]

    def answers(self, op: Operation, *voters: int, nth: int = -1) -> list[Parcel]:
        """A message of `op` reaches these voters, whose answers are kept for later."""
        self.world.flight.clear()
        for voter in voters:
            self.world.deliver(Parcel(Kind.QUERY, op, voter, op.sent[nth]))
        return self.world.flight[:]

    def wake(self, op: Operation) -> None:
        self.note(f"{op.name}: has waited long enough")
        self._after(op, lambda: self.world.wake(op))

    def give_up(self, op: Operation) -> None:
        self.note(f"{op.name}: has no more time")
        self._after(op, lambda: self.world.give_up(op))

    def die(self, op: Operation) -> None:
        self.note(f"{op.name}: dies")
        self.world.stop(op)

    def _after(self, op: Operation, event: object) -> None:
        assert callable(event)
        sent, phase, active = len(op.sent), op.state.phase, op.is_active
        event()
        if len(op.sent) > sent:
            self._sends(op)
        elif op.state.phase is Phase.YIELD and phase is not Phase.YIELD:
            self.note(f"{op.name}: yields")
        if active and op.outcome is not None:
            self.note(f"{op.name}: {tell(op.outcome)}")

    def announce(self, op: Operation, *voters: int) -> None:
        """The announcement of what `op` found chosen reaches these voters."""
        assert op.outcome is not None
        assert op.outcome.chosen is not None
        world = self.world
        news = m.Announce(world.electorate.polity, world.electorate.epoch, op.order.role, *op.outcome.chosen)
        self.note(f"{op.name}: {m.describe(news)} reaches {', '.join(f'n{v}' for v in voters)}")
        for voter in voters:
            world.deliver(Parcel(Kind.NEWS, op, voter, wire.encode(news)))

    def elected(self, home: int, *voters: int, name: str | None = None) -> Operation:
        """A whole election on `home` by the voters named."""
        op = self.elect(home, name=name)
        return self._through(op, voters)

    def recalled(self, home: int, *voters: int, name: str | None = None) -> Operation:
        """A whole recall on `home` by the voters named."""
        return self._through(self.recall(home, name=name), voters)

    def asked(self, home: int, *voters: int) -> Operation:
        """A whole query on `home`, of the voters named."""
        return self._through(self.query(home), voters)

    def _through(self, op: Operation, voters: tuple[int, ...]) -> Operation:
        for _ in range(12):
            if not op.is_active:
                break
            known = len(op.sent)
            for voter in voters:
                if op.is_active and len(op.sent) == known:
                    self.reach(op, voter)
            if op.is_active and len(op.sent) == known:
                self.wake(op)
        return op

    def judge(self) -> None:
        """Raise Violation unless all that happened keeps S1 to S3."""
        self.world.judge()


def tell(outcome: Outcome) -> str:
    """An outcome in words."""
    trips = f"{outcome.round_trips} round trip{'s' if outcome.round_trips != 1 else ''}"
    tenure = "" if outcome.tenure is None else f", {outcome.tenure}"
    return f"{outcome.verdict.value.upper().replace('_', ' ')}{tenure}, after {trips}"
