"""The states of an exploration and the steps between them, as tuples of small numbers.

A state is `(messages, ops, past, voter, voter, ...)`:

    messages   a set of bits: every query and announcement sent so far that can still change a register
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
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

from polity_cli.core import candidacy
from polity_cli.core import messages as m
from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.candidacy import Phase, Purpose, Verdict
from polity_cli.core.messages import Register
from polity_cli.core.tally import Chosen
from tests.exploration import promises
from tests.exploration.cases import Case, Fate, Past, Slot
from tests.exploration.crowd import Crowd, Index, Role, Voter
from tests.exploration.promises import History
from tests.exploration.rules import TRUSTING, Trust, Turn, owner
from tests.judging.operation import Violation
from tests.simulation.world import POLITY, ROLE, SHAPES

Place = tuple[int, ...]
"""A state."""


OVER = Role(begun=True)
BARRED = Role(begun=True, barred=True)
_TAKE_EFFECT = (Verdict.WON, Verdict.RECALLED, Verdict.UNKNOWN)


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
    news: bool = True
    prompt: bool = True
    votes: bool = True
    spent: bool = True


EVERY = Shortcuts()


class Board(Crowd):
    """All states of one case with one order of ballots, made as they are asked for."""

    def __init__(
        self,
        case: Case,
        order: tuple[Slot, ...],
        *,
        trust: Trust = TRUSTING,
        lookers: frozenset[int] | None = None,
        shortcuts: Shortcuts = EVERY,
    ) -> None:
        self.lookers = frozenset(range(len(case.all_ops))) if lookers is None else lookers
        super().__init__(case, order, trust, self.lookers)
        self.shortcuts, self.symmetric = shortcuts, shortcuts.symmetric
        shape = SHAPES[str(case.n)]
        self._needed = (shape.q, shape.f)
        self.turns: Index[Turn] = Index()
        self._taken: dict[tuple[int, int, int], tuple[int, ...]] = {}
        self._begun: dict[tuple[int, int], set[int]] = {}
        self._said: dict[tuple[int, int, tuple[int, ...]], list[int]] = {}
        self._acted: dict[tuple[int, int, int, int, Ballot], tuple[int, int, int, int]] = {}
        self._decides: dict[tuple[int, int], int] = {}
        self._told: dict[tuple[int, int, int], int] = {}
        self._due: dict[tuple[int, int], int] = {}
        self._may_cast: dict[int, tuple[int, int]] = {}
        self._may_answer: dict[tuple[int, int, int], bool] = {}
        self._trimmed: dict[tuple[int, int], int] = {}
        self._asking: dict[int, bool] = {}
        self._fast_votes = 0
        self._looked: dict[tuple[int, int], set[int]] = {}
        self._ending: dict[tuple[int, int, int], list[int]] = {}

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
            for voter in past.reached[phase] if phase < len(past.reached) else last:
                place = self._take(place, 3 + voter, self.messages(candidacy.message(c)))[0]
            if past.fate is not Fate.ENDS and phase + 1 == len(past.reached):
                return self._over(place, op) if past.fate is Fate.DIES else place
            place = self._act(place, op, self._best(place, op))
        raise AssertionError("it never ends")

    def _over(self, place: Place, op: int) -> Place:
        roles = list(self.ops.items[place[1]])
        roles[op] = self.roles(OVER)
        voters = [self._telling(voter, op, OVER) for voter in place[3:]]
        return (place[0], self.ops(tuple(roles)), place[2], *voters)

    def _best(self, place: Place, op: int) -> int:
        """The turn of an operation that nobody disturbs."""

        def worth(turn: int) -> tuple[bool, int, int]:
            it = self.turns.items[turn]
            return it.outcome is None or it.outcome.verdict is Verdict.NO_QUORUM, len(it.then), -len(it.how)

        return min(self._turns_of(place, op), key=worth)

    def role(self, place: Place, op: int) -> Role:
        return self.roles.items[self.ops.items[place[1]][op]]

    def registers(self, place: Place) -> tuple[Register, ...]:
        return tuple(self.voters.items[v].register for v in place[3:])

    def steps(self, place: Place) -> list[tuple[Step, Place]]:
        """Every step from here, and the state it leads to. Raises Violation, whose `step` says by which."""
        if self.shortcuts.prompt and (op := self._due_of(place)) >= 0:
            due = self._end_of(place, op)
            if due is not None:
                return [due]
        found: list[tuple[Step, Place]] = []
        voters = place[3:]
        kinds = [i for i, v in enumerate(voters) if not (self.symmetric and i and v == voters[i - 1])]
        step: Step
        for i in kinds:
            todo = place[0] & self._effects_on(voters[i])[1]
            while todo:
                low = todo & -todo
                todo ^= low
                step = Take(voters[i], low.bit_length() - 1)
                try:
                    afters = self._take(place, 3 + i, step.message)
                    found.extend([(step, self._canonical(after)) for after in afters])
                except Violation as violation:
                    violation.step = step  # type: ignore[attr-defined]
                    raise
        for op in range(len(self.case.all_ops)):
            for turn in self._turns_of(place, op):
                step = Act(op, turn)
                try:
                    after = self._act(place, op, turn)
                    if not self._is_idle(place, after, op, turn):
                        found.append((step, self._canonical(after)))
                except Violation as violation:
                    violation.step = step  # type: ignore[attr-defined]
                    raise
        return found

    def _due_of(self, place: Place) -> int:
        """An operation whose proposal is chosen and that was not told yet, or -1."""
        key = (place[1], place[2])
        known = self._due.get(key)
        if known is None:
            known = -1
            for op, number in enumerate(self.ops.items[place[1]]):
                if self._proposed(number) in self.pasts.items[place[2]].chosen:
                    known = op
            self._due[key] = known
        return known

    def _proposed(self, role: int) -> Chosen | None:
        c = self.roles.items[role].candidacy
        if c is not None and c.phase is Phase.ACCEPT and c.proposal is not None:
            return Chosen(c.ballot, c.proposal)
        if c is not None and c.phase is Phase.STAND and c.stood is not None:
            return Chosen(c.base.ballot.fast, c.stood)
        return None

    def _end_of(self, place: Place, op: int) -> tuple[Step, Place] | None:
        proposed = self._proposed(self.ops.items[place[1]][op])
        for turn in self._turns_of(place, op):
            outcome = self.turns.items[turn].outcome
            if outcome is not None and outcome.chosen == proposed:
                step = Act(op, turn)
                try:
                    return step, self._canonical(self._act(place, op, turn))
                except Violation as violation:
                    violation.step = step  # type: ignore[attr-defined]
                    raise
        return None

    def _is_idle(self, place: Place, after: Place, op: int, turn: int) -> bool:
        """True if the operation ends in a look, which nobody else notices, and its claim matters to nobody."""
        if not (self.shortcuts.prompt and self.shortcuts.news):
            return False
        c = self.role(place, op).candidacy
        return (
            self.turns.items[turn].outcome is not None
            and (c is None or c.phase is Phase.LOOK)
            and not self.role(after, op).barred
        )

    def _canonical(self, place: Place) -> Place:
        """The one state for all that differ only in which voter is which, or in what is spent."""
        past, bare, effects, known = place[2], self._bare, self._effects, len(self.messages.items)
        alive = 0
        ops = place[1]
        voters = [bare.get((voter, past)) or self._without(voter, past) for voter in place[3:]]
        if self.shortcuts.votes and self.trust.messages:
            voters = self._with_live_votes(voters)
        if self.shortcuts.spent and self.trust.messages and self.trust.answers:
            ops, voters = self._without_spent(ops, voters)
        for voter in voters:
            effect = effects.get(voter)
            if effect is None or effect[0] != known:
                effect = self._effects_on(voter)
            alive |= effect[2]
        if self.symmetric:
            voters.sort()
        return (place[0] & alive, ops, past, *voters)

    def _with_live_votes(self, voters: list[int]) -> list[int]:
        """The voters without votes at which no quorum can meet any more."""
        known, may = len(self._votes.items), self._may_cast
        q, f = self._needed
        counts = [0] * (f + 1)
        cast = 0
        for voter in voters:
            it = may.get(voter)
            if it is None or it[0] != known:
                it = self._castable(voter)
            bits = it[1]
            cast |= self.voters.items[voter].votes
            for k in range(f, 1, -1):
                counts[k] |= counts[k - 1] & bits
            counts[1] |= bits
        if not cast:
            return voters
        dead = cast & ~((counts[q] & ~self._fast_votes) | counts[f])
        return [self._trim(voter, dead) for voter in voters] if dead else voters

    def _castable(self, voter: int) -> tuple[int, int]:
        it = self.voters.items[voter]
        bits = it.votes
        fast = 0
        for i, vote in enumerate(self._votes.items):
            bits |= (it.register.promised <= vote.ballot) << i
            fast |= vote.ballot.is_fast << i
        self._fast_votes = fast
        known = self._may_cast[voter] = (len(self._votes.items), bits)
        return known

    def _trim(self, voter: int, dead: int) -> int:
        key = (voter, dead)
        known = self._trimmed.get(key)
        if known is None:
            it = self.voters.items[voter]
            known = self._trimmed[key] = self.voters(it._replace(votes=it.votes & ~dead))
        return known

    def _without_spent(self, ops: int, voters: list[int]) -> tuple[int, list[int]]:
        """Operations that can hear nothing useful any more are over; what has reached nobody is as if new."""
        roles = self.ops.items[ops]
        for op, role in enumerate(roles):
            if op in self.lookers:
                continue
            live = self._asking.get(role)
            if live is None:
                c = self.roles.items[role].candidacy
                live = self._asking[role] = c is not None and c.phase is not Phase.LOOK
            if not live:
                continue
            hopes = 0
            for voter in voters:
                hope = self._may_answer.get((op, role, voter))
                if hope is None:
                    hope = self._hope(op, role, voter)
                hopes += hope
            if hopes < self._needed[0]:
                over = self.roles(OVER)
                roles = (*roles[:op], over, *roles[op + 1 :])
                told = []
                for voter in voters:
                    key = (voter, op, over)
                    if key not in self._told:
                        self._told[key] = self._telling(voter, op, OVER)
                    told.append(self._told[key])
                voters = told
                ops = self.ops(roles)
        return ops, voters

    def _hope(self, op: int, role: int, voter: int) -> bool:
        """True if the voter gave an answer that the operation needs, or may yet give one."""
        it = self.voters.items[voter]
        c = self.roles.items[role].candidacy
        assert c is not None
        passed = it.register.accepted > c.ballot if c.phase is Phase.STAND else it.register.promised > c.ballot
        known = self._may_answer[op, role, voter] = bool(self.answers.items[it.answers[op]]) or not passed
        return known

    # The way back.

    def arrange(self, place: Place, step: Step, after: Place) -> list[int]:
        """For each voter of the state that a step leads to, its position before the step."""
        if isinstance(step, Take):
            ends = self._take(place, 3 + place[3:].index(step.voter), step.message)
        else:
            ends = [self._act(place, step.op, step.turn)]
        end = next(end for end in ends if self._canonical(end) == after)
        bare = [self._without(voter, end[2]) for voter in end[3:]]
        return sorted(range(len(bare)), key=lambda i: bare[i]) if self.symmetric else list(range(len(bare)))

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
        if not self.shortcuts.news:
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

    def _turns_of(self, place: Place, op: int) -> list[int]:
        """The turns an operation may take."""
        number = self.ops.items[place[1]][op]
        role = self.roles.items[number]
        if role.candidacy is None:
            if role.begun:
                return []
            hints = [-1, *(sorted(set(place[3:])) if self.case.all_ops[op].hints else [])]
            begun = set[int]().union(*[self._begin(op, hint) for hint in hints])
            if self.trust.looks:
                begun |= self._begin_after_look(op, place[2])
            return sorted(begun)
        if self.trust.looks and role.candidacy.phase is Phase.LOOK:
            return self._told_turns(op, number, place[2])
        heard_of = self._heard
        answers = tuple([heard_of.get((op, number, v)) or self._offered(op, number, v) for v in place[3:]])
        key = (number, op, answers)
        known = self._said.get(key)
        if known is None:
            heard = tuple([self.answers.items[a] for a in answers])
            turns = self.rules.turns(op, role.candidacy, heard)
            known = self._said[key] = [self.turns(turn) for turn in turns]
        return known

    def _begin(self, op: int, hint: int) -> set[int]:
        """The numbers of an operation's first turns with this voter's register, or with none, as its hint."""
        key = (op, hint)
        if key not in self._begun:
            turns = self.rules.begin(op, None if hint < 0 else self.voters.items[hint].register)
            self._begun[key] = {self.turns(turn) for turn in turns}
        return self._begun[key]

    def _told_turns(self, op: int, number: int, past: int) -> list[int]:
        """How a look may end: whatever is chosen may be found settled, unless a quorum had gone past it before."""
        key = (number, op, past)
        known = self._ending.get(key)
        if known is None:
            role = self.roles.items[number]
            assert role.candidacy is not None
            turns = self.rules.turns(op, role.candidacy, ())
            for chosen in self.pasts.items[past].chosen:
                if chosen.ballot >= role.since:
                    turns += self.rules.told(op, role.candidacy, chosen)
            known = self._ending[key] = [self.turns(turn) for turn in turns]
        return known

    def _begin_after_look(self, op: int, past: int) -> set[int]:
        """The first turns of an operation that looked first: a look finds nothing, or a chosen vacancy."""
        known = self._looked.get((op, past))
        if known is None:
            found = self.rules.begin_after_look(op, None)
            if self.case.all_ops[op].purpose is Purpose.ELECT:
                chosen = self.pasts.items[past].chosen
                for c in chosen:
                    if c.tenure.is_vacant:
                        found += self.rules.begin_after_look(op, c)
            known = self._looked[op, past] = {self.turns(turn) for turn in found}
        return known

    def _act(self, place: Place, op: int, turn: int) -> Place:
        """The state once an operation has taken a turn."""
        taken = self.turns.items[turn].candidacy
        looks = self.trust.looks and taken is not None and taken.phase is Phase.LOOK
        key = (place[1], place[2], op, turn, self._gone_past(place) if looks else ZERO)
        known = self._acted.get(key)
        if known is None:
            known = self._acted[key] = self._acting(*key)
        ops, past, role, sent = known
        if sent:
            promises.check_value(self._in(sent), self._in(place[0]))
        voters = []
        for voter in place[3:]:
            told = self._told.get((voter, op, role))
            if told is None:
                told = self._told[voter, op, role] = self._telling(voter, op, self.roles.items[role])
            voters.append(told)
        return (place[0] | sent, ops, past, *voters)

    def _gone_past(self, place: Place) -> Ballot:
        """The lowest ballot above which a quorum has accepted nothing."""
        return sorted(register.accepted for register in self.registers(place))[self._needed[0] - 1]

    def _in(self, bits: int) -> list[m.Message]:
        return [self.messages.items[i] for i in range(bits.bit_length()) if bits >> i & 1]

    def _acting(self, ops: int, past: int, op: int, turn: int, since: Ballot) -> tuple[int, int, int, int]:
        roles = list(self.ops.items[ops])
        before = self.roles.items[roles[op]]
        now = self.pasts.items[past]
        start = before.start if before.begun else now.term
        taken = self.turns.items[turn]
        role = Role(True, taken.candidacy, start, False, since)
        if taken.candidacy is not None and isinstance(taken.sent, m.Stand) and not taken.then:
            # After a look.
            base = Chosen(taken.candidacy.base.ballot, taken.candidacy.base.tenure)
            if base not in now.chosen:
                raise Violation(f"S3: {self.case.all_ops[op].name} takes for settled what is not chosen: {base}")
        if taken.outcome is not None:
            now = promises.end(now, self.case.all_ops, op, start, taken.outcome)
            role = OVER if taken.outcome.verdict in _TAKE_EFFECT else BARRED
            for t in now.implied - self.pasts.items[past].implied:
                by = owner(t.claim)
                if by is not None and self.roles.items[roles[by]].barred:
                    raise Violation(
                        f"S3: {self.case.all_ops[by].name} ended without effect, but {t} was recalled"
                    )
        sent = 0
        silent = (m.Read, m.Announce) if self.shortcuts.news else m.Read
        if taken.sent is not None and not isinstance(taken.sent, silent):
            sent = 1 << self.messages(taken.sent)
        roles[op] = self.roles(role)
        return self.ops(tuple(roles)), self.pasts(now), roles[op], sent
