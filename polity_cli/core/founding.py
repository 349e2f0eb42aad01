"""The founding of a polity: one classic Paxos instance whose quorum is every voter of the record.

    ROLL_CALL  prepare at everybody who is meant to vote; all must answer
    LEARN      fetch the records that some of them accepted in an earlier founding
    OFFER      give everybody the record, page by page
    ACCEPT     everybody accepts it
    ENTER      it is chosen: everybody is told so and enters it
    YIELD      another founder is at it; wait a jittered while, call the roll again
    DONE

A record R of an earlier founding may have been chosen unless a voter of R that promised our ballot lacks it:
then it never can be any more. If it may, we carry it through when its voters are ours, and stop with both
lists when they are not. Two foundings over overlapping sets therefore never both complete; disjoint sets
may, and are told apart by their polity ids when they meet.

The value of the register is a tenure of term 1 whose holder is the record's digest in hex and whose claim
is the polity id: what a record says travels apart from the decision, as it may not fit one message.
"""

from __future__ import annotations

from enum import Enum

from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, founding_record
from polity_cli.core.quorum import QuorumRule
from polity_cli.core.record import Record
from polity_cli.core.tenure import ELECTORATE, Tenure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from polity_cli.core.epochs import Codec
    from polity_cli.core.operation import Draws


ASK_AGAIN_S = 0.5
LONGEST_WAIT = 4
YIELD_S = (1.0, 3.0)
"""A founding takes 1 to 3 s: whoever calls the roll sooner only stops it."""
LONGEST_YIELD = 4
ENTER_ASKS = 3


class Phase(Enum):
    ROLL_CALL = "roll call"
    LEARN = "learning of an earlier founding"
    OFFER = "handing out the record"
    ACCEPT = "acceptance"
    ENTER = "entering"
    YIELD = "waiting for another founder"
    DONE = "done"


class Verdict(Enum):
    FOUNDED = "founded"
    ALREADY = "already founded"
    MISSING = "somebody did not answer"
    CLASH = "another founding is in the way"
    CLONED = "two nodes have one voter id"
    UNKNOWN = "it may yet be founded"


class Outcome(Record):
    """`record` is the founded one; with ALREADY only `digest` and `polity` of the one to fetch are known.

    `missing` are node names without an answer (or with one voter id, for CLONED); `other` is the record in
    the way. `mine` are the nodes this founding wanted.
    """

    verdict: Verdict
    mine: tuple[str, ...]
    record: Electorate | None = None
    polity: bytes = m.NO_POLITY
    digest: bytes = b""
    missing: tuple[str, ...] = ()
    other: Electorate | None = None


