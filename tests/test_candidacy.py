"""The candidacy: every move between its phases, what it tells, and when it must not.

`Candidate` plays one operation against registers written down by hand; nothing else runs.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import count

import pytest

from polity_cli.core import candidacy
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, Roll, founding_record
from polity_cli.core.messages import Accept, Prepare, Read, Register, RoleQuery, Stand, State
from polity_cli.core.operation import Candidacy, Move, Order, Outcome, Pace, Phase, Purpose, Verdict
from polity_cli.core.quorum import QuorumPercentage
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import VACANT, Tenure

POLITY = b"a polity"
ROLE = "leader"
MINE = b"claim-me"
MAJORITY = QuorumPercentage(0.5, 1)
PACE = Pace()
FRESH = Register()

B1, B2, B3, B4 = (Ballot(number, b"proposer") for number in range(1, 5))
OTHERS = VACANT.filled_by("n1", b"claim-e1")
MY_OLD = VACANT.filled_by("n0", b"claim-e9")
EMPTIED = OTHERS.emptied(b"claim-r1")
MINE_EMPTIED = VACANT.filled_by("n0", MINE).emptied(b"claim-r1")
THIRD = EMPTIED.filled_by("n2", b"claim-e2")
UNSETTLED = (Register(B1, B1, OTHERS), FRESH, Register(B1, ZERO.fast, OTHERS))


def voters(*numbers: int) -> tuple[Enrolled, ...]:
    return tuple(Enrolled(b"voter%03d" % i, f"n{i}") for i in numbers)


def ids(*numbers: int) -> frozenset[bytes]:
    return frozenset(b"voter%03d" % i for i in numbers)


def accepted(b: Ballot, tenure: Tenure, promised: Ballot | None = None) -> Register:
    return Register(promised or b, b, tenure)


def known(b: Ballot, tenure: Tenure) -> Register:
    return Register(b, b, tenure, b, tenure)


class Draws:
    """Ids in rising order; the jitter is what the test says."""

    def __init__(self, floor: int) -> None:
        self._numbers = count(1)
        self.drawn = 0.5
        self.floor = floor

    def id(self) -> bytes:
        return next(self._numbers).to_bytes(8, "big")

    def jitter(self) -> float:
        return self.drawn

    def round_floor(self) -> int:
        return self.floor


class Candidate:
    """One operation on n0, and the last message it sent."""

    def __init__(
        self,
        purpose: Purpose = Purpose.ELECT,
        *,
        n: int = 3,
        share: float = 0.5,
        local: Register | None = None,
        alive: Collection[int] | None = None,
        electorate: Electorate | None = None,
        pace: Pace = PACE,
        holder: str | None = None,
        term: int | None = None,
        at_least: int = 0,
        patient: bool = False,
        floor: int = 0,
        slot: str = "",
    ) -> None:
        self.draws = Draws(floor)
        self.now_s = 100.0
        self.sent: list[RoleQuery] = []
        self.electorate = electorate or founding_record(POLITY, voters(*range(n)), QuorumPercentage(share, 1))
        order = Order(purpose, ROLE, "n0", MINE, holder, term, at_least, patient, slot)
        self._take(
            candidacy.begin(
                order,
                self.electorate,
                local=local,
                alive=None if alive is None else ids(*alive),
                now_s=self.now_s,
                draws=self.draws,
                pace=pace,
            )
        )

    def _take(self, move: Move) -> None:
        self.c: Candidacy = move.candidacy
        if move.send is not None:
            self.sent.append(move.send)

    def answer(self, voter: int, register: Register) -> State:
        return State(self.c.attempt, b"voter%03d" % voter, POLITY, self.electorate.epoch, *register)

    def hear_state(self, state: State) -> None:
        self._take(candidacy.hear(self.c, state, self.now_s, self.draws))

    def hear(self, voter: int, register: Register) -> None:
        self.hear_state(self.answer(voter, register))

    def hear_all(self, *registers: Register) -> None:
        for voter, register in enumerate(registers):
            self.hear(voter, register)

    def wake(self, alive: Collection[int] | None = None) -> None:
        self.now_s = max(self.now_s, self.c.wake_at_s)
        living = None if alive is None else ids(*alive)
        self._take(candidacy.wake(self.c, self.now_s, self.draws, living))

    def give_up(self) -> None:
        self._take(candidacy.give_up(self.c))

    def is_in(self, phase: Phase) -> bool:
        return self.c.phase is phase

    @property
    def last(self) -> RoleQuery:
        return self.sent[-1]

    @property
    def ballot(self) -> Ballot:
        return self.c.ballot

    @property
    def outcome(self) -> Outcome:
        assert self.c.outcome is not None, self.c.phase
        return self.c.outcome

    @property
    def verdict(self) -> Verdict:
        return self.outcome.verdict

    def voted(self, *, promised: Ballot | None = None) -> Register:
        """A register that holds a vote for this candidate's stand."""
        assert self.c.stood is not None
        return Register(promised or self.ballot, self.c.base.ballot.fast, self.c.stood)

    def promised(self) -> Register:
        return Register(self.ballot, self.c.base.ballot, self.c.base.tenure)

    def settle(self, b: Ballot, tenure: Tenure) -> None:
        """Three voters' answers to a look, all alike."""
        for voter in range(self.electorate.current.q):
            self.hear(voter, accepted(b, tenure))


