"""One voter is made the whole electorate of a new polity, when the majority of the old one is gone for ever.

No quorum will ever answer again then, and the protocol leads nowhere: a change of the electorate takes a
quorum of the old voters like everything else. What is missing is no message but knowledge that only a person
can have: that the others do not come back. So this is no step of the protocol. It is a founding by one, told
what a single ledger of the old polity remembers.

What may be lost is what only the lost voters knew: this voter need not have been in the quorum that decided
last. What must not be lost is the order of terms, nor the ability to tell who is who:

- A new polity id. Should the lost voters come back, with whoever else still belongs to the old polity, they
  may find a quorum of it: nobody here can take that from them. But no voter of one polity answers a message
  of the other, none counts in the other, and whoever hears of both stops and names them (TwoPolities). With
  the old id, the records of two different electorates would have one name, and both would be followed.
- A new voter id. The ledger as it was is kept; whoever brings it back brings back the voter of the old
  polity, and not a second one of the new.
- Every role the ledger has a trace of is decided once more: its newest known tenure, at a ballot above all
  that this voter has seen, by the one voter that is a quorum now. Newest is what was accepted at the highest
  ballot, be it confirmed or not. If it was never decided, deciding it now is as good as anything: whoever
  might know better is gone.
- Terms jump, by far more than the terms that can have passed unseen. A term is a fencing token: storage that
  has seen one refuses all below it. The lost majority may have filled the role several times since this
  voter last heard of it. Had the next term the next number, one that was given out already would be given
  out again, to somebody else, and the storage could not tell the two apart. With the jump each tenure of
  the new polity is above each of the old one: a holder that nobody here knows of is fenced off by the next
  one, and so is whatever the old polity does, should it come to life again.
- A role without any trace here would begin with term 1 all the same. Whoever knows of one names it, and it
  becomes vacant in a term that is high enough.

Ballots need no such care, as those of the old polity mean nothing in the new one; that they rise as well
keeps them comparable.
"""

from __future__ import annotations

from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.electorate import Electorate, Enrolled, founding_record
from polity_cli.core.messages import Register
from polity_cli.core.quorum import QuorumPercentage
from polity_cli.core.record import Record
from polity_cli.core.tenure import ELECTORATE, Tenure
from polity_cli.core.voter import Self

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from polity_cli.core.epochs import Codec
    from polity_cli.core.operation import Draws

TERM_JUMP = 1_000_000
"""A role that changes hands once a minute needs almost a year for so many terms."""

CONFIRMED = "confirmed"
ACCEPTED = "accepted"
PROMISED = "promised"


class Rescue(Record):
    """What to remember instead of all that was: `record` is `electorate` as bytes, entered by `me`.

    `registers` are those of every role, and the electorate's own, by name.
    """

    me: Self
    electorate: Electorate
    record: bytes
    registers: tuple[tuple[str, Register], ...]


def newest(register: Register) -> tuple[Tenure, str]:
    """The newest tenure a voter knows of a role, and how well it knows it.

    CONFIRMED: it was decided. ACCEPTED: this voter accepted it, or voted for it, and never heard what came of
    it. PROMISED: nothing is known but that somebody asked.
    """
    if register.confirmed_ballot >= register.accepted:
        known = CONFIRMED if register.confirmed_ballot != ZERO else PROMISED
        return register.confirmed, known
    return register.tenure, ACCEPTED


def rescue(
    registers: Mapping[str, Register],
    node: str,
    *,
    also: Iterable[str] = (),
    jump: int = TERM_JUMP,
    draws: Draws,
    codec: Codec,
) -> Rescue:
    """Make the voter of `node` the only one of a new polity, with the roles of its `registers` and `also`."""
    voter, polity, claim, proposer = (draws.id() for _ in range(4))
    electorate = founding_record(polity, [Enrolled(voter, node)], QuorumPercentage(0.5, 1))
    data = codec.encode_record(electorate)
    digest = codec.digest(data)
    rounds = [b.round for r in registers.values() for b in (r.promised, r.confirmed_ballot)]
    ballot = Ballot(max(draws.round_floor(), *rounds, 0) + 1, proposer)
    roles = {role: Register() for role in also} | {
        role: register for role, register in registers.items() if role != ELECTORATE
    }
    decided = {role: _decided(register, ballot, claim, jump) for role, register in sorted(roles.items())}
    # As a founding leaves it: the record is what its own register decided first.
    founded = Register(ballot, ballot, Tenure(electorate.epoch, digest.hex(), claim))
    me = Self(voter, polity, electorate.epoch, digest)
    return Rescue(me, electorate, data, ((ELECTORATE, founded), *decided.items()))


def _decided(register: Register, ballot: Ballot, claim: bytes, jump: int) -> Register:
    """A role's newest known tenure, decided at `ballot` as a new one whose term is at least `jump` higher."""
    tenure, _ = newest(register)
    term = max(register.tenure.term, register.confirmed.term) + jump
    # Vacant terms are even, filled ones odd.
    term += term % 2 if tenure.is_vacant else 1 - term % 2
    again = tenure._replace(term=term, claim=claim, after=b"" if tenure.is_vacant else claim)
    return Register(ballot, ballot, again, ballot, again)
