"""Directed schedules: a few verbs to say, step by step, which message reaches whom.

    e0 = play.elect(0)             begin an election on node n0; its first message is on its way
    play.reach(e0, 0, 1)           its newest message reaches voters 0 and 1, and their answers come back
    play.reach(e0, 2, back=False)  ... reaches voter 2, whose answer is lost
    play.reach(e0, 0, nth=0)       ... its first message once more: a late or a doubled one
    play.announce(e0, 1)           the announcement of its result reaches voter 1
    play.wake(e0)                  its wait is over
    play.through(e0, 0, 1)         everything until it ends, with these voters alone
    play.expect(e0, Verdict.WON)   what came of it; the judge is asked first

Whatever is not said to arrive is lost. `play.transcript` is the conversation, for people.
"""

from __future__ import annotations

from itertools import count

from polity_cli.core import messages as m
from polity_cli.core.operation import Pace, Phase, Purpose, Verdict
from tests.simulation.world import SHAPES, Chance, Kind, Operation, Parcel, World, tell


class Play:
    """A world that is told what to do. Ids rise as they are drawn: of two ballots the later is higher."""

    def __init__(self, shape: str) -> None:
        numbers = count(1)
        self.round_floor = 0
        draws = Chance(
            lambda: next(numbers).to_bytes(3, "big") + b"\0" * 5, draw_floor=lambda: self.round_floor
        )
        self.world = World(SHAPES[shape], draws)
        self.transcript: list[str] = []
        self.world.transcript = self.transcript

    def elect(self, home: int, *, local: m.Register | None = None) -> Operation:
        return self.world.start(Purpose.ELECT, home, local=local, pace=Pace(looks=1))

    def recall(self, home: int, *, holder: str | None = None, term: int | None = None) -> Operation:
        return self.world.start(Purpose.RECALL, home, holder=holder, term=term, pace=Pace(looks=1))

    def query(self, home: int) -> Operation:
        return self.world.start(Purpose.QUERY, home, pace=Pace(looks=1))

    def note(self, line: str) -> None:
        self.transcript.append(line)

    def reach(self, op: Operation, *voters: int, back: bool = True, nth: int = -1) -> None:
        """A message of `op` reaches these voters in this order; answers come back at once, or are lost."""
        data = op.sent[nth]
        if op.sent[-1] != data:
            self.note(f"    (message {nth + 1} of {op.name}, late)")
        for voter in voters:
            answer = self.answer(op, voter, data)
            if back:
                self.world.deliver(answer)
            else:
                self.transcript[-1] += "   (the answer is lost)"

    def answer(self, op: Operation, voter: int, data: bytes | None = None) -> Parcel:
        """The newest message of `op` reaches a voter, whose answer is kept for `world.deliver`."""
        self.world.flight.clear()
        self.world.deliver(Parcel(Kind.QUERY, op, voter, data or op.sent[-1]))
        return self.world.flight.pop()

    def wake(self, op: Operation) -> None:
        self.world.wake(op)

    def announce(self, op: Operation, *voters: int) -> None:
        """The announcement of what `op` found chosen reaches these voters."""
        self.note(f"    (announced to {', '.join(f'n{v}' for v in voters)})")
        for voter in voters:
            self.world.deliver(Parcel(Kind.NEWS, op, voter, op.news))

    def register(self, voter: int) -> m.Register:
        return self.world.register(voter)

    def expect(self, op: Operation, verdict: Verdict, term: int | None = None) -> None:
        """The promises hold so far, and `op` ended with this verdict."""
        self.world.judge()
        assert op.outcome is not None, f"{op.name} has no outcome"
        assert op.outcome.verdict is verdict, tell(op.outcome)
        if term is not None:
            assert op.outcome.tenure is not None
            assert op.outcome.tenure.term == term

    def yielded(self, op: Operation) -> None:
        """Wake an operation until it yields."""
        while op.is_active and op.state.phase is not Phase.YIELD:
            self.wake(op)

    def through(self, op: Operation, *voters: int) -> Operation:
        """Let an operation go on with these voters alone until it ends."""
        for _ in range(12):
            if op.state.phase is Phase.YIELD:
                self.wake(op)
            known = len(op.sent)
            for voter in voters:
                if op.is_active and len(op.sent) == known:
                    self.reach(op, voter)
            if op.is_active and len(op.sent) == known:
                self.wake(op)
        return op
