"""Nodes with the voters' tag that are not enrolled: who of them is of another polity, and how long to wait.

A quorum may answer before the first voter of another polity does, so whoever has a decision waits for
strangers, too. One of whom nothing is known gets time enough for a hook on a busy machine. Not every one
has a voter, though: one that let such a wait pass in silence is waited for only briefly, for some minutes.
Who was heard to be of another polity is remembered until it says otherwise, so that from then on, while it is
there, no operation misses it, however slow it is.
"""

from __future__ import annotations

from polity_cli.core.messages import NO_POLITY
from polity_cli.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

PATIENCE_S = 3.0
"""For a stranger of whom nothing is known."""
_KNOWN_MIN_S = 0.5
_KNOWN_MAX_S = 1.0
"""For one that kept silent or is known already: as long again as the operation took, within these."""
_SILENCE_S = 600.0


class Sighting(Record):
    """A node was last heard to be in `polity`, or kept silent (NO_POLITY); `at_s` by the wall clock."""

    polity: bytes
    at_s: int


class Strangers:
    """What one asker knows of strangers, on top of what is `remembered`. Not to be shared by threads.

    `now_s` is the wall clock, as what is remembered outlives processes; a wrong one costs some waiting.
    """

    def __init__(self, remembered: Mapping[str, Sighting], now_s: Callable[[], float]) -> None:
        self._remembered = remembered
        self._known = dict(remembered)
        self._now_s = now_s

    def patience_s(self, node: str, took_s: float) -> float:
        """How long to wait for this node after a decision that took `took_s`."""
        known = self._known.get(node)
        # A clock that was set back must not make a silence last for ever.
        if known is None or (known.polity == NO_POLITY and not 0 <= self._now_s() - known.at_s < _SILENCE_S):
            return PATIENCE_S
        return min(max(_KNOWN_MIN_S, took_s), _KNOWN_MAX_S)

    def heard(self, polities: Mapping[str, bytes], mine: bytes) -> None:
        """These nodes answered, each from a polity."""
        for node, polity in polities.items():
            if polity in (mine, NO_POLITY):
                self._known.pop(node, None)
            else:
                self._known[node] = Sighting(polity, int(self._now_s()))

    def kept_silent(self, nodes: Iterable[str]) -> None:
        """These were waited for in vain."""
        for node in nodes:
            known = self._known.get(node)
            if known is None or known.polity == NO_POLITY:
                self._known[node] = Sighting(NO_POLITY, int(self._now_s()))

    def others(self, nodes: Collection[str], mine: bytes) -> dict[str, bytes]:
        """Which of these nodes were last heard to be of another polity than `mine`, and of which."""
        return {
            node: known.polity
            for node in nodes
            if (known := self._known.get(node)) is not None and known.polity not in (mine, NO_POLITY)
        }

    def news(self) -> dict[str, Sighting | None]:
        """What is to be remembered beyond what was, and (None) forgotten."""
        changed = {node for node, _ in {*self._known.items()} ^ {*self._remembered.items()}}
        return {node: self._known.get(node) for node in changed}
