"""The states of an exploration and the steps between them, as tuples of small numbers.

A state is `(messages, ops, past, voter, voter, ...)`:

    messages   a set of bits: every query and announcement there is so far that can still change a register
    ops        number of a tuple of `Role`s: how far each operation is
    past       number of a `promises.History`: what is chosen
    voter      number of a `Voter`: a register, the answers given to each operation, and the votes ever cast

Sets of messages and of answers only grow. That covers every loss (never taken out), every copy (taken out
again), every order and every lateness. A voter that crashes between receiving and saving is one that has not
taken the message; between saving and replying, one whose answer is never heard; an operation whose process
dies is one that takes no further turn. None of these needs a step of its own.

Voters have numbers only where they are told apart: their ids are equal for all purposes of the rules, the
operation's own voter is whichever register it is given as a hint, so states that differ by the order of
voters are one state (`symmetric`). An answer that changes no register may be given at any time and costs
nobody anything: it is given at once, whenever it can be. Hearing it is up to the operation.

What is spent is forgotten: see `spent`. How operations end, and looks, take no steps either where looks are
trusted: see `endings` and `looks`.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

from polity_cli.core import candidacy
from polity_cli.core import messages as m
from polity_cli.core.messages import Register
from polity_cli.core.operation import Phase, Verdict
from polity_cli.core.tally import Chosen
from tests.exploration import promises
from tests.exploration.cases import Case, Fate, Past, Slot
from tests.exploration.crowd import Role, Voter
from tests.exploration.endings import BARRED, OVER, TAKE_EFFECT
from tests.exploration.promises import History
from tests.exploration.rules import TRUSTING, Trust, owner
from tests.exploration.spent import Spent
from tests.judging.operation import Violation
from tests.simulation.world import POLITY, ROLE

Place = tuple[int, ...]
"""A state."""


class Take(NamedTuple):
    """A voter like this one takes a message."""

    voter: int
    message: int


class Act(NamedTuple):
    """An operation begins, or says something."""

    op: int
    turn: int


Step = Take | Act


class Shortcuts(NamedTuple):
    """Which reductions are made; a test compares explorations with and without each."""

    symmetric: bool = True
    votes: bool = True
    spent: bool = True


EVERY = Shortcuts()


class Board(Spent):
    """All states of one case with one order of ballots, made as they are asked for.

    Whose answers an operation heard is kept right only if that is to be `told`.
    """

    def __init__(
        self,
        case: Case,
        order: tuple[Slot, ...],
        *,
        trust: Trust = TRUSTING,
        shortcuts: Shortcuts = EVERY,
        told: bool = False,
    ) -> None:
        super().__init__(case, order, trust)
        self.symmetric = shortcuts.symmetric
        self._anonymous = shortcuts.symmetric and trust.looks and not told
        self._forgets_votes = shortcuts.votes and trust.messages
        self._forgets_spent = shortcuts.spent and trust.messages and trust.answers and trust.looks
        self._taken: dict[tuple[int, int, int], tuple[int, ...]] = {}
        self._acted: dict[tuple[int, int, int, int], tuple[int, int, int, int]] = {}
        self._decides: dict[tuple[int, int], int] = {}
        self._values_known: set[tuple[int, int]] = set()

    def start(self) -> Place:
        """The state in which the exploration begins: the case's past carried through."""
        many = len(self.case.all_ops)
        ops = self.ops((self.roles(Role()),) * many)
        voter = self.voters(Voter(Register(), (self.answers(frozenset()),) * many, 0))
        place: Place = (0, ops, self.pasts(History()), *((voter,) * self.case.n))
        for op, past in enumerate(self.case.past):
            place = self._began(place, op, past)
        return self._canonical(place)

    def _began(self, place: Place, op: int, past: Past) -> Place:
        (turn,) = self._begin(op, place[3 + past.reached[0][0]] if past.op.hints else -1)
        place = self._act(place, op, turn)
        last = past.reached[-1]
        for phase in count():
            c = self.role(place, op).candidacy
            if c is None:
                return place
            assert c.phase is not Phase.LOOK or not self.trust.looks, "a past begins with a ballot"
            for voter in past.reached[phase] if phase < len(past.reached) else last:
                place = self._take(place, 3 + voter, self.messages(candidacy.message(c)))[0]
            if past.fate is not Fate.ENDS and phase + 1 == len(past.reached):
                return self._over(place, op) if past.fate is Fate.DIES else place
            place = self._act(place, op, self._best(place, op))
        raise AssertionError("it never ends")

    def _over(self, place: Place, op: int) -> Place:
        roles = list(self.ops.items[place[1]])
        roles[op] = self.roles(OVER)
        return (place[0], self.ops(tuple(roles)), place[2], *self._tell(list(place[3:]), op, roles[op]))

    def _best(self, place: Place, op: int) -> int:
        """The turn of an operation that nobody disturbs."""

        def worth(turn: int) -> tuple[bool, int, int]:
            it = self.turns.items[turn]
            goes_well = it.outcome is not None and it.outcome.verdict is not Verdict.NO_QUORUM
            goes_on = it.candidacy is not None and it.candidacy.phase is not Phase.LOOK
            return not (goes_well or goes_on), len(it.then), -len(it.how)

        said = self._said_of(op, self.ops.items[place[1]][op], place[3:])
        return min(self.said.items[said], key=worth)

    def role(self, place: Place, op: int) -> Role:
        return self.roles.items[self.ops.items[place[1]][op]]

    def registers(self, place: Place) -> tuple[Register, ...]:
        return tuple(self.voters.items[v].register for v in place[3:])

    def steps(self, place: Place) -> list[tuple[Step, Place]]:
        """Every step from here, and the state it leads to. Raises Violation, whose `step` says by which."""
        found: list[tuple[Step, Place]] = []
        voters = place[3:]
        step: Step | None = None
        try:
            for i, voter in enumerate(voters):
                if self.symmetric and i and voter == voters[i - 1]:
                    continue
                todo = place[0] & self._effects_on(voter)[1]
                while todo:
                    low = todo & -todo
                    todo ^= low
                    step = Take(voter, low.bit_length() - 1)
                    found += [(step, self._canonical(at)) for at in self._take(place, 3 + i, step.message)]
            for op in range(len(self.case.all_ops)):
                for turn in self._turns_of(place, op):
                    step = Act(op, turn)
                    found.append((step, self._canonical(self._act(place, op, turn))))
        except Violation as violation:
            violation.step = step  # type: ignore[attr-defined]
            raise
        return found

    def _canonical(self, place: Place) -> Place:
        """The one state for all that differ only in which voter is which, or in what is spent."""
        past, bare, effects, known = place[2], self._bare, self._effects, len(self.messages.items)
        alive = 0
        ops = place[1]
        voters = [bare.get((voter, past)) or self._without(voter, past) for voter in place[3:]]
        if self._forgets_votes:
            voters = self._with_live_votes(voters)
        if self.symmetric:
            voters.sort()
        if self.trust.looks:
            ops, past, voters = self._with_ends(ops, past, voters)
        if self._forgets_spent:
            ops, voters = self._without_spent(ops, voters)
        for voter in voters:
            effect = effects.get(voter)
            if effect is None or effect[0] != known:
                effect = self._effects_on(voter)
            alive |= effect[2]
        if self.symmetric:
            voters.sort()
        return (place[0] & alive, ops, past, *voters)

    # The way back.

    def arrange(self, place: Place, step: Step, after: Place) -> list[int]:
        """For each voter of the state that a step leads to, its position before the step."""
        if isinstance(step, Take):
            ends = self._take(place, 3 + place[3:].index(step.voter), step.message)
        else:
            ends = [self._act(place, step.op, step.turn)]
        end = next(end for end in ends if self._canonical(end) == after)
        if not self.symmetric:
            return list(range(self.case.n))
        registers = [self.voters.items[v].register for v in end[3:]]
        order = []
        for v in after[3:]:
            order.append(registers.index(self.voters.items[v].register))
            registers[order[-1]] = None  # type: ignore[call-overload]
        return order

    # Voters.

    def _take(self, place: Place, at: int, message: int) -> list[Place]:
        """The states in which the voter at this position may be once it has taken a message."""
        old = place[at]
        key = (old, message, place[1])
        known = self._taken.get(key)
        if known is None:
            known = self._taken[key] = self._taking(old, self.messages.items[message], place[1])
        cast = self.voters.items[known[0]].votes & ~self.voters.items[old].votes
        if cast:
            place = self._counted((*place[:at], known[0], *place[at + 1 :]), cast)
        return [(*place[:at], new, *place[at + 1 :]) for new in known]

    def _counted(self, place: Place, cast: int) -> Place:
        """The state once it is seen what new votes decide. Votes for what is chosen need not be kept."""
        while cast:
            low = cast & -cast
            cast ^= low
            vote = self._votes.items[low.bit_length() - 1]
            votes = sum([1 for v in place[3:] if self.voters.items[v].votes & low])
            if votes >= self._needed[vote.ballot.kind]:
                place = (place[0] | self._news_of(vote), place[1], self._choose(place[2], low), *place[3:])
                by = owner(vote.tenure.claim)
                if by is not None and self.role(place, by).barred:
                    name = self.case.all_ops[by].name
                    raise Violation(f"S3: {name} ended without effect, and now {vote.tenure} is chosen")
        return place

    def _news_of(self, chosen: Chosen) -> int:
        """Where looks are trusted, what is chosen is announced at once; taking it is up to the voters."""
        if not self.trust.looks:
            return 0
        return 1 << self.messages(m.Announce(POLITY, self.rules.electorate.epoch, ROLE, *chosen))

    def _choose(self, past: int, vote: int) -> int:
        known = self._decides.get((past, vote))
        if known is None:
            now = self.pasts.items[past]
            ballot, tenure = self._votes.items[vote.bit_length() - 1]
            if Chosen(ballot, tenure) not in now.chosen:
                now = promises.choose(now, ballot, tenure)
            known = self._decides[past, vote] = self.pasts(now)
        return known

    # Operations.

    def _turns_of(self, place: Place, op: int) -> tuple[int, ...]:
        """The turns an operation may take that others can notice, or, where looks are not trusted, all."""
        number = self.ops.items[place[1]][op]
        role = self.roles.items[number]
        if role.candidacy is None:
            if role.begun:
                return ()
            hints = [-1, *(sorted(set(place[3:])) if self.case.all_ops[op].hints else [])]
            begun = set[int]().union(*[self._begin(op, hint) for hint in hints])
            if self.trust.looks:
                begun |= self._begin_after_look(op, place[2])
                ended = {turn for turn in begun if self.turns.items[turn].outcome is not None}
                return tuple(sorted(ended | {turn for turn in begun if self._is_noticed(turn)}))
            return tuple(sorted(begun))
        if not self.trust.looks:
            return self.said.items[self._said_of(op, number, place[3:])]
        if role.candidacy.phase is Phase.LOOK:
            return ()
        return self._going_on(self._said_of(op, number, place[3:]))

    def _act(self, place: Place, op: int, turn: int) -> Place:
        """The state once an operation has taken a turn."""
        key = (place[1], place[2], op, turn)
        known = self._acted.get(key)
        if known is None:
            known = self._acted[key] = self._acting(*key)
        ops, past, role, sent = known
        if sent and (sent, place[0]) not in self._values_known:
            promises.check_value(self._in(sent), self._in(place[0]))
            self._values_known.add((sent, place[0]))
        return (place[0] | sent, ops, past, *self._tell(list(place[3:]), op, role))

    def _in(self, bits: int) -> list[m.Message]:
        return [self.messages.items[i] for i in range(bits.bit_length()) if bits >> i & 1]

    def _acting(self, ops: int, past: int, op: int, turn: int) -> tuple[int, int, int, int]:
        roles = list(self.ops.items[ops])
        before = self.roles.items[roles[op]]
        now = self.pasts.items[past]
        start = before.start if before.begun else now.term
        taken = self.turns.items[turn]
        if taken.candidacy is not None and isinstance(taken.sent, m.Stand) and not taken.then:
            # After a look.
            base = Chosen(taken.candidacy.base.ballot, taken.candidacy.base.tenure)
            if base not in now.chosen:
                raise Violation(
                    f"S3: {self.case.all_ops[op].name} takes for settled what is not chosen: {base}"
                )
        if taken.outcome is not None:
            now = self._ended(now, ops, op, start, taken.outcome)
            role = OVER if taken.outcome.verdict in TAKE_EFFECT else BARRED
        else:
            assert taken.candidacy is not None
            role = self._under_way(op, taken.candidacy, start, now)
        sent = 0
        silent = (m.Read, m.Announce) if self.trust.looks else m.Read
        if taken.sent is not None and not isinstance(taken.sent, silent):
            sent = 1 << self.messages(taken.sent)
        roles[op] = self.roles(role)
        return self.ops(tuple(roles)), self.pasts(now), roles[op], sent
