"""The voter: every rule of its table, what it refuses, and what no order of messages can make it do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polity_cli.core import messages as m
from polity_cli.core.ballot import MAX_JUMP, ZERO, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.messages import Register
from polity_cli.core.quorum import SimpleMajority
from polity_cli.core.tenure import ELECTORATE, VACANT, Tenure
from polity_cli.core.voter import Self, Step, is_no, may_enter, receive

ROLE = "leader"
POLITY = b"a polity"
ATTEMPT = b"attempt1"
ME = Self(b"voter000", POLITY, 3, b"d" * 16)
UNFOUNDED = Self(b"voter000", m.NO_POLITY, 0, b"")
HEAD = (ATTEMPT, POLITY, 3, ROLE)


def ballot(number: int, proposer: str = "p") -> Ballot:
    return Ballot(number, proposer.encode().ljust(8, b"\0"))


B1, B2, B3, B4, B5 = (ballot(number) for number in range(1, 6))
T1 = VACANT.filled_by("n0", b"claim-e0")
T1_OF_N1 = VACANT.filled_by("n1", b"claim-e1")
T2 = T1.emptied(b"claim-r0")
T3 = T2.filled_by("n1", b"claim-e1")


def prepare(b: Ballot) -> m.Prepare:
    return m.Prepare(*HEAD, b)


def accept(b: Ballot, tenure: Tenure) -> m.Accept:
    return m.Accept(*HEAD, b, tenure)


def stand(b: Ballot, tenure: Tenure = T1, base: Ballot = ZERO) -> m.Stand:
    return m.Stand(*HEAD, base, tenure.vacancy_before(), tenure, b)


def announce(b: Ballot, tenure: Tenure) -> m.Announce:
    return m.Announce(POLITY, 3, ROLE, b, tenure)


def after(register: Register, *messages: m.RoleQuery | m.Announce) -> Register:
    for message in messages:
        register = receive(ME, register, message).register
    return register


def refusal(step: Step) -> int:
    assert isinstance(step.reply, m.Refusal)
    return step.reply.reason


FRESH = Register()
PROMISED = Register(B3)
ACCEPTED = Register(B3, B3, T2)


# What every answer is.


def test_an_answer_tells_the_register_after_the_message_and_names_attempt_voter_and_epoch() -> None:
    step = receive(ME, FRESH, prepare(B1))
    assert step.reply == m.State(ATTEMPT, ME.voter, POLITY, 3, *step.register)
    assert step.register == Register(B1)


def test_an_announcement_has_no_answer() -> None:
    assert receive(ME, FRESH, announce(B1, T1)).reply is None
    assert receive(ME, FRESH, announce(B1, T1)._replace(epoch=2)) == Step(FRESH, None)


# read


@pytest.mark.parametrize("register", [FRESH, PROMISED, ACCEPTED])
def test_read_changes_nothing(register: Register) -> None:
    step = receive(ME, register, m.Read(*HEAD))
    assert step == Step(register, m.State(ATTEMPT, ME.voter, POLITY, 3, *register))


# prepare


def test_a_higher_ballot_is_promised() -> None:
    assert after(PROMISED, prepare(B4)) == PROMISED._replace(promised=B4)
    assert after(ACCEPTED, prepare(B4)) == ACCEPTED._replace(promised=B4)


@pytest.mark.parametrize("lower", [B1, B2, B3])
def test_a_ballot_that_is_not_higher_is_not_promised(lower: Ballot) -> None:
    assert after(PROMISED, prepare(lower)) == PROMISED


def test_of_one_round_the_higher_proposer_is_promised() -> None:
    assert after(Register(ballot(3, "p")), prepare(ballot(3, "q"))).promised == ballot(3, "q")
    assert after(Register(ballot(3, "q")), prepare(ballot(3, "p"))).promised == ballot(3, "q")


# accept


@pytest.mark.parametrize("b", [B3, B4])
def test_the_promised_ballot_or_a_higher_one_is_accepted_and_promised(b: Ballot) -> None:
    assert after(PROMISED, accept(b, T1)) == Register(b, b, T1)


def test_a_ballot_below_the_promise_is_not_accepted() -> None:
    assert after(PROMISED, accept(B2, T1)) == PROMISED


def test_accepting_leaves_what_is_confirmed_alone() -> None:
    known = Register(B1, B1, T1, B1, T1)
    assert after(known, accept(B2, T2)) == Register(B2, B2, T2, B1, T1)


# stand


def test_a_stand_at_a_fresh_voter_is_a_vote_and_a_promise() -> None:
    assert after(FRESH, stand(B1)) == Register(B1, ZERO.fast, T1)


def test_a_second_stand_on_the_same_base_gets_a_promise_and_no_vote() -> None:
    voted = after(FRESH, stand(B1))
    assert after(voted, stand(B2, T1_OF_N1)) == voted._replace(promised=B2)


def test_a_second_stand_with_a_lower_ballot_changes_nothing() -> None:
    voted = after(FRESH, stand(B2))
    assert after(voted, stand(B1, T1_OF_N1)) == voted


def test_a_promise_above_the_base_forbids_the_vote_but_not_a_higher_promise() -> None:
    assert after(Register(B1), stand(B2)) == Register(B2)
    assert after(Register(B3), stand(B2)) == Register(B3)


def test_a_stand_heals_a_voter_that_missed_its_base() -> None:
    missed = Register(B1, ZERO.fast, T1)
    assert after(missed, stand(B4, T3, base=B3)) == Register(B4, B3.fast, T3)
    assert after(FRESH, stand(B4, T3, base=B3)) == Register(B4, B3.fast, T3)


def test_a_stand_does_not_heal_what_the_voter_promised_not_to_accept() -> None:
    promised = Register(B4, ZERO, VACANT)
    assert after(promised, stand(B5, T3, base=B3)) == Register(B5, ZERO, VACANT)


def test_a_promise_of_just_the_base_or_its_fast_ballot_does_not_forbid_the_vote() -> None:
    assert after(Register(B3, B3, T2), stand(B4, T3, base=B3)).tenure == T3
    assert after(Register(B3.fast, B3, T2), stand(B4, T3, base=B3)).tenure == T3


def test_a_late_copy_of_the_base_does_not_undo_a_vote() -> None:
    """The vote promised its fast ballot, which lies above the base, whatever the stand's own ballot is."""
    voted = after(Register(B3, B3, T2), stand(B4, T3, base=B3))
    assert after(voted, accept(B3, T2)) == voted
    assert after(voted, stand(B5, T3._replace(holder="n9"), base=B3)).tenure == T3


