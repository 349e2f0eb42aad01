"""What may befall a parcel of `SimNet`: small filters, to be put in a chain.

Each is given one parcel and gives back those that go on in its place. They compose by standing one after
the other in `net.faults`; `During` bounds one in time, `Only` to one way. Chance is the net's own, so that one seed decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from random import Random

from polity_cli.edges.simnet import Caller, Fault, Parcel, Way


class Drop:
    """Loses a parcel with this chance."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        return () if chance.random() < self._chance else (parcel,)


class Delay:
    """Lets a parcel with this chance take longer, by an exponential time of this mean."""

    def __init__(self, chance: float, mean_s: float) -> None:
        self._chance = chance
        self._mean_s = mean_s

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if chance.random() >= self._chance:
            return (parcel,)
        return (later(parcel, chance.expovariate(1 / self._mean_s)),)


class Duplicate:
    """Lets a copy of a parcel arrive too, later by an exponential time of this mean."""

    def __init__(self, chance: float, mean_s: float) -> None:
        self._chance = chance
        self._mean_s = mean_s

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if chance.random() >= self._chance:
            return (parcel,)
        return (parcel, later(parcel, chance.expovariate(1 / self._mean_s)))


class Reorder:
    """Holds a parcel back with this chance, until the next one on its way has overtaken it."""

    def __init__(self, chance: float) -> None:
        self._chance = chance
        self._held: dict[tuple[str, str], Parcel] = {}

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        way = (parcel.source, parcel.target)
        held = self._held.pop(way, None)
        if held is not None:
            return (parcel, later(held, parcel.due_s - held.due_s + 0.001))
        if chance.random() < self._chance:
            self._held[way] = parcel
            return ()
        return (parcel,)


class Cut:
    """Loses everything from these nodes to those, and the other way round unless `one_way`."""

    def __init__(self, these: Collection[str], those: Collection[str], *, one_way: bool = False) -> None:
        self._these = frozenset(these)
        self._those = frozenset(those)
        self._one_way = one_way

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        source, target = parcel.source, parcel.target
        is_cut = source in self._these and target in self._those
        if not self._one_way:
            is_cut = is_cut or (source in self._those and target in self._these)
        return () if is_cut else (parcel,)


class Slow:
    """Lets a node take this much longer over each message: its answers come late."""

    def __init__(self, node: str, by_s: float) -> None:
        self._node = node
        self._by_s = by_s

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        return (later(parcel, self._by_s),) if parcel.source == self._node else (parcel,)


class Stray:
    """Gives an answer with this chance to another of the callers, in place of the one that asked."""

    def __init__(self, chance: float, callers: Callable[[], Sequence[Caller]]) -> None:
        self._chance = chance
        self._callers = callers

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if parcel.way is not Way.ANSWER or chance.random() >= self._chance:
            return (parcel,)
        caller = chance.choice(self._callers())
        return (parcel._replace(caller=caller, target=caller.home),)


class Only:
    """A fault for what goes this way only: questions, answers or announcements."""

    def __init__(self, way: Way, fault: Fault) -> None:
        self._way = way
        self._fault = fault

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        return self._fault(parcel, chance) if parcel.way is self._way else (parcel,)


class During:
    """A fault that is there from one time until another, for what is sent in between."""

    def __init__(self, from_s: float, until_s: float, fault: Fault) -> None:
        self._from_s = from_s
        self._until_s = until_s
        self._fault = fault

    def __call__(self, parcel: Parcel, chance: Random) -> Sequence[Parcel]:
        if self._from_s <= parcel.sent_s < self._until_s:
            return self._fault(parcel, chance)
        return (parcel,)


def later(parcel: Parcel, by_s: float) -> Parcel:
    """The same parcel, arriving that much later."""
    return parcel._replace(due_s=parcel.due_s + by_s)
