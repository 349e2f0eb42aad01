"""The tally: what is known because of a set of replies, and what is not."""

from __future__ import annotations

import pytest

from polity_cli.core import messages as m
from polity_cli.core import tally
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll, founding_record
from polity_cli.core.messages import Register, State
from polity_cli.core.quorum import QuorumPercentage
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import VACANT

POLITY = b"a polity"
B1, B2, B3, B4 = (Ballot(number, b"p") for number in range(1, 5))
T1 = VACANT.filled_by("n0", b"claim-e0")
T1_OF_N1 = VACANT.filled_by("n1", b"claim-e1")
T2 = T1.emptied(b"claim-r0")
FRESH = Register()
VOTED = Register(B1, ZERO.fast, T1)


def voters(*numbers: int) -> tuple[Enrolled, ...]:
    return tuple(Enrolled(b"voter%03d" % i, f"n{i}") for i in numbers)


def electorate(n: int, share: float = 0.5) -> Electorate:
    return founding_record(POLITY, voters(*range(n)), QuorumPercentage(share, 1))


def joint(old: int, new: int) -> Electorate:
    rule = QuorumPercentage(0.5, 1)
    return Electorate(POLITY, 2, (Roll(voters(*range(old)), rule), Roll(voters(*range(new)), rule)))


def state(voter: int, register: Register) -> State:
    return State(b"attempt1", b"voter%03d" % voter, POLITY, 1, *register)


def states(*registers: Register | None) -> dict[bytes, State]:
    """The answers of voters 0, 1, ...; None for one that is silent."""
    return {b"voter%03d" % i: state(i, r) for i, r in enumerate(registers) if r is not None}


def ids(*numbers: int) -> frozenset[bytes]:
    return frozenset(b"voter%03d" % i for i in numbers)


# newer


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FRESH, Register(B1)),
        (Register(B1), Register(B1, ZERO.fast, T1)),
        (Register(B1, B1, T1), Register(B1, B1, T1, B1, T1)),
        (Register(B1, B1, T1), Register(B2, B1, T1)),
    ],
)
def test_the_newer_of_two_states_is_the_one_that_went_on(old: Register, new: Register) -> None:
    assert tally.newer(state(0, old), state(0, new)) == state(0, new)
    assert tally.newer(state(0, new), state(0, old)) == state(0, new)


# settled


def test_a_quorum_at_one_classic_ballot_settles() -> None:
    same = Register(B1, B1, T1)
    assert tally.settled(states(same, same), electorate(3)) == Chosen(B1, T1)
    assert tally.settled(states(same, same, FRESH), electorate(3)) == Chosen(B1, T1)
    assert tally.settled(states(same, FRESH), electorate(3)) is None


def test_a_role_nobody_ever_stood_for_is_settled_vacant() -> None:
    assert tally.settled(states(FRESH, FRESH), electorate(3)) == Chosen(ZERO, VACANT)


def test_promises_do_not_unsettle() -> None:
    assert tally.settled(states(Register(B3), Register(B4)), electorate(3)) == Chosen(ZERO, VACANT)


def test_votes_want_the_fast_quorum_to_settle() -> None:
    assert tally.settled(states(VOTED, VOTED), electorate(3)) is None
    assert tally.settled(states(VOTED, VOTED, VOTED), electorate(3)) == Chosen(ZERO.fast, T1)
    assert tally.settled(states(VOTED, VOTED, VOTED), electorate(5)) is None
    assert tally.settled(states(VOTED, VOTED, VOTED, VOTED), electorate(5)) == Chosen(ZERO.fast, T1)


def test_one_tenure_at_different_ballots_is_not_a_quorum() -> None:
    mixed = states(VOTED, Register(B1, B1, T1), Register(B2, B2, T1))
    assert tally.settled(mixed, electorate(5)) is None


def test_one_ballot_with_different_votes_is_not_a_quorum() -> None:
    split = states(VOTED, VOTED, VOTED, VOTED._replace(tenure=T1_OF_N1))
    assert tally.settled(split, electorate(5)) is None


def test_a_confirmation_settles_if_a_quorum_has_not_gone_past_it() -> None:
    knows = Register(B1, B1, T1, B1, T1)
    assert tally.settled(states(knows, FRESH), electorate(3)) == Chosen(B1, T1)
    assert tally.settled(states(knows, Register(B2, B2, T2)), electorate(3)) is None
    assert tally.settled(states(knows, FRESH, Register(B2, B2, T2)), electorate(3)) == Chosen(B1, T1)


def test_a_confirmation_at_a_fast_ballot_settles_too() -> None:
    knows = Register(B1, ZERO.fast, T1, ZERO.fast, T1)
    assert tally.settled(states(knows, VOTED), electorate(3)) == Chosen(ZERO.fast, T1)


def test_a_confirmation_a_quorum_has_gone_past_does_not_settle() -> None:
    past = Register(B2, B2, T2, B1, T1)
    assert tally.settled(states(past, past), electorate(3)) == Chosen(B2, T2)
    other = Register(B3, B3, T2, B1, T1)
    assert tally.settled(states(past, other), electorate(3)) is None


def test_the_newest_of_several_settlements_counts() -> None:
    old = Register(B1, B1, T1)
    knows = Register(B2, B2, T2, B2, T2)
    assert tally.settled(states(old, old, knows), electorate(3)) == Chosen(B2, T2)


def test_a_joint_electorate_settles_by_both_rolls_and_never_by_votes() -> None:
    same = Register(B1, B1, T1)
    both = joint(1, 3)
    assert tally.settled(states(None, same, same), both) is None
    assert tally.settled(states(same), both) is None
    assert tally.settled(states(same, same), both) == Chosen(B1, T1)
    assert tally.settled(states(VOTED, VOTED, VOTED), both) is None