def test_no_when_a_newer_holder_is_confirmed() -> None:
    known = Register(B1, B1, T1, B1, T1)
    step = receive(ME, known, stand(B3, T1_OF_N1))
    assert step.register == known
    assert isinstance(step.reply, m.State)
    assert is_no(step.reply, ZERO, B3)


@pytest.mark.parametrize(
    ("register", "why"),
    [
        (Register(B1, B1, T2, B1, T2), "a vacancy is confirmed"),
        (Register(B3, B3, T1, B3, T1), "the holder was decided at the very ballot"),
        (Register(B4, B4, T1, B4, T1), "the holder was decided above it"),
        (Register(B2, B2, T2, B1, T1), "something newer than the holder is accepted"),
        (FRESH, "nothing is confirmed"),
    ],
)
def test_not_no(register: Register, why: str) -> None:
    reply = receive(ME, register, stand(B3, T1_OF_N1)).reply
    assert isinstance(reply, m.State)
    assert not is_no(reply, ZERO, B3), why


def test_not_no_when_the_candidate_knows_a_newer_vacancy_than_the_voter() -> None:
    known = Register(B1, B1, T1, B1, T1)
    assert after(known, stand(B4, T3, base=B3)) == Register(B4, B3.fast, T3, B1, T1)


def test_no_is_said_after_the_base_was_healed() -> None:
    """The base is newer than anything this voter accepted, and older than the holder it was told of."""
    told = Register(ZERO, ZERO, VACANT, B3, T1)
    assert after(told, stand(B4, T1_OF_N1, base=B1)) == Register(B1, B1, VACANT, B3, T1)


# announce


def test_an_announcement_is_remembered_and_accepted() -> None:
    assert after(PROMISED, announce(B4, T1)) == Register(B4, B4, T1, B4, T1)


def test_an_announcement_below_the_promise_is_remembered_only() -> None:
    assert after(PROMISED, announce(B2, T1)) == Register(B3, ZERO, VACANT, B2, T1)


def test_an_older_announcement_does_not_replace_a_newer_one() -> None:
    known = after(FRESH, announce(B3, T3))
    assert after(known, announce(B1, T1)) == known


def test_a_tenure_of_a_fast_round_is_announced_at_its_fast_ballot() -> None:
    assert after(FRESH, announce(ZERO.fast, T1)) == Register(ZERO.fast, ZERO.fast, T1, ZERO.fast, T1)


