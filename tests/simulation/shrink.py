"""From a schedule that breaks a promise to a short one that breaks the same promise.

The schedule is run once more with a record of what befell each parcel. From then on its decisions are a
list: every operation, every mishap, every single delivery, those of the calm too. Whatever can be left out
while the promise stays broken is left out: whole operations first, then ever smaller pieces of the rest (the
ddmin of Zeller and Hildebrandt, 2002). A parcel that is not on the list any more is lost, so that what
remains in the end is what matters.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from polity_cli.edges.simnet_faults import Caller, Fault, Parcel, Way
from tests.judging.operation import Violation
from tests.simulation.chaos import Disks, Storm
from tests.simulation.plan import Alteration, Errand, Mishap, Plan
from tests.simulation.schedule import storm_of

PATIENCE_S = 20.0


class Key(NamedTuple):
    """Names a parcel in every run of a schedule: the n-th on this way with this message of that operation."""

    caller: str
    number: int
    way: Way
    node: str
    nth: int


class Delivery(NamedTuple):
    """One copy of a parcel arrives, so long after it was sent, at this operation if it is an answer."""

    key: Key
    after_s: float
    caller: str


class Turn(NamedTuple):
    """An operation in the calm after the storm."""

    number: int


Decision = Errand | Alteration | Mishap | Delivery | Turn


class Shortened(NamedTuple):
    """What is left of a schedule: `kept` of `of` decisions, the promise broken, the conversation."""

    violation: str
    transcript: list[str]
    kept: int
    of: int

    def __str__(self) -> str:
        head = f"shortened from {self.of} decisions to {self.kept}:"
        return "\n".join([head, *self.transcript, self.violation])


class _Namer:
    def __init__(self) -> None:
        self._seen: Counter[tuple[str, int, Way, str]] = Counter()

    def __call__(self, parcel: Parcel) -> Key:
        node = parcel.source if parcel.way is Way.ANSWER else parcel.target
        name = (parcel.caller.name, parcel.number, parcel.way, node)
        self._seen[name] += 1
        return Key(*name, self._seen[name])


class _Recorder:
    """The chain of faults as one, with a record of what it lets through."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = faults
        self._name = _Namer()
        self._names: dict[int, Key] = {}
        self.deliveries: list[Delivery] = []

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        self._names[parcel.serial] = self._name(parcel)
        passed = self._pass(parcel, 0, chance)
        for each in passed:
            # Not always the parcel that came: one that was held back may go on with it.
            delivery = Delivery(self._names[each.serial], each.due_s - each.sent_s, each.caller.name)
            self.deliveries.append(delivery)
        return passed

    def _pass(self, parcel: Parcel, at: int, chance: Random) -> list[Parcel]:
        if at == len(self.faults):
            return [parcel]
        return [last for each in self.faults[at](parcel, chance) for last in self._pass(each, at + 1, chance)]


class _Calmed:
    """The record goes on, where the faults do not."""

    def __init__(self, recorder: _Recorder) -> None:
        self._recorder = recorder

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        self._recorder.faults = ()
        return self._recorder(parcel, chance)


class _Script:
    """Lets through what is on the list, and keeps account of what was used of it."""

    def __init__(self, deliveries: Sequence[Delivery], callers: Callable[[], Sequence[Caller]]) -> None:
        self._name = _Namer()
        self._callers = callers
        self._planned: dict[Key, list[Delivery]] = {}
        for delivery in deliveries:
            self._planned.setdefault(delivery.key, []).append(delivery)
        self.used: set[Delivery] = set()

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        planned = self._planned.get(self._name(parcel), ())
        self.used.update(planned)
        return [self._arriving(parcel, delivery) for delivery in planned]

    def _arriving(self, parcel: Parcel, delivery: Delivery) -> Parcel:
        parcel = parcel._replace(due_s=parcel.sent_s + delivery.after_s)
        if delivery.caller == parcel.caller.name:
            return parcel
        for caller in self._callers():
            if caller.name == delivery.caller:
                return parcel._replace(caller=caller, target=caller.home)
        return parcel


def shorten(
    seed: int, shape: str, *, disks: Callable[[], Disks | None] = lambda: None, patience_s: float = PATIENCE_S
) -> Shortened:
    """The shortest schedule found in that time that breaks the promise this one breaks."""
    return _Shortener(seed, shape, disks, time.monotonic() + patience_s).run()


