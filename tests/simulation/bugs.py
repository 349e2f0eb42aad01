"""Bugs to plant in the shipped rules, each a small lie in one of their functions.

A simulation that stays green over a broken protocol proves nothing. `BUGS` break a promise and must be
caught; `HARMLESS` look just as bad and break none, so whoever catches one of these has a wrong judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import pytest

from polity_cli.core import candidacy, electorate, operation, tally, voter
from polity_cli.core import messages as m
from polity_cli.core.ballot import Ballot
from polity_cli.core.electorate import Electorate, Roll
from polity_cli.core.messages import Register, Stand, State
from polity_cli.core.operation import Candidacy, Move, Phase, Purpose, Verdict
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import Tenure
from polity_cli.edges.memory_ledger import MemoryTransaction

if TYPE_CHECKING:
    from polity_cli.core.operation import Draws

Patch = pytest.MonkeyPatch
BUGS: dict[str, Callable[[Patch], None]] = {}
HARMLESS: dict[str, Callable[[Patch], None]] = {}


def bug(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    BUGS[plant.__name__] = plant
    return plant


def harmless(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    HARMLESS[plant.__name__] = plant
    return plant


# How many votes decide.


@bug
def fast_quorum_is_the_classic_one(patch: Patch) -> None:
    patch.setattr(electorate, "fast_quorum", lambda n, q: q)


@bug
def a_voter_counts_twice(patch: Patch) -> None:
    shipped = candidacy.hear

    def hear(c: Candidacy, state: State, now_s: float, draws: Draws) -> Move:
        heard = dict(c.states)
        silent = [e.voter for e in c.electorate.voters if e.voter not in heard]
        if state.voter in heard and silent:
            state = state._replace(voter=silent[0])
        return shipped(c, state, now_s, draws)

    patch.setattr(candidacy, "hear", hear)


@bug
def replies_of_other_attempts_count(patch: Patch) -> None:
    shipped = candidacy.hear

    def hear(c: Candidacy, state: State, now_s: float, draws: Draws) -> Move:
        return shipped(c, state._replace(attempt=c.attempt), now_s, draws)

    patch.setattr(candidacy, "hear", hear)


@bug
def votes_at_a_classic_ballot_count_as_yes(patch: Patch) -> None:
    def votes(states: tally.States, base: Ballot, tenure: Tenure) -> frozenset[bytes]:
        return tally.select(states, lambda s: s.tenure.claim == tenure.claim)

    patch.setattr(tally, "votes", votes)


@bug
def a_promise_counts_as_acceptance(patch: Patch) -> None:
    patch.setattr(tally, "acceptances", tally.promises)


# What a voter does.


def _stand_with(
    patch: Patch,
    *,
    replay_is_bound: bool = True,
    vote_is_bound: bool = True,
    vote_raises: bool = True,
    promises: bool = True,
) -> None:
    """A voter's `stand` in which single conditions can be left out."""

    def stand(register: Register, message: Stand) -> Register:
        base, vacancy, tenure = message.base, message.vacancy, message.tenure
        promised = register.promised
        if base >= promised or not replay_is_bound:
            register = register._replace(promised=max(base, promised), accepted=base, tenure=vacancy)
        if voter.is_no(register, base, message.ballot):
            return register
        if register.accepted == base and (register.promised <= base.fast or not vote_is_bound):
            promised = max(base.fast, register.promised) if vote_raises else register.promised
            register = register._replace(promised=promised, accepted=base.fast, tenure=tenure)
        return voter._promise(register, message.ballot) if promises else register

    patch.setattr(voter, "_stand", stand)


@bug
def a_stand_promises_nothing(patch: Patch) -> None:
    _stand_with(patch, promises=False)


@bug
def a_late_copy_of_the_base_undoes_a_vote(patch: Patch) -> None:
    """A vote raises no promise, and a ballot at or below the base's is neither refused nor avoided."""
    _stand_with(patch, vote_raises=False)
    patch.setattr(voter, "_refusal", lambda *_: 0)
    shipped = candidacy._stand

    def stand(c: Candidacy, base: Chosen, now_s: float, draws: Draws) -> Move:
        move = shipped(c, base, now_s, draws)
        if c.order.node != "n0" or not isinstance(move.send, Stand):
            return move
        low = Ballot(0, move.candidacy.attempt)
        return Move(move.candidacy._replace(ballot=low), move.send._replace(ballot=low))

    patch.setattr(candidacy, "_stand", stand)


@bug
def a_vote_ignores_promises(patch: Patch) -> None:
    _stand_with(patch, vote_is_bound=False)