# refusals: nothing changes, and the answer says why


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (stand(ZERO), m.UNUSABLE),
        (stand(B3, T3, base=B3), m.UNUSABLE),
        (stand(B2, T3, base=B3), m.UNUSABLE),
        (stand(B4, T3, base=B3.fast), m.UNUSABLE),
        (stand(B4.fast, T3, base=B3), m.UNUSABLE),
        (stand(B4, T3, base=B3)._replace(vacancy=Tenure(2, None, b"claim-r9")), m.UNUSABLE),
        (stand(B4, T3, base=B3)._replace(vacancy=Tenure(4, None, b"claim-r0")), m.UNUSABLE),
        (stand(B4, T3, base=B3)._replace(vacancy=Tenure(2, "n0", b"claim-r0")), m.UNUSABLE),
        (stand(B4, T3, base=B3)._replace(tenure=T3._replace(holder=None)), m.UNUSABLE),
        (stand(B4, T3, base=B3)._replace(role=ELECTORATE), m.UNUSABLE),
        (prepare(B4.fast), m.UNUSABLE),
        (accept(B4.fast, T1), m.UNUSABLE),
        (prepare(ballot(3 + MAX_JUMP + 1)), m.UNUSABLE),
        (accept(ballot(3 + MAX_JUMP + 1), T1), m.UNUSABLE),
        (stand(ballot(3 + MAX_JUMP + 1)), m.UNUSABLE),
        (prepare(B4)._replace(epoch=2), m.OLD_EPOCH),
        (prepare(B4)._replace(epoch=4), m.BEHIND),
        (m.Read(*HEAD)._replace(epoch=2), m.OLD_EPOCH),
        (prepare(B4)._replace(polity=b"another!"), m.OTHER_POLITY),
        (prepare(B4)._replace(polity=m.NO_POLITY), m.FOUNDED),
    ],
)
def test_a_refusal_changes_nothing_and_says_why(message: m.RoleQuery, reason: int) -> None:
    step = receive(ME, ACCEPTED, message)
    assert step.register == ACCEPTED
    assert step.reply == m.Refusal(ATTEMPT, ME.voter, POLITY, 3, ME.digest, reason)


def test_an_absurd_announcement_is_passed_over() -> None:
    for news in (announce(ballot(MAX_JUMP + 1), T1), announce(B1, T1)._replace(role=ELECTORATE)):
        assert receive(ME, FRESH, news) == Step(FRESH, None)


def test_the_largest_jump_is_still_taken() -> None:
    assert after(PROMISED, prepare(ballot(3 + MAX_JUMP))).promised == ballot(3 + MAX_JUMP)


# foundings


def founding(message: m.Prepare | m.Accept) -> m.Prepare | m.Accept:
    return message._replace(polity=m.NO_POLITY, epoch=0, role=ELECTORATE)


DIGEST = bytes(range(16))
RECORD_OF_ALL = Tenure(1, DIGEST.hex(), POLITY)


def test_no_role_is_voted_on_before_the_polity_is_founded() -> None:
    for message in (m.Read(*HEAD), prepare(B1), accept(B1, T1), stand(B1)):
        assert refusal(receive(UNFOUNDED, FRESH, message)) == m.UNFOUNDED
        nowhere = message._replace(polity=m.NO_POLITY, epoch=0)
        assert refusal(receive(UNFOUNDED, FRESH, nowhere)) == m.UNFOUNDED


def test_a_founding_is_promised_before_any_polity_exists() -> None:
    step = receive(UNFOUNDED, FRESH, founding(prepare(B1)))
    assert step.register == Register(B1)
    assert isinstance(step.reply, m.State)


def test_a_founding_is_accepted_only_with_its_record_in_hand() -> None:
    message = founding(accept(B1, RECORD_OF_ALL))
    assert refusal(receive(UNFOUNDED, FRESH, message)) == m.NO_RECORD
    assert refusal(receive(UNFOUNDED, FRESH, message, {b"x" * 16})) == m.NO_RECORD
    assert receive(UNFOUNDED, FRESH, message, {DIGEST}).register == Register(B1, B1, RECORD_OF_ALL)


@pytest.mark.parametrize(
    "message", [accept(B1.fast, RECORD_OF_ALL), accept(B1, RECORD_OF_ALL._replace(holder=None))]
)
def test_a_founding_is_neither_fast_nor_empty(message: m.Accept) -> None:
    assert refusal(receive(UNFOUNDED, FRESH, founding(message), {DIGEST})) == m.UNUSABLE