def standing(**options: object) -> Candidate:
    """A candidate that has just stood on the vacancy of a fresh role."""
    c = Candidate(local=FRESH, **options)  # type: ignore[arg-type]
    assert c.is_in(Phase.STAND)
    return c


def yielded_after_a_stand(n: int = 3) -> Candidate:
    """A candidate whose stand in term 1 drew a vote and silence: it may yet take effect."""
    c = standing(n=n)
    c.hear(0, c.voted())
    while not c.is_in(Phase.YIELD):
        c.wake()
    assert c.c.pending == (1, 1)
    return c


# begin


def test_an_election_stands_on_the_vacancy_its_own_ledger_holds() -> None:
    c = Candidate(local=accepted(B2, EMPTIED))
    assert isinstance(c.last, Stand)
    assert (c.last.base, c.last.vacancy) == (B2, EMPTIED)
    assert c.last.tenure == EMPTIED.filled_by("n0", MINE)
    assert c.last.ballot == Ballot(3, c.c.attempt)
    assert c.is_in(Phase.STAND)


@pytest.mark.parametrize(
    ("local", "why"),
    [
        (None, "there is no ledger"),
        (accepted(ZERO.fast, OTHERS, B1), "a vote is no vacancy"),
        (accepted(B1, OTHERS), "the role is filled"),
        (Register(B3, B1, EMPTIED, B2, THIRD), "something newer is confirmed"),
    ],
)
def test_an_election_looks_first_when_its_ledger_offers_no_base(local: Register | None, why: str) -> None:
    c = Candidate(local=local)
    assert c.is_in(Phase.LOOK), why
    assert isinstance(c.last, Read)


@pytest.mark.parametrize("purpose", Purpose)
def test_whoever_sees_too_few_voters_alive_looks_first(purpose: Purpose) -> None:
    c = Candidate(purpose, local=FRESH, alive=[1])
    assert c.is_in(Phase.LOOK)


def test_nobody_stands_in_a_joint_electorate() -> None:
    both = Electorate(POLITY, 2, (Roll(voters(0, 1, 2), MAJORITY), Roll(voters(0, 1, 2, 3), MAJORITY)))
    c = Candidate(local=FRESH, electorate=both)
    assert c.is_in(Phase.LOOK)
    c.hear_all(FRESH, FRESH, FRESH)
    assert c.is_in(Phase.PREPARE)


@pytest.mark.parametrize("local", [None, accepted(B1, OTHERS)])
def test_a_recall_prepares_at_once(local: Register | None) -> None:
    c = Candidate(Purpose.RECALL, local=local)
    assert isinstance(c.last, Prepare)
    assert c.last.ballot == c.ballot > B1 or local is None


def test_a_recall_looks_first_when_its_ledger_says_that_it_will_be_refused() -> None:
    assert Candidate(Purpose.RECALL, local=FRESH).is_in(Phase.LOOK)
    assert Candidate(Purpose.RECALL, local=accepted(B1, OTHERS), holder="n2").is_in(Phase.LOOK)
    assert Candidate(Purpose.RECALL, local=accepted(B1, OTHERS), term=3).is_in(Phase.LOOK)
    assert Candidate(Purpose.RECALL, local=accepted(B1, OTHERS), holder="n1", term=1).is_in(Phase.PREPARE)


def test_a_query_looks() -> None:
    assert isinstance(Candidate(Purpose.QUERY, local=accepted(B1, OTHERS)).last, Read)


def test_a_ballot_is_above_every_round_that_was_seen() -> None:
    c = Candidate(local=Register(B4, B1, EMPTIED))
    assert c.ballot.round == 5
    other = Candidate()
    other.hear(0, Register(Ballot(9, b"x"), B1, EMPTIED))
    other.hear(1, Register(B1, B1, EMPTIED, Ballot(1, b"a"), VACANT))
    assert other.is_in(Phase.STAND)
    assert other.ballot.round == 10


def test_a_ballot_is_not_below_the_floor_nor_held_down_by_it() -> None:
    c = Candidate(floor=1000)
    c.hear_all(known(B3, EMPTIED), known(B3, EMPTIED))
    assert c.is_in(Phase.STAND)
    assert c.ballot.round == 1000
    other = Candidate(floor=1000, local=Register(Ballot(2000, b"x"), B1, EMPTIED))
    assert other.ballot.round == 2001


# STAND


def test_a_fast_quorum_of_votes_wins_in_one_round_trip() -> None:
    c = standing()
    c.hear_all(c.voted(), c.voted())
    assert c.is_in(Phase.STAND)
    c.hear(2, c.voted())
    assert c.verdict is Verdict.WON
    assert c.outcome.tenure == VACANT.filled_by("n0", MINE)
    assert c.outcome.chosen == Chosen(ZERO.fast, c.outcome.tenure)
    assert (c.outcome.yes, c.outcome.required, c.outcome.round_trips) == (ids(0, 1, 2), 3, 1)
    assert not c.outcome.may_take_effect


def test_a_vote_counts_although_the_voter_has_promised_more_since() -> None:
    c = standing()
    c.hear_all(*[c.voted(promised=Ballot(7, b"x"))] * 3)
    assert c.verdict is Verdict.WON


def test_my_tenure_at_a_classic_ballot_is_no_vote() -> None:
    c = standing()
    mine = c.voted().tenure
    c.hear_all(*[Register(c.ballot, c.ballot, mine)] * 3)
    assert not c.is_in(Phase.DONE)


