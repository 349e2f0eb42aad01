"""The polling booth: saved before it is said, records and lists page by page, rubbish left outside."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polity_cli import booth
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.messages import NO_POLITY, Register
from polity_cli.core.quorum import SimpleMajority
from polity_cli.core.tenure import ELECTORATE, VACANT, Tenure
from polity_cli.core.voter import Self
from polity_cli.edges import wire
from polity_cli.edges.memory_ledger import MemoryLedger, MemoryTransaction
from polity_cli.errors import LedgerError
from tests import strategies as some
from tests.ledgers import AnyLedger, ballot, open_ledger, promise

POLITY = b"polity-1"
ATTEMPT = b"attempt1"


def record(*, polity: bytes = POLITY, epoch: int = 1, size: int = 12, me: bytes | None = None) -> bytes:
    """An encoded record of `size` voters with long names; `me` is one of them."""
    ids = [i.to_bytes(8, "big") for i in range(size)]
    if me is not None:
        ids[0] = me
    voters = tuple(Enrolled(voter, f"node-{voter.hex()}".ljust(128, "x")) for voter in sorted(ids))
    return wire.encode_record(Electorate(polity, epoch, (Roll(voters, SimpleMajority),)))


def offers(data: bytes, *, chosen: bool = False) -> list[m.Offer]:
    pages = wire.pages(data)
    digest = wire.digest(data)
    return [m.Offer(ATTEMPT, digest, at, len(pages), page, chosen) for at, page in enumerate(pages)]


def ask(ledger: booth.VoterLedger, message: m.Message) -> m.Reply:
    """The answer by way of the wire, as a candidate gets it."""
    data = booth.answer(ledger, wire.encode(message))
    assert data is not None
    return wire.decode_reply(data)


def offer_all(ledger: booth.VoterLedger, messages: list[m.Offer]) -> m.Holding:
    reply: m.Reply | None = None
    for message in messages:
        reply = ask(ledger, message)
    assert isinstance(reply, m.Holding)
    return reply


def found(ledger: AnyLedger) -> bytes:
    """Let the ledger enter the first electorate; returns its encoded record."""
    data = record(me=ledger.me().voter)
    assert offer_all(ledger, offers(data, chosen=True)).epoch == 1
    return data


@pytest.fixture(params=["on disk", "in memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyLedger]:
    made: AnyLedger
    made = open_ledger(tmp_path / "x.ledger") if request.param == "on disk" else MemoryLedger(b"voter--1")
    yield made
    made.close()


# Save, then speak


class NotedLedger(MemoryLedger):
    """Notes what is done to it, and may fail to commit."""

    fails = False

    def __init__(self, notes: list[str]) -> None:
        super().__init__(b"voter--1")
        self.notes = notes

    def transaction(self, role: str) -> MemoryTransaction:
        return NotedTransaction(self, role)

    def view(self, role: str) -> tuple[Self, Register]:
        self.notes.append("view")
        return super().view(role)


class NotedTransaction(MemoryTransaction):
    _ledger: NotedLedger

    def __enter__(self) -> MemoryTransaction:
        super().__enter__()
        self._ledger.notes.append("begin")
        return self

    def save(self, register: Register) -> None:
        super().save(register)
        self._ledger.notes.append("save")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ledger.fails and kind is None:
            problem = LedgerError("the disk is full", hint="free some")
            super().__exit__(LedgerError, problem, None)
            raise problem
        super().__exit__(kind, error, trace)
        self._ledger.notes.append("rollback" if kind else "commit")


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> NotedLedger:
    notes: list[str] = []
    made = NotedLedger(notes)
    found(made)
    real = wire.encode

    def encode(message: m.Message | m.Reply) -> bytes:
        notes.append("answer")
        return real(message)

    monkeypatch.setattr(wire, "encode", encode)
    notes.clear()
    return made


VACANCY = Tenure(0, None, b"")
FILLED = VACANCY.filled_by("node-2", b"claim--1")
CHANGES: list[m.Message] = [
    m.Prepare(ATTEMPT, POLITY, 1, "leader", ballot(5)),
    m.Accept(ATTEMPT, POLITY, 1, "leader", ballot(5), FILLED),
    m.Stand(ATTEMPT, POLITY, 1, "leader", ZERO, VACANT, FILLED, ballot(5)),
    m.Announce(POLITY, 1, "leader", ballot(5), FILLED),
    offers(record(epoch=3))[0],
    *offers(record(epoch=3, size=3), chosen=True),
]


def encoded(message: m.Message) -> bytes:
    return bytes(wire.encode(message))


@pytest.mark.parametrize("message", CHANGES, ids=m.describe)
def test_an_answer_is_made_only_after_the_commit_it_speaks_of(noted: NotedLedger, message: m.Message) -> None:
    data = encoded(message)
    noted.notes.clear()
    booth.answer(noted, data)
    expected = ["begin", "save", "commit", "answer"]
    if isinstance(message, m.Offer):
        expected.remove("save")
    if isinstance(message, m.Announce):
        expected.remove("answer")
    assert [note for note in noted.notes if note != "view"] == expected


@pytest.mark.parametrize("message", CHANGES, ids=m.describe)
def test_a_commit_that_fails_gives_no_answer(noted: NotedLedger, message: m.Message) -> None:
    data = encoded(message)
    before = (noted.view("leader"), noted.roles(), noted._pages)
    noted.fails = True
    noted.notes.clear()
    with pytest.raises(LedgerError, match="the disk is full"):
        booth.answer(noted, data)
    assert "answer" not in noted.notes
    assert (noted.view("leader"), noted.roles(), noted._pages) == before


def test_a_read_needs_no_lock_and_looks_once(noted: NotedLedger) -> None:
    data = encoded(m.Read(ATTEMPT, POLITY, 1, "leader"))
    noted.notes.clear()
    booth.answer(noted, data)
    assert noted.notes == ["view", "answer"]


def test_an_answer_tells_what_the_ledger_holds_afterwards(ledger: AnyLedger) -> None:
    found(ledger)
    me = ledger.me()
    for message in CHANGES[:3]:
        reply = ask(ledger, message)
        assert isinstance(reply, m.State)
        assert reply == m.State(
            ATTEMPT, me.voter, POLITY, 1, *ledger.register("leader"), serial=ledger.me().serial
        )
    assert ledger.register("leader").promised == ballot(5)
    assert ask(ledger, m.Read(ATTEMPT, POLITY, 1, "leader")) == reply


def test_a_read_of_an_unknown_role_answers_and_leaves_no_trace(ledger: AnyLedger) -> None:
    found(ledger)
    reply = ask(ledger, m.Read(ATTEMPT, POLITY, 1, "leader"))
    assert isinstance(reply, m.State)
    assert reply[4:-1] == tuple(Register())
    assert ledger.roles() == []


def test_news_has_no_answer_and_is_remembered(ledger: AnyLedger) -> None:
    found(ledger)
    assert booth.answer(ledger, wire.encode(CHANGES[3])) is None
    assert ledger.register("leader") == Register(ballot(5), ballot(5), FILLED, ballot(5), FILLED)


def test_news_of_another_polity_has_no_answer_and_changes_nothing(ledger: AnyLedger) -> None:
    found(ledger)
    news = m.Announce(b"polity-2", 1, "leader", ballot(5), FILLED)
    assert booth.answer(ledger, wire.encode(news)) is None
    assert ledger.roles() == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (m.Prepare(ATTEMPT, b"polity-2", 1, "leader", ballot(1)), m.OTHER_POLITY),
        (m.Prepare(ATTEMPT, POLITY, 0, "leader", ballot(1)), m.OLD_EPOCH),
        (m.Read(ATTEMPT, POLITY, 2, "leader"), m.BEHIND),
        (m.Prepare(ATTEMPT, NO_POLITY, 0, ELECTORATE, ballot(1)), m.FOUNDED),
        (m.Prepare(ATTEMPT, POLITY, 1, "leader", Ballot(2**60, b"proposer")), m.UNUSABLE),
    ],
    ids=["another polity", "an older epoch", "a newer epoch", "a founding", "an absurd round"],
)
def test_a_refusal_names_the_reason_and_what_was_entered_instead(
    ledger: AnyLedger, message: m.Message, reason: int
) -> None:
    digest = wire.digest(found(ledger))
    me = ledger.me()
    refusal = m.Refusal(ATTEMPT, me.voter, POLITY, 1, digest, reason, me.serial)
    assert ask(ledger, message) == refusal
    assert ledger.roles() == []


# Rubbish


class Untouchable:
    """A ledger that nobody may even look at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"somebody asked for {name}")


