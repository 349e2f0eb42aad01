"""A change of the electorate: joint consensus, as one state machine that does nothing itself.

    stable record ──► joint record ──► stable record of the new voters
       PREPARE          LIST              PREPARE
       LEARN            CARRY             LEARN
       OFFER                              OFFER
       ACCEPT                             ACCEPT
       ENTER                              ENTER

    READ     nothing is wanted: does a quorum know of no other electorate, nor of a change begun?
    PREPARE  collect promises for the register of the electorate, in the epoch at hand
    LEARN    fetch the record that somebody accepted there before: it may be chosen, so it is proposed again
    OFFER    hand out the record to be accepted
    ACCEPT   voters accept it as the next one: once a quorum has, it is chosen
    ENTER    tell everybody that it is chosen, until a quorum has entered it
    LIST     in the joint epoch: which roles does a quorum of the old voters have any trace of?
    CARRY    decide each of them once more, what is current unchanged, by quorums of the old and of the new
    YIELD    somebody else is at it: wait a jittered while, then PREPARE
    DONE

Why two quorums can never decide apart:

- Each epoch's register decides one successor, by quorums of that epoch's record: an epoch names one record.
- A record is used, passed on and entered only when known to be chosen.
- What is decided in the joint epoch has quorums of both rolls. When LIST is answered, a quorum of the old
  voters has entered that epoch and takes part in no older one any more. So whatever was, or may still be,
  decided in the old epoch left its trace with one of those that list, a bare promise included. CARRY then
  decides that role at a ballot above it: the old votes are judged by the old roll (`tally.current_of`), and
  nothing older can be decided after it. The new voters alone then know all that was ever decided.
- Nobody trusts another's word for that: whoever proposes the last record has listed and carried himself.

Any node can do all of it, several can be at it at once, and each can die at any step: the register of the
electorate then holds what the next one completes. Meanwhile elections go on, in the joint epoch by both
quorums.
"""

from __future__ import annotations

from polity_cli.core import candidacy, epochs, operation, tally
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.change_state import Change, Move, Outcome, Phase, Verdict
from polity_cli.core.electorate import Electorate, Roll
from polity_cli.core.operation import Candidacy, Order, Pace, Purpose
from polity_cli.core.tenure import ELECTORATE, Tenure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from polity_cli.core.epochs import Codec
    from polity_cli.core.operation import Draws

ASK_AGAIN_S = 0.5
MANY = 50
"""So many voters, and questions are repeated half as often: whoever asks must be able to hear them all."""
YIELD_S = (0.5, 2.0)
LONGEST_YIELD = 4
LONGEST_WAIT = 4
ASKS = 4
ENTER_ASKS = 3
ROLES_AT_ONCE = 16


def begin(
    electorate: Electorate,
    target: Roll | None,
    *,
    node: str,
    alive: Collection[bytes] | None,
    now_s: float,
    draws: Draws,
    codec: Codec,
    patient: bool = False,
) -> Move:
    """Start a change to `target`, or finish the one under way; what is under way always comes first.

    `alive` are the voters Serf believes alive, None where it was not asked; `patient` keeps on asking while
    they are too few.
    """
    everyone = frozenset(e.voter for e in electorate.voters)
    c = Change(electorate, target, draws.id(), node, everyone if alive is None else frozenset(alive), patient)
    if electorate.is_joint:
        return _list(c, now_s, draws, codec)
    if _is_idle(c):
        # Not told from what this node remembers: it may have missed a change.
        return _enter(c._replace(attempt=draws.id()), Phase.READ, now_s, codec)
    return _prepare(c, now_s, draws, codec)


