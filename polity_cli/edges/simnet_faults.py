"""Parcels of `SimNet`, and what may befall them: small filters, to be put in a chain.

Each is given one parcel and gives back those that go on in its place. They compose by standing one after
the other in `net.faults`; `During` bounds one in time, `Only` to one way. Chance is the net's own, so that
one seed decides. Each counts its `hits`; `hits(faults)` sums them up by kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum
from random import Random
from typing import Protocol

from polity_cli.core.record import Record


class Way(Enum):
    ASK = "ask"
    ANSWER = "answer"
    NEWS = "news"


class Parcel(Record):
    """Bytes under way between two nodes. `number` counts the messages of the caller that asked, from 0.

    `serial` counts the parcels of the net; copies of one have the same.
    """

    serial: int
    way: Way
    caller: Caller
    number: int
    source: str
    target: str
    data: bytes
    sent_s: float
    due_s: float


class Caller(Protocol):
    """Whoever asks: `home` is the node it runs on, `receive` is given what comes back while it is active."""

    name: str
    home: str

    @property
    def is_active(self) -> bool: ...

    def receive(self, parcel: Parcel) -> None: ...


class Fault(Protocol):
    """A filter: the parcels that go on in place of this one."""

    def __call__(self, parcel: Parcel, chance: Random, /) -> Sequence[Parcel]: ...


class Drop:
    """Loses a parcel with this chance."""

    kind = "loss"

    def __init__(self, chance: float) -> None:
        self.hits = 0
        self._chance = chance

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if chance.random() >= self._chance:
            return (parcel,)
        self.hits += 1
        return ()


class Delay:
    """Lets a parcel with this chance take longer, by an exponential time of this mean."""

    kind = "delay"

    def __init__(self, chance: float, mean_s: float) -> None:
        self.hits = 0
        self._chance = chance
        self._mean_s = mean_s

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if chance.random() >= self._chance:
            return (parcel,)
        self.hits += 1
        return (later(parcel, chance.expovariate(1 / self._mean_s)),)


class Duplicate:
    """Lets a copy of a parcel arrive too, later by an exponential time of this mean."""

    kind = "copy"

    def __init__(self, chance: float, mean_s: float) -> None:
        self.hits = 0
        self._chance = chance
        self._mean_s = mean_s

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if chance.random() >= self._chance:
            return (parcel,)
        self.hits += 1
        return (parcel, later(parcel, chance.expovariate(1 / self._mean_s)))


class Reorder:
    """Holds a parcel back with this chance, until the next one on its way has overtaken it."""

    kind = "overtaking"

    def __init__(self, chance: float) -> None:
        self.hits = 0
        self._chance = chance
        self._held: dict[tuple[str, str], Parcel] = {}

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        way = (parcel.source, parcel.target)
        held = self._held.pop(way, None)
        if held is not None:
            self.hits += 1
            return (parcel, later(held, parcel.due_s - held.due_s + 0.001))
        if chance.random() < self._chance:
            self._held[way] = parcel
            return ()
        return (parcel,)


class Cut:
    """Loses everything from these nodes to those, and the other way round unless `one_way`."""

    def __init__(self, these: Collection[str], those: Collection[str], *, one_way: bool = False) -> None:
        self.hits = 0
        self.kind = "one-way cut" if one_way else "two-way cut"
        self._these = frozenset(these)
        self._those = frozenset(those)
        self._one_way = one_way

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        source, target = parcel.source, parcel.target
        is_cut = source in self._these and target in self._those
        if not self._one_way:
            is_cut = is_cut or (source in self._those and target in self._these)
        if not is_cut:
            return (parcel,)
        self.hits += 1
        return ()


class Slow:
    """Lets a node take this much longer over each message: its answers come late."""

    kind = "slow node"

    def __init__(self, node: str, by_s: float) -> None:
        self.hits = 0
        self._node = node
        self._by_s = by_s

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if parcel.source != self._node:
            return (parcel,)
        self.hits += 1
        return (later(parcel, self._by_s),)


class Stray:
    """Gives an answer with this chance to another of the callers, in place of the one that asked."""

    kind = "stray answer"

    def __init__(self, chance: float, callers: Callable[[], Sequence[Caller]]) -> None:
        self.hits = 0
        self._chance = chance
        self._callers = callers

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if parcel.way is not Way.ANSWER or chance.random() >= self._chance:
            return (parcel,)
        self.hits += 1
        caller = chance.choice(self._callers())
        return (parcel._replace(caller=caller, target=caller.home),)


class Only:
    """A fault for what goes this way only: questions, answers or announcements."""

    def __init__(self, way: Way, fault: Fault) -> None:
        self.way = way
        self.fault = fault

    def __call__(self, parcel: Parcel, chance: Random, /) -> Sequence[Parcel]:
        return self.fault(parcel, chance) if parcel.way is self.way else (parcel,)


class During:
    """A fault that is there from one time until another, for what is sent in between."""

    def __init__(self, from_s: float, until_s: float, fault: Fault) -> None:
        self._from_s = from_s
        self._until_s = until_s
        self.fault = fault

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if self._from_s <= parcel.sent_s < self._until_s:
            return self.fault(parcel, chance)
        return (parcel,)


def hits(faults: Iterable[Fault]) -> Counter[str]:
    """How often faults of each kind have interfered so far; those that do not count are left out."""
    found: Counter[str] = Counter()
    for fault in faults:
        while isinstance(fault, Only | During):
            fault = fault.fault
        if getattr(fault, "hits", 0):
            found[getattr(fault, "kind", type(fault).__name__)] += fault.hits  # type: ignore[attr-defined]
    return found


def later(parcel: Parcel, by_s: float) -> Parcel:
    """The same parcel, arriving that much later."""
    return parcel._replace(due_s=parcel.due_s + by_s)
