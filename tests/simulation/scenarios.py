"""Schedules with a name: how it goes when all goes well, and the traces on which lesser rules break.

Each of the traces `h1` to `h8` was a hole in an earlier draft of the protocol. Here they end well; with the
rule that mends them taken out (`test_planted_bugs.py`) the judge refuses them.
"""

from __future__ import annotations

from collections.abc import Callable

from polity_cli.core import messages as m
from polity_cli.core.operation import Phase, Verdict
from tests.simulation.script import Play

Scenario = Callable[[Play], None]
SCENARIOS: dict[str, tuple[str, Scenario]] = {}


def _with_voters(shape: str) -> Callable[[Scenario], Scenario]:
    def add(scenario: Scenario) -> Scenario:
        SCENARIOS[scenario.__name__] = (shape, scenario)
        return scenario

    return add


@_with_voters("3")
def uncontended_win(play: Play) -> None:
    """All three vote in the fast round: one round trip."""
    e = play.elect(0)
    play.reach(e, 0, 1, 2)
    play.expect(e, Verdict.WON, 1)


@_with_voters("3")
def one_voter_is_down(play: Play) -> None:
    """Two votes of three do not decide a fast round, but they are promises already: two round trips."""
    e = play.elect(0)
    play.reach(e, 0, 1)
    play.wake(e)
    play.reach(e, 0, 1)
    play.expect(e, Verdict.WON, 1)


@_with_voters("3")
def lost_by_no(play: Play) -> None:
    """Voters that know of a holder say NO, and the candidacy leaves no trace with them."""
    late = play.elect(1)
    early = play.elect(0)
    play.reach(early, 0, 1, 2)
    play.announce(early, 0, 1, 2)
    play.reach(late, 0, 1)
    play.expect(late, Verdict.LOST, 1)


@_with_voters("5")
def five_at_once(play: Play) -> None:
    """Nobody has four votes; whoever has promises of three completes or overrules what it finds."""
    everyone = [play.elect(home) for home in range(5)]
    for turn in range(5):
        for voter in range(5):
            play.reach(everyone[(voter + turn) % 5], voter)
    for e in reversed(everyone):
        play.through(e, 0, 1, 2, 3, 4)
    play.world.judge()
    verdicts = [e.outcome.verdict for e in everyone if e.outcome is not None]
    assert verdicts.count(Verdict.WON) == 1
    assert verdicts.count(Verdict.LOST) == 4


@_with_voters("3")
def recall(play: Play) -> None:
    """A recall empties the role, the next one finds it empty, and the next election gets a higher term."""
    play.through(play.elect(0), 0, 1, 2)
    play.expect(play.through(play.recall(1), 0, 1, 2), Verdict.RECALLED, 2)
    play.expect(play.through(play.recall(2), 0, 1, 2), Verdict.VACANT, 2)
    play.expect(play.through(play.elect(2), 0, 1, 2), Verdict.WON, 3)


@_with_voters("3")
def guarded_recall(play: Play) -> None:
    """A recall of another holder or of another term changes nothing, and says so once that is decided."""
    play.through(play.elect(0), 0, 1, 2)
    play.expect(play.through(play.recall(1, holder="n2"), 0, 1, 2), Verdict.GUARD, 1)
    play.expect(play.through(play.recall(3, term=3), 0, 1, 2), Verdict.GUARD, 1)
    play.expect(play.through(play.recall(1, holder="n0", term=1), 0, 1, 2), Verdict.RECALLED, 2)


@_with_voters("4")
def split_vote_recovered(play: Play) -> None:
    """Two votes each, three would decide: who is promised by all sees that nobody can have been elected."""
    first, second = play.elect(0), play.elect(1)
    play.reach(first, 0, 1)
    play.reach(second, 2, 3)
    play.reach(second, 0, 1)
    play.reach(second, 0, 1, 2)
    play.expect(second, Verdict.WON, 1)
    play.expect(play.through(first, 0, 1, 2, 3), Verdict.LOST, 1)


