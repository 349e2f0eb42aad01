"""An election, a recall or a query, as one state machine that does nothing itself.

`begin`, `hear`, `wake` and `give_up` take a candidacy and what happened, and return a `Move`: the
candidacy as it is now, and the message to send, if any. Whoever drives it sends that message to all
voters, feeds back their states, and wakes it when `wake_at_s` has come. Time and random draws are
arguments.

    LOOK     read from a quorum; a settled tenure may be the whole answer
    STAND    elections only, first attempt only: asks for votes in the fast round, which is a prepare too
    PREPARE  collects promises
    ACCEPT   has recovered the current tenure, applied the operation, and sends the result
    YIELD    somebody else is at it: waits a jittered while, then LOOKs
    DONE     `outcome` says what is known

    begin ──► LOOK ──► STAND ──► ACCEPT ──► DONE        any phase but DONE and YIELD ──► YIELD ──► LOOK
      └──────────────►   └──► PREPARE ──┘               LOOK (vacant, or unsettled thrice) ──► PREPARE

What keeps the outcome true:

- A verdict other than `unknown` is told only when known: q voters accepted the result (ACCEPT), f voters
  voted (STAND), q voters said NO (STAND), or a quorum's states settle it (LOOK).
- An attempt that was given up may still take effect. `pending` holds the lowest and highest term that such
  attempts proposed. The operation keeps one claim, so that it recognises its own success; a current tenure
  past the lowest of those terms may have had ours before it: unknown, unless it is the next one, and names
  another claim as the one before. While anything is pending, LOOK tells
  "held", "lost" or "vacant" only if the settled tenure has the one term proposed: a term has one tenure.
  Everything else goes through an ACCEPT at a ballot above all earlier attempts, which ends them.
- An attempt lives in one epoch. Where a newer one is found the operation goes on in that, by a new attempt
  (`enter_epoch`): neither ballots nor answers are carried along.
"""

from __future__ import annotations

from polity_cli.core import tally
from polity_cli.core.ballot import Ballot
from polity_cli.core.electorate import Electorate
from polity_cli.core.messages import Accept, Prepare, Read, Register, RoleQuery, Stand, State
from polity_cli.core.operation import Candidacy, Move, Order, Outcome, Pace, Phase, Purpose, Verdict
from polity_cli.core.tally import Chosen
from polity_cli.core.tenure import Tenure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from polity_cli.core.operation import Draws


_MOST_PATIENCE = 8


def begin(
    order: Order,
    electorate: Electorate,
    *,
    local: Register | None,
    alive: Collection[bytes] | None,
    now_s: float,
    draws: Draws,
    pace: Pace = Pace(),  # noqa: B008 - immutable
) -> Move:
    """Start an operation.

    `local` is the role's register in this node's own ledger, a hint that saves a round trip and decides
    nothing; None without one. `alive` are the voters Serf believes alive, None where it was not asked.
    """
    everyone = frozenset(e.voter for e in electorate.voters)
    c = Candidacy(order, electorate, pace, everyone if alive is None else everyone & frozenset(alive))
    if local is not None:
        c = c._replace(highest_round=_highest_round(local))
    if not _is_quorum(c, c.alive):
        return _look(c, now_s, draws)
    match order.purpose:
        case Purpose.ELECT:
            base = _local_vacancy(local)
            stands = base is not None and not electorate.is_joint and not base.tenure.has_had(order.slot)
            return _stand(c, base, now_s, draws) if base and stands else _look(c, now_s, draws)
        case Purpose.RECALL:
            doubtful = local is not None and _judge(c, local.tenure) is not None
            return _look(c, now_s, draws) if doubtful else _prepare(c, now_s, draws)
        case Purpose.QUERY:
            return _look(c, now_s, draws)
        case Purpose.CARRY:
            return _prepare(c, now_s, draws)


def enter_epoch(c: Candidacy, electorate: Electorate, now_s: float, draws: Draws) -> Move:
    """Go on in a newer electorate, by a new attempt: whatever was asked in the old one counts no more.

    It may still take effect, though: until the voters of old have left that epoch, and by the change itself.
    """
    pending = _pending_with_this_attempt(c)
    c = c._replace(
        electorate=electorate, alive=frozenset(e.voter for e in electorate.voters), pending=pending
    )
    return _look(c, now_s, draws)