class Founding(Record):
    """The state of a founding. `voters` maps node names to what they answered in the roll call.

    `proposed` says that an accept was sent once: from then on the polity may be founded without us. What
    attempts learn is kept for the next: the records `found`, and the digest of the one that all nodes `hold`.
    """

    nodes: tuple[str, ...]
    polity: bytes
    rule: QuorumRule
    phase: Phase = Phase.ROLL_CALL
    attempt: bytes = b""
    ballot: Ballot = ZERO
    voters: tuple[tuple[str, m.State], ...] = ()
    done_by: frozenset[str] = frozenset()
    digest: bytes = b""
    record: Electorate | None = None
    pages: tuple[bytes, ...] = ()
    found: tuple[tuple[bytes, Electorate], ...] = ()
    hold: bytes = b""
    highest_round: int = 0
    roll_calls: int = 0
    proposed: bool = False
    asks: int = 0
    round_trips: int = 0
    wake_at_s: float = 0.0
    outcome: Outcome | None = None

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The nodes that have not answered in this phase."""
        return tuple(node for node in self.nodes if node not in self.done_by)


class Move(Record):
    founding: Founding
    send: tuple[m.Query, ...] = ()


def begin(nodes: Iterable[str], polity: bytes, rule: QuorumRule, *, now_s: float, draws: Draws) -> Move:
    """Start founding `polity` with the voters on `nodes`; raises BadInput if the rule is unsafe for them."""
    names = tuple(sorted(set(nodes)))
    founding_record(polity, [Enrolled(name.encode(), name) for name in names], rule)
    return _roll_call(Founding(names, polity, rule), now_s, draws)


def hear(f: Founding, node: str, reply: m.Reply, now_s: float, draws: Draws, codec: Codec) -> Move:
    """Take the reply of a node; those of other attempts or of nodes not called change nothing."""
    if f.phase in (Phase.DONE, Phase.YIELD) or reply.attempt != f.attempt or node not in f.nodes:
        return Move(f)
    called = dict(f.voters).get(node)
    if called is not None and called.voter != reply.voter:
        # Another memory on that node than the one that promised; who has two cannot be enrolled.
        return _done(f, Verdict.CLONED, missing=(node,)) if not f.proposed else Move(f)
    if isinstance(reply, m.Refusal):
        if f.phase is Phase.ENTER and reply.digest == f.digest:
            return _answered(f, node, now_s, draws, codec)
        if reply.reason == m.FOUNDED:
            return _done(f, Verdict.ALREADY, polity=reply.polity, digest=reply.digest)
        if reply.reason == m.NO_RECORD and f.phase is Phase.ACCEPT:
            return _enter(f, Phase.OFFER, now_s)
        return Move(f)
    if isinstance(reply, m.State):
        f = f._replace(highest_round=max(f.highest_round, reply.promised.round))
        if reply.promised > f.ballot and f.phase in (Phase.ROLL_CALL, Phase.ACCEPT):
            return _yield(f, now_s, draws)
    match f.phase, reply:
        case Phase.ROLL_CALL, m.State(promised=promised) if promised == f.ballot:
            f = f._replace(voters=tuple(sorted({**dict(f.voters), node: reply}.items())))
            return _answered(f, node, now_s, draws, codec)
        case Phase.LEARN, m.Page(digest=digest, pages=pages) if digest == f.digest and pages:
            return _learned(f, reply, now_s, draws, codec)
        case Phase.OFFER, m.Holding(complete=True):
            return _answered(f, node, now_s, draws, codec)
        case Phase.ACCEPT, m.State(accepted=accepted) if accepted == f.ballot:
            return _answered(f, node, now_s, draws, codec)
        case Phase.ENTER, m.Holding(digest=digest) if digest == f.digest:
            return _answered(f, node, now_s, draws, codec)
    return Move(f)


def wake(f: Founding, now_s: float, draws: Draws) -> Move:
    """The wait is over: ask again, or call the roll again."""
    if f.phase is Phase.DONE:
        return Move(f)
    if f.phase is Phase.YIELD:
        return _roll_call(f, now_s, draws)
    if f.phase is Phase.ENTER and f.asks >= ENTER_ASKS:
        return _done(f, Verdict.FOUNDED, record=f.record)
    # Voters that are slow must not be asked the more for it. Who misses the telling is told later.
    patience = 1 if f.phase is Phase.ENTER else min(f.asks, LONGEST_WAIT)
    wait_s = ASK_AGAIN_S * patience
    return Move(f._replace(asks=f.asks + 1, wake_at_s=now_s + wait_s), _messages(f))


def give_up(f: Founding) -> Move:
    """No more time: say who did not answer, and whether the polity may be founded all the same."""
    match f.phase:
        case Phase.DONE:
            return Move(f)
        case Phase.ENTER:
            return _done(f, Verdict.FOUNDED, record=f.record)
        case _ if f.proposed:
            return _done(f, Verdict.UNKNOWN, missing=f.waiting_for)
        case phase if phase is Phase.YIELD or (f.roll_calls > 1 and f.asks < 3):
            return _done(f, Verdict.CLASH)
        case _:
            return _done(f, Verdict.MISSING, missing=f.waiting_for)


def _messages(f: Founding) -> tuple[m.Query, ...]:
    match f.phase:
        case Phase.ROLL_CALL:
            return (m.Prepare(f.attempt, m.NO_POLITY, 0, ELECTORATE, f.ballot),)
        case Phase.LEARN:
            return (m.Fetch(f.attempt, f.digest, len(f.pages)),)
        case Phase.ACCEPT:
            assert f.record is not None
            value = Tenure(1, f.digest.hex(), f.record.polity)
            return (m.Accept(f.attempt, m.NO_POLITY, 0, ELECTORATE, f.ballot, value),)
        case _:
            chosen = f.phase is Phase.ENTER
            return tuple(
                m.Offer(f.attempt, f.digest, at, len(f.pages), page, chosen)
                for at, page in enumerate(f.pages)
            )


def _enter(f: Founding, phase: Phase, now_s: float) -> Move:
    f = f._replace(
        phase=phase,
        done_by=frozenset(),
        asks=1,
        round_trips=f.round_trips + 1,
        wake_at_s=now_s + ASK_AGAIN_S,
    )
    return Move(f, _messages(f))


def _roll_call(f: Founding, now_s: float, draws: Draws) -> Move:
    attempt = draws.id()
    number = f.highest_round + 1
    f = f._replace(
        attempt=attempt,
        ballot=Ballot(number, attempt),
        highest_round=number,
        roll_calls=f.roll_calls + 1,
        voters=(),
        pages=(),
    )
    return _enter(f, Phase.ROLL_CALL, now_s)


def _yield(f: Founding, now_s: float, draws: Draws) -> Move:
    low, high = YIELD_S
    # Each roll call outbids whoever is at it. Where voters are slow only ever longer waits let one finish.
    wait_s = (low + (high - low) * draws.jitter()) * min(2 ** (f.roll_calls - 1), LONGEST_YIELD)
    return Move(f._replace(phase=Phase.YIELD, wake_at_s=now_s + wait_s))


def _answered(f: Founding, node: str, now_s: float, draws: Draws, codec: Codec) -> Move:
    """Count a node that did what the phase asks for; once all have, go on."""
    f = f._replace(done_by=f.done_by | {node})
    if f.waiting_for:
        return Move(f)
    match f.phase:
        case Phase.ROLL_CALL:
            ids = [state.voter for _, state in f.voters]
            twice = tuple(node for node, state in f.voters if ids.count(state.voter) > 1)
            return _done(f, Verdict.CLONED, missing=twice) if twice else _judge(f, now_s, codec)
        case Phase.OFFER:
            return _accept(f._replace(hold=f.digest), now_s)
        case Phase.ACCEPT:
            return _enter(f, Phase.ENTER, now_s)
        case _:
            return _done(f, Verdict.FOUNDED, record=f.record)


def _judge(f: Founding, now_s: float, codec: Codec) -> Move:
    """Everybody has promised: learn what was accepted before, then adopt it, stop, or propose."""
    known = dict(f.found)
    accepted = [
        bytes.fromhex(state.tenure.holder)
        for _, state in f.voters
        if state.accepted != ZERO and state.tenure.holder is not None
    ]
    for digest in accepted:
        if digest not in known:
            return _enter(f._replace(digest=digest, pages=()), Phase.LEARN, now_s)
    answered = {state.voter: state for _, state in f.voters}
    for digest in dict.fromkeys(accepted):
        record = known[digest]
        members = {e.voter for e in record.voters}
        lacking = any(answered[voter].tenure.holder != digest.hex() for voter in members if voter in answered)
        if lacking:
            continue
        if members != set(answered):
            return _done(f, Verdict.CLASH, other=record)
        return _propose(f, record, now_s, codec)
    own = founding_record(f.polity, [Enrolled(state.voter, node) for node, state in f.voters], f.rule)
    return _propose(f, own, now_s, codec)


def _propose(f: Founding, record: Electorate, now_s: float, codec: Codec) -> Move:
    data = codec.encode_record(record)
    f = f._replace(record=record, digest=codec.digest(data), pages=tuple(codec.pages(data)))
    # Who said in an earlier attempt that it holds the record needs no offer; one that lost it says so.
    return _accept(f, now_s) if f.digest == f.hold else _enter(f, Phase.OFFER, now_s)


def _accept(f: Founding, now_s: float) -> Move:
    return _enter(f._replace(proposed=True), Phase.ACCEPT, now_s)


def _learned(f: Founding, page: m.Page, now_s: float, draws: Draws, codec: Codec) -> Move:
    if page.page != len(f.pages):
        return Move(f)
    f = f._replace(pages=(*f.pages, page.data))
    if len(f.pages) < page.pages:
        return _enter(f, Phase.LEARN, now_s)
    data = b"".join(f.pages)
    if codec.digest(data) != f.digest:
        return _roll_call(f, now_s, draws)
    return _judge(f._replace(found=(*f.found, (f.digest, codec.decode_record(data)))), now_s, codec)


def _done(
    f: Founding,
    verdict: Verdict,
    *,
    record: Electorate | None = None,
    polity: bytes = m.NO_POLITY,
    digest: bytes = b"",
    missing: tuple[str, ...] = (),
    other: Electorate | None = None,
) -> Move:
    outcome = Outcome(
        verdict=verdict,
        mine=f.nodes,
        record=record,
        polity=record.polity if record else polity,
        digest=f.digest if record else digest,
        missing=missing,
        other=other,
    )
    return Move(f._replace(phase=Phase.DONE, outcome=outcome))