class Untouched(Untouchable):
    """One that was not set back, and of which nobody may know more."""

    def is_set_back(self, reminders: bytes) -> bool:
        return False


@given(st.binary(max_size=200))
def test_random_bytes_touch_nothing(data: bytes) -> None:
    with pytest.raises(wire.Garbled):
        booth.answer(Untouchable(), data)  # type: ignore[arg-type]


@given(some.replies)
def test_a_reply_is_no_question_and_touches_nothing(reply: m.Reply) -> None:
    with pytest.raises(wire.Garbled):
        booth.answer(Untouchable(), wire.encode(reply))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "offer",
    [
        m.Offer(ATTEMPT, b"d" * 16, 1, 1, b"x", False),
        m.Offer(ATTEMPT, b"d" * 16, 0, 0, b"x", False),
        m.Offer(ATTEMPT, b"d" * 16, 9, 3, b"x", True),
        m.Offer(ATTEMPT, b"d" * 16, 0, wire.MAX_PAGES + 1, b"x", False),
        m.Offer(ATTEMPT, b"", 0, 1, b"x", False),
        m.Delta(ATTEMPT, b"b" * 16, b"", b"x", False),
    ],
)
def test_a_page_that_its_record_cannot_have_is_garbled_and_touches_nothing(offer: m.Offer | m.Delta) -> None:
    with pytest.raises(wire.Garbled, match=r"page|delta"):
        booth.answer(Untouched(), wire.encode(offer))  # type: ignore[arg-type]


