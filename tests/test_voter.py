"""The voter's rules, each on its own; `voter.py`'s table in tests."""

from __future__ import annotations

import pytest

from polity_cli.core.ballot import MAX_JUMP, ZERO, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.messages import (
    BEHIND,
    FOUNDED,
    NO_POLITY,
    NO_RECORD,
    OLD_EPOCH,
    OTHER_POLITY,
    UNFOUNDED,
    UNUSABLE,
    Accept,
    Announce,
    Prepare,
    Read,
    Refusal,
    Register,
    RoleQuery,
    Stand,
    State,
)
from polity_cli.core.quorum import SimpleMajority
from polity_cli.core.tenure import ELECTORATE, VACANT, Tenure
from polity_cli.core.voter import Self, is_no, may_enter, receive

ME = Self(b"voter", b"polity", 1, b"digest")
HEAD = (b"attempt", b"polity", 1, "leader")
EARLIER, LATER = Ballot(1, b"a"), Ballot(2, b"b")
LATEST = Ballot(9, b"z")
EMPTY = Register()
MINE = VACANT.filled_by("n1", b"mine")
YOURS = VACANT.filled_by("n2", b"yours")


def after(register: Register, *messages: RoleQuery | Announce) -> Register:
    for message in messages:
        register = receive(ME, register, message).register
    return register


def prepare(ballot: Ballot) -> Prepare:
    return Prepare(*HEAD, ballot)


def accept(ballot: Ballot, tenure: Tenure) -> Accept:
    return Accept(*HEAD, ballot, tenure)


def stand(tenure: Tenure, ballot: Ballot, base: Ballot = ZERO, vacancy: Tenure = VACANT) -> Stand:
    return Stand(*HEAD, base, vacancy, tenure, ballot)


def announce(ballot: Ballot, tenure: Tenure) -> Announce:
    return Announce(b"polity", 1, "leader", ballot, tenure)


def reason(me: Self, message: RoleQuery, register: Register = EMPTY, held: tuple[bytes, ...] = ()) -> int:
    step = receive(me, register, message, held)
    assert step.register == register
    return step.reply.reason if isinstance(step.reply, Refusal) else 0


def test_a_read_changes_nothing_and_shows_everything() -> None:
    register = after(Register(), stand(MINE, LATER), announce(ZERO.fast, MINE))
    step = receive(ME, register, Read(*HEAD))
    assert step.register == register
    assert step.reply == State(b"attempt", b"voter", b"polity", 1, *register)


def test_a_higher_prepare_is_promised_and_a_lower_one_leaves_the_voter_where_it_is() -> None:
    register = after(Register(), prepare(LATER))
    assert register == Register(promised=LATER)
    assert after(register, prepare(EARLIER), prepare(LATER)) == register


def test_an_accept_at_the_promise_or_above_is_taken_and_one_below_is_not() -> None:
    register = after(Register(), prepare(LATER))
    assert after(register, accept(EARLIER, MINE)) == register
    assert after(register, accept(LATER, MINE)) == Register(LATER, LATER, MINE)
    assert after(register, accept(LATEST, MINE)) == Register(LATEST, LATEST, MINE)


def test_a_vote_takes_the_tenure_in_the_fast_round_and_promises_the_ballot() -> None:
    assert after(Register(), stand(MINE, LATER)) == Register(LATER, ZERO.fast, MINE)


def test_a_second_candidate_gets_no_vote_but_the_promise_of_a_higher_ballot() -> None:
    voted = after(Register(), stand(MINE, EARLIER))
    assert after(voted, stand(YOURS, LATER)) == Register(LATER, ZERO.fast, MINE)
    assert after(after(Register(), stand(YOURS, LATER)), stand(MINE, EARLIER)) == Register(
        LATER, ZERO.fast, YOURS
    )


def test_a_doubled_stand_changes_nothing_more() -> None:
    once = after(Register(), stand(MINE, LATER))
    assert after(once, stand(MINE, LATER), stand(MINE, LATER)) == once


def test_a_voter_that_promised_above_the_fast_round_does_not_vote_in_it() -> None:
    promised = after(Register(), prepare(EARLIER))
    assert after(promised, stand(MINE, LATER)) == Register(LATER, ZERO, VACANT)


