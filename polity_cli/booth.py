"""The polling booth: one message in, one answer out, and the ledger between them.

Save, then speak: this is the only place where a voter's memory changes and where its answers are made, for
the hook, the agent, the library and the simulator alike. An answer leaves `answer` only after the
transaction that it speaks of has been committed; if committing fails, there is no answer.
"""

from __future__ import annotations

from polity_cli.core import messages as m
from polity_cli.core import voter
from polity_cli.core.tenure import ELECTORATE
from polity_cli.edges import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Protocol

    from polity_cli.core.messages import Register
    from polity_cli.core.voter import Self

    class Turn(Protocol):
        """A ledger's transaction; see `edges/ledger.py`."""

        @property
        def me(self) -> Self: ...
        @property
        def register(self) -> Register: ...
        @property
        def held(self) -> frozenset[bytes]: ...
        def __enter__(self) -> Turn: ...
        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...
        def save(self, register: Register) -> None: ...
        def save_page(self, digest: bytes, page: int, pages: int, data: bytes) -> bool: ...
        def enter(self, me: Self) -> None: ...

    class VoterLedger(Protocol):
        """What a booth needs of a ledger, on disk or in memory."""

        def me(self) -> Self: ...
        def view(self, role: str) -> tuple[Self, Register]: ...
        def roles(self, after: str = "", limit: int = 1000) -> list[str]: ...
        def record(self, digest: bytes) -> bytes | None: ...
        def transaction(self, role: str) -> Turn: ...
        def is_set_back(self, reminders: bytes) -> bool: ...


_ROLES_AT_ONCE = 64
# All of a role list but its names: three ids, the epoch, the serial, and what msgpack puts around them.
_ROLE_LIST_HEAD_BYTES = 59


def answer(ledger: VoterLedger, data: bytes) -> bytes | None:
    """Handle the bytes of a query or an announcement; returns those of the answer, None for no answer.

    Raises `wire.Garbled` for bytes that are no message, having touched nothing, and LedgerError if the
    ledger fails: then nothing may be answered.
    """
    message, reminders = wire.decode_reminding(data)
    reply = _stand_aside(ledger, message) if ledger.is_set_back(reminders) else handle(ledger, message)
    return None if reply is None else wire.encode(reply)


def handle(ledger: VoterLedger, message: m.Message) -> m.Reply | None:
    """Handle one message; what the reply says is durable when this returns."""
    match message:
        case m.Offer():
            return _take_page(ledger, message)
        case m.Delta():
            return _take_delta(ledger, message)
        case m.Fetch():
            return _show_page(ledger, message)
        case m.ListRoles():
            return _list_roles(ledger, message)
        case m.Read():
            return voter.receive(*ledger.view(message.role), message).reply
        case _:
            with ledger.transaction(message.role) as turn:
                step = voter.receive(turn.me, turn.register, message, _acceptable(ledger, turn, message))
                turn.save(step.register)
            # What this came to in the ledger's count is known when it is over.
            return None if step.reply is None else step.reply._replace(serial=turn.me.serial)


def _stand_aside(ledger: VoterLedger, message: m.Message) -> m.Reply | None:
    """The answer of a voter whose ledger was set back, and only the newer one knew what it has said."""
    if isinstance(message, m.Announce):
        return None
    me = ledger.me()
    return m.Refusal(message.attempt, *me[:4], m.SET_BACK, me.serial)


def _acceptable(ledger: VoterLedger, turn: Turn, message: m.Message) -> frozenset[bytes]:
    """The digests of those records held whole that may follow the one entered: any, before a founding."""
    if not isinstance(message, m.Accept) or message.role != ELECTORATE or turn.me.polity == m.NO_POLITY:
        return turn.held
    entered = ledger.record(turn.me.digest)
    now = wire.decode_record(entered) if entered is not None else None
    return frozenset(
        digest
        for digest in turn.held
        if now is not None
        and digest.hex() == message.tenure.holder
        and (record := ledger.record(digest)) is not None
        and now.is_followed_by(wire.decode_record(record))
    )


def _take_page(ledger: VoterLedger, offer: m.Offer) -> m.Reply | None:
    if not offer.page < offer.pages <= wire.MAX_PAGES or not offer.digest:
        raise wire.Garbled("a page that its record does not have")
    return _take(ledger, offer, {offer.page: offer.data}, offer.pages)


def _take_delta(ledger: VoterLedger, delta: m.Delta) -> m.Reply | None:
    """All pages at once, for whoever holds the record that it is a delta of; others lack them still."""
    from polity_cli.edges.delta import apply  # few messages are deltas

    if not delta.digest:
        raise wire.Garbled("a delta that makes no record")
    base = ledger.record(delta.base)
    data = b"" if base is None else apply(base, delta.data)
    pages = wire.pages(data) if wire.digest(data) == delta.digest else []
    return _take(ledger, delta, dict(enumerate(pages)), len(pages))


def _take(ledger: VoterLedger, offer: m.Offer | m.Delta, pages: dict[int, bytes], of: int) -> m.Reply:
    with ledger.transaction(ELECTORATE) as turn:
        is_new = offer.digest not in turn.held
        complete = not is_new
        for page, data in pages.items():
            complete = complete or turn.save_page(offer.digest, page, of, data)
        record = ledger.record(offer.digest) if complete and (is_new or offer.chosen) else None
        if record is not None:
            # Whoever cannot read a record must not hold it, for it would accept it and never enter it:
            # what this raises takes the last page back.
            electorate = wire.decode_record(record)
            if offer.chosen and voter.may_enter(turn.me, turn.register, electorate):
                turn.enter(
                    turn.me._replace(polity=electorate.polity, epoch=electorate.epoch, digest=offer.digest)
                )
    me = turn.me
    return m.Holding(offer.attempt, me.voter, me.polity, me.epoch, me.digest, complete, me.serial)


def _show_page(ledger: VoterLedger, fetch: m.Fetch) -> m.Reply:
    me = ledger.me()
    digest = fetch.digest or me.digest
    pages = wire.pages(ledger.record(digest) or b"")
    data = pages[fetch.page] if fetch.page < len(pages) else b""
    count = len(pages) if data else 0
    return m.Page(fetch.attempt, me.voter, me.polity, me.epoch, digest, fetch.page, count, data, me.serial)


def _list_roles(ledger: VoterLedger, query: m.ListRoles) -> m.Reply:
    with ledger.transaction(ELECTORATE) as turn:  # who speaks and what it knows, at one instant
        me = turn.me
        found = ledger.roles(query.after, limit=_ROLES_AT_ONCE)
    if query.polity != me.polity or query.epoch != me.epoch:
        return voter.receive(
            me, m.Register(), m.Read(query.attempt, query.polity, query.epoch, ELECTORATE)
        ).reply  # type: ignore[return-value]
    shown: list[str] = []
    room = wire.RESPONSE_BYTES - _ROLE_LIST_HEAD_BYTES
    for role in found:
        room -= len(role.encode()) + 2
        if room < 0:
            break
        shown.append(role)
    more = len(shown) < len(found) or len(found) == _ROLES_AT_ONCE
    return m.RoleList(query.attempt, me.voter, me.polity, me.epoch, tuple(shown), more, me.serial)
