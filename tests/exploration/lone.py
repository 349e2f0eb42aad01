"""L1: whoever is left alone with a quorum of voters gets a verdict, whatever their ledgers hold.

From given ledgers each quorum of voters, and no other voter, answers one election and one query at a time,
at once and to everything; the waits pass. The operation's ballots have the lowest id there is, and its local
ledger is that of any live voter, or none. It must end within `PATIENCE` attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from polity_cli.core import candidacy
from polity_cli.core.messages import Register
from polity_cli.core.operation import Candidacy, Move, Order, Pace, Phase, Purpose
from tests.exploration.rules import Draws, Rules
from tests.simulation.world import ROLE

PATIENCE = 3
_PACE = Pace(asks=1, looks=1)


def stuck(rules: Rules, ledgers: tuple[Register, ...], checked: set[tuple[object, ...]]) -> Iterator[str]:
    """For every live quorum and operation not yet `checked`: what is wrong with its run, or ""."""
    q = rules.electorate.current.q
    for live in combinations(ledgers, q):
        if ("live", live) in checked:
            continue
        checked.add(("live", live))
        for purpose in (Purpose.ELECT, Purpose.QUERY):
            # To a query its hint tells no more than a round.
            hints = {None, *live} if purpose is Purpose.ELECT else {None}
            for hint in sorted(hints, key=repr):
                yield _run(rules, live, purpose, hint)


def _run(rules: Rules, live: tuple[Register, ...], purpose: Purpose, hint: Register | None) -> str:
    registers = list(live)
    order = Order(purpose, ROLE, "n7", bytes((0xC0, 0x7F)) + bytes(6))
    drawn = iter(range(256))

    def draws() -> Draws:
        return Draws(bytes((0, 0x7F, next(drawn))) + bytes(5))

    move = candidacy.begin(
        order, rules.electorate, local=hint, alive=None, now_s=0.0, draws=draws(), pace=_PACE
    )
    while move.candidacy.outcome is None and move.candidacy.attempts <= PATIENCE:
        if next(drawn) > 240:
            break
        move = _next(rules, move, registers, draws)
    if move.candidacy.outcome is not None:
        return ""
    ledgers = "; ".join(map(repr, live))
    told = f"a lone {purpose.value} told {hint!r} gets no verdict in {PATIENCE} attempts"
    return f"{told} from {ledgers}"


def _next(rules: Rules, move: Move, registers: list[Register], draws: Callable[[], Draws]) -> Move:
    """What the operation does next, these voters having answered what it asks, then the wait being over."""
    c: Candidacy = move.candidacy
    if c.phase is not Phase.YIELD:
        for i, register in enumerate(registers):
            registers[i], reply = rules.handle(register, candidacy.message(c))
            if reply is not None:
                c = move.candidacy
                after = candidacy.hear(c, reply._replace(voter=rules.voters[i]), 0.0, draws())
                if after.send is not None or after.candidacy.phase is not c.phase:
                    return after
                move = after
    return candidacy.wake(move.candidacy, 0.0, draws())