class _Shortener:
    def __init__(self, seed: int, shape: str, disks: Callable[[], Disks | None], deadline: float) -> None:
        self._seed = seed
        self._shape = shape
        self._disks = disks
        self._deadline = deadline
        self._kind = ""
        self._turns: frozenset[int] = frozenset()
        self._used: set[Delivery] = set()

    def run(self) -> Shortened:
        decisions = self._record()
        total = len(decisions)
        found = self._try(decisions)
        assert found is not None, "the schedule does not repeat itself"
        decisions = found
        for kind in (Errand, Alteration, Turn, Mishap):
            decisions = self._without_each(decisions, kind)
        decisions = self._minimized(decisions)
        for kind in (Errand, Alteration, Turn):
            decisions = self._without_each(decisions, kind)
        storm, error = self._perform(decisions, transcript=True)
        return Shortened(str(error), storm.transcript or [], len(decisions), total)

    def _record(self) -> list[Decision]:
        storm = storm_of(self._seed, self._shape, self._disks())
        plan = storm.plan
        assert plan.calm is not None
        recorder = _Recorder(plan.faults)
        in_calm = _Calmed(recorder)
        error = _run(storm, plan._replace(faults=(recorder,), calm=plan.calm._replace(faults=(in_calm,))))
        assert error is not None, "this schedule breaks nothing"
        self._kind = _kind(error)
        self._turns = frozenset(storm.turns)
        return [*plan.errands, *plan.changes, *plan.mishaps, *recorder.deliveries, *map(Turn, storm.turns)]

    def _perform(
        self, decisions: Sequence[Decision], *, transcript: bool = False
    ) -> tuple[Storm, Exception | None]:
        storm = storm_of(self._seed, self._shape, self._disks())
        if transcript:
            storm.witness.transcript = []
        script = _Script([d for d in decisions if isinstance(d, Delivery)], lambda: storm.callers)
        plan = storm.plan._replace(
            errands=tuple(d for d in decisions if isinstance(d, Errand)),
            changes=tuple(d for d in decisions if isinstance(d, Alteration)),
            mishaps=tuple(d for d in decisions if isinstance(d, Mishap)),
            faults=(script,),
        )
        turns = frozenset(d.number for d in decisions if isinstance(d, Turn))
        assert plan.calm is not None
        calm = plan.calm._replace(without=self._turns - turns)
        if not self._kind.endswith("L1:"):  # whoever is stuck must not be so for want of deliveries
            calm = calm._replace(faults=(script,))
        plan = plan._replace(calm=calm if turns else None)
        self._used = script.used
        return storm, _run(storm, plan)

    def _try(self, decisions: Sequence[Decision]) -> list[Decision] | None:
        """The decisions, without deliveries that nobody waited for, if they still break the promise."""
        _, error = self._perform(decisions)
        if error is None or _kind(error) != self._kind:
            return None
        return [d for d in decisions if not isinstance(d, Delivery) or d in self._used]

    def _without_each(self, decisions: list[Decision], kind: type) -> list[Decision]:
        for decision in [d for d in decisions if isinstance(d, kind)]:
            if time.monotonic() < self._deadline:
                decisions = self._try([d for d in decisions if d is not decision]) or decisions
        return decisions

    def _minimized(self, decisions: list[Decision]) -> list[Decision]:
        pieces = 2
        while len(decisions) > 1 and time.monotonic() < self._deadline:
            size = -(-len(decisions) // pieces)
            for start in range(0, len(decisions), size):
                fewer = self._try(decisions[:start] + decisions[start + size :])
                if fewer is not None and len(fewer) < len(decisions):
                    decisions, pieces = fewer, max(2, pieces - 1)
                    break
                if time.monotonic() > self._deadline:
                    return decisions
            else:
                if size == 1:
                    return decisions
                pieces = min(2 * pieces, len(decisions))
        return decisions


def _run(storm: Storm, plan: Plan) -> Exception | None:
    try:
        storm.run(plan)
    except Exception as error:  # noqa: BLE001 - whatever a broken protocol does
        return error
    return None


def _kind(error: Exception) -> str:
    return (
        f"{type(error).__name__} {str(error)[:3]}" if isinstance(error, Violation) else type(error).__name__
    )
