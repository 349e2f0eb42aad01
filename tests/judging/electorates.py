"""The judge of electorates: what commands told of who votes, and when, must be one history of records (S5).

- An epoch names one record: whoever tells of it tells of the same voters.
- Stable records have odd epochs. Between two of them lies a joint one, whose voters are those of both.
- A change that began after another one was over is in no older epoch.

Whoever only shows the electorate may be behind, as a node that is cut off is, so of those no order is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from polity_cli.cli import shapes
from tests.judging.operation import Violation


class Seen(NamedTuple):
    """What a command told of the electorate; `voters` is None where only its epoch was told."""

    name: str
    node: str
    started: float
    ended: float
    epoch: int
    voters: frozenset[str] | None = None
    changed: bool = False

    def __str__(self) -> str:
        told = f"epoch {self.epoch}" + ("" if self.voters is None else f", {' '.join(sorted(self.voters))}")
        return f"{self.name} on {self.node} ({self.started:.3f}..{self.ended:.3f}): {told}"


def seen(
    name: str, node: str, started: float, ended: float, code: int, data: Mapping[str, Any]
) -> Seen | None:
    """What `polity voters ... --json` told, or None if nothing.

    Raises Violation for exit codes that are no answer (1: a bug, 2: misuse) and for JSON of another shape.
    """
    if code < 0 or not data:
        return None
    if wrong := shapes.mismatches(data):
        raise Violation(f"not the JSON that is promised ({'; '.join(wrong)}): {name} on {node}, {data}")
    if code in (1, 2):
        raise Violation(f"no answer at all: {name} on {node}, exit code {code}, {data}")
    if code:
        return None
    told = Seen(name, node, started, ended, data["epoch"])
    if data["command"] == "voters":
        return told._replace(voters=frozenset(row["voter"] for row in data["voters"] if row["enrolled"]))
    return told._replace(changed=data["outcome"] == "changed")


def judge_electorates(history: Iterable[Seen]) -> None:
    """Raises Violation unless all that was told can be one history."""
    told = sorted(history, key=lambda one: one.started)
    voters: dict[int, Seen] = {}
    for one in told:
        if one.voters is not None and voters.setdefault(one.epoch, one).voters != one.voters:
            raise Violation(f"S5: an epoch with two records: {voters[one.epoch]}; {one}")
    for epoch, joint in voters.items():
        sides = [voters[side].voters or frozenset() for side in (epoch - 1, epoch + 1) if side in voters]
        if epoch % 2 == 0 and (
            any(not side <= (joint.voters or frozenset()) for side in sides)
            or (len(sides) == 2 and sides[0] | sides[1] != joint.voters)
        ):
            raise Violation(f"S5: a joint electorate without some of those before or after it: {joint}")
    over: list[Seen] = []
    for one in told:
        if not one.changed:
            continue
        if one.epoch % 2 == 0:
            raise Violation(f"S5: a change that ended in the middle: {one}")
        before = [other for other in over if other.ended < one.started and other.epoch > one.epoch]
        if before:
            raise Violation(f"S5: a change that went back: {before[0]}; then {one}")
        over.append(one)
