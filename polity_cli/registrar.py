"""The register of voters: who is enrolled, who answers, and how that is changed.

A change is first a wish (`core/enrolment.py`), then a plan, which says what would come of it, and at last
made by consensus (`core/change.py`). Others may be at it too: whatever is under way is finished first, and a
wish is applied to the roll that there is then.
"""

from __future__ import annotations

from polity_cli.asking import deadline_of, left, two_polities
from polity_cli.core.change_state import Verdict
from polity_cli.core.electorate import Electorate, Enrolled, Roll
from polity_cli.core.enrolment import Wish, wish_of
from polity_cli.core.messages import NO_POLITY
from polity_cli.core.quorum import QuorumPercentage
from polity_cli.core.record import Record
from polity_cli.core.witness import way_out
from polity_cli.errors import BadInput, Unfit
from polity_cli.outcomes import blocked, change_in_doubt, error_of_change

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from polity_cli.core.messages import Page
    from polity_cli.core.quorum import QuorumRule
    from polity_cli.session import Session


class Enrolment(Record):
    """A node that is enrolled, or that answers as a voter without being so; ids in hex.

    `status` is Serf's word for the node, or "unknown"; `answers` says if its voter answered just now. While
    the electorate changes, `joins` and `leaves` tell the new voters and those that will be none. The answer
    of a voter whose ledger was `set_back` is none.
    """

    node: str
    voter: str
    status: str
    enrolled: bool
    answers: bool
    joins: bool = False
    leaves: bool = False
    set_back: bool = False


class Assembly(Record):
    """The electorate as it is, and how it does. `present` maps the nodes that answered to their voter ids."""

    electorate: Electorate
    quorum: int
    population: int
    may_fail: int
    voters: tuple[Enrolment, ...]
    present: tuple[tuple[str, bytes], ...] = ()


class Plan(Record):
    """What would come of a wish: the roll as it is and as it would be, and who of each answers now."""

    electorate: Electorate
    target: Roll
    enrols: tuple[str, ...]
    strikes: tuple[str, ...]
    answer_before: int
    answer_after: int

    @property
    def is_empty(self) -> bool:
        return not self.electorate.is_joint and self.target == self.electorate.current

    @property
    def lacks(self) -> int:
        """How many more voters would have to answer before the new electorate can decide anything."""
        return max(0, self.target.q - self.answer_after)


class Changed(Record):
    """The electorate after a change, and the roles that were decided anew for it."""

    electorate: Electorate
    carried: tuple[str, ...]


def assembly(session: Session, *, timeout_s: float) -> Assembly:
    """The newest electorate, what Serf says of each voter's node, and who answers as a voter at present."""
    deadline = deadline_of(timeout_s)
    electorate, pages = _newest(session, deadline)
    set_back = session.conductor.witness.set_back
    status = {node.name: node.status for node in session.members()}
    old, new = electorate.current, electorate.goal
    voters = [
        Enrolment(
            e.node,
            e.voter.hex(),
            status.get(e.node, "unknown"),
            True,
            e.node in pages and pages[e.node].voter == e.voter,
            old.node_of(e.voter) is None,
            new.node_of(e.voter) is None,
            set_back.get(e.node) == e.voter,
        )
        for e in electorate.voters
    ]
    voters += [
        Enrolment(node, page.voter.hex(), status.get(node, "unknown"), False, True)
        for node, page in sorted(pages.items())
        if electorate.node_of(page.voter) != node
    ]
    voters += [
        Enrolment(node, voter.hex(), status.get(node, "unknown"), False, False, set_back=True)
        for node, voter in sorted(set_back.items())
        if electorate.node_of(voter) != node
    ]
    present = tuple(sorted((node, page.voter) for node, page in pages.items()))
    may_fail = min(roll.n - roll.q for roll in electorate.rolls)
    return Assembly(electorate, old.q, len(electorate.voters), may_fail, tuple(voters), present)


def plan(wish: Wish, found: Assembly) -> Plan:
    """What would come of a wish. Raises BadInput if the quorum rule were unsafe for so many voters."""
    electorate = found.electorate
    target = wish.of(electorate.goal)
    present = {voter for node, voter in found.present if electorate.node_of(voter) in (None, node)}
    now = set(electorate.current.voters)
    return Plan(
        electorate,
        target,
        tuple(sorted(e.node for e in set(target.voters) - now)),
        tuple(sorted(e.node for e in now - set(target.voters))),
        electorate.current.count(present),
        target.count(present),
    )


def wish_to_add(session: Session, nodes: Iterable[str], found: Assembly) -> Wish:
    """The wish to enrol these nodes, each of which must answer as a voter. Raises BadInput and Unfit."""
    present = dict(found.present)
    members = {node.name: node for node in session.members()}
    enrol = []
    for name in nodes:
        if name not in members:
            raise BadInput(f"Serf knows no node called {name}", hint=f"it knows {', '.join(sorted(members))}")
        if name not in present and any(row.set_back and row.node == name for row in found.voters):
            raise Unfit(f"the ledger of {name} was set back", hint=way_out([name]))
        if name not in present:
            raise Unfit(
                f"{name} ({members[name].status}) does not answer as a voter",
                hint="start its voter: the hook in Serf's configuration, or `polity agent`, and the tag "
                f"{session.namespace}=voter; `polity doctor` there tells what it lacks",
            )
        same = [node for node, voter in found.present if voter == present[name] and node != name]
        elsewhere = found.electorate.node_of(present[name]) or next(iter(same), None)
        if elsewhere not in (None, name):
            raise Unfit(
                f"{name} answers with the voter id of {elsewhere}: its ledger is a copy",
                hint=f"stop the voter on {name} and move its ledger away: it then comes back as its own",
            )
        enrol.append(Enrolled(present[name], name))
    return Wish(enrol=tuple(enrol))