def test_promises_that_exclude_a_fast_win_go_on_to_accept_at_once() -> None:
    c = standing()
    c.hear(0, c.voted())
    c.hear(1, Register(c.ballot, ZERO.fast, OTHERS))
    assert c.is_in(Phase.ACCEPT)
    assert isinstance(c.last, Accept)
    assert c.last.ballot == c.ballot
    assert c.last.tenure == VACANT.filled_by("n0", MINE)


def test_what_may_have_been_chosen_is_completed_and_the_election_lost() -> None:
    c = standing()
    split = Register(c.ballot, ZERO.fast, OTHERS)
    c.hear_all(split, split)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == OTHERS
    c.hear_all(accepted(c.ballot, OTHERS), accepted(c.ballot, OTHERS))
    assert c.verdict is Verdict.LOST
    assert c.outcome.chosen == Chosen(c.ballot, OTHERS)


def test_a_fast_win_still_possible_is_given_a_short_grace() -> None:
    c = standing()
    c.hear_all(c.voted(), c.voted())
    assert c.c.wake_at_s == c.now_s + PACE.grace_s
    c.wake()
    assert isinstance(c.last, Accept)
    c.hear_all(*[accepted(c.ballot, c.last.tenure)] * 2)
    assert c.verdict is Verdict.WON
    assert c.outcome.round_trips == 2


def test_voters_that_serf_calls_dead_are_given_no_grace() -> None:
    c = standing(alive=[0, 1])
    c.hear_all(c.voted(), c.voted())
    assert c.is_in(Phase.ACCEPT)


def test_a_quorum_of_noes_is_lost_and_writes_nothing() -> None:
    c = standing(n=5)
    c._take(Move(c.c._replace(ballot=Ballot(5, c.ballot.proposer))))
    older, newer = known(B1, OTHERS), known(B3, THIRD)
    c.hear_all(older, older)
    assert c.is_in(Phase.STAND)
    c.hear(2, newer)
    assert c.verdict is Verdict.LOST
    assert c.outcome.tenure == THIRD
    assert c.outcome.no == ids(0, 1, 2)
    assert len(c.sent) == 1
    assert c.outcome.chosen is None


def no(c: Candidate, tenure: Tenure) -> Register:
    assert ZERO.fast < c.ballot
    return known(ZERO.fast, tenure)


def test_noes_that_name_my_node_say_held_and_those_that_name_my_claim_say_won() -> None:
    c = standing()
    c.hear_all(no(c, MY_OLD), no(c, MY_OLD))
    assert c.verdict is Verdict.HELD
    c = standing()
    mine = VACANT.filled_by("n0", MINE)
    c.hear_all(no(c, mine), no(c, mine))
    assert c.verdict is Verdict.WON


def test_a_mixture_without_any_quorum_yields() -> None:
    c = standing(share=1)
    c.hear_all(no(c, OTHERS), c.promised())
    assert c.is_in(Phase.YIELD)


def test_a_stand_that_everybody_has_outbid_yields() -> None:
    c = standing()
    c.hear(0, Register(B4))
    assert c.is_in(Phase.STAND)
    c.hear(1, Register(B4))
    assert c.is_in(Phase.YIELD)
    assert c.c.pending == (1, 1)


def test_one_that_was_outbid_may_still_win_with_the_others() -> None:
    c = standing()
    c.hear(0, Register(B4))
    c.hear(1, c.voted())
    c.hear(2, c.voted())
    assert c.is_in(Phase.ACCEPT)


# PREPARE and ACCEPT


def recalling(**options: object) -> Candidate:
    return Candidate(Purpose.RECALL, local=accepted(B1, OTHERS), **options)  # type: ignore[arg-type]


def test_a_recall_empties_what_a_quorum_promises_on() -> None:
    c = recalling()
    now = accepted(B1, OTHERS, c.ballot)
    c.hear(0, now)
    assert c.is_in(Phase.PREPARE)
    c.hear(1, now)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == OTHERS.emptied(MINE)
    c.hear(0, accepted(c.ballot, c.last.tenure))
    assert c.is_in(Phase.ACCEPT)
    c.hear(1, accepted(c.ballot, c.last.tenure))
    assert c.verdict is Verdict.RECALLED
    assert (c.outcome.tenure, c.outcome.previous_holder) == (OTHERS.emptied(MINE), "n1")
    assert c.outcome.chosen == Chosen(c.ballot, OTHERS.emptied(MINE))


def test_nothing_is_told_before_a_quorum_accepted_it() -> None:
    c = recalling(holder="n2", alive=[0, 1, 2], pace=PACE._replace(looks=1))
    c.hear_all(accepted(B1, OTHERS), Register(B2))
    c.wake()
    assert c.is_in(Phase.PREPARE)
    c.hear_all(*[accepted(B1, OTHERS, c.ballot)] * 2)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == OTHERS
    assert c.c.verdict is Verdict.GUARD
    assert c.is_in(Phase.ACCEPT)
    c.hear_all(*[accepted(c.ballot, OTHERS)] * 2)
    assert c.verdict is Verdict.GUARD


