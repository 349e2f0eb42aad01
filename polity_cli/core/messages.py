"""What polity's nodes say to each other: queries, their replies, and the announcement.

Every query carries the id of the attempt it belongs to, which every reply repeats: a reply of another
attempt is nobody's business. Queries about a role carry the polity id and the epoch they speak in. Each
`State` is what the voter's ledger durably holds *after* the query was handled. The `serial` of a reply grows
with each change of the ledger behind it; see `witness.py`.
"""

from __future__ import annotations

from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.record import Record
from polity_cli.core.tenure import VACANT, Tenure

NO_POLITY = b""
MAX_SERIAL = 2**63 - 2


class Read(Record):
    attempt: bytes
    polity: bytes
    epoch: int
    role: str


class Prepare(Record):
    attempt: bytes
    polity: bytes
    epoch: int
    role: str
    ballot: Ballot


class Accept(Record):
    attempt: bytes
    polity: bytes
    epoch: int
    role: str
    ballot: Ballot
    tenure: Tenure


class Stand(Record):
    """Asks for a vote in the fast round after `base`, where `vacancy` was accepted; prepares `ballot`."""

    attempt: bytes
    polity: bytes
    epoch: int
    role: str
    base: Ballot
    vacancy: Tenure
    tenure: Tenure
    ballot: Ballot


class Announce(Record):
    """A user event, not a query: `tenure` was chosen at `ballot`. Never said of anything not known chosen."""

    polity: bytes
    epoch: int
    role: str
    ballot: Ballot
    tenure: Tenure


class Offer(Record):
    """A page of an electorate's record. `chosen` is set only when the record is known to be chosen."""

    attempt: bytes
    digest: bytes
    page: int
    pages: int
    data: bytes
    chosen: bool


class Delta(Record):
    """An electorate's record as what it takes from the one named by `base`; see `edges/delta.py`."""

    attempt: bytes
    base: bytes
    digest: bytes
    data: bytes
    chosen: bool


class Fetch(Record):
    """Asks for a page of a record: the one named by `digest`, or the one entered where that is empty."""

    attempt: bytes
    digest: bytes
    page: int


class ListRoles(Record):
    """Asks for the names of the roles a voter has any trace of, in order, starting behind `after`."""

    attempt: bytes
    polity: bytes
    epoch: int
    after: str


class Register(Record):
    """What a voter remembers of one role. Always promised >= accepted."""

    promised: Ballot = ZERO
    accepted: Ballot = ZERO
    tenure: Tenure = VACANT
    confirmed_ballot: Ballot = ZERO
    confirmed: Tenure = VACANT


class State(Record):
    """The answer to read, prepare, accept and stand."""

    attempt: bytes
    voter: bytes
    polity: bytes
    epoch: int
    promised: Ballot
    accepted: Ballot
    tenure: Tenure
    confirmed_ballot: Ballot
    confirmed: Tenure
    serial: int = 0


class Refusal(Record):
    """The voter does not take part, for one of the reasons below; it says what it has entered instead."""

    attempt: bytes
    voter: bytes
    polity: bytes
    epoch: int
    digest: bytes
    reason: int
    serial: int = 0


UNFOUNDED = 1
"""I know of no founded polity."""
FOUNDED = 2
"""You found a polity, but I belong to one."""
OTHER_POLITY = 3
"""I belong to another polity."""
OLD_EPOCH = 4
"""You speak in an epoch older than mine."""
BEHIND = 5
"""You speak in an epoch newer than mine."""
NO_RECORD = 6
"""I do not hold the whole record you want me to accept."""
UNUSABLE = 7
"""Your message breaks the rules: a malformed stand, or an absurd ballot."""
SET_BACK = 8
"""I was told of a state of my ledger that it has forgotten; nothing I say may count."""

REASONS = {
    UNFOUNDED: "knows of no founded polity",
    FOUNDED: "belongs to a polity already",
    OTHER_POLITY: "belongs to another polity",
    OLD_EPOCH: "has entered a newer electorate",
    BEHIND: "has not entered this electorate yet",
    NO_RECORD: "does not hold the record",
    UNUSABLE: "finds the message against the rules",
    SET_BACK: "knows that its ledger was set back",
}


class Page(Record):
    """The answer to fetch; `pages` is 0 where the record is not held."""

    attempt: bytes
    voter: bytes
    polity: bytes
    epoch: int
    digest: bytes
    page: int
    pages: int
    data: bytes
    serial: int = 0


class Holding(Record):
    """The answer to offer: what the voter has entered now, and whether it holds the offered record whole."""

    attempt: bytes
    voter: bytes
    polity: bytes
    epoch: int
    digest: bytes
    complete: bool
    serial: int = 0


class RoleList(Record):
    """The answer to list roles; `more` says that the list goes on after its last name."""

    attempt: bytes
    voter: bytes
    polity: bytes
    epoch: int
    roles: tuple[str, ...]
    more: bool
    serial: int = 0


RoleQuery = Read | Prepare | Accept | Stand
Query = Read | Prepare | Accept | Stand | Offer | Delta | Fetch | ListRoles
Message = Query | Announce
Reply = State | Refusal | Page | Holding | RoleList


def _name(role: str) -> str:
    return role or "the electorate"


def describe(message: Message | Reply) -> str:
    """One line for logs, transcripts and people."""
    match message:
        case Read(role=role):
            return f"read({_name(role)})"
        case Prepare(role=role, ballot=ballot):
            return f"prepare({_name(role)}, {ballot})"
        case Accept(role=role, ballot=ballot, tenure=tenure):
            return f"accept({_name(role)}, {ballot}, {tenure})"
        case Stand(role=role, base=base, tenure=tenure, ballot=ballot):
            return f"stand({_name(role)}, on {base}, {tenure}, {ballot})"
        case Announce(role=role, ballot=ballot, tenure=tenure):
            return f"announce({_name(role)}, {ballot}, {tenure})"
        case Offer(digest=digest, page=page, pages=pages, chosen=chosen):
            return f"offer({digest.hex()[:6]}, page {page + 1} of {pages}{', chosen' if chosen else ''})"
        case Delta(base=base, digest=digest, chosen=chosen):
            return f"delta({digest.hex()[:6]} from {base.hex()[:6]}{', chosen' if chosen else ''})"
        case Fetch(digest=digest, page=page):
            return f"fetch({digest.hex()[:6] or 'entered'}, page {page + 1})"
        case ListRoles(after=after):
            return f"list-roles(after {after!r})"
        case State(promised=promised, accepted=accepted, tenure=tenure, confirmed=confirmed):
            known = f", knows {confirmed} at {message.confirmed_ballot}" if confirmed.term else ""
            return f"promised {promised}, accepted {tenure} at {accepted}{known}"
        case Refusal(reason=reason):
            return f"refuses: {REASONS.get(reason, 'for a reason unknown here')}"
        case Page(digest=digest, page=page, pages=pages):
            return f"page {page + 1} of {pages} of {digest.hex()[:6]}" if pages else "holds no record"
        case Holding(epoch=epoch, complete=complete):
            return f"epoch {epoch}, {'holds' if complete else 'lacks pages of'} the record"
        case RoleList(roles=roles):
            return f"knows {len(roles)} roles"