@given(some.messages)
def test_any_message_at_all_has_an_answer_that_fits_or_is_garbled(message: m.Message) -> None:
    twin = MemoryLedger(b"voter--1")
    found(twin)
    try:
        data = booth.answer(twin, wire.encode(message))
    except wire.Garbled:
        assert isinstance(message, m.Offer | m.Delta)
        return
    assert (data is None) == isinstance(message, m.Announce)
    if data is not None and not isinstance(message, m.Announce):
        assert wire.decode_reply(data).attempt == message.attempt


# Records in pages


def test_pages_are_taken_in_any_order_and_doubled_and_the_answer_says_when_all_are_there(
    ledger: AnyLedger,
) -> None:
    data = record()
    messages = offers(data)
    assert len(messages) > 3
    order = [*range(len(messages)), 0, 2]
    random.Random(2).shuffle(order)
    missing = set(range(len(messages)))
    for at in order:
        missing.discard(at)
        voter = ledger.me().voter
        said = ask(ledger, messages[at])
        assert said == m.Holding(ATTEMPT, voter, NO_POLITY, 0, b"", not missing, ledger.me().serial)
    assert ledger.record(wire.digest(data)) == data


def next_record(data: bytes) -> bytes:
    """The joint record that follows, one voter more."""
    before = wire.decode_record(data)
    voters = (*before.current.voters, Enrolled(b"\xff" * 8, "newcomer"))
    return wire.encode_record(before.joint_with(before.current._replace(voters=voters)))


def delta(base: bytes, data: bytes, *, chosen: bool = False) -> m.Delta:
    change = wire.delta(base, data)
    assert change is not None
    return m.Delta(ATTEMPT, wire.digest(base), wire.digest(data), change, chosen)