def test_a_stand_heals_a_voter_that_missed_the_vacancy_it_stands_on() -> None:
    vacancy = MINE.emptied(b"recall")
    next_one = vacancy.filled_by("n3", b"next")
    behind = after(Register(), stand(MINE, EARLIER))
    assert after(behind, stand(next_one, LATEST, LATER, vacancy)) == Register(LATEST, LATER.fast, next_one)


def test_a_late_copy_of_the_vacancy_cannot_undo_a_vote() -> None:
    """Two votes in one fast round by one voter elect two nodes."""
    vacancy = MINE.emptied(b"recall")
    first, second = vacancy.filled_by("n1", b"1"), vacancy.filled_by("n2", b"2")
    voted = after(Register(), accept(LATER, vacancy), stand(first, LATEST, LATER, vacancy))
    assert (voted.accepted, voted.tenure) == (LATER.fast, first)
    again = after(voted, stand(second, Ballot(10, b"q"), LATER, vacancy), accept(LATER, vacancy))
    assert (again.accepted, again.tenure) == (LATER.fast, first)


def test_a_known_holder_between_base_and_ballot_is_a_no_and_nothing_is_promised() -> None:
    knows = after(Register(), announce(EARLIER, YOURS))
    assert after(knows, stand(MINE, LATER)) == knows
    assert is_no(knows, ZERO, LATER)


def test_it_is_no_no_if_the_holder_is_newer_than_the_ballot_or_older_than_the_base() -> None:
    knows = after(Register(), announce(LATER, YOURS))
    assert not is_no(knows, ZERO, EARLIER)
    assert not is_no(knows, LATEST, Ballot(10, b"z"))


def test_it_is_no_no_if_something_newer_was_accepted_than_is_confirmed() -> None:
    knows = after(Register(), announce(EARLIER, YOURS), accept(LATER, YOURS.emptied(b"r")))
    assert not is_no(knows, ZERO, LATEST)
    assert after(knows, stand(MINE, LATEST)).promised == LATEST


def test_a_confirmed_vacancy_is_no_no() -> None:
    knows = after(Register(), announce(LATER, YOURS.emptied(b"r")))
    assert not is_no(knows, ZERO, LATEST)


def test_an_announcement_confirms_what_is_newer_and_accepts_it_if_nothing_higher_is_promised() -> None:
    assert after(Register(), announce(LATER, MINE)) == Register(LATER, LATER, MINE, LATER, MINE)
    promised = after(Register(), prepare(LATEST))
    assert after(promised, announce(LATER, MINE)) == Register(LATEST, ZERO, VACANT, LATER, MINE)
    newer = after(Register(), announce(LATER, MINE))
    assert after(newer, announce(EARLIER, YOURS)) == newer


def test_an_announcement_has_no_answer() -> None:
    assert receive(ME, Register(), announce(LATER, MINE)).reply is None


def test_promised_never_lies_below_accepted_whatever_arrives() -> None:
    vacancy = YOURS.emptied(b"r")
    register = Register()
    for message in (
        stand(MINE, LATER),
        accept(EARLIER, YOURS),
        prepare(LATEST),
        announce(ZERO.fast, MINE),
        accept(LATEST, vacancy),
        stand(vacancy.filled_by("n9", b"9"), Ballot(11, b"k"), LATEST, vacancy),
        announce(Ballot(20, b"w"), MINE),
    ):
        before, register = register, after(register, message)
        assert register.promised >= register.accepted
        assert register.promised >= before.promised
        assert register.accepted >= before.accepted
        assert register.confirmed_ballot >= before.confirmed_ballot


@pytest.mark.parametrize(
    "message",
    [
        stand(MINE, EARLIER, LATER),
        stand(MINE, LATER, ZERO.fast),
        stand(MINE, LATER.fast),
        stand(MINE, LATER, EARLIER, MINE.emptied(b"r")),
        stand(MINE.emptied(b"r"), LATER, EARLIER, MINE),
        stand(Tenure(1, "n1", b"mine", b"elsewhere"), LATER),
        prepare(LATER.fast),
        accept(LATER.fast, MINE),
        prepare(Ballot(MAX_JUMP + 1, b"a")),
        accept(Ballot(MAX_JUMP + 1, b"a"), MINE),
        stand(MINE, Ballot(MAX_JUMP + 1, b"a")),
    ],
)
def test_what_breaks_the_rules_is_refused_and_remembered_by_nobody(message: RoleQuery) -> None:
    assert reason(ME, message) == UNUSABLE