def hear(c: Candidacy, state: State, now_s: float, draws: Draws) -> Move:
    """Take a voter's state; strangers and replies of other attempts change nothing."""
    if (
        c.phase in (Phase.YIELD, Phase.DONE)
        or state.attempt != c.attempt
        or c.electorate.node_of(state.voter) is None
        or (state.polity, state.epoch) != (c.electorate.polity, c.electorate.epoch)
    ):
        return Move(c)
    states = dict(c.states)
    known = states.get(state.voter)
    states[state.voter] = state if known is None else tally.newer(known, state)
    c = c._replace(
        states=tuple(sorted(states.items())),
        highest_round=max(c.highest_round, _highest_round(state)),
    )
    match c.phase:
        case Phase.LOOK:
            return _after_look(c, now_s, draws)
        case Phase.STAND:
            return _after_stand(c, now_s, draws)
        case Phase.PREPARE:
            return _after_prepare(c, now_s, draws)
        case _:
            return _after_accept(c, now_s, draws)


def wake(c: Candidacy, now_s: float, draws: Draws, alive: Collection[bytes] | None = None) -> Move:
    """The wait is over (`wake_at_s`): ask again, go on with what is at hand, or try another way."""
    if c.phase is Phase.DONE:
        return Move(c)
    if alive is not None:
        c = c._replace(alive=frozenset(alive))
    if c.phase is Phase.YIELD:
        return _look(c, now_s, draws)
    answered = _is_quorum(c, frozenset(dict(c.states)))
    if not answered and c.asks >= 2 and not c.order.patient and not _is_quorum(c, c.alive):
        return give_up(c)
    if c.phase is Phase.LOOK and answered:
        return _not_settled(c, now_s, draws)
    if c.phase is Phase.STAND and _is_quorum(c, tally.promises(dict(c.states), c.ballot)):
        return _accept(c, now_s, draws)
    if c.asks >= c.pace.asks and c.phase is not Phase.LOOK:
        return _yield(c, now_s, draws)
    c = c._replace(asks=c.asks + 1)
    return Move(c._replace(wake_at_s=now_s + c.pace.ask_again_s * _patience(c)), message(c))


def give_up(c: Candidacy) -> Move:
    """No more time: what is known now is the outcome."""
    if c.phase is Phase.DONE:
        return Move(c)
    live = _pending_with_this_attempt(c) is not None
    return _done(c, Verdict.UNKNOWN if live else Verdict.NO_QUORUM, None)


def message(c: Candidacy) -> RoleQuery:
    """The message of the phase; asking again sends it unchanged."""
    head = (c.attempt, c.electorate.polity, c.electorate.epoch, c.order.role)
    match c.phase:
        case Phase.STAND:
            assert c.proposal is not None
            return Stand(*head, c.base.ballot, c.base.tenure, c.proposal, c.ballot)
        case Phase.PREPARE:
            return Prepare(*head, c.ballot)
        case Phase.ACCEPT:
            assert c.proposal is not None
            return Accept(*head, c.ballot, c.proposal)
        case _:
            return Read(*head)


def _enter(c: Candidacy, phase: Phase, now_s: float) -> Move:
    c = c._replace(
        phase=phase,
        states=(),
        asks=1,
        round_trips=c.round_trips + 1,
    )
    return Move(c._replace(wake_at_s=now_s + c.pace.ask_again_s * _patience(c)), message(c))


def _patience(c: Candidacy) -> int:
    """How much longer than at first to wait: voters that are slow must not be asked the more for it.

    Each question costs a hook a process. Asked as often as at first by everybody who waits, voters that have
    fallen behind would do so for ever.
    """
    return max(1, min(max(c.attempts, c.asks - 1), _MOST_PATIENCE))


def _look(c: Candidacy, now_s: float, draws: Draws) -> Move:
    return _enter(c._replace(attempt=draws.id()), Phase.LOOK, now_s)


def _new_ballot(c: Candidacy, draws: Draws) -> Candidacy:
    attempt = draws.id()
    number = max(c.highest_round + 1, draws.round_floor())
    return c._replace(
        attempt=attempt,
        ballot=Ballot(number, attempt),
        highest_round=number,
        attempts=c.attempts + 1,
        stood=None,
        proposal=None,
        verdict=None,
    )


def _stand(c: Candidacy, base: Chosen, now_s: float, draws: Draws) -> Move:
    tenure = base.tenure.filled_by(c.order.node, c.order.claim, c.order.slot)
    c = _new_ballot(c, draws)._replace(base=base, stood=tenure, proposal=tenure)
    return _enter(c, Phase.STAND, now_s)


def _prepare(c: Candidacy, now_s: float, draws: Draws) -> Move:
    # Having outbid others once, look at least twice before doing it again.
    return _enter(_new_ballot(c, draws)._replace(unsettled=1), Phase.PREPARE, now_s)


def _accept(c: Candidacy, now_s: float, draws: Draws) -> Move:
    current = tally.current_of(dict(c.states), c.electorate, c.ballot)
    verdict = _judge(c, current)
    proposal = current
    if verdict is None:
        if c.order.purpose is Purpose.ELECT:
            proposal = current.filled_by(c.order.node, c.order.claim, c.order.slot)
            verdict = Verdict.WON
        else:
            proposal, verdict = current.emptied(c.order.claim), Verdict.RECALLED
            c = c._replace(previous_holder=current.holder)
    return _enter(c._replace(proposal=proposal, verdict=verdict), Phase.ACCEPT, now_s)