def enter_next(ledger: AnyLedger, data: bytes, epoch: int) -> bytes:
    """Let the ledger enter a record that follows this one, of that epoch."""
    before = wire.decode_record(data)
    joint = before.joint_with(before.current) if epoch % 2 == 0 else before
    after = wire.encode_record(joint._replace(epoch=epoch))
    assert offer_all(ledger, offers(after, chosen=True)).epoch == epoch
    return after


@pytest.mark.parametrize(
    ("epochs", "is_kept"), [((2,), True), ((2, 3), False), ((3,), False), ((4,), False), ((2, 4), False)]
)
def test_a_fast_vote_counts_in_its_own_epoch_and_in_the_joint_one_behind_it(
    ledger: AnyLedger, epochs: tuple[int, ...], is_kept: bool
) -> None:
    data = found(ledger)
    first, classic, second = (Ballot(round_, b"proposer") for round_ in (3, 4, 5))
    vacancy = Tenure(2, None, b"vacancy-")
    held = vacancy.filled_by("n1", b"claim---")
    head = (ATTEMPT, POLITY, 1)
    ask(ledger, m.Accept(*head, "voted", first, vacancy))
    ask(ledger, m.Stand(*head, "voted", first, vacancy, held, second))
    ask(ledger, m.Accept(*head, "decided", classic, held))
    voted, decided = ledger.register("voted"), ledger.register("decided")
    assert (voted.accepted, voted.tenure) == (first.fast, held)
    serial = ledger.me().serial
    for epoch in epochs:
        enter_next(ledger, data, epoch)
    assert ledger.register("decided") == decided
    taken_back = voted._replace(accepted=first, tenure=vacancy)
    assert ledger.register("voted") == (voted if is_kept else taken_back)
    assert ledger.me().serial > serial


def test_an_entry_that_fails_takes_no_vote_back(ledger: AnyLedger) -> None:
    found(ledger)
    first, second = Ballot(3, b"proposer"), Ballot(5, b"proposer")
    vacancy = Tenure(2, None, b"vacancy-")
    head = (ATTEMPT, POLITY, 1)
    ask(ledger, m.Accept(*head, "voted", first, vacancy))
    ask(ledger, m.Stand(*head, "voted", first, vacancy, vacancy.filled_by("n1", b"claim---"), second))
    before = ledger.me(), ledger.register("voted")
    with suppress(ZeroDivisionError), ledger.transaction(ELECTORATE) as turn:
        turn.enter(turn.me._replace(epoch=3, digest=b"d" * 16))
        raise ZeroDivisionError
    assert (ledger.me(), ledger.register("voted")) == before


def test_a_delta_is_a_whole_record_to_whoever_holds_the_other(ledger: AnyLedger) -> None:
    base = found(ledger)
    data = next_record(base)
    assert len(wire.pages(data)) > 3
    held = ask(ledger, delta(base, data))
    assert isinstance(held, m.Holding)
    assert (held.complete, held.epoch, ledger.record(wire.digest(data))) == (True, 1, data)
    entered = ask(ledger, delta(base, data, chosen=True))
    assert isinstance(entered, m.Holding)
    assert (entered.complete, entered.epoch, entered.digest) == (True, 2, wire.digest(data))
    assert ask(ledger, delta(base, data, chosen=True)) == entered


def test_a_delta_tells_nothing_to_whoever_lacks_the_other_record_until_the_pages_come(
    ledger: AnyLedger,
) -> None:
    base = record(me=ledger.me().voter)
    data = next_record(base)
    for told in (delta(base, data), delta(base, data, chosen=True)):
        said = ask(ledger, told)
        assert isinstance(said, m.Holding)
        assert (said.complete, said.epoch) == (False, 0)
    assert offer_all(ledger, offers(data)).complete
    said = ask(ledger, delta(base, data))
    assert isinstance(said, m.Holding)
    assert said.complete


def test_a_delta_that_makes_another_record_than_it_says_is_not_held(ledger: AnyLedger) -> None:
    base = found(ledger)
    wrong = delta(base, next_record(base))._replace(digest=b"d" * 16, chosen=True)
    said = ask(ledger, wrong)
    assert isinstance(said, m.Holding)
    assert (said.complete, said.epoch, ledger.record(b"d" * 16)) == (False, 1, None)


