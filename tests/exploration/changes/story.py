"""The way to a state, told as a conversation.

States do not say which voter is which, so the story follows them by their places in the beginning, and calls
them by their nodes. A ballot is called by its round, its proposer and the epoch: 2.B3. Messages that a voter
takes are told just before somebody hears what came of them.
"""

from __future__ import annotations

import re

from polity_cli.core import messages as m
from tests.exploration.changes.board import Act, Board, Place
from tests.exploration.changes.crowd import Entry, Said, proposer_of
from tests.simulation.world import tell

Way = list[tuple[Place, Act, Place]]


def story(board: Board, way: Way) -> tuple[str, ...]:
    """One line for each message taken and each act; the last act is the one that breaks a promise."""
    numbers = [number for kind in board.proposers.numbers for number in kind]
    who = [f"n{number}" for number in numbers]
    lines: list[str] = []
    for place, act, _ in way:
        taken = [(position, after) for position, after, _ in act.heard]
        taken += [act.hint] if act.hint is not None else []
        for position, after in taken:
            lines += _takes(board, place, position, after, who[position])
        lines.append(_does(board, act, who))
        who = [who[position] for position in board.order_after(place, act)]
    return tuple(named(board, line) for line in lines)


def _takes(board: Board, place: Place, position: int, after: int, name: str) -> list[str]:
    crowd = board.crowd
    lines = []
    for before, message in crowd.path(place[3 + position], after, place[0], board.asked(place[1])):
        said = crowd.messages.items[message]
        it = crowd.voters.items[crowd.take(before, message, False)]
        if isinstance(said, Entry):
            lines.append(f"{name} enters epoch {it.epoch}")
        elif isinstance(said, m.ListRoles):
            lines.append(f"{name} <- {_by(board, said)}: {m.describe(said)}")
        else:
            holds = f"promised {it.role.promised}, accepted {it.role.tenure} at {it.role.accepted}"
            lines.append(f"{name} <- {_by(board, said)}: {m.describe(said)}    in epoch {it.epoch}: {holds}")
    return lines


def _by(board: Board, said: Said) -> str:
    if isinstance(said, m.Announce | Entry):
        return "news"
    return board.case.bodies[proposer_of(said.attempt)].name


def _does(board: Board, act: Act, who: list[str]) -> str:
    words = [f"{board.case.bodies[act.proposer].name}:"]
    if act.hint is not None:
        words.append(f"by the ledger of {who[act.hint[0]]};")
    if act.heard:
        words.append(f"hears {', '.join(who[position] for position, _, _ in act.heard)};")
    turn = act.turn
    if turn.outcome is not None:
        words.append(tell(turn.outcome).rsplit(", after", 1)[0])
    said = [it for it in (*turn.news, turn.role.message) if it is not None]
    words += [
        f"epoch {it.record.epoch} is chosen;" if isinstance(it, Entry) else f"{m.describe(it)}" for it in said
    ]
    return " ".join(words if len(words) > 1 else [*words, "stops"])


def named(board: Board, line: str) -> str:
    """The line with its ballots called by their proposers."""

    def name(found: re.Match[str]) -> str:
        return f".{board.case.bodies[int(found[1], 16)].name}{found[2]}"

    return re.sub(r"\.d([0-9a-f])([0-9a-f])[0-9a-f]{3}\b", name, line)
