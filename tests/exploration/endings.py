"""How operations end, judged at every state without a step of its own.

What an operation tells in the end changes no register, and all it may still send is an announcement. Where
`trust.looks`, every tenure is announced at the very step that chooses it: earlier than anybody could learn
it, and taking an announcement is up to each voter. So nobody notices whether an operation has ended, yielded
and looks, or is dead: it says nothing more. A state in which an operation stands, or waits for its accept,
is therefore also the state in which it has ended in each way in which it can; and all these are judged
there, without a step. What must be remembered of them goes with the operation's `Role`:

    barred   it might have ended with a verdict by which its claim must never be chosen
    since    the newest chosen when it last said something: a look it yielded for began then at the earliest

An operation that is barred, or whose claim is in no message, is not asked what a further look tells: the
answer is true of whatever is chosen, as each operation's first look shows, or its claim is chosen after all.
Once it says something more, those endings are not its own any more, and both begin anew; the states in which
it keeps silent are still explored.

A look that ends an operation finds something settled. *What* may be found settled is the question of
`looks`, which shows, for each case, that it is always something chosen, and no older than what was chosen
when the look began. Here each look finds each of these, and the shipped rules say what the operation makes
of it. Of all looks the one that began first may find most, so no other is tried. An operation that looks
first and then prepares is one that has begun later, whose answers must be true for a shorter time; one that
looks first and then stands does so on something vacant and settled: here, on any vacancy that is chosen.
"""

from __future__ import annotations

from polity_cli.core.ballot import ZERO, Ballot
from polity_cli.core.operation import Candidacy, Outcome, Phase, Purpose, Verdict
from tests.exploration import promises
from tests.exploration.cases import Case, Slot
from tests.exploration.crowd import Crowd, Role
from tests.exploration.index import Index
from tests.exploration.promises import History
from tests.exploration.rules import Trust, Turn, claim_of, owner
from tests.judging.operation import Violation

OVER = Role(begun=True)
BARRED = Role(begun=True, barred=True)
TAKE_EFFECT = (Verdict.WON, Verdict.RECALLED, Verdict.UNKNOWN)

_NOTHING = -1
_ASKING = (Phase.STAND, Phase.PREPARE, Phase.ACCEPT)