def hear(c: Change, node: str, reply: m.Reply, now_s: float, draws: Draws, codec: Codec) -> Move:
    """Take the answer of a node; strangers, copies and other attempts change nothing."""
    if c.phase is Phase.DONE:
        return Move(c)
    match reply:
        case m.Refusal(reason=m.OLD_EPOCH) if _is_mine(c, reply):
            if c.phase is Phase.ENTER:
                return _seen(c, node, reply, now_s, draws, codec)
            return _done(c, Verdict.OVERTAKEN) if reply.epoch > c.electorate.epoch else Move(c)
        case m.Refusal(reason=m.BEHIND | m.UNFOUNDED) if _is_mine(c, reply) and _is_enrolled(c, node, reply):
            return _heal(c, reply, codec)
        case m.Refusal(reason=m.NO_RECORD) if _is_mine(c, reply) and c.phase is Phase.ACCEPT:
            return _heal(c, reply, codec)
        case m.State() if c.phase is Phase.CARRY and _is_enrolled(c, node, reply):
            asker = next((carry for carry in c.carries if carry.attempt == reply.attempt), None)
            if asker is None:
                return Move(c)
            return _carrying(c, candidacy.hear(asker, reply, now_s, draws), now_s, draws, codec)
        case m.State() if _is_mine(c, reply) and _is_enrolled(c, node, reply):
            return _take_state(c, reply, now_s, draws, codec)
        case m.Page() if c.phase is Phase.LEARN:
            return _take_page(c, reply, now_s, draws, codec)
        case m.Holding() if _is_mine(c, reply):
            return _take_holding(c, node, reply, now_s, draws, codec)
        case m.RoleList() if c.phase is Phase.LIST and _is_mine(c, reply) and _is_enrolled(c, node, reply):
            return _take_list(c, reply, now_s, draws, codec)
    return Move(c)


def wake(c: Change, now_s: float, draws: Draws, codec: Codec, alive: Collection[bytes] | None = None) -> Move:
    """The wait is over (`wake_at_s`): ask again, go on with what is at hand, or try another way."""
    if c.phase is Phase.DONE:
        return Move(c)
    c = c._replace(has_healed=False, alive=c.alive if alive is None else frozenset(alive))
    if c.phase is Phase.YIELD:
        return _prepare(c, now_s, draws, codec)
    if not c.patient and c.asks >= ENTER_ASKS and not c.electorate.is_quorum(c.alive):
        return give_up(c)
    if c.phase is Phase.CARRY:
        return _wake_carries(c._replace(asks=c.asks + 1), now_s, draws, codec)
    if c.phase is Phase.ENTER and c.asks >= ENTER_ASKS and _next(c).is_quorum(c.done_by):
        return _entered(c, now_s, draws, codec)
    if c.phase in (Phase.PREPARE, Phase.LEARN, Phase.ACCEPT) and c.asks >= ASKS:
        return _yield(c, now_s, draws)
    c = c._replace(asks=c.asks + 1)
    # Voters that are slow must not be asked the more for it; for those that are dead nobody waits longer.
    is_waiting_for_the_last = c.phase is Phase.ENTER and _next(c).is_quorum(c.done_by)
    wait_s = _wait_s(c) * (1 if is_waiting_for_the_last else min(c.asks, LONGEST_WAIT))
    return Move(c._replace(wake_at_s=now_s + wait_s), _messages(c, codec), True)


def give_up(c: Change) -> Move:
    """No more time: what is known now is the outcome."""
    if c.phase is Phase.DONE:
        return Move(c)
    if c.phase is Phase.ENTER:
        c = c._replace(electorate=_next(c))
        is_in_force = not c.electorate.is_joint and c.electorate.is_quorum(c.done_by)
        return _done(c, Verdict.CHANGED if is_in_force else Verdict.UNFINISHED)
    if c.electorate.is_joint:
        return _done(c, Verdict.UNFINISHED)
    return _done(c, Verdict.UNKNOWN if c.proposed else Verdict.NO_QUORUM)


# What is asked.


def _messages(c: Change, codec: Codec) -> tuple[m.Query, ...]:
    head = (c.attempt, c.electorate.polity, c.electorate.epoch)
    match c.phase:
        case Phase.READ:
            return (m.Read(*head, ELECTORATE),)
        case Phase.PREPARE:
            return (m.Prepare(*head, ELECTORATE, c.ballot),)
        case Phase.LEARN:
            assert c.learning is not None
            return (c.learning.message,)
        case Phase.OFFER | Phase.ENTER:
            delta = _delta(c, codec) if c.asks == 1 else None
            return _pages(c, codec) if delta is None else (delta,)
        case Phase.ACCEPT:
            value = Tenure(c.electorate.epoch + 1, c.digest.hex(), c.claim)
            return (m.Accept(*head, ELECTORATE, c.ballot, value),)
        case Phase.LIST:
            return (m.ListRoles(*head, c.after),)
    raise AssertionError(f"nothing is asked while {c.phase.value}")


