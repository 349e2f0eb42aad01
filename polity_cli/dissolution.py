"""Leaving a polity for good, node by node: the way out where two that were founded apart meet.

No vote of one polity counts in the other, and nothing can make one of both: each has decided for itself. So
one of them is given up. Its roles are listed first, with their terms, since whatever they were shown to
remembers those terms. Then the node's ledger is kept aside and begun anew: its voter is another one, of no
polity, which the other polity enrols like any newcomer.
"""

from __future__ import annotations

import json
import os
from time import gmtime, strftime

from polity_cli.asking import deadline_of, left
from polity_cli.core.messages import NO_POLITY
from polity_cli.core.record import Record
from polity_cli.edges.ledger_copy import begin_anew
from polity_cli.edges.ledger_file import sync_folder
from polity_cli.errors import LedgerError, NoQuorum, Unfit
from polity_cli.rescue import reports_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polity_cli.core.tenure import Tenure
    from polity_cli.session import Session

_ROLL_CALL_S = 3.0


class Known(Record):
    """A role as it was decided, or as this node's ledger remembers it; `source` is quorum or ledger."""

    role: str
    tenure: Tenure
    source: str


class Estate(Record):
    """What a node gives up by leaving its polity; `same` and `others` are the nodes that answered, of the
    same polity and of another one."""

    polity: bytes
    epoch: int
    roles: tuple[Known, ...]
    same: tuple[str, ...]
    others: tuple[str, ...]


class Left(Record):
    """Where the ledger and the list of roles are kept."""

    ledger: str
    roles: str


def estate(session: Session, *, timeout_s: float) -> Estate | None:
    """What this node would give up; None if it belongs to no polity. Raises Unfit where it has no ledger.

    What a quorum of the polity still tells is told by that, the rest by this node's ledger.
    """
    deadline = deadline_of(timeout_s)
    if session.ledger is None:
        raise Unfit(
            f"{session.node} has no ledger that this user can write",
            hint="run this as the user that votes, with the same --state-dir (POLITY_STATE_DIR)",
        )
    me = session.ledger.me()
    if me.polity == NO_POLITY:
        return None
    session.conductor.passes_over_others = True
    wanted = {node.name for node in session.members() if node.votes and node.status == "alive"}
    pages = session.conductor.roll_call(timeout_s=min(timeout_s, _ROLL_CALL_S), enough=wanted.issubset)
    same = tuple(sorted(name for name, page in pages.items() if page.polity == me.polity))
    others = tuple(sorted(n for n, page in pages.items() if page.polity not in (me.polity, NO_POLITY)))
    electorate = session.electorate(timeout_s=left(deadline))
    present = {page.voter for name, page in pages.items() if electorate.node_of(page.voter) == name}
    can_tell = electorate.polity == me.polity and electorate.is_quorum(frozenset(present))
    roles = _roles(session, deadline, ask=can_tell)
    return Estate(me.polity, me.epoch, roles, same, others)


def leave(session: Session, estate: Estate) -> Left:
    """Write down the roles, keep the ledger aside, and begin another. Raises LedgerError."""
    assert session.ledger is not None
    path = session.ledger.path
    if reports_on(path, estate.polity):
        raise Unfit(
            f"{session.node} was rescued into this polity, which is the one to keep",
            hint="dissolve the other one, on its nodes; see docs/electorate.md. Once the rescue's record is "
            "moved away this node leaves like any other",
        )
    base = f"{path}.dissolved-{strftime('%Y-%m-%dT%H-%M-%SZ', gmtime())}"
    kept = Left(base, f"{base}.roles.json")
    me = session.ledger.me()
    if me.polity != estate.polity:
        raise LedgerError(
            f"{session.node} belongs to another polity than a moment ago", hint="look again, then decide"
        )
    told = {
        "node": session.node,
        "voter": me.voter.hex(),
        "polity": estate.polity.hex(),
        "epoch": estate.epoch,
        "roles": rows(estate),
    }
    try:
        with open(kept.roles, "x", encoding="utf-8") as file:
            json.dump(told, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(kept.roles)
    except OSError as error:
        raise LedgerError(
            f"the list of roles cannot be written: {error}", hint="nothing was changed; make room for it"
        ) from error
    begin_anew(session.ledger, kept.ledger)
    return kept


def rows(estate: Estate) -> list[dict[str, object]]:
    """The roles as JSON."""
    return [
        {"role": role, "holder": tenure.holder, "term": tenure.term, "source": source}
        for role, tenure, source in estate.roles
    ]


def _roles(session: Session, deadline: float, *, ask: bool) -> tuple[Known, ...]:
    remembered = [Known(role, session.remembered(role), "ledger") for role in session.remembered_roles()]
    known = {entry.role: entry for entry in remembered if entry.tenure.term}
    try:
        for role in session.roles(timeout_s=left(deadline)) if ask else ():
            tenure = session.who(role, timeout_s=left(deadline)).tenure
            if tenure is None:
                break
            known.pop(role, None)
            if tenure.term:
                known[role] = Known(role, tenure, "quorum")
    except NoQuorum:
        pass  # some have left already: what this node remembers is all there is
    return tuple(known[role] for role in sorted(known, key=str.encode))
