"""What the judge judges: operations as their users saw them, and the two ways in which it can refuse."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from polity_cli.core.operation import Purpose, Verdict


class Violation(AssertionError):
    """A promise was broken; the text says which, and how it shows."""


class Undecided(RuntimeError):
    """The judge came to no verdict. That is no pass: whoever judges fails with it."""


class Effect(Enum):
    """The three truths: it changed the role, it did not and never will, or nobody knows."""

    YES = "ok"
    NO = "no"
    UNKNOWN = "unknown"


class Operation(NamedTuple):
    """One operation as its user saw it.

    `term` and `holder` are the tenure it told, `told_claim` that tenure's claim and `claim` its own, where
    they are known. `guard_holder` and `guard_term` are the guards of a recall. `ended` counts only where a
    tenure was told.
    """

    name: str
    role: str
    purpose: Purpose
    node: str
    started: float
    ended: float
    verdict: Verdict
    term: int | None = None
    holder: str | None = None
    previous_holder: str | None = None
    guard_holder: str | None = None
    guard_term: int | None = None
    claim: bytes | None = None
    told_claim: bytes | None = None

    @property
    def effect(self) -> Effect:
        if self.verdict in (Verdict.WON, Verdict.RECALLED):
            return Effect.YES
        changes_nothing = self.purpose is Purpose.QUERY
        return Effect.UNKNOWN if self.verdict is Verdict.UNKNOWN and not changes_nothing else Effect.NO

    @property
    def tells(self) -> bool:
        """Whether it told a tenure, which then must be true."""
        return self.verdict not in (Verdict.UNKNOWN, Verdict.NO_QUORUM)

    def __str__(self) -> str:
        guards = [f"if {guard}" for guard in (self.guard_holder, self.guard_term) if guard is not None]
        what = " ".join([self.purpose.value, *guards, "by", self.node])
        told = self.verdict.value
        if self.tells:
            told += f", term {self.term} {self.holder or 'vacant'}"
        if self.previous_holder is not None:
            told += f" after {self.previous_holder}"
        end = "" if self.effect is Effect.UNKNOWN else f"{self.ended:.3f}"
        return f"{self.name} ({what}, {self.started:.3f}..{end}: {told})"