def _pages(c: Change, codec: Codec) -> tuple[m.Offer, ...]:
    return epochs.offers(c.attempt, _next(c), codec, chosen=c.phase is Phase.ENTER)


def _delta(c: Change, codec: Codec) -> m.Delta | None:
    """The record at hand as what it takes from this epoch's, which most of its voters hold."""
    return epochs.delta(c.attempt, c.electorate, _next(c), codec, chosen=c.phase is Phase.ENTER)


def _enter(c: Change, phase: Phase, now_s: float, codec: Codec) -> Move:
    c = c._replace(
        phase=phase,
        states=(),
        done_by=frozenset(),
        has_healed=False,
        asks=1,
        round_trips=c.round_trips + 1,
        wake_at_s=now_s + _wait_s(c),
    )
    return Move(c, _messages(c, codec))


def _wait_s(c: Change) -> float:
    return ASK_AGAIN_S * (1 + len(c.electorate.voters) / MANY)


def _is_mine(c: Change, reply: m.Reply) -> bool:
    if c.phase is Phase.CARRY:
        return any(reply.attempt == carry.attempt for carry in c.carries)
    return reply.attempt == c.attempt


def _is_enrolled(c: Change, node: str, reply: m.Reply) -> bool:
    return c.electorate.node_of(reply.voter) == node


def _next(c: Change) -> Electorate:
    assert c.record is not None
    return c.record


# The register of the electorate.


