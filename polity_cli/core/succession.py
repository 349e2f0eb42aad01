"""Who takes a role over, and when: what a node makes of what it sees, as functions of that and of the time.

Nothing here is needed for safety. A recall names the holder and the term that were seen, so it changes
nothing where those are not true any more, and an election is a quorum's decision; Serf's view of a holder
only says when to ask. What is decided here is that nothing is asked too early, and by few at a time:

    the holder's node failed or left          recalled when it was seen so for `takeover_delay`
    it is no member at all                    likewise, and after ten seconds at least: it may not have been
                                              heard of yet
    it is alive again, or another term began  all begins anew
    the role is vacant                        stood for after two seconds, so that a person who recalls it to
                                              elect another node is faster

Those who would do the same take turns (`turn_s`). Whoever's turn it is sees by its own voter whether somebody
is at it already, and gives them time.
"""

from __future__ import annotations

from enum import Enum

from polity_cli.core.record import Record
from polity_cli.core.tenure import Tenure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

DEFAULT_DELAY_S = 60.0
"""Longer than a `polity run` with the bounds that it has unless told otherwise."""
MOST_PRIORITY = 100

VACANT_S = 2.0
UNHEARD_S = 10.0
SETTLE_S = 5.0
"""A view of the cluster that has just begun may show as gone who only was not heard of yet."""
STIR_S = 1.0
GAP_S = 15.0
"""Who did not look for so long does not know that the holder was away all the time."""
_STEP_S = 0.25
_SPREAD_S = 1.0
_LEVEL_S = 1.25
_LONGEST_REST_S = 30.0


class Succession(Record):
    """What this node does about a role: the table [roles.ROLE] of its configuration."""

    role: str
    candidate: bool = True
    recall: bool = True
    takeover_delay: float = DEFAULT_DELAY_S
    priority: int = 0
    only_if: tuple[str, ...] = ()
    only_if_timeout: float = 5.0


class State(Enum):
    HELD = "held"
    ABSENT = "absent"
    UNHEARD = "unheard"
    VACANT = "vacant"


class Act(Enum):
    RECALL = "recall"
    STAND = "stand"


class Sight(Record):
    """What a node sees of a role: its newest tenure, Serf's word for the holder's node (None: no member),
    and `mark`, what its own voter remembers of the role, which changes when anybody is at it."""

    tenure: Tenure
    status: str | None
    mark: object = None


class Vigil(Record):
    """What a node has seen of a role over time. `since_s`: since when it has been as it is."""

    tenure: Tenure
    state: State
    since_s: float
    seen_s: float
    mark: object = None
    stirred_s: float = float("-inf")
    was_mine: bool = False
    rest_until_s: float = float("-inf")
    failures: int = 0

    @property
    def is_quiet(self) -> bool:
        """True if there is nothing to be done about the role."""
        return self.state is State.HELD


def look(before: Vigil | None, sight: Sight, me: str, now_s: float) -> Vigil:
    """What is known after another look."""
    state = _state(sight)
    stirred_s = float("-inf")
    if before is not None and before.tenure == sight.tenure:
        # Also if that was before this node itself saw that something is to be done.
        stirred_s = before.stirred_s if sight.mark == before.mark else now_s
    if before is None or not _goes_on(before, sight.tenure, state, now_s):
        was_mine = state is State.VACANT and before is not None and before.tenure.holder == me
        return Vigil(sight.tenure, state, now_s, now_s, sight.mark, stirred_s, was_mine)
    return before._replace(state=state, seen_s=now_s, mark=sight.mark, stirred_s=stirred_s)


def due(
    vigil: Vigil, succession: Succession, *, turn_s: float, steady_since_s: float
) -> tuple[Act, float] | None:
    """What is to be done, and when; None if nothing is, as things are.

    `steady_since_s`: since when this node has seen a quorum of the voters alive, without a break.
    """
    match vigil.state:
        case State.HELD:
            return None
        case State.VACANT:
            if not succession.candidate:
                return None
            act = Act.STAND
            # Whoever gave it up, or was made to, lets the others go first.
            at_s = vigil.since_s + (2 * VACANT_S if vigil.was_mine else VACANT_S)
        case _:
            if not succession.recall:
                return None
            act = Act.RECALL
            delay_s = succession.takeover_delay
            if vigil.state is State.UNHEARD:
                delay_s = max(delay_s, UNHEARD_S)
            at_s = max(vigil.since_s + delay_s, steady_since_s + SETTLE_S)
    return act, max(at_s + turn_s, vigil.stirred_s + STIR_S, vigil.rest_until_s)


def rested(vigil: Vigil, now_s: float) -> Vigil:
    """After an attempt that came to nothing: the next one later each time."""
    pause_s = min(_LONGEST_REST_S, 2.0 ** min(vigil.failures, 10))
    return vigil._replace(failures=vigil.failures + 1, rest_until_s=now_s + pause_s)


def turn_s(me: str, alive: Collection[str], role: str, priority: int) -> float:
    """How long this node waits for others that may do the same: lower priorities stand first.

    Among equals the order is that of their names, beginning at another one for each role, so that the roles
    of a machine do not all go to the same one. Who of them stands for the role is not known: all that are
    alive have a turn, within a second.
    """
    names = sorted({*alive, me})
    place = (names.index(me) - sum(role.encode())) % len(names)
    return priority * _LEVEL_S + place * min(_STEP_S, _SPREAD_S / len(names))


def _state(sight: Sight) -> State:
    if sight.tenure.is_vacant:
        return State.VACANT
    if sight.status is None:
        return State.UNHEARD
    return State.ABSENT if sight.status in ("failed", "left") else State.HELD


def _goes_on(before: Vigil, tenure: Tenure, state: State, now_s: float) -> bool:
    """True if this is the same absence, the same vacancy or the same peace as before."""
    if before.tenure != tenure or now_s - before.seen_s > GAP_S:
        return False
    away = (State.ABSENT, State.UNHEARD)
    return state is before.state or (state in away and before.state in away)