class Endings(Crowd):
    """What operations may say, and what they may have told."""

    def __init__(self, case: Case, order: tuple[Slot, ...], trust: Trust) -> None:
        super().__init__(case, order, trust)
        self.turns: Index[Turn] = Index()
        self.said: Index[tuple[int, ...]] = Index()
        self._begun: dict[tuple[int, int], set[int]] = {}
        self._begun_after: dict[tuple[int, int], set[int]] = {}
        self._says: dict[tuple[int, ...], int] = {}
        self._goes_on: dict[int, tuple[int, ...]] = {}
        self._anonymous = False
        """Voters may be told apart by nothing, not even for a story."""
        self._asks: dict[int, bool] = {}
        self._retired: dict[tuple[int, int], int] = {}
        self._judged: dict[tuple[int, int, int, int], tuple[int, int]] = {}
        self._tellings: dict[tuple[int, Candidacy, object], list[Outcome]] = {}
        self._told: dict[tuple[int, int, int], int] = {}
        self.outcomes: set[Outcome] = set()

    # What an operation may say.

    def _said_of(self, op: int, number: int, voters: tuple[int, ...] | list[int]) -> int:
        """The number of the turns that an operation under way may take, once it has heard what there is."""
        heard_of = self._heard
        answers = [heard_of.get((op, number, v)) or self._offered(op, number, v) for v in voters]
        if self._anonymous:
            answers.sort()
        key = (number, op, *answers)
        known = self._says.get(key)
        if known is None:
            c = self.roles.items[number].candidacy
            assert c is not None
            turns = self.rules.turns(op, c, tuple([self.answers.items[a] for a in answers]))
            known = self._says[key] = self.said(tuple([self.turns(turn) for turn in turns]))
        return known

    def _is_noticed(self, turn: int) -> bool:
        """True if the turn says something that others may take."""
        c = self.turns.items[turn].candidacy
        return c is not None and c.phase is not Phase.LOOK

    def _going_on(self, said: int) -> tuple[int, ...]:
        known = self._goes_on.get(said)
        if known is None:
            known = self._goes_on[said] = tuple(t for t in self.said.items[said] if self._is_noticed(t))
        return known

    def _begin(self, op: int, hint: int) -> set[int]:
        """The numbers of an operation's first turns with this voter's register, or with none, as its hint."""
        key = (op, hint)
        if key not in self._begun:
            turns = self.rules.begin(op, None if hint < 0 else self.voters.items[hint].register)
            self._begun[key] = {self.turns(turn) for turn in turns}
        return self._begun[key]

    def _begin_after_look(self, op: int, past: int) -> set[int]:
        """The first turns of an operation that looked first: a look finds nothing, or a chosen vacancy."""
        known = self._begun_after.get((op, past))
        if known is None:
            found = self.rules.begin_after_look(op, None)
            if self.case.all_ops[op].purpose is Purpose.ELECT:
                for c in self.pasts.items[past].chosen:
                    if c.tenure.is_vacant:
                        found += self.rules.begin_after_look(op, c)
            known = self._begun_after[op, past] = {self.turns(turn) for turn in found}
        return known

    # What it may have told.

    def _is_asking(self, number: int) -> bool:
        known = self._asks.get(number)
        if known is None:
            c = self.roles.items[number].candidacy
            known = self._asks[number] = c is not None and c.phase in _ASKING
        return known

    def _is_last(self, op: int, number: int) -> bool:
        """True if this asking operation has no further ballot."""
        c = self.roles.items[number].candidacy
        return c is not None and not self.rules.goes_on(op, c)

    def _is_out(self, op: int, c: Candidacy) -> bool:
        """True if the operation's claim is in a message that it sent."""
        own = c.proposal is not None and c.proposal.claim == claim_of(op)
        return own or c.stood is not None or c.pending is not None or c.attempts > 1

    def _under_way(self, op: int, c: Candidacy, start: int, now: History) -> Role:
        watched = self.trust.looks and self._is_out(op, c)
        return Role(True, c, start, False, now.chosen[-1].ballot if watched else ZERO)

    def _spent(self, op: int, number: int) -> int:
        """The role of an operation that says nothing more: what it may still tell."""
        known = self._retired.get((op, number))
        if known is None:
            role = self.roles.items[number]
            assert role.candidacy is not None
            spent = OVER
            if role.barred:
                spent = BARRED
            elif self._is_out(op, role.candidacy):
                c = role.candidacy
                look = c if c.phase is Phase.LOOK else self.rules.yielded(op, c)
                spent = role._replace(candidacy=look)
            known = self._retired[op, number] = self.roles(spent)
        return known

    def _with_ends(self, ops: int, past: int, voters: list[int]) -> tuple[int, int, list[int]]:
        """The state once it is judged how each operation may have ended."""
        roles = self.ops.items[ops]
        for op, number in enumerate(roles):
            said = self._said_of(op, number, voters) if self._is_asking(number) else _NOTHING
            key = (op, number, said, past)
            known = self._judged.get(key)
            if known is None:
                known = self._judged[key] = self._judging(ops, *key)
            role, past = known
            if role != number:
                roles = (*roles[:op], role, *roles[op + 1 :])
                ops = self.ops(roles)
                voters = self._tell(voters, op, role)
        return ops, past, voters

    def _tell(self, voters: list[int], op: int, role: int) -> list[int]:
        """The voters once an operation asks what it asks now."""
        telling = []
        for voter in voters:
            told = self._told.get((voter, op, role))
            if told is None:
                told = self._told[voter, op, role] = self._telling(voter, op, self.roles.items[role])
            telling.append(told)
        return telling

    def _judging(self, ops: int, op: int, number: int, said: int, past: int) -> tuple[int, int]:
        role, now = self.roles.items[number], self.pasts.items[past]
        if not role.begun:
            self._judge_first_look(op, now)
            return number, past
        if role.candidacy is None:
            return number, past
        c = role.candidacy
        asking = c.phase in _ASKING
        turns = [self.turns.items[t] for t in self.said.items[said]] if asking else []
        outcomes = [turn.outcome for turn in turns if turn.outcome is not None]
        has_result = c.phase is Phase.ACCEPT and any(o.tenure == c.proposal for o in outcomes)
        looks = [turn.candidacy for turn in turns if turn.candidacy and turn.candidacy.phase is Phase.LOOK]
        barred, is_out = role.barred, self._is_out(op, c) or not asking
        if is_out and not barred:  # else a look tells no more than a first one, see above
            for look in looks if asking else [c]:
                outcomes += self._ends_of_look(op, look, role.since, now)
        for outcome in outcomes:
            now = self._ended(now, ops, op, role.start, outcome)
            barred |= outcome.verdict not in TAKE_EFFECT and is_out
        number = self.roles(role._replace(barred=barred, since=ZERO if barred else role.since))
        if (has_result and not self.rules.goes_on(op, c)) or (barred and not asking):
            number = self._spent(op, number)
        return number, self.pasts(now)

    def _ends_of_look(self, op: int, look: Candidacy, since: Ballot, now: History) -> list[Outcome]:
        """What may be told after this look, if it began when this was the newest chosen."""
        found = []
        for settled in (None, *(c for c in now.chosen if c.ballot >= since)):
            known = self._tellings.get((op, look, settled))
            if known is None:
                turns = (
                    self.rules.turns(op, look, ()) if settled is None else self.rules.told(op, look, settled)
                )
                known = [turn.outcome for turn in turns if turn.outcome is not None]
                self._tellings[op, look, settled] = known
            found += known
        return found

    def _judge_first_look(self, op: int, now: History) -> None:
        look = self.rules.first_look(op)
        for settled in now.chosen:
            for turn in self.rules.told(op, look, settled):
                if turn.outcome is not None:
                    promises.end(now, self.case.all_ops, op, settled.tenure.term, turn.outcome)
                    self.outcomes.add(turn.outcome)

    def _ended(self, past: History, ops: int, op: int, start: int, outcome: Outcome) -> History:
        """The past once this was told. Raises Violation if it is untrue, or shows that something was."""
        self.outcomes.add(outcome)
        now = promises.end(past, self.case.all_ops, op, start, outcome)
        for t in now.implied - past.implied:
            by = owner(t.claim)
            if by is not None and self.roles.items[self.ops.items[ops][by]].barred:
                raise Violation(
                    f"S3: {self.case.all_ops[by].name} ended without effect, but {t} was recalled"
                )
        return now
