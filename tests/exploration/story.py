"""A way through states, told as a conversation.

States do not say which voter is which, so the story follows them: each voter is named n0, n1, ... by its
place in the beginning. A ballot is called by its round and its operation: 2.E0, and 2.E0b for a second one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from polity_cli.core import messages as m
from polity_cli.core import tally
from tests.exploration.board import Take
from tests.exploration.rules import owner
from tests.simulation.world import tell

if TYPE_CHECKING:
    from tests.exploration.board import Act, Board, Place, Step


def story(board: Board, way: list[tuple[Place, Step | None]]) -> tuple[str, ...]:
    """One line for each step; the last step may be one that raises Violation."""
    lines = []
    who = list(range(board.case.n))
    for i, (place, step) in enumerate(way):
        if step is None:
            break
        if isinstance(step, Take):
            lines.append(_take(board, step, who[place[3:].index(step.voter)]))
        else:
            lines.append(_act(board, step, who))
        if i + 1 < len(way):
            order = board.arrange(place, step, way[i + 1][0])
            who = [who[p] for p in order]
    return tuple(re.sub(r"\.([0-9a-f]{6})\b", lambda found: _name(board, found[1]), line) for line in lines)


def _take(board: Board, step: Take, voter: int) -> str:
    message = board.messages.items[step.message]
    register = board.voters.items[step.voter].register
    after, reply = board.rules.answer(register, message)
    said = m.describe(reply) if reply is not None else f"takes {after.tenure} at {after.accepted}"
    by = "news" if isinstance(message, m.Announce) else board.case.all_ops[owner(message.attempt) or 0].name
    word = tally.vote_of(message, reply) if reply is not None and not isinstance(message, m.Announce) else ""  # type: ignore[arg-type]
    return f"n{voter} <- {by}: {m.describe(message)}    {word + ': ' if word else ''}{said}"


def _act(board: Board, step: Act, who: list[int]) -> str:
    turn = board.turns.items[step.turn]
    name = board.case.all_ops[step.op].name
    parts = [f"{name}:"]
    if turn.how:
        heard = ", ".join(f"n{who[i]} ({m.describe(state)})" for i, state in turn.how)
        parts.append(f"hears {heard};")
    parts += [turn.then + ";"] if turn.then else []
    if turn.outcome is not None:
        parts.append(tell(turn.outcome).rsplit(", after", 1)[0])
    elif turn.sent is not None:
        parts.append(m.describe(turn.sent))
    return " ".join(parts)


def _name(board: Board, proposer: str) -> str:
    _, op, attempt = bytes.fromhex(proposer)
    if op >= len(board.case.all_ops):
        return f".{proposer}"
    return f".{board.case.all_ops[op].name}{'abcdefgh'[attempt] if attempt else ''}"