@bug
def a_replay_ignores_promises(patch: Patch) -> None:
    _stand_with(patch, replay_is_bound=False)


@bug
def a_promise_is_lost_in_a_crash(patch: Patch) -> None:
    def save(self: MemoryTransaction, register: Register) -> None:
        self.register = register._replace(promised=max(self.register.promised, register.accepted))

    patch.setattr(MemoryTransaction, "save", save)


@bug
def a_lost_ledger_keeps_its_voter(patch: Patch) -> None:
    """A ledger is lost, here whenever news is to be kept, and its voter comes back under the same id."""

    def save(self: MemoryTransaction, register: Register) -> None:
        is_news = register.confirmed_ballot != self.register.confirmed_ballot
        self.register = Register() if is_news else register

    patch.setattr(MemoryTransaction, "save", save)


@bug
def no_without_an_upper_bound(patch: Patch) -> None:
    """A NO for a tenure decided above the candidate's own ballot: it may have had its tenure before."""

    def is_no(reply: State | Register, base: Ballot, ballot: Ballot) -> bool:
        known = reply.confirmed_ballot
        return not reply.confirmed.is_vacant and base < known and reply.accepted <= known

    patch.setattr(voter, "is_no", is_no)
    patch.setattr(tally, "is_no", is_no)


@bug
def no_although_something_newer_is_accepted(patch: Patch) -> None:
    def is_no(reply: State | Register, base: Ballot, ballot: Ballot) -> bool:
        return not reply.confirmed.is_vacant and base < reply.confirmed_ballot < ballot

    patch.setattr(voter, "is_no", is_no)
    patch.setattr(tally, "is_no", is_no)


@bug
def accept_wants_more_than_the_promise(patch: Patch) -> None:
    """Breaks no promise of safety: nobody ever gets anywhere."""

    def accept(register: Register, ballot: Ballot, tenure: Tenure) -> Register:
        if ballot <= register.promised:
            return register
        return register._replace(promised=ballot, accepted=ballot, tenure=tenure)

    patch.setattr(voter, "_accept", accept)


@harmless
def an_announcement_overrides_a_promise(patch: Patch) -> None:
    """What is chosen may be taken by anybody at any time."""

    def announce(register: Register, news: m.Announce) -> Register:
        if news.ballot > register.confirmed_ballot:
            register = register._replace(confirmed_ballot=news.ballot, confirmed=news.tenure)
        if news.ballot > register.accepted:
            promised = max(register.promised, news.ballot)
            register = register._replace(promised=promised, accepted=news.ballot, tenure=news.tenure)
        return register

    patch.setattr(voter, "_announce", announce)


# What a quorum of promises means.


def _votes_at_the_highest(promises: dict[bytes, State]) -> tuple[Ballot, Counter[Tenure]]:
    highest = max(state.accepted for state in promises.values())
    return highest, Counter(s.tenure for s in promises.values() if s.accepted == highest)


def _recover_with(patch: Patch, pick: Callable[[Counter[Tenure], int, Roll], Tenure]) -> None:
    """A recovery that picks otherwise among the votes at a fast ballot; `pick` is given the unseen voters."""

    def recover(promises: dict[bytes, State], roll: Roll) -> Tenure:
        highest, votes = _votes_at_the_highest(promises)
        return pick(votes, roll.n - len(promises), roll) if highest.is_fast else min(votes)

    patch.setattr(tally, "recover", recover)


@bug
def recovery_ignores_unseen_votes(patch: Patch) -> None:
    def pick(votes: Counter[Tenure], unseen: int, roll: Roll) -> Tenure:
        tenure, count = votes.most_common(1)[0]
        return tenure if count >= roll.f else tenure.vacancy_before()

    _recover_with(patch, pick)


@bug
def recovery_takes_any_vote(patch: Patch) -> None:
    """Safe with three voters, where the fast quorum is everybody."""
    _recover_with(patch, lambda votes, unseen, roll: min(votes, key=lambda t: t.claim))


@bug
def recovery_takes_no_vote(patch: Patch) -> None:
    _recover_with(patch, lambda votes, unseen, roll: next(iter(votes)).vacancy_before())


@harmless
def recovery_takes_the_most_voted(patch: Patch) -> None:
    """What may have been chosen has more than half of the votes seen; elsewhere any value will do."""
    _recover_with(patch, lambda votes, unseen, roll: votes.most_common(1)[0][0])


@harmless
def recovery_takes_any_vote_of_three(patch: Patch) -> None:
    """With three voters the fast quorum is everybody, so of two tenures seen neither is chosen."""
    recovery_takes_any_vote(patch)