def test_wrong_pages_are_thrown_out_and_the_right_ones_taken_again(ledger: AnyLedger) -> None:
    messages = offers(record(), chosen=True)
    for wrong in (
        messages[1]._replace(data=b"lies"),
        messages[1]._replace(data=b""),
        messages[1]._replace(data=messages[2].data),
    ):
        holding = offer_all(ledger, [messages[0], wrong, *messages[2:]])
        assert (holding.complete, holding.epoch) == (False, 0)
        assert ledger.record(messages[0].digest) is None
    holding = offer_all(ledger, messages)
    assert (holding.complete, holding.epoch) == (True, 1)


def test_a_wrong_number_of_pages_does_not_stay_in_the_way(ledger: AnyLedger) -> None:
    messages = offers(record())
    for count in (len(messages) - 1, len(messages) + 1):
        holding = offer_all(ledger, [offer._replace(pages=count) for offer in messages if offer.page < count])
        assert not holding.complete
    assert offer_all(ledger, messages).complete


def test_two_records_under_way_at_once_are_kept_apart(ledger: AnyLedger) -> None:
    one, two = offers(record(epoch=1)), offers(record(epoch=3))
    for pair in zip(one[:-1], two[:-1], strict=True):
        assert not offer_all(ledger, list(pair)).complete
    assert offer_all(ledger, one[-1:]).complete
    assert ledger.record(two[0].digest) is None
    assert offer_all(ledger, two[-1:]).complete


def held_back(ledger: AnyLedger, data: bytes) -> None:
    """The pages of `data` are refused at the last, again and again, and the record is never held."""
    messages = offers(data)
    for _ in range(2):
        for message in messages[:-1]:
            assert not offer_all(ledger, [message]).complete
        for chosen in (False, True):
            with pytest.raises(wire.Garbled):
                booth.answer(ledger, wire.encode(messages[-1]._replace(chosen=chosen)))
    assert ledger.record(messages[0].digest) is None
    with ledger.transaction(ELECTORATE) as turn:
        assert turn.held == frozenset()
    assert ledger.me().epoch == 0


def test_a_record_that_cannot_be_read_is_not_held_nor_accepted(ledger: AnyLedger) -> None:
    """A voter that accepted what it cannot read would be counted on and never enter it."""
    whole = record()
    assert whole[1] == wire.RECORD_VERSION
    future = whole[:1] + bytes([wire.RECORD_VERSION + 1]) + whole[2:]
    for data in (future, b"x" * 1200, record(size=3).replace(b"polity-1", b"polity-2")[:-1]):
        held_back(ledger, data)
        accept = m.Accept(
            ATTEMPT, NO_POLITY, 0, ELECTORATE, ballot(1), Tenure(1, wire.digest(data).hex(), POLITY)
        )
        refusal = ask(ledger, accept)
        assert isinstance(refusal, m.Refusal)
        assert refusal.reason == m.NO_RECORD


def test_a_founding_is_accepted_once_the_whole_record_is_held(ledger: AnyLedger) -> None:
    data = record(me=ledger.me().voter)
    accept = m.Accept(
        ATTEMPT, NO_POLITY, 0, ELECTORATE, ballot(1), Tenure(1, wire.digest(data).hex(), POLITY)
    )
    messages = offers(data)
    offer_all(ledger, messages[:-1])
    assert isinstance(ask(ledger, accept), m.Refusal)
    offer_all(ledger, messages[-1:])
    state = ask(ledger, accept)
    assert isinstance(state, m.State)
    assert (state.accepted, state.epoch) == (ballot(1), 0)


# Entering


def test_a_record_that_is_not_known_to_be_chosen_is_held_and_not_entered(ledger: AnyLedger) -> None:
    holding = offer_all(ledger, offers(record(me=ledger.me().voter)))
    assert (holding.complete, holding.epoch, holding.digest) == (True, 0, b"")
    assert ledger.me().polity == NO_POLITY