def _yield(c: Candidacy, now_s: float, draws: Draws) -> Move:
    wait_s = c.pace.yield_min_s + (c.pace.yield_max_s - c.pace.yield_min_s) * draws.jitter()
    c = c._replace(
        pending=_pending_with_this_attempt(c), phase=Phase.YIELD, wake_at_s=now_s + wait_s * _patience(c)
    )
    return Move(c)


def _pending_with_this_attempt(c: Candidacy) -> tuple[int, int] | None:
    """The lowest and highest term that attempts proposed, this one included, and that may yet be chosen."""
    terms = list(c.pending or ())
    if c.phase is Phase.ACCEPT:
        terms += [t.term for t in (c.stood, c.proposal) if t is not None and t.claim == c.order.claim]
    elif c.phase is Phase.STAND:
        assert c.stood is not None
        if not tally.is_void(dict(c.states), c.electorate, c.ballot, c.stood):
            terms.append(c.stood.term)
    return (min(terms), max(terms)) if terms else None


def _judge(c: Candidacy, current: Tenure) -> Verdict | None:
    """What the current tenure says of the operation; None where it is still to be done."""
    order = c.order
    if order.purpose in (Purpose.QUERY, Purpose.CARRY):
        return Verdict.ANSWER
    if current.claim == order.claim:
        return Verdict.WON if order.purpose is Purpose.ELECT else Verdict.RECALLED
    pending = None if _has_lost_its_term(c, current) else c.pending
    if pending is not None and current.term > pending[0]:
        return Verdict.UNKNOWN
    if order.purpose is Purpose.ELECT:
        if current.holder == order.node:
            return Verdict.HELD
        if not current.is_vacant:
            return Verdict.LOST
        # Ours for this term was beaten by a vacancy; a higher one may have been before it.
        if pending is not None and current.term >= pending[0]:
            return Verdict.UNKNOWN
        return Verdict.TAKEN if current.has_had(order.slot) else None
    if current.is_vacant:
        return Verdict.VACANT
    matches = order.holder in (None, current.holder) and order.term in (None, current.term)
    return None if matches else Verdict.GUARD


def _has_lost_its_term(c: Candidacy, current: Tenure) -> bool:
    """True if all that is pending was for one term, and the current tenure names whose that was: another's.

    That holds if `current` is chosen, or will be by what is told of it; until then nobody knows it for good.
    Elections go on then. A recall does not: a holder that came since is not whom anybody meant.
    """
    if (
        c.pending is None
        or c.order.purpose is not Purpose.ELECT
        or current.claim_before in (b"", c.order.claim)
    ):
        return False
    lowest, highest = c.pending
    return lowest == highest == current.term - 1


def _after_look(c: Candidacy, now_s: float, draws: Draws) -> Move:
    states = dict(c.states)
    answered = frozenset(states)
    if not _is_quorum(c, answered):
        return Move(c)
    chosen = tally.settled(states, c.electorate)
    if chosen is None:
        if answered >= c.alive:
            return _not_settled(c, now_s, draws)
        return Move(c._replace(wake_at_s=min(c.wake_at_s, now_s + c.pace.grace_s)))
    verdict = _judge(c, chosen.tenure)
    if _has_lost_its_term(c, chosen.tenure):
        c = c._replace(pending=None)
    if c.order.purpose is Purpose.CARRY:
        return _prepare(c, now_s, draws)  # what was decided before is the very thing to be decided again
    if verdict is None:
        if c.order.purpose is Purpose.ELECT and not c.attempts and not c.electorate.is_joint:
            return _stand(c, chosen, now_s, draws)
        return _prepare(c, now_s, draws)
    may_tell = c.pending in (None, (chosen.tenure.term, chosen.tenure.term)) or verdict in (
        Verdict.WON,
        Verdict.RECALLED,
        Verdict.UNKNOWN,
    )
    took = tally.select(states, lambda s: s.tenure == chosen.tenure)
    if verdict is Verdict.WON and len(took) < c.order.at_least:
        may_tell = False  # decided by the rule, but not yet by as many as this operation wants
    if not may_tell:
        return _prepare(c, now_s, draws)
    missed = any(s.confirmed_ballot < chosen.ballot for s in states.values())
    agree = tally.select(states, lambda s: s.accepted <= chosen.ballot)
    against = verdict in (Verdict.LOST, Verdict.VACANT, Verdict.GUARD, Verdict.TAKEN)
    return _done(
        c,
        verdict,
        chosen.tenure,
        yes=frozenset() if against else agree,
        no=agree if against else frozenset(),
        chosen=chosen if missed else None,
    )