# What an operation makes of replies.


@bug
def one_no_suffices(patch: Patch) -> None:
    shipped = candidacy._after_stand

    def after_stand(c: Candidacy, now_s: float, draws: Draws) -> Move:
        states = dict(c.states)
        for no in tally.noes(states, c.base.ballot, c.ballot):
            verdict = candidacy._judge(c, states[no].confirmed)
            assert verdict is not None
            return candidacy._done(c, verdict, states[no].confirmed)
        return shipped(c, now_s, draws)

    patch.setattr(candidacy, "_after_stand", after_stand)


@bug
def a_no_that_names_oneself_is_a_loss(patch: Patch) -> None:
    shipped = candidacy._judge

    def judge(c: Candidacy, current: Tenure) -> Verdict | None:
        verdict = shipped(c, current)
        return Verdict.LOST if c.phase is Phase.STAND and verdict is Verdict.WON else verdict

    patch.setattr(candidacy, "_judge", judge)


@bug
def told_before_the_accept_quorum(patch: Patch) -> None:
    shipped = candidacy._accept

    def accept(c: Candidacy, now_s: float, draws: Draws) -> Move:
        move = shipped(c, now_s, draws)
        if move.candidacy.verdict in (Verdict.WON, Verdict.RECALLED, Verdict.UNKNOWN):
            return move
        assert move.candidacy.verdict is not None
        return candidacy._done(move.candidacy, move.candidacy.verdict, move.candidacy.proposal)

    patch.setattr(candidacy, "_accept", accept)


@bug
def told_from_the_local_ledger(patch: Patch) -> None:
    shipped = candidacy.begin

    def begin(order: operation.Order, electorate: Electorate, **rest: Any) -> Move:
        move = shipped(order, electorate, **rest)
        local = rest["local"]
        if order.purpose is Purpose.ELECT and local is not None and not local.confirmed.is_vacant:
            verdict = Verdict.HELD if local.confirmed.holder == order.node else Verdict.LOST
            return candidacy._done(move.candidacy, verdict, local.confirmed)
        return move

    patch.setattr(candidacy, "begin", begin)


def _settled_with(
    patch: Patch,
    *,
    fast_is_classic: bool = False,
    any_confirmed: bool = False,
    same_tenure: bool = False,
    highest: bool = False,
) -> None:
    """A `settled` in which single conditions can be left out."""

    def settled(states: tally.States, electorate: Electorate) -> Chosen | None:
        chosen = []
        newest = max(states.values(), key=lambda s: s.confirmed_ballot)
        behind = tally.select(states, lambda s: s.accepted <= newest.confirmed_ballot)
        if electorate.is_quorum(behind) or (any_confirmed and not newest.confirmed.is_vacant):
            chosen.append(Chosen(newest.confirmed_ballot, newest.confirmed))
        for found in {Chosen(s.accepted, s.tenure) for s in states.values()}:
            same = tally.select(states, lambda s, found=found: (s.accepted, s.tenure) == found)  # type: ignore[misc]
            if same_tenure:
                same = tally.select(states, lambda s, found=found: s.tenure == found.tenure)  # type: ignore[misc]
            fast = found.ballot.is_fast and not fast_is_classic
            is_enough = electorate.is_fast_quorum if fast else electorate.is_quorum
            if highest or is_enough(same):
                chosen.append(found)
        return max(chosen, key=lambda c: c.ballot, default=None)

    patch.setattr(tally, "settled", settled)


@bug
def settled_by_a_classic_quorum_of_fast_votes(patch: Patch) -> None:
    _settled_with(patch, fast_is_classic=True)


@bug
def settled_by_the_highest_accepted(patch: Patch) -> None:
    _settled_with(patch, highest=True)


@bug
def settled_by_any_confirmation(patch: Patch) -> None:
    _settled_with(patch, any_confirmed=True)


@bug
def settled_by_one_tenure_at_several_ballots(patch: Patch) -> None:
    _settled_with(patch, same_tenure=True)


@bug
def a_look_tells_whatever_is_pending(patch: Patch) -> None:
    shipped = candidacy._after_look

    def after_look(c: Candidacy, now_s: float, draws: Draws) -> Move:
        states = dict(c.states)
        chosen = tally.settled(states, c.electorate)
        if chosen is not None and c.electorate.is_quorum(frozenset(states)):
            verdict = candidacy._judge(c, chosen.tenure)
            if verdict is not None:
                return candidacy._done(c, verdict, chosen.tenure)
        return shipped(c, now_s, draws)

    patch.setattr(candidacy, "_after_look", after_look)