@pytest.mark.parametrize(
    ("purpose", "current", "verdict", "proposal"),
    [
        (Purpose.ELECT, EMPTIED, Verdict.WON, EMPTIED.filled_by("n0", MINE)),
        (Purpose.ELECT, OTHERS, Verdict.LOST, OTHERS),
        (Purpose.ELECT, MY_OLD, Verdict.HELD, MY_OLD),
        (Purpose.RECALL, OTHERS, Verdict.RECALLED, OTHERS.emptied(MINE)),
        (Purpose.RECALL, EMPTIED, Verdict.VACANT, EMPTIED),
        (Purpose.QUERY, OTHERS, Verdict.ANSWER, OTHERS),
        (Purpose.QUERY, EMPTIED, Verdict.ANSWER, EMPTIED),
    ],
)
def test_every_outcome_goes_through_an_accept_of_the_result(
    purpose: Purpose, current: Tenure, verdict: Verdict, proposal: Tenure
) -> None:
    c = Candidate(purpose, pace=PACE._replace(looks=1))
    if c.is_in(Phase.LOOK):
        c.hear_all(accepted(B1, current), Register(B1))
        c.wake()
    assert c.is_in(Phase.PREPARE)
    c.hear_all(accepted(B1, current, c.ballot), Register(c.ballot))
    assert isinstance(c.last, Accept)
    assert c.last.tenure == proposal
    c.hear_all(*[accepted(c.ballot, proposal)] * 2)
    assert (c.verdict, c.outcome.tenure) == (verdict, proposal)


def test_a_promise_of_more_than_my_ballot_is_none_of_mine() -> None:
    c = recalling()
    c.hear(0, Register(Ballot(9, b"x"), B1, OTHERS))
    c.hear(1, accepted(B1, OTHERS, c.ballot))
    assert c.is_in(Phase.PREPARE)
    c.hear(2, Register(Ballot(9, b"x"), B1, OTHERS))
    assert c.is_in(Phase.YIELD)


def test_a_promise_is_not_an_acceptance() -> None:
    c = recalling()
    now = accepted(B1, OTHERS, c.ballot)
    c.hear_all(now, now)
    assert c.is_in(Phase.ACCEPT)
    c.hear_all(now, now, now)
    assert c.is_in(Phase.ACCEPT)


def test_after_the_accept_further_promises_change_nothing() -> None:
    c = recalling()
    now = accepted(B1, OTHERS, c.ballot)
    c.hear_all(now, now)
    sent = len(c.sent)
    c.hear(2, accepted(B3, THIRD, c.ballot))
    assert len(c.sent) == sent
    assert c.c.proposal == OTHERS.emptied(MINE)


def test_an_accept_that_is_outbid_yields_and_stays_pending() -> None:
    c = recalling()
    now = accepted(B1, OTHERS, c.ballot)
    c.hear_all(now, now)
    c.hear(0, accepted(c.ballot, OTHERS.emptied(MINE)))
    c.hear(1, Register(Ballot(9, b"x"), B1, OTHERS))
    assert c.is_in(Phase.ACCEPT)
    c.hear(2, Register(Ballot(9, b"x"), B1, OTHERS))
    assert c.is_in(Phase.YIELD)
    assert c.c.pending == (2, 2)


def test_whoever_accepted_and_promised_more_since_has_accepted() -> None:
    c = recalling()
    now = accepted(B1, OTHERS, c.ballot)
    c.hear_all(now, now)
    later = accepted(c.ballot, OTHERS.emptied(MINE), Ballot(9, b"x"))
    c.hear_all(later, later)
    assert c.verdict is Verdict.RECALLED


def test_whoever_accepted_before_promising_more_is_not_counted_as_having_refused() -> None:
    c = recalling()
    now = accepted(B1, OTHERS, c.ballot)
    c.hear_all(now, now)
    c.hear(0, accepted(c.ballot, OTHERS.emptied(MINE), Ballot(9, b"x")))
    c.hear(1, Register(Ballot(9, b"x"), B1, OTHERS))
    assert c.is_in(Phase.ACCEPT)
    c.hear(2, accepted(c.ballot, OTHERS.emptied(MINE)))
    assert c.verdict is Verdict.RECALLED


def test_a_joint_electorate_wants_both_quorums() -> None:
    both = Electorate(POLITY, 2, (Roll(voters(0, 1, 2), MAJORITY), Roll(voters(2, 3, 4), MAJORITY)))
    c = recalling(electorate=both)
    now = accepted(B1, OTHERS, c.ballot)
    for voter in (0, 1):
        c.hear(voter, now)
    assert c.is_in(Phase.PREPARE)
    for voter in (3, 4):
        c.hear(voter, now)
    assert c.is_in(Phase.ACCEPT)
    for voter in (0, 1, 3):
        c.hear(voter, accepted(c.ballot, OTHERS.emptied(MINE)))
    assert c.is_in(Phase.ACCEPT)
    c.hear(4, accepted(c.ballot, OTHERS.emptied(MINE)))
    assert c.verdict is Verdict.RECALLED


# LOOK


@pytest.mark.parametrize(
    ("purpose", "current", "verdict"),
    [
        (Purpose.ELECT, OTHERS, Verdict.LOST),
        (Purpose.ELECT, MY_OLD, Verdict.HELD),
        (Purpose.QUERY, OTHERS, Verdict.ANSWER),
        (Purpose.QUERY, EMPTIED, Verdict.ANSWER),
    ],
)
def test_a_settled_tenure_may_be_the_whole_answer(
    purpose: Purpose, current: Tenure, verdict: Verdict
) -> None:
    c = Candidate(purpose)
    c.hear(0, accepted(B1, current))
    assert c.is_in(Phase.LOOK)
    c.hear(1, accepted(B1, current))
    assert (c.verdict, c.outcome.tenure, c.outcome.round_trips) == (verdict, current, 1)