@_with_voters("3")
def candidate_dies_and_is_completed_by_another(play: Play) -> None:
    """Two votes seen and one voter unseen: the dead candidate may have won, so it has."""
    dead = play.elect(0)
    play.reach(dead, 0, 1, back=False)
    play.world.stop(dead)
    other = play.elect(2)
    play.reach(other, 0, 1)
    play.reach(other, 0, 1)
    play.expect(other, Verdict.LOST, 1)
    play.expect(play.through(play.query(2), 1, 2), Verdict.ANSWER, 1)


@_with_voters("3")
def no_quorum_has_no_consequences(play: Play) -> None:
    """Promises alone decide nothing: whoever only ever prepared can say so for certain."""
    e = play.elect(3)
    play.reach(e, 0)
    play.world.give_up(e)
    play.expect(e, Verdict.NO_QUORUM)
    play.expect(play.through(play.query(0), 0, 1, 2), Verdict.ANSWER, 0)


@_with_voters("3")
def outdated_candidate_learns_whose_its_term_was(play: Play) -> None:
    """A candidate whose own voter missed two terms stands in vain, and is told whose its term was."""
    play.through(play.elect(0), 0, 1)
    play.through(play.recall(0), 0, 1)
    e = play.elect(2)
    play.reach(e, 0, 1)
    play.expect(play.through(e, 0, 1, 2), Verdict.WON, 3)
    play.announce(e, 2)
    play.expect(play.through(play.elect(2), 0, 1, 2), Verdict.HELD, 3)


@_with_voters("3")
def outdated_candidate_with_a_clock_knows(play: Play) -> None:
    """A candidate that missed two terms, with rounds that grow with the time of day: it is promised."""
    play.through(play.elect(0), 0, 1)
    play.through(play.recall(0), 0, 1)
    play.round_floor = 100
    e = play.elect(2)
    play.expect(play.through(e, 0, 1), Verdict.WON, 3)
    play.announce(e, 0, 1)
    play.round_floor = 200
    play.expect(play.through(play.elect(3, local=m.Register()), 0, 1), Verdict.LOST, 3)


@_with_voters("3")
def h1_a_late_copy_of_the_base_does_not_undo_a_vote(play: Play) -> None:
    """The second stand replays the base at voters that voted on it already, and changes nothing there."""
    r = play.recall(3)
    play.reach(r, 0, 1)
    play.reach(r, 0, back=False)
    first = play.elect(0)
    second = play.elect(1, local=play.register(0))
    for voter in range(3):
        play.reach(first, voter, back=False)
        play.reach(second, voter, back=False)
    play.wake(first)
    play.reach(first, 0, 1, 2)
    play.expect(first, Verdict.WON, 1)
    play.expect(play.through(second, 0, 1, 2), Verdict.LOST, 1)


@_with_voters("3")
def h2_a_no_may_name_oneself(play: Play) -> None:
    """Somebody else announced that the candidate won: its own claim comes back to it as a NO."""
    e = play.elect(0)
    play.reach(e, 0, 1, 2, back=False)
    q = play.through(play.query(1), 0, 1, 2)
    play.announce(q, 0, 1)
    play.wake(e)
    play.reach(e, 0, 1)
    play.expect(e, Verdict.WON, 1)


@_with_voters("3")
def h3_a_no_from_above_proves_nothing(play: Play) -> None:
    """Voters know a newer holder, but between this candidacy and that one there was room for a whole term."""
    overtaken = play.elect(0)
    play.reach(overtaken, 0, 1, back=False)
    play.expect(play.through(play.recall(1), 0, 1), Verdict.RECALLED, 2)
    e = play.through(play.elect(0), 0, 1)
    play.announce(e, 0, 1)
    play.wake(overtaken)
    play.reach(overtaken, 0, 1)
    play.expect(play.through(overtaken, 0, 1), Verdict.UNKNOWN, 3)