def _not_settled(c: Candidacy, now_s: float, draws: Draws) -> Move:
    c = c._replace(unsettled=c.unsettled + 1)
    # Finishing what is under way outbids whoever is at it: give them time first.
    if c.unsettled < c.pace.looks:
        return _yield(c, now_s, draws)
    return _prepare(c, now_s, draws)


def _after_stand(c: Candidacy, now_s: float, draws: Draws) -> Move:
    assert c.stood is not None
    states = dict(c.states)
    yes = tally.votes(states, c.base.ballot, c.stood)
    if c.electorate.is_fast_quorum(yes, at_least=c.order.at_least):
        chosen = Chosen(c.base.ballot.fast, c.stood)
        return _done(c, Verdict.WON, c.stood, yes=yes, required=c.electorate.fast_quorum, chosen=chosen)
    noes = tally.noes(states, c.base.ballot, c.ballot)
    if c.electorate.is_quorum(noes):
        newest = max((states[v] for v in noes), key=lambda s: s.confirmed_ballot).confirmed
        verdict = _judge(c, newest)
        assert verdict is not None, "a NO names a holder"
        return _done(c, verdict, newest, no=noes)
    silent = frozenset(e.voter for e in c.electorate.voters) - frozenset(states)
    promised = tally.promises(states, c.ballot)
    if _is_quorum(c, promised):
        if not c.electorate.is_fast_quorum(yes | (silent & c.alive), at_least=c.order.at_least):
            return _accept(c, now_s, draws)
        return Move(c._replace(wake_at_s=min(c.wake_at_s, now_s + c.pace.grace_s)))
    reachable = (
        c.electorate.is_fast_quorum(yes | silent),
        c.electorate.is_quorum(noes | silent),
        _is_quorum(c, promised | silent),
    )
    return Move(c) if any(reachable) else _yield(c, now_s, draws)


def _after_prepare(c: Candidacy, now_s: float, draws: Draws) -> Move:
    states = dict(c.states)
    if _is_quorum(c, tally.promises(states, c.ballot)):
        return _accept(c, now_s, draws)
    outbid = tally.select(states, lambda s: s.promised > c.ballot)
    return _unless_outbid(c, outbid, now_s, draws)


def _after_accept(c: Candidacy, now_s: float, draws: Draws) -> Move:
    assert c.verdict is not None
    assert c.proposal is not None
    states = dict(c.states)
    accepted = tally.acceptances(states, c.ballot)
    if _is_quorum(c, accepted):
        return _done(c, c.verdict, c.proposal, yes=accepted, chosen=Chosen(c.ballot, c.proposal))
    outbid = tally.select(states, lambda s: s.promised > c.ballot) - accepted
    return _unless_outbid(c, outbid, now_s, draws)


def _unless_outbid(c: Candidacy, outbid: frozenset[bytes], now_s: float, draws: Draws) -> Move:
    """Go on waiting while the voters that have not refused can still make a quorum; else yield."""
    others = frozenset(e.voter for e in c.electorate.voters) - outbid
    return Move(c) if _is_quorum(c, others) else _yield(c, now_s, draws)


def _is_quorum(c: Candidacy, ids: Collection[bytes]) -> bool:
    """True if `ids` are as many as the electorate's rule and this operation want."""
    return c.electorate.is_quorum(ids, at_least=c.order.at_least)


def _done(
    c: Candidacy,
    verdict: Verdict,
    tenure: Tenure | None,
    *,
    yes: frozenset[bytes] = frozenset(),
    no: frozenset[bytes] = frozenset(),
    required: int | None = None,
    chosen: Chosen | None = None,
) -> Move:
    states = dict(c.states)
    silent = tuple(e.node for e in c.electorate.voters if e.voter not in states)
    outcome = Outcome(
        verdict=verdict,
        tenure=tenure,
        previous_holder=c.previous_holder,
        yes=yes,
        no=no,
        required=max(c.electorate.current.q if required is None else required, c.order.at_least),
        population=len(c.electorate.voters),
        round_trips=c.round_trips,
        silent=silent if verdict in (Verdict.NO_QUORUM, Verdict.UNKNOWN) else (),
        chosen=chosen,
        may_take_effect=verdict is Verdict.UNKNOWN,
    )
    return Move(c._replace(phase=Phase.DONE, outcome=outcome))


def _local_vacancy(local: Register | None) -> Chosen | None:
    """The base for a stand: a classic vacancy accepted here, if nothing newer is confirmed."""
    if local is None or local.accepted.is_fast or not local.tenure.is_vacant:
        return None
    if local.confirmed_ballot > local.accepted:
        return None
    return Chosen(local.accepted, local.tenure)


def _highest_round(register: Register | State) -> int:
    return max(register.promised.round, register.confirmed_ballot.round)
