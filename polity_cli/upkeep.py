"""The electorate kept in line with the cluster, without anybody being asked.

    a member with the voters' tag that answers        is enrolled
    one that came back without its ledger             is enrolled anew, in place of the voter it was
    one that left Serf on purpose                     is struck off after `leave_grace_s`, since a restart of
                                                      the service is a leave too
    one that failed                                   stays, unless `strike_failed_after_s` says otherwise
    a change that somebody began and did not finish   is finished

All of it by consensus, and nothing that would leave too few voters answering. Agents look every
`tend_every_s` seconds; where there are only hooks, a process that an election starts at its end does. What
was seen of nodes that went is kept in a file beside the ledger, so that a grace outlives whoever looks.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from time import time

from polity_cli import registrar
from polity_cli.core.enrolment import MOST_VOTERS
from polity_cli.core.record import Record
from polity_cli.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from polity_cli.core.electorate import Electorate
    from polity_cli.edges.network import Node
    from polity_cli.session import Session
    from polity_cli.settings import Upkeep

_TIMEOUT_S = 120.0
_TURN_S = 3.0
"""Those who look do so one after the other, so that the first has it done when the next one comes."""


class Absences(Record):
    """Which nodes were seen to have left or failed: name to status and time of day in seconds."""

    seen: tuple[tuple[str, str, float], ...] = ()

    def look(self, members: Iterable[Node], now_s: float) -> Absences:
        """With what Serf shows now: new absences begin now, who came back or was forgotten is not absent."""
        before = {(node, status): since for node, status, since in self.seen}
        gone = [(node.name, node.status) for node in members if node.status in ("left", "failed")]
        # A clock that was set back must not make an absence last for ever.
        return Absences(
            tuple((node, status, min(now_s, before.get((node, status), now_s))) for node, status in gone)
        )

    def over(self, upkeep: Upkeep, now_s: float) -> frozenset[str]:
        """The nodes that have been away for longer than they may be."""
        limits = {"left": upkeep.leave_grace_s, "failed": upkeep.strike_failed_after_s}
        return frozenset(
            node
            for node, status, since in self.seen
            if (limit := limits[status]) is not None and now_s - since >= limit
        )


def is_due(
    electorate: Electorate, members: Iterable[Node], node: str, voter: bytes, gone: frozenset[str]
) -> bool:
    """True if something seems out of line, as far as `node`, whose voter has this id, can tell alone."""
    enrolled = {e.node for e in electorate.voters}
    if electorate.is_joint or enrolled & gone:
        return True
    if voter and node in enrolled and electorate.node_of(voter) != node:
        return True
    has_seats = len(enrolled) < MOST_VOTERS
    return has_seats and any(m.votes and m.status == "alive" and m.name not in enrolled for m in members)


def tend(
    session: Session,
    upkeep: Upkeep,
    *,
    state_dir: str,
    wait: Callable[[float], bool],
    log: Callable[[str], None],
    now_s: Callable[[], float] = time,
) -> bool:
    """Look once, and mend what is out of line; True if the electorate was changed.

    `wait` waits for so many seconds and is True if it was told to stop meanwhile. Raises PolityError.
    """
    path = os.path.join(state_dir, f"{session.namespace}@{session.node}.absences")
    absences = _read(path)
    seen = absences.look(session.members(), now_s())
    if seen != absences:
        _write(path, seen)
    gone = seen.over(upkeep, now_s())
    electorate = session.electorate(timeout_s=_TIMEOUT_S)
    voter = b"" if session.ledger is None else session.ledger.me().voter
    if not is_due(electorate, session.members(), session.node, voter, gone):
        return False
    if wait(_TURN_S * _rank(electorate, session)):
        return False
    found = registrar.assembly(session, timeout_s=_TIMEOUT_S)
    for without in (gone, frozenset()):
        wish = registrar.wish_to_sync(session, found, gone=without)
        try:
            plan = registrar.plan(wish, found)
        except BadInput as error:
            log(f"the electorate stays as it is: {error}")
            continue
        if plan.is_empty:
            return False
        if plan.lacks and not found.electorate.is_joint:
            log(f"the electorate stays as it is: of the voters there would be, {plan.lacks} too few answer")
            continue
        changed = registrar.carry_out(session, wish, found, timeout_s=_TIMEOUT_S)
        names = ", ".join(e.node for e in changed.electorate.voters)
        log(f"electorate {changed.electorate.epoch}: {names}; {len(changed.carried)} roles carried over")
        return changed.electorate != found.electorate
    return False


def tend_later(session: Session, upkeep: Upkeep, arguments: tuple[str, ...]) -> Callable[[], None] | None:
    """What to do once an operation is over and told, if something seemed out of line to it; asks nobody.

    It starts a process that looks, and does not wait for it.
    """
    electorate = session.conductor.electorate
    if not upkeep.tend_every_s or electorate is None:
        return None
    voter = b"" if session.ledger is None else session.ledger.me().voter
    members = session.last_members
    left = frozenset(node.name for node in members if node.status == "left")
    if not is_due(electorate, members, session.node, voter, left):
        return None
    return lambda: _start(arguments)


def _start(arguments: tuple[str, ...]) -> None:
    import subprocess
    import sys

    with suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-P", "-m", "polity_cli", "voters", "tend", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _rank(electorate: Electorate, session: Session) -> int:
    """This node's turn: voters first, by name."""
    enrolled = {e.node for e in electorate.voters}
    alive = sorted(
        (node.name not in enrolled, node.name)
        for node in session.members()
        if node.votes and node.status == "alive"
    )
    names = [name for _, name in alive]
    return min(names.index(session.node) if session.node in names else len(names), 10)


def _read(path: str) -> Absences:
    try:
        with open(path, encoding="utf-8") as file:
            return Absences(tuple((str(n), str(s), float(at)) for n, s, at in json.load(file)))
    except (OSError, ValueError, TypeError):
        return Absences()  # whoever went is then seen to go now


def _write(path: str, absences: Absences) -> None:
    with suppress(OSError):
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(absences.seen, file)
        os.replace(f"{path}.new", path)