def test_a_settled_vacancy_is_the_answer_to_a_recall() -> None:
    c = Candidate(Purpose.RECALL, local=FRESH)
    c.settle(B1, EMPTIED)
    assert (c.verdict, c.outcome.tenure) == (Verdict.VACANT, EMPTIED)


def test_a_settled_tenure_that_a_guard_excludes_is_the_answer_to_a_recall() -> None:
    c = recalling(holder="n2")
    c.settle(B1, OTHERS)
    assert (c.verdict, c.outcome.tenure) == (Verdict.GUARD, OTHERS)


def test_a_recall_that_looked_and_found_a_holder_prepares() -> None:
    c = Candidate(Purpose.RECALL, local=FRESH)
    c.settle(B1, OTHERS)
    assert isinstance(c.last, Prepare)
    assert c.ballot.round == 2


def test_a_settled_vacancy_is_the_base_of_a_stand() -> None:
    c = Candidate()
    c.settle(B2, EMPTIED)
    assert isinstance(c.last, Stand)
    assert (c.last.base, c.last.vacancy) == (B2, EMPTIED)


def test_what_was_found_is_announced_if_somebody_misses_it() -> None:
    c = Candidate(Purpose.QUERY)
    c.hear_all(known(B1, OTHERS), known(B1, OTHERS))
    assert c.outcome.chosen is None
    c = Candidate(Purpose.QUERY)
    c.hear_all(known(B1, OTHERS), accepted(B1, OTHERS))
    assert c.outcome.chosen == Chosen(B1, OTHERS)


def test_an_unsettled_look_waits_a_grace_for_the_rest_and_then_yields() -> None:
    c = Candidate(Purpose.QUERY)
    c.hear_all(accepted(B1, OTHERS), FRESH)
    assert c.is_in(Phase.LOOK)
    assert c.c.wake_at_s == c.now_s + PACE.grace_s
    c.wake()
    assert c.is_in(Phase.YIELD)


def test_an_unsettled_look_at_everybody_alive_yields_at_once() -> None:
    c = Candidate(Purpose.QUERY, alive=[0, 1])
    c.hear_all(accepted(B1, OTHERS), FRESH)
    assert c.is_in(Phase.YIELD)


def test_unsettled_three_times_the_query_finishes_what_is_under_way() -> None:
    c = Candidate(Purpose.QUERY)
    for _ in range(2):
        c.hear_all(*UNSETTLED)
        assert c.is_in(Phase.YIELD)
        c.wake()
        assert c.is_in(Phase.LOOK)
    c.hear_all(*UNSETTLED)
    assert c.is_in(Phase.PREPARE)


def test_having_outbid_others_once_a_query_looks_twice_before_it_does_so_again() -> None:
    c = Candidate(Purpose.QUERY, pace=PACE._replace(looks=1))
    c.hear_all(*UNSETTLED)
    assert c.is_in(Phase.PREPARE)
    assert c.c.unsettled == 1
    c = Candidate(Purpose.QUERY)
    for _ in range(3):
        c.hear_all(*UNSETTLED)
        if c.is_in(Phase.YIELD):
            c.wake()
    looks = 0
    c.hear_all(*[Register(Ballot(9, b"x"))] * 3)
    while not c.is_in(Phase.PREPARE):
        c.wake()
        c.hear_all(*UNSETTLED)
        looks += 1
    assert looks == 2


# who is heard


def test_strangers_old_epochs_and_other_attempts_change_nothing() -> None:
    c = standing()
    good = c.answer(0, c.voted())
    for bad in (
        good._replace(voter=b"stranger"),
        good._replace(polity=b"another!"),
        good._replace(epoch=2),
        good._replace(attempt=b"attempt0"),
    ):
        before = c.c
        c.hear_state(bad)
        assert c.c == before, bad
    c.hear_state(good)
    assert len(c.c.states) == 1


def test_one_voter_heard_three_times_is_one_voter() -> None:
    c = standing()
    for _ in range(3):
        c.hear(0, c.voted())
    assert c.is_in(Phase.STAND)
    assert len(c.c.states) == 1


def test_of_two_answers_of_a_voter_the_later_one_counts_in_whatever_order_they_come() -> None:
    c = standing()
    c.hear(0, Register(Ballot(9, b"x"), ZERO, VACANT))
    c.hear(0, Register(B1))
    assert dict(c.c.states)[b"voter000"].promised == Ballot(9, b"x")


def test_answers_to_an_earlier_attempt_do_not_count_in_the_next() -> None:
    c = Candidate(Purpose.QUERY)
    late = c.c.attempt
    c.hear_all(*UNSETTLED)
    c.wake()
    assert c.c.attempt != late
    for voter in range(3):
        c.hear_state(c.answer(voter, FRESH)._replace(attempt=late))
    assert c.is_in(Phase.LOOK)
    assert not c.c.states


def test_who_yields_or_is_done_hears_nothing() -> None:
    c = yielded_after_a_stand()
    before = c.c
    c.hear_all(*[c.voted()] * 3)
    assert c.c == before
    c.give_up()
    done = c.c
    c.hear_all(*[c.voted()] * 3)
    c.wake()
    c.give_up()
    assert c.c == done


# asking again, yielding, giving up