@bug
def whatever_was_accepted_is_announced(patch: Patch) -> None:
    """A look that ends an operation announces the highest ballot it saw, chosen or not."""
    shipped = candidacy._after_look

    def after_look(c: Candidacy, now_s: float, draws: Draws) -> Move:
        move = shipped(c, now_s, draws)
        outcome = move.candidacy.outcome
        if outcome is None:
            return move
        highest = max((s for _, s in c.states), key=lambda s: s.accepted)
        news = Chosen(highest.accepted, highest.tenure)
        return Move(move.candidacy._replace(outcome=outcome._replace(chosen=news)))

    patch.setattr(candidacy, "_after_look", after_look)


# Trying again.


@bug
def a_vacancy_has_no_claim(patch: Patch) -> None:
    """A recall does not recognise its own work."""
    patch.setattr(Tenure, "emptied", lambda self, claim: Tenure(self.term + 1, None, b"", self.claim))


@bug
def a_vacancy_forgets_the_slot(patch: Patch) -> None:
    patch.setattr(Tenure, "emptied", lambda self, claim: Tenure(self.term + 1, None, claim, self.claim))


@bug
def votes_do_not_tell_the_slot_of_the_vacancy(patch: Patch) -> None:
    shipped = Tenure.filled_by

    def filled_by(self: Tenure, node: str, claim: bytes, slot: str = "") -> Tenure:
        return shipped(self, node, claim, slot)._replace(after_slot="")

    patch.setattr(Tenure, "filled_by", filled_by)


@bug
def nobody_asks_whether_the_slot_was_had(patch: Patch) -> None:
    patch.setattr(Tenure, "has_had", lambda self, slot: False)


@bug
def a_slot_is_had_only_where_it_is_the_newest(patch: Patch) -> None:
    patch.setattr(Tenure, "has_had", lambda self, slot: slot != "" and slot == self.slot)


@bug
def a_candidate_only_stands(patch: Patch) -> None:
    """It neither looks nor prepares after a stand without a verdict: some answers hold it for ever."""
    shipped = candidacy.wake

    def wake(c: Candidacy, now_s: float, draws: Draws, alive: Collection[bytes] | None = None) -> Move:
        if c.phase is Phase.YIELD and c.stood is not None:
            return candidacy._stand(c, c.base, now_s, draws)
        return shipped(c, now_s, draws, alive)

    patch.setattr(candidacy, "wake", wake)


@bug
def each_attempt_has_a_new_claim(patch: Patch) -> None:
    shipped = candidacy._new_ballot

    def new_ballot(c: Candidacy, draws: Draws) -> Candidacy:
        c = shipped(c, draws)
        return c._replace(order=c.order._replace(claim=draws.id())) if c.attempts > 1 else c

    patch.setattr(candidacy, "_new_ballot", new_ballot)


@bug
def pending_is_forgotten(patch: Patch) -> None:
    patch.setattr(candidacy, "_pending_with_this_attempt", lambda c: None)


@bug
def whoever_is_overtaken_goes_on(patch: Patch) -> None:
    def has_lost_its_term(c: Candidacy, current: Tenure) -> bool:
        return c.pending is not None and current.is_vacant and c.order.purpose is Purpose.ELECT

    patch.setattr(candidacy, "_has_lost_its_term", has_lost_its_term)


@bug
def pending_is_ignored_in_a_look(patch: Patch) -> None:
    shipped = candidacy._after_look

    def after_look(c: Candidacy, now_s: float, draws: Draws) -> Move:
        move = shipped(c._replace(pending=None), now_s, draws)
        return Move(move.candidacy._replace(pending=c.pending), move.send)

    patch.setattr(candidacy, "_after_look", after_look)


@bug
def pending_terms_bind_nothing(patch: Patch) -> None:
    """An operation proposes again whatever happened since its first proposal."""
    shipped = candidacy._judge
    patch.setattr(candidacy, "_judge", lambda c, current: shipped(c._replace(pending=None), current))


@bug
def a_stand_is_void_one_voter_early(patch: Patch) -> None:
    def is_void(states: tally.States, electorate: Electorate, ballot: Ballot, tenure: Tenure) -> bool:
        roll = electorate.current
        lost = tally.select(states, lambda s: s.promised == ballot and s.tenure != tenure)
        return roll.count(lost) >= 2 * roll.n - roll.q - roll.f

    patch.setattr(tally, "is_void", is_void)


@bug
def a_stand_is_always_void(patch: Patch) -> None:
    patch.setattr(tally, "is_void", lambda *_: True)