@_with_voters("3")
def h3_a_vote_promises_the_ballot_too(play: Play) -> None:
    """A recall below the candidate's ballot comes after its votes, and is refused by them."""
    r = play.recall(3)
    first = play.elect(0)
    play.reach(first, 0, 1, back=False)
    play.reach(r, 0, 1)
    play.reach(r, 0, 1)
    second = play.through(play.elect(1), 0, 1, 2)
    play.announce(second, 0, 1)
    play.wake(first)
    play.reach(first, 0, 1)
    play.expect(play.through(first, 0, 1, 2), Verdict.WON, 1)


@_with_voters("5")
def h4_one_no_proves_nothing(play: Play) -> None:
    """Only n2 missed the recall and says NO: the term it names has ended before this election began."""
    holder = play.through(play.elect(0), 0, 1, 2)
    play.announce(holder, 2)
    play.expect(play.through(play.recall(0), 0, 1, 3), Verdict.RECALLED, 2)
    e = play.elect(4)
    play.reach(e, 2, 0, 1, 3)
    play.expect(play.through(e, 0, 1, 2, 3), Verdict.WON, 3)


@_with_voters("3")
def h5_the_local_ledger_is_only_a_hint(play: Play) -> None:
    """n2 believes n0 holds the role, and asks before it says so."""
    holder = play.through(play.elect(0), 0, 1, 2)
    play.announce(holder, 2)
    play.through(play.recall(0), 0, 1)
    play.expect(play.through(play.elect(2), 2, 0), Verdict.WON, 3)


@_with_voters("3")
def h6_an_election_takes_effect_once(play: Play) -> None:
    """A recall ended what the first attempt may have won; a second one would undo the recall."""
    e = play.elect(0)
    play.reach(e, 0, 1, back=False)
    play.expect(play.through(play.recall(1), 0, 1), Verdict.RECALLED, 2)
    play.wake(e)
    play.reach(e, 0, 1)
    play.expect(play.through(e, 0, 1, 2), Verdict.UNKNOWN, 2)
    play.expect(play.through(play.query(2), 0, 2), Verdict.ANSWER, 2)


@_with_voters("3")
def h6_a_recall_knows_its_own_vacancy(play: Play) -> None:
    """Outbid once, the recall finds its own vacancy in the second attempt: recalled, not vacant."""
    play.through(play.elect(0), 0, 1, 2)
    r = play.recall(1)
    play.reach(r, 0, 1)
    play.reach(r, 0, back=False)
    q = play.query(2)
    play.reach(q, 0, 1)
    play.wake(q)
    play.reach(q, 1, back=False)
    play.reach(r, 1)
    play.yielded(r)
    play.expect(play.through(r, 0, 1), Verdict.RECALLED, 2)


@_with_voters("3")
def h7_a_mixture_of_answers_is_no_dead_end(play: Play) -> None:
    """One promise, one NO, one voter down: no quorum of either, so the candidate yields and looks."""
    holder = play.through(play.elect(2), 1, 2)
    play.announce(holder, 2)
    r = play.recall(3)
    play.reach(r, 0, back=False)
    play.world.stop(r)
    e = play.elect(0)
    play.reach(e, 0, 2)
    play.yielded(e)
    play.expect(play.through(e, 0, 2), Verdict.LOST, 1)


@_with_voters("3")
def h8_nothing_is_told_before_a_quorum_accepted_it(play: Play) -> None:
    """n2 saw that n0 may have won; before that is accepted, somebody else sees that it has not."""
    dead = play.elect(0)
    play.reach(dead, 0, 1, back=False)
    play.world.stop(dead)
    e = play.elect(2)
    play.reach(e, 0, 1)
    play.expect(play.through(play.recall(3), 1, 2), Verdict.VACANT, 0)
    play.reach(e, 1)
    play.yielded(e)
    play.expect(play.through(e, 1, 2), Verdict.WON, 1)