def test_silence_is_asked_again_with_the_same_words() -> None:
    c = standing()
    assert c.c.wake_at_s == c.now_s + PACE.ask_again_s
    for _ in range(PACE.asks - 1):
        c.wake()
    assert c.sent == [c.sent[0]] * PACE.asks
    c.wake()
    assert c.is_in(Phase.YIELD)


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.ACCEPT])
def test_every_phase_asks_again_and_then_yields(phase: Phase) -> None:
    c = recalling()
    if phase is Phase.ACCEPT:
        c.hear_all(*[accepted(B1, OTHERS, c.ballot)] * 2)
    assert c.is_in(phase)
    first, known_messages = c.last, len(c.sent)
    while c.is_in(phase):
        c.wake()
    assert c.is_in(Phase.YIELD)
    assert c.sent[known_messages:] == [first] * (PACE.asks - 1)


def test_a_look_asks_for_as_long_as_it_may() -> None:
    c = Candidate(Purpose.QUERY)
    for _ in range(20):
        c.wake()
    assert c.is_in(Phase.LOOK)
    assert c.sent == [c.sent[0]] * 21


@pytest.mark.parametrize(("drawn", "wait_s"), [(0.0, PACE.yield_min_s), (1.0, PACE.yield_max_s)])
def test_yielding_waits_a_jittered_while(drawn: float, wait_s: float) -> None:
    c = standing()
    c.draws.drawn = drawn
    c.hear_all(Register(B4), Register(B4))
    assert c.is_in(Phase.YIELD)
    assert c.c.wake_at_s == pytest.approx(c.now_s + wait_s)


def test_who_was_outbid_often_waits_longer_up_to_eight_times() -> None:
    c = recalling()
    waits = []
    for _ in range(10):
        for _ in range(10):
            if not c.is_in(Phase.PREPARE):
                c.wake()
                c.hear_all(*UNSETTLED)
        c.hear_all(*[Register(Ballot(c.ballot.round + 1, b"x"))] * 3)
        assert c.is_in(Phase.YIELD)
        waits.append(round((c.c.wake_at_s - c.now_s) / (PACE.yield_min_s + PACE.yield_max_s) * 2, 3))
    assert waits == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]


def test_a_new_attempt_has_a_new_id_and_a_ballot_above_all_it_was_shown() -> None:
    c = standing()
    first = c.ballot
    c.hear_all(Register(Ballot(20, b"x")), Register(Ballot(20, b"x")))
    c.wake()
    c.settle(ZERO, VACANT)
    assert c.is_in(Phase.PREPARE)
    assert c.ballot.round == 21
    assert c.ballot.proposer == c.c.attempt != first.proposer


def test_with_too_few_alive_and_two_asks_unanswered_it_ends() -> None:
    c = Candidate(local=FRESH, alive=[0])
    c.wake([0])
    assert c.is_in(Phase.LOOK)
    c.wake([0])
    assert c.verdict is Verdict.NO_QUORUM
    assert c.outcome.silent == ("n0", "n1", "n2")


def test_a_patient_one_keeps_asking() -> None:
    c = Candidate(local=FRESH, alive=[0], patient=True)
    for _ in range(10):
        c.wake([0])
    assert c.is_in(Phase.LOOK)
    c.hear_all(FRESH, FRESH)
    assert c.is_in(Phase.STAND)


def test_a_quorum_that_answers_is_believed_whatever_serf_says() -> None:
    c = Candidate(local=FRESH, alive=[0])
    c.hear_all(FRESH, FRESH)
    assert c.is_in(Phase.STAND)


def test_giving_up_before_anything_was_proposed_has_no_consequences() -> None:
    for c in (Candidate(), recalling(), Candidate(Purpose.QUERY)):
        c.give_up()
        assert c.verdict is Verdict.NO_QUORUM
        assert not c.outcome.may_take_effect
        assert c.outcome.tenure is None


def test_giving_up_after_a_stand_or_an_accept_is_unknown() -> None:
    stood = standing()
    accepting = recalling()
    accepting.hear_all(*[accepted(B1, OTHERS, accepting.ballot)] * 2)
    for c in (stood, accepting, yielded_after_a_stand()):
        c.give_up()
        assert c.verdict is Verdict.UNKNOWN
        assert c.outcome.may_take_effect


def test_giving_up_while_passing_on_what_others_decided_has_no_consequences() -> None:
    c = recalling(holder="n9", pace=PACE._replace(looks=1))
    c.hear_all(*UNSETTLED)
    c.hear_all(*[accepted(B1, OTHERS, c.ballot)] * 2)
    assert c.is_in(Phase.ACCEPT)
    c.give_up()
    assert c.verdict is Verdict.NO_QUORUM


def test_a_void_stand_is_not_pending() -> None:
    c = standing(share=1)
    c.hear(0, Register(c.ballot, ZERO.fast, OTHERS))
    c.give_up()
    assert c.verdict is Verdict.NO_QUORUM
    c = standing(share=1)
    c.hear(0, c.voted())
    c.give_up()
    assert c.verdict is Verdict.UNKNOWN


# trying again


def test_a_look_finds_that_the_first_attempt_won_after_all() -> None:
    c = yielded_after_a_stand()
    mine = VACANT.filled_by("n0", MINE)
    c.wake()
    c.settle(B4, mine)
    assert (c.verdict, c.outcome.tenure) == (Verdict.WON, mine)


