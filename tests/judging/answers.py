"""From what a command said on its way out, JSON and exit code, to the operation the judge knows.

Seen from outside there are no claims, and a process that was killed has said nothing. What contradicts
itself, such as JSON and exit code, is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polity_cli.cli import shapes
from polity_cli.core.operation import Purpose, Verdict
from tests.judging.operation import Operation, Violation

_CODES = {
    "won": 0,
    "held": 0,
    "recalled": 0,
    "lost": 3,
    "guard": 3,
    "vacant": 4,
    "no_quorum": 5,
    "unknown": 6,
}
_SERF = 7
_INTERRUPTED = (130, 143)


def operation(
    name: str,
    node: str,
    args: Sequence[str],
    started: float,
    ended: float,
    code: int,
    data: Mapping[str, Any],
) -> Operation:
    """What `polity ARGS --json` on `node` was: a command and a role, and for a recall its guards.

    `code` is negative where a signal ended it. Raises Violation where the answer contradicts itself, and for
    exit codes that are no answer (1: a bug, 2: misuse).
    """
    command, role, *flags = args
    holder, term = _flag(flags, "--holder"), _flag(flags, "--term")
    told = Operation(
        name,
        role,
        Purpose(command),
        node,
        started,
        ended,
        Verdict.UNKNOWN,
        guard_holder=holder,
        guard_term=None if term is None else int(term),
    )
    if code < 0 or (code in _INTERRUPTED and not data):
        return told
    if wrong := shapes.mismatches(data):
        raise Violation(
            f"not the JSON that is promised ({'; '.join(wrong)}): {told}, exit code {code}, {data}"
        )
    outcome = data["outcome"]
    if code in (1, 2):
        raise Violation(f"no answer at all: {told}, exit code {code}, {data}")
    if outcome == "error":
        # The agent failed before anything was asked for; of other failures only their text knows.
        return told._replace(verdict=Verdict.NO_QUORUM) if code == _SERF else told
    said = f"{told} said {data}, exit code {code}"
    if outcome == "held" and command == "who":
        outcome = "answer"
    if code not in (_CODES.get(outcome, 0), *_INTERRUPTED):
        raise Violation(f"another exit code than the outcome's: {said}")
    if data.get("may_take_effect") is not (outcome == "unknown"):
        raise Violation(f"what may still happen contradicts the outcome: {said}")
    verdict = Verdict.ANSWER if command == "who" and outcome in ("answer", "vacant") else Verdict(outcome)
    told = told._replace(verdict=verdict, term=data["term"])
    if command != "recall":
        return told._replace(holder=data["holder"])
    if verdict is Verdict.GUARD:
        return told._replace(holder=data["previous_holder"])
    return told._replace(previous_holder=data["previous_holder"])


def _flag(flags: Sequence[str], name: str) -> str | None:
    return flags[flags.index(name) + 1] if name in flags else None
