"""What a set of replies means: the judgements an operation makes on the states voters sent it.

Each function takes states by voter id, the newest per voter, all sent in answer to one attempt, and says
what is *known* because of them. None of them guesses: where nothing follows they return None or False,
and a voter that did not answer is never counted as anything but silent.
"""

from __future__ import annotations

from polity_cli.core.ballot import Ballot
from polity_cli.core.electorate import Electorate
from polity_cli.core.messages import Accept, Prepare, RoleList, RoleQuery, Stand, State
from polity_cli.core.record import Record
from polity_cli.core.recovery import recover
from polity_cli.core.tenure import Tenure
from polity_cli.core.voter import is_no

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    States = Mapping[bytes, State]


class Chosen(Record):
    """A tenure known to be chosen, and the ballot at which it was."""

    ballot: Ballot
    tenure: Tenure


def select(states: States, test: Callable[[State], bool]) -> frozenset[bytes]:
    """The voters whose state passes the test."""
    return frozenset(voter for voter, state in states.items() if test(state))


def newer(first: State, second: State) -> State:
    """The later of two states of one voter in one epoch: there, nothing in a ledger ever goes back."""

    def age(state: State) -> tuple[Ballot, Ballot, Ballot]:
        return state.promised, state.accepted, state.confirmed_ballot

    return max(first, second, key=age)


def settled(states: States, electorate: Electorate) -> Chosen | None:
    """What the role's tenure was at some instant after the reads were sent, or None while that is not known.

    Either a quorum accepted the same ballot (a fast quorum where that is fast), or some tenure is confirmed
    at a ballot that a quorum has not passed. Nothing newer can have been chosen before the reads: its
    quorum would share a voter with this one, and that voter would have shown it.
    """
    chosen = []
    newest = max(states.values(), key=lambda s: s.confirmed_ballot)
    if electorate.is_quorum(select(states, lambda s: s.accepted <= newest.confirmed_ballot)):
        chosen.append(Chosen(newest.confirmed_ballot, newest.confirmed))
    for accepted in {Chosen(s.accepted, s.tenure) for s in states.values()}:
        same = frozenset(v for v, s in states.items() if (s.accepted, s.tenure) == accepted)
        is_enough = electorate.is_fast_quorum if accepted.ballot.is_fast else electorate.is_quorum
        if is_enough(same):
            chosen.append(accepted)
    return max(chosen, key=lambda c: c.ballot, default=None)


def votes(states: States, base: Ballot, tenure: Tenure) -> frozenset[bytes]:
    """YES: the voters that accepted this very tenure in the fast round after `base`."""
    return select(states, lambda s: s.accepted == base.fast and s.tenure == tenure)


def noes(states: States, base: Ballot, ballot: Ballot) -> frozenset[bytes]:
    """NO: the voters that know of a holder newer than `base` and older than `ballot`."""
    return select(states, lambda s: is_no(s, base, ballot))


def promises(states: States, ballot: Ballot) -> frozenset[bytes]:
    """The voters whose promise is exactly this ballot."""
    return select(states, lambda s: s.promised == ballot)


def acceptances(states: States, ballot: Ballot) -> frozenset[bytes]:
    """The voters that accepted at exactly this ballot."""
    return select(states, lambda s: s.accepted == ballot)


def is_void(states: States, electorate: Electorate, ballot: Ballot, tenure: Tenure) -> bool:
    """True if a stand that sent no accept can never be chosen nor recovered.

    More than 2n - q - f voters promised its ballot without voting for it, so they never will: fewer than
    f + q - n are left that might, which even with n - q voters unseen never reaches f.
    """
    if electorate.is_joint:
        return False
    roll = electorate.current
    lost = select(states, lambda s: s.promised == ballot and s.tenure != tenure)
    return roll.count(lost) > 2 * roll.n - roll.q - roll.f


def current_of(states: States, electorate: Electorate, ballot: Ballot) -> Tenure:
    """The current tenure according to the voters that promised `ballot`: a quorum of the electorate.

    In a joint epoch that is what the old voters say, unless a new one accepted something at a classic ballot
    above all of theirs. Too few old voters took that for it to be chosen now, but enough new ones may have:
    their votes go with them into the next epoch, in which nobody else is asked. Fast votes are the old
    voters' only: nobody stands in a joint epoch, and newcomers' votes of earlier epochs count nowhere.
    """
    promised = {v: s for v, s in states.items() if s.promised == ballot}
    old = {v: s for v, s in promised.items() if electorate.current.node_of(v) is not None}
    if electorate.is_joint:
        classic = [s for v, s in promised.items() if electorate.node_of(v) and not s.accepted.is_fast]
        newest = max(classic, key=lambda s: s.accepted, default=None)
        if newest is not None and newest.accepted > max(s.accepted for s in old.values()):
            return newest.tenure
    return recover(old, electorate.current)


def listed(answers: Iterable[RoleList]) -> tuple[set[str], str | None]:
    """The roles that a quorum's answers list, and the name behind which to ask on; None if they list all.

    An answer may be cut where it is full. Names up to the earliest cut are complete for every voter of the
    quorum; what is told beyond it is asked for again.
    """
    answers = list(answers)
    cut = min((a.roles[-1] for a in answers if a.more and a.roles), key=str.encode, default=None)
    names = {role for answer in answers for role in answer.roles}
    return (names if cut is None else {n for n in names if n.encode() <= cut.encode()}), cut


def vote_of(message: RoleQuery, state: State) -> str:
    """What a voter's state says to the message it answers, in a word for people; "" to a read."""
    match message:
        case Stand(base=base, tenure=tenure, ballot=ballot):
            if votes({b"": state}, base, tenure):
                return "YES"
            if is_no(state, base, ballot):
                return "NO"
            return _yes_or_outbid("promises", state.promised == ballot)
        case Prepare(ballot=ballot):
            return _yes_or_outbid("promises", state.promised == ballot)
        case Accept(ballot=ballot):
            # Promised and not accepted: a late answer to what this attempt asked before.
            late = state.promised == ballot != state.accepted
            return "promises" if late else _yes_or_outbid("accepts", state.accepted == ballot)
    return ""


def _yes_or_outbid(word: str, agrees: bool) -> str:
    return word if agrees else "has promised more"