def wish_to_remove(nodes: Collection[str], found: Assembly) -> Wish:
    """The wish to strike these nodes off. Raises BadInput for one that is not enrolled."""
    enrolled = sorted(e.node for e in found.electorate.voters)
    for name in nodes:
        if name not in enrolled:
            raise BadInput(f"{name} is not enrolled", hint=f"the voters are {', '.join(enrolled)}")
    return Wish(strike=frozenset(nodes))


def wish_to_replace(session: Session, old: str, new: str, found: Assembly) -> Wish:
    """The wish to have `new` vote in place of `old`; of the same name, its ledger was lost."""
    if new != old and any(e.node == new for e in found.electorate.goal.voters):
        raise BadInput(
            f"{new} votes already, and cannot take another's place",
            hint=f"to strike off {old} alone: `polity voters remove {old}`",
        )
    return wish_to_add(session, [new], found)._replace(strike=wish_to_remove([old], found).strike - {new})


def wish_to_sync(session: Session, found: Assembly, *, gone: Collection[str] | None = None) -> Wish:
    """The wish to enrol every member with the voters' tag that answers, and to strike off those `gone`: by
    default the ones that have left Serf on purpose."""
    members = session.members()
    tagged = {node.name for node in members if node.votes and node.status == "alive"}
    gone = {node.name for node in members if node.status == "left"} if gone is None else gone
    mine = found.electorate
    answering = {
        node: voter for node, voter in found.present if node in tagged and mine.node_of(voter) in (None, node)
    }
    return wish_of(mine.goal, answering=answering, gone=frozenset(gone))


def carry_out(
    session: Session,
    wish: Wish,
    found: Assembly,
    *,
    timeout_s: float,
    patient: bool = False,
    may_block: bool = False,
) -> Changed:
    """Make a change, or complete one under way; where there is nothing to do a quorum has said so.

    `found` is how things were a moment ago; whenever others change them, it is looked again. Raises NoQuorum
    if nothing of this can take effect, OutcomeUnknown if it may, or is half made; Unfit if too few of the
    voters there would be answer, unless it `may_block`, and BadInput if the rule does not suit so many.
    """
    deadline = deadline_of(timeout_s)
    carried: tuple[str, ...] = ()
    in_doubt = False
    while True:
        electorate = found.electorate
        target = None
        if not electorate.is_joint:
            planned = plan(wish, found)
            target = planned.target
            if planned.lacks and not may_block and not planned.is_empty:
                raise (change_in_doubt() if in_doubt else blocked(planned.answer_after, target.n, target.q))
        outcome = session.conductor.change(
            electorate, target, node=session.node, timeout_s=left(deadline), patient=patient
        )
        session.adopt(outcome.electorate)
        carried = outcome.carried or carried
        # What was proposed in one epoch is settled by the next one's record.
        in_doubt = outcome.may_take_effect or (in_doubt and outcome.electorate.epoch == electorate.epoch)
        if outcome.verdict in (Verdict.CHANGED, Verdict.NOTHING):
            if wish.of(outcome.electorate.current) == outcome.electorate.current:
                return Changed(outcome.electorate, carried)
        elif outcome.verdict is not Verdict.OVERTAKEN:
            raise error_of_change(outcome, in_doubt=in_doubt)
        found = assembly(session, timeout_s=left(deadline))
        in_doubt = in_doubt and found.electorate.epoch == electorate.epoch


def _newest(session: Session, deadline: float) -> tuple[Electorate, dict[str, Page]]:
    """The newest record that anybody has entered, and who answers as a voter."""
    electorate = session.electorate(timeout_s=left(deadline))
    members = session.members()
    alive = {node.name for node in members if node.status == "alive"}
    wanted = {e.node for e in electorate.voters if e.node in alive}
    wanted |= {node.name for node in members if node.votes and node.name in alive}
    pages = session.conductor.roll_call(timeout_s=left(deadline), enough=wanted.issubset)
    mine = (NO_POLITY, electorate.polity)
    if any(page.polity not in mine for page in pages.values()):
        raise two_polities(electorate.polity, {node: page.polity for node, page in pages.items()})
    session.adopt(electorate)
    ahead = max(pages.values(), key=lambda page: page.epoch, default=None)
    if ahead is not None and ahead.epoch > electorate.epoch:
        record = session.conductor.learn_record(ahead.digest, timeout_s=left(deadline))
        if record is not None and record.epoch > electorate.epoch and record.polity == electorate.polity:
            session.adopt(record)
            electorate = record
    return electorate, pages


def rule_with(roll: Roll, percent: float | None, min_votes: int | None) -> QuorumRule:
    """The rule of a roll with another share (50 to 100) or another minimum, where given. Raises BadInput."""
    share = roll.rule.millionths / 1_000_000 if percent is None else percent / 100
    return QuorumPercentage(share, roll.rule.min_votes if min_votes is None else min_votes)