def test_a_chosen_record_is_entered_with_its_last_page(ledger: AnyLedger) -> None:
    data = record(me=ledger.me().voter)
    for message in offers(data, chosen=True)[:-1]:
        assert ask(ledger, message)[3:-1] == (0, b"", False)
    assert ask(ledger, offers(data, chosen=True)[-1])[3:-1] == (1, wire.digest(data), True)
    assert ledger.me()[:4] == (ledger.me().voter, POLITY, 1, wire.digest(data))


def test_any_page_of_a_record_it_holds_tells_that_it_was_chosen(ledger: AnyLedger) -> None:
    data = record()
    offer_all(ledger, offers(data))
    holding = ask(ledger, offers(data, chosen=True)[1])
    assert holding[2:-1] == (POLITY, 1, wire.digest(data), True)


def test_a_voter_that_accepted_another_founding_enters_only_a_record_that_lists_it(
    ledger: AnyLedger,
) -> None:
    """The founding it accepted may be waiting for its word alone."""
    with ledger.transaction(ELECTORATE) as turn:
        turn.save(Register(ballot(1), ballot(1), Tenure(1, "f" * 32, b"polity-0")))
    stranger = offer_all(ledger, offers(record(), chosen=True))
    assert (stranger.complete, stranger.epoch) == (True, 0)
    mine = offer_all(ledger, offers(record(me=ledger.me().voter), chosen=True))
    assert (mine.complete, mine.epoch) == (True, 1)


@pytest.mark.parametrize(
    ("polity", "epoch", "enters"),
    [(POLITY, 7, True), (POLITY, 9, True), (POLITY, 5, False), (POLITY, 3, False), (b"polity-2", 7, False)],
)
def test_a_member_enters_newer_records_of_its_own_polity_only(
    ledger: AnyLedger, polity: bytes, epoch: int, enters: bool
) -> None:
    first = record(epoch=5)
    offer_all(ledger, offers(first, chosen=True))
    other = record(polity=polity, epoch=epoch, size=13)
    holding = offer_all(ledger, offers(other, chosen=True))
    assert holding.complete
    now = (polity, epoch, wire.digest(other)) if enters else (POLITY, 5, wire.digest(first))
    assert (holding.polity, holding.epoch, holding.digest) == now
    assert tuple(ledger.me()[1:4]) == now


def test_after_entering_a_newer_epoch_messages_of_the_old_one_are_refused(ledger: AnyLedger) -> None:
    found(ledger)
    assert isinstance(ask(ledger, m.Read(ATTEMPT, POLITY, 1, "leader")), m.State)
    offer_all(ledger, offers(record(epoch=3), chosen=True))
    for message in CHANGES[:3]:
        refusal = ask(ledger, message)
        assert isinstance(refusal, m.Refusal)
        assert refusal.reason == m.OLD_EPOCH
    assert ledger.roles() == []


# Fetching


def test_a_record_is_fetched_page_by_page_by_its_name_or_as_the_one_entered(ledger: AnyLedger) -> None:
    data = found(ledger)
    other = record(epoch=3, size=20)
    offer_all(ledger, offers(other))
    for name, digest, expected in ((b"", wire.digest(data), data), (wire.digest(other),) * 2 + (other,)):
        pages = wire.pages(expected)
        got = b""
        for at in range(len(pages)):
            page = ask(ledger, m.Fetch(ATTEMPT, name, at))
            assert isinstance(page, m.Page)
            assert page[:4] == (ATTEMPT, ledger.me().voter, POLITY, 1)
            assert (page.digest, page.page, page.pages) == (digest, at, len(pages))
            got += page.data
        assert got == expected