def test_a_member_of_a_polity_takes_no_part_in_another_founding() -> None:
    for message in (founding(prepare(B1)), founding(accept(B1, RECORD_OF_ALL))):
        assert refusal(receive(ME, FRESH, message, {DIGEST})) == m.FOUNDED


def electorate(*voters: str, polity: bytes = POLITY, epoch: int = 1) -> Electorate:
    enrolled = tuple(Enrolled(voter.encode(), voter) for voter in voters)
    return Electorate(polity, epoch, (Roll(enrolled, SimpleMajority),))


def test_a_voter_enters_a_founded_record_unless_it_accepted_one_that_does_not_list_it() -> None:
    voted = Register(B1, B1, RECORD_OF_ALL)
    assert may_enter(UNFOUNDED, FRESH, electorate("voter001"))
    assert may_enter(UNFOUNDED, Register(B1), electorate("voter001"))
    assert may_enter(UNFOUNDED, voted, electorate("voter000", "voter001"))
    assert not may_enter(UNFOUNDED, voted, electorate("voter001"))


def test_a_member_enters_newer_records_of_its_own_polity_only() -> None:
    assert may_enter(ME, FRESH, electorate("voter000", epoch=4))
    assert not may_enter(ME, FRESH, electorate("voter000", epoch=3))
    assert not may_enter(ME, FRESH, electorate("voter000", epoch=2))
    assert not may_enter(ME, FRESH, electorate("voter000", polity=b"another!", epoch=9))


# any messages in any order

small_ballots = st.builds(ballot, st.integers(0, 4), st.sampled_from("pq"))
vacancies = st.sampled_from((VACANT, T2, Tenure(2, None, b"claim-r1")))
holders = st.tuples(vacancies, st.sampled_from(("n0", "n1"))).map(
    lambda of: of[0].filled_by(of[1], f"claim-{of[1]}".encode())
)
tenures = vacancies | holders
role_queries: st.SearchStrategy[m.RoleQuery] = (
    st.builds(prepare, small_ballots)
    | st.builds(accept, small_ballots, tenures)
    | st.builds(stand, small_ballots, holders, small_ballots)
)
news = st.builds(announce, small_ballots | small_ballots.map(lambda b: b.fast), tenures)


@settings(max_examples=300)
@given(st.lists(role_queries | news, max_size=12))
def test_nothing_a_voter_remembers_ever_goes_back(messages: list[m.RoleQuery | m.Announce]) -> None:
    register = FRESH
    for message in messages:
        new = receive(ME, register, message).register
        assert new.promised >= max(register.promised, new.accepted)
        assert new.accepted >= register.accepted
        assert new.confirmed_ballot >= register.confirmed_ballot
        register = new


@settings(max_examples=300)
@given(st.lists(role_queries | news, max_size=8), role_queries | news)
def test_a_message_heard_twice_in_a_row_is_a_message_heard_once(
    messages: list[m.RoleQuery | m.Announce], message: m.RoleQuery | m.Announce
) -> None:
    once = receive(ME, after(FRESH, *messages), message)
    assert receive(ME, once.register, message) == once


@settings(max_examples=300)
@given(st.lists(role_queries | news, max_size=12), small_ballots)
def test_after_a_promise_nothing_lower_is_accepted(
    messages: list[m.RoleQuery | m.Announce], promised: Ballot
) -> None:
    register = after(FRESH, prepare(promised))
    for message in messages:
        register = after(register, message)
        assert register.accepted == ZERO or register.accepted >= promised


@settings(max_examples=300)
@given(st.lists(role_queries, max_size=12), small_ballots)
def test_a_voter_votes_once_in_a_fast_round(messages: list[m.RoleQuery], base: Ballot) -> None:
    register, votes = FRESH, set()
    for message in messages:
        if isinstance(message, m.Stand):
            message = message._replace(base=base)
        register = after(register, message)
        if register.accepted == base.fast:
            votes.add(register.tenure)
    assert len(votes) <= 1


def test_an_announced_vote_stays_a_vote_when_the_stand_comes_again() -> None:
    voted = after(FRESH, stand(B1), announce(ZERO.fast, T1))
    again = receive(ME, voted, stand(B1)).reply
    assert isinstance(again, m.State)
    assert (again.accepted, again.tenure) == (ZERO.fast, T1)