def test_a_round_may_jump_as_far_as_the_bound() -> None:
    assert reason(ME, Read(*HEAD)) == 0
    assert after(Register(), prepare(Ballot(MAX_JUMP, b"a"))).promised.round == MAX_JUMP


def test_an_absurd_announcement_is_passed_over() -> None:
    assert after(Register(), announce(Ballot(MAX_JUMP + 1, b"a"), MINE)) == Register()


@pytest.mark.parametrize(
    ("me", "head", "expected"),
    [
        (ME._replace(polity=NO_POLITY, epoch=0), HEAD, UNFOUNDED),
        (ME._replace(polity=NO_POLITY, epoch=0), (b"attempt", NO_POLITY, 0, "leader"), UNFOUNDED),
        (ME, (b"attempt", NO_POLITY, 0, ELECTORATE), FOUNDED),
        (ME, (b"attempt", b"another", 1, "leader"), OTHER_POLITY),
        (ME._replace(epoch=2), HEAD, OLD_EPOCH),
        (ME, (b"attempt", b"polity", 2, "leader"), BEHIND),
    ],
)
def test_who_speaks_in_another_polity_or_epoch_is_refused_even_a_read(
    me: Self, head: tuple[bytes, bytes, int, str], expected: int
) -> None:
    assert reason(me, Read(*head)) == expected
    assert reason(me, Prepare(*head, LATER)) == expected
    assert reason(me, Accept(*head, LATER, MINE)) == expected
    assert reason(me, Stand(*head, ZERO, VACANT, MINE, LATER)) == expected


def test_a_refusal_says_what_the_voter_has_entered() -> None:
    reply = receive(ME, Register(), Read(b"attempt", b"another", 1, "leader")).reply
    assert reply == Refusal(b"attempt", b"voter", b"polity", 1, b"digest", OTHER_POLITY)


def test_an_announcement_of_another_polity_is_passed_over() -> None:
    news = Announce(b"another", 1, "leader", LATER, MINE)
    assert receive(ME, Register(), news).register == Register()


FRESH = Self(b"voter", NO_POLITY, 0, b"")
FOUNDING = (b"attempt", NO_POLITY, 0, ELECTORATE)
RECORD_VALUE = Tenure(1, b"digest".hex(), b"p")


def test_a_founding_record_is_accepted_only_by_who_holds_it_whole() -> None:
    message = Accept(*FOUNDING, LATER, RECORD_VALUE)
    assert reason(FRESH, message) == NO_RECORD
    assert reason(FRESH, message, held=(b"other",)) == NO_RECORD
    assert receive(FRESH, Register(), message, (b"digest",)).register == Register(LATER, LATER, RECORD_VALUE)


def test_a_founding_has_no_fast_round_no_vacancies_and_no_announcement() -> None:
    assert reason(FRESH, Stand(*FOUNDING, ZERO, VACANT, MINE, LATER)) == UNUSABLE
    assert reason(FRESH, Accept(*FOUNDING, LATER, VACANT)) == UNUSABLE
    news = Announce(NO_POLITY, 0, ELECTORATE, LATER, RECORD_VALUE)
    assert receive(FRESH, Register(), news).register == Register()


def record(*voters: bytes, polity: bytes = b"p", epoch: int = 1) -> Electorate:
    return Electorate(polity, epoch, (Roll(tuple(Enrolled(v, v.decode()) for v in voters), SimpleMajority),))


def test_a_voter_that_accepted_one_founding_enters_no_record_that_leaves_it_out() -> None:
    accepted = Register(LATER, LATER, RECORD_VALUE)
    assert may_enter(FRESH, accepted, record(b"voter", b"b", b"c"))
    assert not may_enter(FRESH, accepted, record(b"a", b"b", b"c"))
    assert may_enter(FRESH, Register(), record(b"a", b"b", b"c"))


def test_a_voter_enters_only_newer_records_of_its_own_polity() -> None:
    me = Self(b"voter", b"p", 2, b"d")
    assert may_enter(me, Register(), record(b"a", epoch=3))
    assert not may_enter(me, Register(), record(b"a", epoch=2))
    assert not may_enter(me, Register(), record(b"a", polity=b"q", epoch=3))