# votes, noes, promises, acceptances


def test_yes_is_my_very_tenure_at_the_very_fast_ballot() -> None:
    heard = states(
        VOTED,
        VOTED._replace(tenure=T1_OF_N1),
        Register(B2, B2, T1),
        VOTED._replace(tenure=T1._replace(after=b"claim-r9")),
        FRESH,
    )
    assert tally.votes(heard, ZERO, T1) == ids(0)


def test_no_is_a_holder_between_base_and_ballot_with_nothing_newer_accepted() -> None:
    heard = states(
        Register(B2, B2, T1, B2, T1),
        Register(B1, B1, T1, B1, T1),
        Register(B3, B3, T1, B3, T1),
        Register(B2, B2, T2, B2, T2),
        Register(B2.fast, B2.fast, T1, B2, T1),
    )
    assert tally.noes(heard, B1, B3) == ids(0)


def test_a_promise_is_exactly_the_ballot_and_so_is_an_acceptance() -> None:
    heard = states(Register(B2, B1, T1), Register(B3, B2, T1), Register(B2, B2, T1), Register(B1))
    assert tally.promises(heard, B2) == ids(0, 2)
    assert tally.acceptances(heard, B2) == ids(1, 2)


# is_void

PROMISED_ONLY = Register(B1)


@pytest.mark.parametrize(
    ("n", "share", "lost", "void"),
    [
        (3, 1, 0, False),
        (3, 1, 1, True),
        (3, 0.5, 1, False),
        (3, 0.5, 2, True),
        (4, 0.5, 2, False),
        (4, 0.5, 3, True),
        (5, 0.5, 3, False),
        (5, 0.5, 4, True),
        (5, 0.7, 2, False),
        (5, 0.7, 3, True),
    ],
)
def test_a_stand_is_void_once_too_few_are_left_that_may_vote(
    n: int, share: float, lost: int, void: bool
) -> None:
    heard = states(*[PROMISED_ONLY] * lost)
    assert tally.is_void(heard, electorate(n, share), B1, T1) is void


def test_votes_higher_promises_and_silence_do_not_make_a_stand_void() -> None:
    five = electorate(5)
    assert not tally.is_void(states(*[VOTED] * 5), five, B1, T1)
    assert not tally.is_void(states(*[Register(B2)] * 5), five, B1, T1)
    assert not tally.is_void({}, five, B1, T1)
    assert tally.is_void(states(*[VOTED._replace(tenure=T1_OF_N1)] * 4), five, B1, T1)


def test_nothing_is_void_in_a_joint_electorate() -> None:
    assert not tally.is_void(states(*[PROMISED_ONLY] * 3), joint(3, 3), B1, T1)


@pytest.mark.parametrize("share", [0.5, 0.6, 0.7, 0.8, 1])
@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_a_void_stand_is_neither_chosen_nor_recovered_whoever_is_asked(n: int, share: float) -> None:
    """The voters that are left vote for it, all of them; then every quorum is asked."""
    many = electorate(n, share)
    q, f = many.current.q, many.current.f
    for lost in range(n + 1):
        left = n - lost
        if tally.is_void(states(*[PROMISED_ONLY] * lost), many, B1, T1):
            assert left < f
            assert all(min(left, seen) + n - seen < f for seen in range(q, n + 1))
        elif lost < n:
            assert left >= f or min(left, q) + n - q >= f


# current_of


def test_the_current_tenure_is_recovered_from_those_that_promised() -> None:
    heard = states(Register(B2, ZERO.fast, T1), Register(B2, ZERO.fast, T1), Register(B3, B3, T2))
    assert tally.current_of(heard, electorate(3), B2) == T1


def test_fast_votes_seen_in_a_joint_electorate_are_judged_by_the_old_roll() -> None:
    vote = Register(B2, ZERO.fast, T1)
    assert tally.current_of(states(vote, Register(B2), Register(B2)), joint(1, 3), B2) == T1
    assert tally.current_of(states(vote, vote, Register(B2)), joint(3, 5), B2) == VACANT


# vote_of


@pytest.mark.parametrize(
    ("register", "word"),
    [
        (Register(B1, ZERO.fast, T1), "YES"),
        (Register(B2, B2, T1, B1.fast, T1), "has promised more"),
        (Register(B1, B1, T1_OF_N1, B1, T1_OF_N1), "NO"),
        (Register(B3), "promises"),
        (Register(B4), "has promised more"),
    ],
)
def test_what_a_voter_says_to_a_stand_in_a_word(register: Register, word: str) -> None:
    message = m.Stand(b"attempt1", POLITY, 1, "leader", ZERO, VACANT, T1, B3)
    assert tally.vote_of(message, state(0, register)) == word


def test_what_a_voter_says_to_the_other_messages_in_a_word() -> None:
    head = (b"attempt1", POLITY, 1, "leader")
    assert tally.vote_of(m.Prepare(*head, B1), state(0, Register(B1))) == "promises"
    assert tally.vote_of(m.Prepare(*head, B1), state(0, Register(B2))) == "has promised more"
    assert tally.vote_of(m.Accept(*head, B1, T1), state(0, Register(B1, B1, T1))) == "accepts"
    assert tally.vote_of(m.Accept(*head, B1, T1), state(0, Register(B2))) == "has promised more"
    assert tally.vote_of(m.Accept(*head, B1, T1), state(0, Register(B1))) == "promises"
    assert tally.vote_of(m.Read(*head), state(0, FRESH)) == ""