@pytest.mark.parametrize(("current", "verdict"), [(OTHERS, Verdict.LOST), (MY_OLD, Verdict.HELD)])
def test_the_very_term_that_was_proposed_went_to_another_claim(current: Tenure, verdict: Verdict) -> None:
    c = yielded_after_a_stand()
    c.wake()
    c.settle(B4, current)
    assert (c.verdict, c.outcome.tenure) == (verdict, current)


@pytest.mark.parametrize("current", [MINE_EMPTIED, EMPTIED._replace(after=b""), THIRD])
def test_a_term_beyond_the_one_that_was_proposed_is_unknown(current: Tenure) -> None:
    c = yielded_after_a_stand()
    c.wake()
    c.settle(B4, current)
    assert c.verdict is Verdict.UNKNOWN
    assert c.outcome.may_take_effect


def test_a_vacancy_that_names_another_s_tenure_as_the_one_before_leaves_no_doubt() -> None:
    c = yielded_after_a_stand()
    c.wake()
    c.settle(B4, EMPTIED)
    assert c.is_in(Phase.PREPARE)
    assert c.c.pending is None
    c.hear_all(*[accepted(B4, EMPTIED, c.ballot)] * 2)
    assert isinstance(c.last, Accept)
    mine = EMPTIED.filled_by("n0", MINE)
    assert c.last.tenure == mine
    c.hear_all(*[accepted(c.ballot, mine)] * 2)
    assert (c.verdict, c.outcome.tenure) == (Verdict.WON, mine)


def test_a_vacancy_that_is_only_recovered_leaves_the_doubt_to_the_next_attempt() -> None:
    c = yielded_after_a_stand()
    c.wake()
    c.settle(ZERO, VACANT)
    c.hear_all(*[accepted(B4, EMPTIED, c.ballot)] * 2)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == EMPTIED.filled_by("n0", MINE)
    c.hear_all(*[Register(Ballot(9, b"x"), B4, EMPTIED)] * 3)
    assert c.c.pending == (1, 3)


def test_the_same_vacancy_is_proposed_for_again_with_the_same_claim_and_no_second_stand() -> None:
    c = yielded_after_a_stand()
    c.wake()
    c.settle(ZERO, VACANT)
    assert c.is_in(Phase.PREPARE)
    c.hear_all(*[Register(c.ballot)] * 2)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == VACANT.filled_by("n0", MINE)


def pending_in_term_three() -> Candidate:
    """A candidate that stood on the vacancy of term 2, of which only its own ledger told it."""
    c = Candidate(local=accepted(B2, EMPTIED))
    c.hear(0, c.voted())
    while not c.is_in(Phase.YIELD):
        c.wake()
    assert c.c.pending == (3, 3)
    c.wake()
    return c


@pytest.mark.parametrize(("current", "verdict"), [(OTHERS, Verdict.LOST), (MY_OLD, Verdict.HELD)])
def test_a_look_tells_nothing_of_a_lower_term_than_the_one_pending(current: Tenure, verdict: Verdict) -> None:
    c = pending_in_term_three()
    c.settle(B1, current)
    assert c.is_in(Phase.PREPARE)
    c.hear_all(*[accepted(B1, current, c.ballot)] * 2)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == current
    c.hear_all(*[accepted(c.ballot, current)] * 2)
    assert c.verdict is verdict


def test_a_lower_vacancy_is_stood_for_again_and_both_terms_stay_pending() -> None:
    c = pending_in_term_three()
    c.settle(ZERO, VACANT)
    c.hear_all(*[Register(c.ballot)] * 2)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == VACANT.filled_by("n0", MINE)
    c.hear_all(*[Register(Ballot(99, b"x"))] * 3)
    assert c.is_in(Phase.YIELD)
    assert c.c.pending == (1, 3)
    c.wake()
    c.settle(B4, OTHERS)
    assert c.is_in(Phase.PREPARE)


def test_an_unknown_outcome_of_an_accept_is_unknown_too() -> None:
    c = yielded_after_a_stand()
    c.wake()
    c.settle(ZERO, VACANT)
    c.hear_all(*[accepted(B4, MINE_EMPTIED, c.ballot)] * 2)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == MINE_EMPTIED
    c.hear_all(*[accepted(c.ballot, MINE_EMPTIED)] * 2)
    assert c.verdict is Verdict.UNKNOWN


def recall_again() -> Candidate:
    """A recall of term 1 whose accept was outbid, about to look."""
    c = recalling()
    c.hear_all(*[accepted(B1, OTHERS, c.ballot)] * 2)
    c.hear_all(*[Register(Ballot(9, b"x"), B1, OTHERS)] * 3)
    assert c.c.pending == (2, 2)
    c.wake()
    return c


def test_a_recall_knows_its_own_vacancy_and_whom_it_recalled() -> None:
    c = recall_again()
    c.settle(B4, OTHERS.emptied(MINE))
    assert c.verdict is Verdict.RECALLED
    assert c.outcome.previous_holder == "n1"


def test_a_recall_that_another_recall_forestalled_finds_the_role_vacant() -> None:
    c = recall_again()
    c.settle(B4, EMPTIED)
    assert (c.verdict, c.outcome.tenure) == (Verdict.VACANT, EMPTIED)


def test_a_recall_does_not_touch_a_later_holder() -> None:
    c = recall_again()
    c.settle(B4, THIRD)
    assert c.verdict is Verdict.UNKNOWN


