"""What a voter remembers and what it answers: the acceptor of a Fast CASPaxos register.

`receive` is a pure function. Whoever calls it makes the returned register durable before anybody hears
the reply. The rules, with b the base of a stand and B its ballot:

    read      nothing
    prepare   if B > promised: promised = B
    accept    if B >= promised: promised = accepted = B, take the tenure
    stand     1. accept the base's vacancy again (heals a voter that missed it)
              2. a filled tenure confirmed at c, b < c < B, nothing newer accepted: NO, and no more
              3. else if accepted == b and promised <= b.fast: promised = accepted = b.fast, take the tenure
              4. unless NO: if B > promised: promised = B
    announce  if newer: confirmed = it; then accept it as above
    entering another epoch: a fast vote of an older one is taken back (`on_entering`)

A vote (3) raises `promised` twice: to b.fast, so that a late copy of the base cannot undo the vote, and to
B (4), so that nothing decided below B can contain it. NO needs c < B for the same reason: a tenure decided
above B may already have outlived this very candidacy.

The register of the electorate decides, within each epoch, which record is the next one: its tenures have that
record's epoch for a term and its digest for a holder. The founding is its first decision, made before any
polity exists (`founding.py`), and each change of the electorate two more (`change.py`). No role is voted on
before its polity is known to be founded, and nobody stands for one in a joint epoch.
"""

from __future__ import annotations

from polity_cli.core.ballot import MAX_JUMP, ZERO, Ballot
from polity_cli.core.electorate import Electorate, is_joint_epoch
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
from polity_cli.core.record import Record
from polity_cli.core.tenure import ELECTORATE, Tenure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


class Self(Record):
    """Who the voter is and which record it has entered; `polity` is empty before any founding.

    `serial` grows with each change of its ledger, of every kind.
    """

    voter: bytes
    polity: bytes
    epoch: int
    digest: bytes
    serial: int = 0


class Step(Record):
    """What to remember, and what to answer once it is remembered; an announcement has no answer.

    The answer has the serial from before: whoever remembers counts that as well.
    """

    register: Register
    reply: State | Refusal | None


def receive(
    me: Self, register: Register, message: RoleQuery | Announce, held: Collection[bytes] = ()
) -> Step:
    """Handle one message about the role whose register is given.

    `held` are the digests of the electorate records that the voter holds whole and that may be the next one;
    they matter to a founding and to a change of the electorate only.
    """
    reason = _refusal(me, register, message, held)
    if isinstance(message, Announce):
        return Step(register if reason else _announce(register, message), None)
    if reason:
        return Step(register, Refusal(message.attempt, *me[:4], reason, me.serial))
    match message:
        case Prepare(ballot=ballot):
            register = _promise(register, ballot)
        case Accept(ballot=ballot, tenure=tenure):
            register = _accept(register, ballot, tenure)
        case Stand():
            register = _stand(register, message)
        case Read():
            pass
    return Step(register, State(message.attempt, me.voter, me.polity, me.epoch, *register, me.serial))


def is_no(reply: State | Register, base: Ballot, ballot: Ballot) -> bool:
    """True if this state answers a stand on `base` with `ballot` by NO (rule 2)."""
    return (
        not reply.confirmed.is_vacant
        and base < reply.confirmed_ballot < ballot
        and reply.accepted <= reply.confirmed_ballot
    )


def _refusal(me: Self, register: Register, message: RoleQuery | Announce, held: Collection[bytes]) -> int:
    """The reason not to take part in this, or 0."""
    if message.polity != me.polity:
        if me.polity == NO_POLITY:
            return UNFOUNDED
        return FOUNDED if message.polity == NO_POLITY else OTHER_POLITY
    if message.epoch != me.epoch:
        return OLD_EPOCH if message.epoch < me.epoch else BEHIND
    if me.polity == NO_POLITY and message.role != ELECTORATE:
        return UNFOUNDED
    if isinstance(message, Read):
        return 0
    if message.ballot.round > register.promised.round + MAX_JUMP:
        return UNUSABLE
    match message:
        case Accept(ballot=ballot, tenure=tenure) if message.role == ELECTORATE:
            if ballot.is_fast or tenure.holder is None or tenure.term != me.epoch + 1:
                return UNUSABLE
            return 0 if tenure.holder in {digest.hex() for digest in held} else NO_RECORD
        case Prepare(ballot=ballot) | Accept(ballot=ballot):
            if ballot.is_fast:
                return UNUSABLE
        case Stand(base=base, vacancy=vacancy, tenure=tenure, ballot=ballot):
            fills = not tenure.is_vacant and tenure.vacancy_before() == vacancy
            if (
                message.role == ELECTORATE
                or is_joint_epoch(me.epoch)
                or base.is_fast
                or ballot.is_fast
                or ballot <= base.fast
                or not fills
            ):
                return UNUSABLE
        case Announce() if message.role == ELECTORATE:
            return UNUSABLE
    return 0


def _promise(register: Register, ballot: Ballot) -> Register:
    return register._replace(promised=ballot) if ballot > register.promised else register


def _accept(register: Register, ballot: Ballot, tenure: Tenure) -> Register:
    if ballot < register.promised:
        return register
    return register._replace(promised=ballot, accepted=ballot, tenure=tenure)


def _stand(register: Register, stand: Stand) -> Register:
    register = _accept(register, stand.base, stand.vacancy)
    if is_no(register, stand.base, stand.ballot):
        return register
    if register.accepted == stand.base and register.promised <= stand.base.fast:
        register = _accept(register, stand.base.fast, stand.tenure)
    return _promise(register, stand.ballot)


def _announce(register: Register, news: Announce) -> Register:
    if news.ballot > register.confirmed_ballot:
        register = register._replace(confirmed_ballot=news.ballot, confirmed=news.tenure)
    return _accept(register, news.ballot, news.tenure)


def on_entering(me: Self, epoch: int, register: Register) -> Register:
    """What a voter remembers of a role when it enters the record of `epoch`.

    A fast vote counts in the epoch in which it was cast, and in the joint epoch behind that, by the rolls of
    its own epoch. Whatever such votes decided is carried over by then, at a higher ballot. What is left of
    them is taken back, to the vacancy on which it was cast: among other voters it might be enough.
    """
    is_its_joint_epoch = is_joint_epoch(epoch) and epoch == me.epoch + 1
    if not register.accepted.is_fast or is_its_joint_epoch:
        return register
    return register._replace(accepted=register.accepted.classic, tenure=register.tenure.vacancy_before())


def may_enter(me: Self, founding: Register, record: Electorate) -> bool:
    """True if a voter may enter `record`, which it was told is chosen; `founding` is its electorate register.

    A voter that accepted another founding record might be the last one that record was waiting for, so it
    enters only a record that lists it.
    """
    if me.polity == NO_POLITY:
        return founding.accepted == ZERO or record.node_of(me.voter) is not None
    return record.polity == me.polity and record.epoch > me.epoch