def _prepare(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
    attempt = draws.id()
    number = max(c.highest_round + 1, draws.round_floor())
    c = c._replace(
        attempt=attempt, ballot=Ballot(number, attempt), highest_round=number, attempts=c.attempts + 1
    )
    return _enter(c, Phase.PREPARE, now_s, codec)


def _take_state(c: Change, state: m.State, now_s: float, draws: Draws, codec: Codec) -> Move:
    if c.phase not in (Phase.READ, Phase.PREPARE, Phase.ACCEPT):
        return Move(c)
    states = dict(c.states)
    known = states.get(state.voter)
    states[state.voter] = state if known is None else tally.newer(known, state)
    c = c._replace(
        states=tuple(sorted(states.items())), highest_round=max(c.highest_round, state.promised.round)
    )
    if c.phase is Phase.READ:
        c = c._replace(done_by=frozenset(states))
        if not c.electorate.is_quorum(c.done_by):
            return Move(c)
        is_begun = any(_has_accepted_next(c, state) for state in states.values())
        return _prepare(c, now_s, draws, codec) if is_begun else _done(c, Verdict.NOTHING)
    agree = tally.promises if c.phase is Phase.PREPARE else tally.acceptances
    c = c._replace(done_by=agree(states, c.ballot))
    if c.electorate.is_quorum(c.done_by):
        if c.phase is Phase.ACCEPT:
            return _enter(c, Phase.ENTER, now_s, codec)
        return _recover(c, now_s, draws, codec)
    outbid = tally.select(states, lambda s: s.promised > c.ballot) - c.done_by
    others = frozenset(e.voter for e in c.electorate.voters) - outbid
    return Move(c) if c.electorate.is_quorum(others) else _yield(c, now_s, draws)


def _recover(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
    """A quorum has promised: propose what one of them accepted as the next record, or what we want."""
    accepted = [
        (state.accepted, state.tenure.holder)
        for voter, state in c.states
        if voter in c.done_by and _has_accepted_next(c, state)
    ]
    if not accepted:
        if c.electorate.is_joint:
            return _propose(c, c.electorate.completed(), now_s, codec)
        if c.target is None or _is_idle(c):
            return _done(c, Verdict.NOTHING)
        return _propose(c, c.electorate.joint_with(c.target), now_s, codec)
    digest = bytes.fromhex(max(accepted)[1] or "")
    known = dict(c.found).get(digest)
    if known is not None:
        return _propose(c, known, now_s, codec)
    return _enter(c._replace(learning=epochs.Learning(draws.id(), digest)), Phase.LEARN, now_s, codec)


def _is_idle(c: Change) -> bool:
    """True if nothing is wanted that is not so already."""
    return c.target in (None, c.electorate.current)


def _has_accepted_next(c: Change, state: m.State) -> bool:
    """True if this voter has accepted a record that is to follow the electorate's."""
    return state.accepted != ZERO and state.tenure.term == c.electorate.epoch + 1


def _take_page(c: Change, page: m.Page, now_s: float, draws: Draws, codec: Codec) -> Move:
    assert c.learning is not None
    try:
        learned = c.learning.take(page, codec)
    except ValueError:
        return _yield(c, now_s, draws)
    if learned is None:
        return Move(c)
    if isinstance(learned, epochs.Learning):
        return _enter(c._replace(learning=learned), Phase.LEARN, now_s, codec)
    if not c.electorate.is_followed_by(learned):
        return _yield(c, now_s, draws)
    c = c._replace(found=(*c.found, (c.learning.digest, learned)), learning=None)
    return _propose(c, learned, now_s, codec)


def _propose(c: Change, record: Electorate, now_s: float, codec: Codec) -> Move:
    digest = codec.digest(codec.encode_record(record))
    found = c.found if digest in dict(c.found) else (*c.found, (digest, record))
    return _enter(c._replace(record=record, digest=digest, found=found), Phase.OFFER, now_s, codec)


def _take_holding(c: Change, node: str, holding: m.Holding, now_s: float, draws: Draws, codec: Codec) -> Move:
    if c.phase is Phase.OFFER:
        if not _is_enrolled(c, node, holding):
            return Move(c)
        if not holding.complete:
            return _give_pages(c, codec)
        c = c._replace(done_by=c.done_by | {holding.voter})
        if not c.electorate.is_quorum(c.done_by):
            return Move(c)
        c = c._replace(proposed=c.proposed or not c.electorate.is_joint)
        return _enter(c, Phase.ACCEPT, now_s, codec)
    if c.phase is not Phase.ENTER:
        return Move(c)
    return _seen(c, node, holding, now_s, draws, codec) if holding.complete else _give_pages(c, codec)


def _give_pages(c: Change, codec: Codec) -> Move:
    """A voter lacks the record. If it was given as a delta it does not hold what that is one of."""
    if c.asks > 1 or c.has_healed or _delta(c, codec) is None:
        return Move(c)
    return Move(c._replace(has_healed=True), _pages(c, codec), True)


def _seen(c: Change, node: str, reply: m.Reply, now_s: float, draws: Draws, codec: Codec) -> Move:
    """Count a voter that shows by any answer that it has entered the record."""
    record = _next(c)
    if reply.polity == record.polity and reply.epoch > record.epoch:
        return _done(c, Verdict.OVERTAKEN)
    has_entered = (reply.polity, reply.epoch) == (record.polity, record.epoch)
    if not has_entered or record.node_of(reply.voter) != node:
        return Move(c)
    c = c._replace(done_by=c.done_by | {reply.voter})
    everybody = all(e.voter in c.done_by for e in record.voters)
    enough = record.is_quorum(c.done_by) if record.is_joint else everybody
    return _entered(c, now_s, draws, codec) if enough else Move(c)


def _entered(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
    c = c._replace(electorate=_next(c), record=None, attempts=0)
    return _list(c, now_s, draws, codec) if c.electorate.is_joint else _done(c, Verdict.CHANGED)


# The roles.


def _list(c: Change, now_s: float, draws: Draws, codec: Codec, after: str = "") -> Move:
    roles = c.roles if after else ()
    return _enter(
        c._replace(attempt=draws.id(), after=after, lists=(), roles=roles), Phase.LIST, now_s, codec
    )


def _take_list(c: Change, answer: m.RoleList, now_s: float, draws: Draws, codec: Codec) -> Move:
    lists = dict(c.lists) | {answer.voter: answer}
    c = c._replace(lists=tuple(sorted(lists.items())), done_by=frozenset(lists))
    old = c.electorate.current
    if old.count(c.done_by) < old.q:
        return Move(c)
    names, cut = tally.listed(answer for voter, answer in c.lists if old.node_of(voter) is not None)
    c = c._replace(roles=(*c.roles, *sorted(names - {ELECTORATE}, key=str.encode)))
    if cut is not None:
        return _list(c, now_s, draws, codec, cut)
    return _carry_next(c, now_s, draws, codec)


def _carry_next(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
    """Begin with further roles; once all are carried over, propose the record of the new voters alone."""
    if not c.roles and not c.carries:
        return _prepare(c, now_s, draws, codec)
    send: list[m.Query] = []
    carries = list(c.carries)
    room = ROLES_AT_ONCE - len(carries)
    for role in c.roles[:room]:
        order = Order(Purpose.CARRY, role, c.node, c.claim, patient=True)
        pace = Pace(ask_again_s=_wait_s(c))
        begun = candidacy.begin(
            order, c.electorate, local=None, alive=None, now_s=now_s, draws=draws, pace=pace
        )
        carries.append(begun.candidacy)
        if begun.send is not None:
            send.append(begun.send)
    if c.phase is not Phase.CARRY:
        c = c._replace(phase=Phase.CARRY, round_trips=c.round_trips + 1, asks=1, has_healed=False)
    return Move(_with_carries(c, carries)._replace(roles=c.roles[room:]), tuple(send))


def _carrying(c: Change, move: operation.Move, now_s: float, draws: Draws, codec: Codec) -> Move:
    """One of the roles under way is a step further, or done."""
    carry = move.candidacy
    others = [other for other in c.carries if other.order.role != carry.order.role]
    if carry.outcome is not None:
        c = c._replace(carried=(*c.carried, carry.order.role))
        return _carry_next(_with_carries(c, others), now_s, draws, codec)
    send = () if move.send is None else (move.send,)
    return Move(_with_carries(c, [*others, carry]), send, carry.asks > 1)


def _wake_carries(c: Change, now_s: float, draws: Draws, codec: Codec) -> Move:
    """Those whose wait is over go on: none of them ends by that, as they are patient."""
    send: list[m.Query] = []
    for carry in c.carries:
        if carry.wake_at_s <= now_s:
            woken = _carrying(c, candidacy.wake(carry, now_s, draws), now_s, draws, codec)
            c = woken.change
            send += woken.send
    return Move(c, tuple(send), True)


def _with_carries(c: Change, carries: list[Candidacy]) -> Change:
    soonest_s = min((carry.wake_at_s for carry in carries), default=c.wake_at_s)
    return c._replace(carries=tuple(carries), wake_at_s=soonest_s)


# Waiting, healing, ending.


def _yield(c: Change, now_s: float, draws: Draws) -> Move:
    low, high = YIELD_S
    # Each prepare outbids whoever is at it: ever longer waits let one of them finish.
    wait_s = (low + (high - low) * draws.jitter()) * min(2 ** (c.attempts - 1), LONGEST_YIELD)
    return Move(c._replace(phase=Phase.YIELD, wake_at_s=now_s + wait_s))


def _heal(c: Change, refusal: m.Refusal, codec: Codec) -> Move:
    """Hand the record that a voter lacks to all that do, once per wait, and ask again.

    It goes to everybody: once for each of many would be more than they can take.
    """
    if c.has_healed or c.phase is Phase.YIELD:
        return Move(c)
    c = c._replace(has_healed=True)
    if refusal.reason == m.NO_RECORD:
        return Move(c, (*_pages(c, codec), *_messages(c, codec)), True)
    asked: tuple[m.Query, ...]
    if c.phase is Phase.CARRY:
        asked = tuple(map(candidacy.message, c.carries))
    else:
        asked = _messages(c, codec)
    return Move(c, (*epochs.offers(refusal.attempt, c.electorate, codec, chosen=True), *asked), True)


def _done(c: Change, verdict: Verdict) -> Move:
    silent = tuple(e.node for e in c.electorate.voters if e.voter not in c.answered)
    if c.asks <= 1 or c.phase is Phase.YIELD:
        silent = ()  # nobody had the time to answer
    undecided = verdict in (Verdict.NO_QUORUM, Verdict.UNFINISHED, Verdict.UNKNOWN)
    may_take_effect = verdict in (Verdict.UNFINISHED, Verdict.UNKNOWN) or (
        verdict is Verdict.OVERTAKEN and c.proposed
    )
    outcome = Outcome(verdict, c.electorate, may_take_effect, c.carried, silent if undecided else ())
    return Move(c._replace(phase=Phase.DONE, outcome=outcome))