def test_a_recall_whose_holder_is_still_there_tries_again() -> None:
    c = recall_again()
    c.settle(B1, OTHERS)
    assert c.is_in(Phase.PREPARE)
    c.hear_all(*[accepted(B1, OTHERS, c.ballot)] * 2)
    assert isinstance(c.last, Accept)
    assert c.last.tenure == OTHERS.emptied(MINE)


# more votes than the rule


def test_at_least_so_many_votes_are_wanted_on_top_of_the_rule() -> None:
    c = standing(n=5, at_least=5)
    c.hear_all(*[c.voted()] * 4)
    assert not c.is_in(Phase.DONE)
    c.hear(4, c.voted())
    assert c.verdict is Verdict.WON
    assert c.outcome.required == 5


def test_an_accept_wants_at_least_so_many_too() -> None:
    c = recalling(n=5, at_least=4)
    c.hear_all(*[accepted(B1, OTHERS, c.ballot)] * 3)
    assert c.is_in(Phase.PREPARE)
    c.hear(3, accepted(B1, OTHERS, c.ballot))
    vacancy = accepted(c.ballot, OTHERS.emptied(MINE))
    c.hear_all(vacancy, vacancy, vacancy)
    assert c.is_in(Phase.ACCEPT)
    c.hear(3, vacancy)
    assert c.verdict is Verdict.RECALLED


def test_at_least_never_lowers_the_rule() -> None:
    c = standing(at_least=1)
    c.hear(0, c.voted())
    assert c.is_in(Phase.STAND)


def test_a_look_does_not_say_won_with_fewer_votes_than_were_asked_for() -> None:
    c = standing(at_least=3)
    c.hear_all(c.voted(), c.voted())
    c.wake()
    mine = accepted(c.ballot, VACANT.filled_by("n0", MINE))
    c.hear_all(mine, mine)
    while not c.is_in(Phase.YIELD):
        c.wake()
    c.wake()
    c.hear_all(mine, mine, FRESH)
    assert not c.is_in(Phase.DONE), f"won with two votes, and says {len(c.outcome.yes)}"


@pytest.mark.parametrize("number", range(4))
def test_whoever_never_answered_is_named_when_nothing_came_of_it(number: int) -> None:
    c = Candidate(Purpose.QUERY, n=4)
    for voter in range(number):
        c.hear(voter, Register(B1, Ballot(1, b"%d" % voter), OTHERS))
    c.give_up()
    assert c.outcome.silent == tuple(f"n{i}" for i in range(number, 4))


# Slots


HAD_7 = VACANT.filled_by("n1", b"claim-e1", "7").emptied(b"claim-r1")


@pytest.mark.parametrize("slot", ["7", "6"])
def test_a_slot_that_was_had_is_not_stood_for_and_told_after_an_accept_or_a_look(slot: str) -> None:
    c = Candidate(slot=slot, local=accepted(B1, HAD_7))
    assert c.is_in(Phase.LOOK), "its own ledger is a hint"
    c.hear_all(*[known(B1, HAD_7)] * 2)
    assert (c.verdict, c.outcome.tenure) == (Verdict.TAKEN, HAD_7)
    assert c.outcome.no == ids(0, 1)
    recovering = Candidate(slot=slot, pace=PACE._replace(looks=1), local=accepted(B1, HAD_7))
    recovering.hear_all(accepted(B1, HAD_7), FRESH)
    recovering.wake()
    recovering.hear_all(accepted(B1, HAD_7, recovering.c.ballot), Register(recovering.c.ballot))
    assert isinstance(recovering.last, Accept)
    assert recovering.last.tenure == HAD_7
    recovering.hear_all(*[accepted(recovering.c.ballot, HAD_7)] * 2)
    assert recovering.verdict is Verdict.TAKEN


def test_the_next_slot_is_stood_for_and_written_into_the_tenure() -> None:
    c = Candidate(slot="8", local=accepted(B1, HAD_7))
    assert isinstance(c.last, Stand)
    assert (c.last.vacancy, c.last.tenure) == (HAD_7, HAD_7.filled_by("n0", MINE, "8"))
    assert c.last.tenure.vacancy_before() == HAD_7


def test_a_holder_is_told_as_such_whatever_the_slot() -> None:
    theirs = VACANT.filled_by("n1", b"claim-e1", "7")
    c = Candidate(slot="7")
    c.hear_all(*[known(B1, theirs)] * 2)
    assert (c.verdict, c.outcome.tenure) == (Verdict.LOST, theirs)


@pytest.mark.parametrize(
    ("vacancy", "verdict"),
    [
        (HAD_7, Verdict.TAKEN),
        (VACANT.filled_by("n0", MINE, "7").emptied(b"claim-r1"), Verdict.UNKNOWN),
        (HAD_7._replace(after=b""), Verdict.UNKNOWN),
    ],
)
def test_who_may_have_had_the_slot_itself_says_that_it_was_taken_only_where_it_knows_by_whom(
    vacancy: Tenure, verdict: Verdict
) -> None:
    c = Candidate(slot="7", local=FRESH)
    c.hear(0, accepted(ZERO.fast, VACANT.filled_by("n0", MINE, "7"), c.c.ballot))
    for _ in range(PACE.asks):
        c.wake()
    assert c.is_in(Phase.YIELD)
    c.wake()
    c.hear_all(*[known(B3, vacancy)] * 2)
    assert c.verdict is verdict
