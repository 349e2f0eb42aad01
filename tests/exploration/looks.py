"""What looks may find: any mixture of answers, and what the shipped `tally.settled` makes of it.

A look hears answers of some voters, each as the voter was at some time after the look began. Exploring every
such mixture step by step multiplies states as nothing else does. Where `trust.looks` it is taken apart:

1. Of *all* combinations of what voters ever show in a case, whether or not they can meet in one look, the
   shipped `settled` must name nothing but (a) what a quorum of the answers shows accepted at one ballot, a
   fast quorum where that is fast, or what one of them shows confirmed; and (b) only where a quorum of the
   answers has accepted nothing above its ballot. `unsettling` tries each combination, after the exploration.
2. In every state explored, what is confirmed is chosen (it is announced when it is chosen, and not before),
   no voter's accepted ballot ever sinks (`promises.check_step`), and of two chosen the one at the higher
   ballot has no lower term (`promises.choose`).

So what a look finds settled is chosen by the time it is found: (a). And it is at no lower ballot, so of no
lower term, than whatever was chosen before the look began: that had been accepted by a quorum, at its ballot
or above, which shares a voter with the quorum of (b), which answered later. Nothing else can be found, and
`endings` lets every look find each of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations_with_replacement

from polity_cli.core import tally
from polity_cli.core.messages import Register, State
from polity_cli.core.tally import Chosen
from tests.exploration.rules import Rules
from tests.simulation.world import POLITY


def unsettling(rules: Rules, shown: Iterable[Register]) -> tuple[int, str]:
    """How many combinations of these registers were tried, and what is wrong with one of them, or ""."""
    roll = rules.electorate.current
    views = sorted(shown, key=repr)
    tried = 0
    for many in range(roll.q, roll.n + 1):
        for mixture in combinations_with_replacement(views, many):
            tried += 1
            found = _settled(rules, mixture)
            if found is None:
                continue
            accepted = sum(Chosen(r.accepted, r.tenure) == found for r in mixture)
            is_shown = accepted >= (roll.f if found.ballot.is_fast else roll.q)
            is_known = any(Chosen(r.confirmed_ballot, r.confirmed) == found for r in mixture)
            if not (is_shown or is_known):
                return tried, f"{_told(found, mixture)}: that need not be chosen"
            if sum(r.accepted <= found.ballot for r in mixture) < roll.q:
                return tried, f"{_told(found, mixture)}: that may be outdated"
    return tried, ""


def _told(found: Chosen, mixture: tuple[Register, ...]) -> str:
    shown = "; ".join(map(repr, mixture))
    return f"a look takes for settled {found.tenure} at {found.ballot}, shown {shown}"


def _settled(rules: Rules, mixture: tuple[Register, ...]) -> Chosen | None:
    head = (POLITY, rules.electorate.epoch)
    heard = {}
    for voter, (promised, accepted, tenure, confirmed_ballot, confirmed) in zip(
        rules.voters, mixture, strict=False
    ):
        heard[voter] = State(b"look", voter, *head, promised, accepted, tenure, confirmed_ballot, confirmed)
    return tally.settled(heard, rules.electorate)