@_with_voters("3")
def a_look_tells_nothing_while_a_higher_term_is_pending(play: Play) -> None:
    """Term 1 is settled, and yet this election may still get term 3: lost would be a lie."""
    play.through(play.elect(1), 1, 2)
    r = play.recall(1)
    play.reach(r, 0, 1)
    play.reach(r, 0, back=False)
    play.world.stop(r)
    e = play.elect(0)
    stand = len(e.sent) - 1
    play.reach(e, 0)
    play.yielded(e)
    play.wake(e)
    assert e.state.phase is Phase.LOOK
    play.reach(e, 1, 2)
    play.reach(e, 1, 2, nth=stand, back=False)
    play.through(e, 1, 2)
    play.expect(play.through(play.query(1), 1, 2), Verdict.ANSWER, 3)
    play.expect(e, Verdict.WON, 3)


@_with_voters("3")
def what_is_accepted_outweighs_what_is_confirmed(play: Play) -> None:
    """n0 and n1 were told of term 1 and then accepted its end: neither says NO on its behalf."""
    holder = play.through(play.elect(0), 0, 1)
    play.announce(holder, 0, 1)
    play.through(play.recall(0), 0, 1)
    e = play.elect(2)
    play.reach(e, 0, 1)
    play.expect(play.through(e, 0, 1), Verdict.WON, 3)


@_with_voters("3")
def replies_to_others_do_not_count(play: Play) -> None:
    """Old answers to another query, of a time when the role was vacant, go astray and reach this one."""
    first = play.query(0)
    stray = [play.answer(first, voter) for voter in (0, 1)]
    play.world.stop(first)
    play.through(play.elect(0), 0, 1, 2)
    q = play.query(1)
    for answer in stray:
        play.world.deliver(answer._replace(op=q))
    play.expect(play.through(q, 0, 1, 2), Verdict.ANSWER, 1)


@_with_voters("5")
def a_classic_acceptance_is_no_vote(play: Play) -> None:
    """Four voters hold the candidate's tenure, two of them by its rival's ballot: it is not decided yet."""
    e = play.elect(0)
    play.reach(e, 0, 1)
    rival = play.elect(4)
    play.reach(rival, 0, 1, 2)
    play.reach(rival, 2, 3, back=False)
    play.reach(e, 2, 3)
    play.world.judge()
    play.expect(play.through(e, 0, 1, 2, 3), Verdict.WON, 1)


@_with_voters("5")
def an_isolated_candidate_decides_nothing(play: Play) -> None:
    """Cut off after its own vote and one other, a candidate is neither elected nor forgotten."""
    e = play.elect(0)
    play.reach(e, 0, 1)
    play.yielded(e)
    other = play.through(play.elect(2), 2, 3, 4)
    play.expect(other, Verdict.WON, 1)
    play.reach(e, 0, nth=0)
    play.world.give_up(e)
    play.expect(e, Verdict.UNKNOWN)
    play.expect(play.through(play.query(0), 0, 1, 2, 3, 4), Verdict.ANSWER, 1)


@_with_voters("5")
def a_query_is_not_answered_by_a_minority(play: Play) -> None:
    """Two of five know the holder for certain, and still it may have changed."""
    holder = play.through(play.elect(0), 0, 1, 2, 3, 4)
    play.announce(holder, 0, 1)
    q = play.query(0)
    play.reach(q, 0, 1)
    play.world.give_up(q)
    play.expect(q, Verdict.NO_QUORUM)


@_with_voters("5")
def a_query_after_a_recall_does_not_name_the_old_holder(play: Play) -> None:
    """Two voters missed the recall, and are asked first."""
    holder = play.through(play.elect(0), 0, 1, 2, 3, 4)
    play.announce(holder, 0, 1, 2, 3, 4)
    play.expect(play.through(play.recall(2), 2, 3, 4), Verdict.RECALLED, 2)
    q = play.query(0)
    play.reach(q, 0, 1, 2)
    play.expect(play.through(q, 0, 1, 2, 3), Verdict.ANSWER, 2)