def test_a_record_that_is_not_held_has_no_pages(ledger: AnyLedger) -> None:
    voter = ledger.me().voter
    nothing = m.Page(ATTEMPT, voter, NO_POLITY, 0, b"", 0, 0, b"", ledger.me().serial)
    assert ask(ledger, m.Fetch(ATTEMPT, b"", 0)) == nothing
    assert ask(ledger, m.Fetch(ATTEMPT, b"d" * 16, 0)) == nothing._replace(digest=b"d" * 16)
    half = offers(record())
    offer_all(ledger, half[:-1])
    page = ask(ledger, m.Fetch(ATTEMPT, half[0].digest, 0))
    assert page == nothing._replace(digest=half[0].digest, serial=ledger.me().serial)


def test_a_page_beyond_the_last_is_none(ledger: AnyLedger) -> None:
    last = len(wire.pages(found(ledger)))
    page = ask(ledger, m.Fetch(ATTEMPT, b"", last))
    assert isinstance(page, m.Page)
    assert (page.pages, page.data) == (0, b"")


# The list of roles


def all_roles(ledger: AnyLedger) -> list[tuple[str, ...]]:
    """The names in each answer, asked for until there are no more."""
    answers: list[tuple[str, ...]] = []
    more = True
    while more:
        after = answers[-1][-1] if answers and answers[-1] else ""
        data = booth.answer(ledger, wire.encode(m.ListRoles(ATTEMPT, POLITY, 1, after)))
        assert data is not None
        assert len(data) <= wire.RESPONSE_BYTES
        reply = wire.decode_reply(data)
        assert isinstance(reply, m.RoleList)
        assert reply[:4] == (ATTEMPT, ledger.me().voter, POLITY, 1)
        answers.append(reply.roles)
        more = reply.more
        assert reply.roles or not more  # or nobody would ever get on
    return answers


@pytest.mark.parametrize("size", [4, 32, 128])
@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_hundreds_of_roles_are_listed_each_once_in_order_however_long_their_names(
    ledger: AnyLedger, count: int, size: int
) -> None:
    found(ledger)
    promise(ledger, ELECTORATE, 1)
    roles = [f"{number:04d}".ljust(size, "x") for number in range(count)]
    for role in random.Random(1).sample(roles, count):
        promise(ledger, role, 1)
    answers = all_roles(ledger)
    assert [role for names in answers for role in names] == roles
    full = (wire.RESPONSE_BYTES - 50) // (size + 2)
    assert all(len(names) == min(64, full) for names in answers[:-1])


def test_names_outside_ascii_are_listed_in_byte_order(ledger: AnyLedger) -> None:
    found(ledger)
    roles = ["é" * 64, "z", "𝄞" * 32, "\ue000", "é", *(f"{number}{'漢' * 42}" for number in range(10))]
    for role in roles:
        promise(ledger, role, 1)
    assert [role for names in all_roles(ledger) for role in names] == sorted(roles, key=str.encode)


@pytest.mark.parametrize(
    ("polity", "epoch", "reason"),
    [
        (b"polity-2", 1, m.OTHER_POLITY),
        (POLITY, 0, m.OLD_EPOCH),
        (POLITY, 2, m.BEHIND),
        (NO_POLITY, 0, m.FOUNDED),
    ],
)
def test_roles_are_listed_to_the_own_epoch_only(
    ledger: AnyLedger, polity: bytes, epoch: int, reason: int
) -> None:
    """A change of the electorate counts on lists of those who have entered the joint epoch."""
    found(ledger)
    promise(ledger, "leader", 1)
    refusal = ask(ledger, m.ListRoles(ATTEMPT, polity, epoch, ""))
    assert isinstance(refusal, m.Refusal)
    assert refusal.reason == reason


def test_before_any_founding_there_are_no_roles_and_no_votes(ledger: AnyLedger) -> None:
    for message in (CHANGES[0], CHANGES[2], m.ListRoles(ATTEMPT, POLITY, 1, "")):
        refusal = ask(ledger, message)
        assert isinstance(refusal, m.Refusal)
        assert refusal.reason == m.UNFOUNDED
    assert ask(ledger, m.ListRoles(ATTEMPT, NO_POLITY, 0, ""))[4:-1] == ((), False)
    assert ledger.roles() == []
